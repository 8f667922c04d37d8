"""The evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from multirecall.evaluation.embeddings import MEANINGS
from multirecall.evaluation.figures import (
    data_url,
    latency_against_recall,
    overlap_map,
    recall_curve,
    shares_of_recall,
    similarities,
)
from multirecall.evaluation.gain import describe_losses
from multirecall.evaluation.item_maps import PathEmbeddings
from multirecall.evaluation.meanings import explain_metrics, figure
from multirecall.evaluation.report import Report
from multirecall.evaluation.templating import render, save_page
from multirecall.evaluation.value import ValueReport, ms_per_hit

NO_FACTS: Mapping[str, str] = MappingProxyType({})

GAIN_HEADS = ("metric", "best path", "its mean", "fused", "gain", "95 %", "outcome")
VALUE_HEADS = ("path", "Recall", "hits", "unique hits", "lost without", "95 %", "Shapley", "ms", "ms per extra hit")

Rows = list[list[str]]


def write_page(
    report: Report,
    worth: ValueReport,
    file: Path,
    facts: Mapping[str, str] = NO_FACTS,
    embeddings: Sequence[PathEmbeddings] = (),
) -> None:
    """Write the page to `file`; the other arguments are those of `page`.

    Raises:
        MissingExtra: matplotlib or Jinja2 is not installed.
        RequestError: the file cannot be written.
    """
    text = page(report, worth, facts, embeddings)
    save_page(text, file)


def page(
    report: Report,
    worth: ValueReport,
    facts: Mapping[str, str] = NO_FACTS,
    embeddings: Sequence[PathEmbeddings] = (),
) -> str:
    """The HTML text of the page: the facts, the quality of each list, the value of each path, and the plots.

    All text is escaped, so that a title or a file name is never markup. The script of the maps reads JSON in which `<`
    is escaped too.

    Args:
        report: the quality of each list.
        worth: what each path is worth, on the same split.
        facts: what the page says first, by name, such as the data set, the config and the date.
        embeddings: the item vectors of paths, from `path_embeddings`.
    """
    plots = {
        "Recall over the length of the list": recall_curve(worth),
        "What each path is worth": shares_of_recall(worth),
        "Latency against recall": latency_against_recall(worth),
        "Overlap of the paths": overlap_map(worth),
    }
    return render(
        "page.html",
        report=report,
        worth=worth,
        facts=facts,
        plots={title: data_url(plot) for title, plot in plots.items()},
        losses=describe_losses(report.gains),
        gain_heads=GAIN_HEADS,
        gain_rows=_gain_rows(report),
        value_heads=VALUE_HEADS,
        value_rows=_value_rows(worth),
        quality=[(k, *_quality(report, column)) for column, k in enumerate(report.ks)],
        segment_heads=["list", *(f"{segment.name}: {segment.n_users:,} users" for segment in report.segments)],
        segment_rows=_segment_rows(report),
        meanings=explain_metrics(next(iter(report.figures.values()))),
        embeddings=embeddings,
        embedding_heads=["path", *MEANINGS],
        embedding_rows=[[one.path, *one.health.cells()] for one in embeddings if one.health],
        embedding_meanings=MEANINGS,
        cosines={one.path: data_url(similarities(one.health)) for one in embeddings if one.health},
    )


def _gain_rows(report: Report) -> Rows:
    return [
        [
            f"{one.metric}@{one.k}",
            one.path,
            f"{one.best:.4f}",
            f"{one.fused:.4f}",
            f"{one.gain.mean:+.4f}",
            f"{one.gain.low:+.4f} … {one.gain.high:+.4f}",
            one.outcome,
        ]
        for one in report.gains
    ]


def _value_rows(worth: ValueReport) -> Rows:
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
    return [*rows, ["fused", f"{worth.recall:.4f}", "", "", "", "", f"{worth.recall:.4f}", f"{worth.ms:.3f}", ""]]


def _quality(report: Report, column: int) -> tuple[list[str], Rows]:
    """The heads and rows of the table at one k."""
    metrics = list(next(iter(report.figures.values())))
    rows = []
    for name, figures in report.figures.items():
        low, high = report.intervals[name]["recall"][column]
        values = (figure(metric, figures[metric][column]) for metric in metrics)
        rows.append([name, *values, f"{low:.4f} … {high:.4f}"])
    return ["list", *metrics, "95 % of recall"], rows


def _segment_rows(report: Report) -> Rows:
    return [
        [name, *(f"{segment.figures[name]['recall'][-1]:.4f}" for segment in report.segments)]
        for name in report.figures
    ]
