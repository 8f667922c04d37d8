"""The plots of the evaluation, drawn with matplotlib, which is imported with the first plot."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multirecall.config import FUSED
from multirecall.evaluation.embeddings import BINS
from multirecall.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from multirecall.evaluation.embeddings import EmbeddingHealth
    from multirecall.evaluation.index_kinds import KindFigures
    from multirecall.evaluation.value import ValueReport

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D1F", "#7F7F7F")
"""The colours of the first paths, which colour-blind readers can tell apart too (Okabe & Ito)."""

GOLDEN = 0.618034
"""Step of hue between further paths, as a share of the colour circle: the golden ratio spreads hues evenly."""

FUSED_COLOUR = "#111111"


def require_plots() -> None:
    """Raise `MissingExtra` where what a page of plots needs is not installed."""
    import_extra("matplotlib", "a plot")
    import_extra("jinja2", "a page")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this width and height in inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    import_extra("matplotlib", "a plot")
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.fonttype"] = "none"
    return Figure(figsize=(width, height), layout="constrained")


def data_url(figure: Figure) -> str:
    """The figure as a data URL of an SVG image, for a page. Browsers never run scripts inside an image."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return f"data:image/svg+xml;base64,{b64encode(out.getvalue()).decode()}"


def write_svg(figure: Figure, file: Path) -> None:
    """Write the figure; raises `OSError`."""
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def recall_curve(worth: ValueReport) -> Figure:
    """Recall over the length of the list, by path and fused."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    for name, colour in _colours(worth.curve).items():
        width = 2.6 if name == FUSED else 1.6
        axes.plot(worth.curve_ks, worth.curve[name], color=colour, linewidth=width, marker="o", ms=3.5, label=name)
    axes.set_xscale("log")
    axes.set_xticks(worth.curve_ks, [str(k) for k in worth.curve_ks])
    axes.minorticks_off()
    axes.set(xlabel="k", ylabel="Recall@k", ylim=(0, None))
    plain_axes(axes)
    axes.legend(frameon=False, loc="upper left")
    return figure


def overlap_map(worth: ValueReport) -> Figure:
    """The overlap of the lists of each pair of paths, as a heat map."""
    names = list(worth.overlap)
    shares = np.array([list(row.values()) for row in worth.overlap.values()])
    size = 1.8 + 0.62 * len(names)
    figure = new_figure(size + 1.6, size)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*shares.shape):
        colour = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, f"{shares[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="… that stands in", ylabel=f"share of the first {worth.k} of …")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def similarities(health: EmbeddingHealth) -> Figure:
    """The distribution of the cosines of random pairs."""
    figure = new_figure(7, 3.2)
    axes = figure.subplots()
    axes.bar(BINS[:-1], health.histogram, np.diff(BINS), align="edge", color=COLOURS[0])
    axes.axvline(health.mean_cosine, color=FUSED_COLOUR, linewidth=1.2)
    axes.margins(y=0.12)
    place = (health.mean_cosine, 1.1 * max(health.histogram))
    axes.annotate(f"mean {health.mean_cosine:.2f}", place, (6, -4), textcoords="offset points")
    axes.set(xlabel="cosine of a random pair", ylabel="share of pairs", xlim=(-1, 1))
    plain_axes(axes)
    return figure


def latency_against_recall(worth: ValueReport) -> Figure:
    """The latency and the recall of each path and of the whole request."""
    from matplotlib.ticker import LogLocator

    points = {name: (path.ms, path.recall) for name, path in worth.paths.items()} | {FUSED: (worth.ms, worth.recall)}
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    for name, colour in _colours(points).items():
        ms, recall = points[name]
        axes.scatter(ms, recall, s=70, color=colour, zorder=3)
        axes.annotate(name, (ms, recall), xytext=(7, 5), textcoords="offset points", color=colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.margins(x=0.25, y=0.15)
    axes.set(xlabel="milliseconds of a single request, median", ylabel=f"Recall@{worth.k}", ylim=(0, None))
    plain_axes(axes)
    return figure


def shares_of_recall(worth: ValueReport) -> Figure:
    """The Shapley value of each path, and the recall that is lost without it, with its interval."""
    names = list(worth.paths)
    figure = new_figure(7, 1.2 + 0.62 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    paths = list(worth.paths.values())
    own = list(_colours(worth.paths).values())
    axes.barh(places + 0.19, [path.shapley for path in paths], 0.36, color=own, label="Shapley value (full)")
    losses = np.array([path.loss.mean for path in paths])
    errors = np.abs(np.array([[path.loss.low, path.loss.high] for path in paths]).T - losses)
    axes.barh(
        places - 0.19, losses, 0.36, xerr=errors, color=own, alpha=0.45, label="lost without it (pale)", capsize=2
    )
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_yticks(places, names)
    axes.set(xlabel=f"Recall@{worth.k}")
    plain_axes(axes)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _colours(names: Mapping[str, object]) -> dict[str, str]:
    return {name: FUSED_COLOUR if name == FUSED else colour(number) for number, name in enumerate(names)}


def colour(number: int) -> str:
    """The colour of a path by its position; every path has a colour of its own."""
    if number < len(COLOURS):
        return COLOURS[number]
    turn = number - len(COLOURS)
    red, green, blue = hsv_to_rgb((0.45 + turn * GOLDEN) % 1.0, 0.85, 0.85 - 0.3 * (turn % 3) / 2)
    return f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"


def plain_axes(axes: Axes) -> None:
    """Draw a pale grid behind the data, and no frame above and at the right."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def index_speed(figures: Sequence[KindFigures], title: str) -> Figure:
    """The latency of each kind of index against the recall that it has, a line for each kind."""
    from matplotlib.ticker import LogLocator

    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    kinds = dict.fromkeys(one.kind for one in figures)
    for kind, colour in _colours(kinds).items():
        points = sorted((one.search.recall, one.search.p50_us) for one in figures if one.kind == kind)
        recalls, latencies = zip(*points, strict=True)
        axes.plot(recalls, latencies, color=colour, linewidth=1.6, marker="o", ms=4, label=kind)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set(xlabel=f"recall@k of {title}", ylabel="microseconds of a query, median")
    plain_axes(axes)
    axes.legend(frameon=False, loc="upper left")
    return figure
