"""The evaluation as one HTML page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType

from multirecall.errors import RequestError
from multirecall.evaluation.figures import (
    as_svg,
    latency_against_recall,
    overlap_map,
    recall_curve,
    shares_of_recall,
)
from multirecall.evaluation.meanings import explained
from multirecall.evaluation.report import Report
from multirecall.evaluation.value import ValueReport, ms_per_hit

NO_FACTS: Mapping[str, str] = MappingProxyType({})

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 76rem; margin: 2rem auto; padding: 0 1.5rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4 }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 1px solid #888 }
.facts td { text-align: left }
tr.fused { font-weight: 600 } .wide { overflow-x: auto } .note { color: #555; max-width: 60rem }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { margin: 0; flex: 1 1 30rem }
figcaption { font-weight: 600; margin-bottom: .3rem } svg { max-width: 100%; height: auto }
"""


def write_page(report: Report, worth: ValueReport, file: Path, facts: Mapping[str, str] = NO_FACTS) -> None:
    """Write the page to `file`; `facts` as in `page`.

    Raises:
        RequestError: matplotlib is not installed, or the file cannot be written.
    """
    text = page(report, worth, facts)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise RequestError(f"{file}: cannot be written ({fault.strerror}); check the folder") from None


def page(report: Report, worth: ValueReport, facts: Mapping[str, str] = NO_FACTS) -> str:
    """The page: what was measured, the quality of each list, what each path is worth, and the plots.

    Args:
        report, worth: of the same split.
        facts: what the page says first, by name, such as the data set, the config and the date.
    """
    plots = {
        "Recall over the length of the list": recall_curve(worth),
        "What each path is worth": shares_of_recall(worth),
        "Latency against recall": latency_against_recall(worth),
        "Overlap of the paths": overlap_map(worth),
    }
    figures = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>{as_svg(plot)}</figure>" for title, plot in plots.items()
    )
    quality = "".join(f"<h2>At k = {k}</h2>{_quality_table(report, column)}" for column, k in enumerate(report.ks))
    orders = "exact" if worth.exact else "from drawn orders"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Recall of each path and fused</title><style>{STYLE}</style></head><body>
<h1>Recall of each path and fused</h1>
{_facts({**facts, "split": report.split})}
<p class="note">{escape(report.statement)}.</p>
{f"<p>{escape(str(report.gain))}</p>" if report.gain else ""}
<div class="plots">{figures}</div>
<h2>What each path is worth, at k = {worth.k}</h2>
{_value_table(worth)}
<p class="note">Over {worth.n_users:,} users, without what the fallback backfills. Hits and unique hits count the
targets in a path's whole list. Lost without: what the fused Recall loses when the path is left out, with its 95 %
bootstrap interval. Shapley values ({orders}) sum to the fused Recall.</p>
{quality}
{_segments(report)}
<p class="note">Intervals: 95 %, bootstrap over users.</p>
<h2>What the columns say</h2>
<ul class="note">{"".join(f"<li>{escape(line)}</li>" for line in explained(next(iter(report.figures.values()))))}</ul>
</body></html>
"""


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _value_table(worth: ValueReport) -> str:
    heads = ["path", "Recall", "hits", "unique hits", "lost without", "95 %", "Shapley", "ms", "ms per extra hit"]
    rows = [
        [
            name,
            f"{path.recall:.4f}",
            f"{path.hits:,}",
            f"{path.unique_hits:,}",
            f"{path.loss.mean:+.4f}",
            f"{path.loss.low:+.4f} … {path.loss.high:+.4f}",
            f"{path.shapley:.4f}",
            f"{path.ms:.3f}",
            ms_per_hit(path.ms_per_extra_hit),
        ]
        for name, path in worth.paths.items()
    ]
    whole = ["fused", f"{worth.recall:.4f}", "", "", "", "", f"{worth.recall:.4f}", f"{worth.ms:.3f}", ""]
    return _table(heads, [*rows, whole])


def _quality_table(report: Report, column: int) -> str:
    metrics = list(next(iter(report.figures.values())))
    rows = []
    for name, figures in report.figures.items():
        low, high = report.intervals[name]["recall"][column]
        values = (f"{figures[metric][column]:.{2 if metric == 'novelty' else 4}f}" for metric in metrics)
        rows.append([name, *values, f"{low:.4f} … {high:.4f}"])
    return _table(["list", *metrics, "95 % of recall"], rows)


def _segments(report: Report) -> str:
    if len(report.segments) < 2:
        return ""
    heads = ["list", *(f"{segment.name}: {segment.n_users:,} users" for segment in report.segments)]
    rows = [
        [name, *(f"{segment.figures[name]['recall'][-1]:.4f}" for segment in report.segments)]
        for name in report.figures
    ]
    return f"<h2>Recall@{report.ks[-1]} by events in the history</h2>{_table(heads, rows)}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(
        f"<tr{' class=fused' if row[0] == 'fused' else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
