"""The plots of a page about drift, drawn with matplotlib, which is imported with the first plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from multirecall.evaluation.figures import COLOURS, new_figure, plain_axes
from multirecall.monitoring.drift.embeddings import BINS, VectorDrift
from multirecall.monitoring.drift.report import Figure, Histograms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

QUIET, ALARM, BEFORE = COLOURS[0], COLOURS[5], "#9A9A9A"
WIDEST = 3.0
"""Multiples of the limit; longer bars are cut there, and their number says how long they are."""

COLUMNS = 3


def limits_plot(figures: Sequence[Figure]) -> Drawing:
    """Each figure as a multiple of its limit; what is past the limit has another colour."""
    drawing = new_figure(7.4, 1.0 + 0.27 * len(figures))
    axes = drawing.subplots()
    places = np.arange(len(figures))[::-1]
    ratios = [one.ratio for one in figures]
    axes.barh(places, np.minimum(ratios, WIDEST), 0.66, color=[ALARM if one.alarm else QUIET for one in figures])
    for place, ratio in zip(places, ratios, strict=True):
        axes.annotate(f"{ratio:.2f}", (min(ratio, WIDEST), place), (4, -3), textcoords="offset points", fontsize=8)
    axes.axvline(1.0, color="#444444", linewidth=1.2)
    axes.set_yticks(places, [one.name for one in figures], fontsize=9)
    axes.set(xlabel="multiple of its limit", xlim=(0, WIDEST * 1.08), ylim=(-0.7, len(figures) - 0.3))
    plain_axes(axes)
    return drawing


def past_plot(figures: Sequence[Figure]) -> Drawing:
    """The past values of each figure, oldest first, its newest one, and its limit; a small plot for each."""
    rows = -(-len(figures) // COLUMNS)
    drawing = new_figure(11, 0.4 + 1.75 * rows)
    grid = drawing.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, one in zip(grid, figures, strict=False):
        _draw_past(axes, one)
    for axes in grid[len(figures) :]:
        axes.set_axis_off()
    return drawing


def _draw_past(axes: Axes, one: Figure) -> None:
    steps = np.arange(len(one.past))
    axes.plot(steps, one.past, color=BEFORE, marker="o", ms=3, linewidth=1.2)
    axes.plot(len(one.past), one.value, marker="o", ms=7, color=ALARM if one.alarm else QUIET)
    bounds = [one.limit, -one.limit] if one.unit == "change" else [one.limit]
    for bound in bounds:
        axes.axhline(bound, color="#444444", linewidth=1.0, linestyle="--" if one.source == "past" else ":")
    axes.set_title(f"{one.name}, {one.unit}", fontsize=9, loc="left")
    axes.set_xticks([])
    axes.tick_params(labelsize=8)
    axes.margins(x=0.06, y=0.15)
    plain_axes(axes)


def scores_plot(histograms: Histograms) -> Drawing:
    """The scores of a path before the fit and now."""
    drawing = new_figure(5, 2.6)
    axes = drawing.subplots()
    _draw_pair(axes, histograms.bounds, histograms.before, histograms.now)
    axes.set(xlabel="score", ylabel="share of scores")
    return drawing


def cosines_plot(drift: VectorDrift) -> Drawing:
    """The cosines of the same random pairs of items in both fits."""
    drawing = new_figure(5, 2.6)
    axes = drawing.subplots()
    _draw_pair(axes, BINS.tolist(), *drift.cosines)
    axes.set(xlabel="cosine of a random pair", ylabel="share of pairs")
    return drawing


def _draw_pair(axes: Axes, bounds: Sequence[float], before: Sequence[float], now: Sequence[float]) -> None:
    axes.stairs(before, bounds, fill=True, color="#D0D0D0", label="before")
    axes.stairs(now, bounds, color=QUIET, linewidth=1.8, label="now")
    axes.margins(x=0)
    plain_axes(axes)
    axes.legend(frameon=False, fontsize=8)
