"""A report on drift as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from multirecall.evaluation.figures import data_url
from multirecall.evaluation.templating import render, save_page
from multirecall.monitoring.drift.embeddings import VectorDrift
from multirecall.monitoring.drift.plots import cosines_plot, limits_plot, past_plot, scores_plot
from multirecall.monitoring.drift.report import DriftReport, Figure

HEADS = ("figure", "before", "now", "value", "in", "JS distance", "limit", "from", "outcome")
VECTOR_HEADS = (
    "path",
    "items",
    "neighbours kept",
    "shift",
    "residual",
    "norm before",
    "norm now",
    "cosine before",
    "cosine now",
    "cosines moved",
)
MEDIAN = 2


def write_drift_page(report: DriftReport, file: Path) -> None:
    """Write the page to `file`.

    Raises:
        MissingExtra: matplotlib or Jinja2 is not installed.
        RequestError: the file cannot be written.
    """
    save_page(drift_page(report), file)


def drift_page(report: DriftReport) -> str:
    """The HTML text of the page: what to do and why, the plots, and every figure. All text is escaped."""
    with_past = [one for one in report.figures if one.past]
    plots = {"How near each figure is to its limit": data_url(limits_plot(report.figures))}
    past = data_url(past_plot(with_past)) if with_past else ""
    return render(
        "drift.html",
        "multirecall.monitoring.drift",
        report=report,
        plots=plots,
        past=past,
        heads=HEADS,
        rows=[cells(one) for one in report.figures],
        scores={path: data_url(scores_plot(one)) for path, one in report.scores.items()},
        vector_heads=VECTOR_HEADS,
        vector_rows=[_vector_cells(one) for one in report.vectors],
        cosines={one.path: data_url(cosines_plot(one)) for one in report.vectors},
    )


def cells(one: Figure) -> list[str]:
    """The cells of a table whose columns are `HEADS`; – where there is nothing."""
    return [
        one.name,
        number(one.before),
        number(one.now),
        f"{one.value:+.4f}" if one.unit == "change" else f"{one.value:.4f}",
        one.unit,
        number(one.js),
        f"{one.limit:.4f}",
        one.source,
        "past its limit" if one.alarm else "fine",
    ]


def number(value: float | None) -> str:
    """A number with four digits, – for None."""
    return "–" if value is None else f"{value:.4f}"


def _vector_cells(one: VectorDrift) -> list[str]:
    medians = [number(norms[MEDIAN]) for norms in one.norms]
    means = [number(mean) for mean in one.mean_cosines]
    figures = [number(value) for value in (one.overlap, one.shift, one.residual)]
    return [one.path, f"{one.n_items:,}", *figures, *medians, *means, number(one.moved_cosines)]
