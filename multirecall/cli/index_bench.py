"""`multirecall index-bench`: the installed kinds of vector index on your own vectors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from multirecall.cli.options import AsJson
from multirecall.cli.screen import console, note, print_table
from multirecall.cli.tables import plain_table
from multirecall.errors import RequestError
from multirecall.evaluation.figures import index_speed, require_plots, write_svg
from multirecall.evaluation.index_kinds import RECALLS, SHARES, KindFigures, measure_kinds
from multirecall.numpy_files import load_numbers
from multirecall.output import require_file
from multirecall.progress import terminal_progress
from multirecall.vector_index import SPACES, Space

SAMPLED = 500
"""Vectors that are asked for where no queries are given."""


def index_bench(
    vectors: Annotated[Path, typer.Argument(help="Item vectors: npy, numbers of shape (n, dim).")],
    queries: Annotated[
        Path | None, typer.Option(help="User vectors, in the same form; default: 500 of the item vectors.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Length of the lists.")] = 100,
    space: Annotated[str, typer.Option(help="Similarity: cosine, inner_product or l2.")] = "cosine",
    kind: Annotated[
        list[str] | None, typer.Option(help="Kind of index; repeat for each. Default: all installed but auto.")
    ] = None,
    recall: Annotated[
        list[float] | None, typer.Option(min=0.5, max=1, help="Recall to ask for; repeat. Default: .9, .95, .99.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Root of all randomness.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the builds; searches have one.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="Write latency against recall to this SVG file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the installed kinds of vector index: latency at a recall, build, size, additions, filters."""
    if space not in SPACES:
        raise RequestError(f"--space: got {space!r}; name one of {', '.join(SPACES)}")
    if plot is not None:
        require_file(plot, "--plot")
        require_plots()
    given = _read(vectors, "VECTORS")
    asked = _sample(given, seed) if queries is None else _read(queries, "--queries")
    with terminal_progress() as progress:
        figures, missing = measure_kinds(
            given,
            asked,
            space=_space(space),
            k=k,
            recalls=sorted(recall or RECALLS),
            kinds=kind,
            seed=seed,
            threads=threads,
            progress=progress,
        )
    for name, why in missing.items():
        note(f"{name}: {why}")
    if plot is not None:
        write_svg(index_speed(figures, f"{len(given):,} vectors of length {given.shape[1]}, k = {k}"), plot)
    if as_json:
        typer.echo(json.dumps({"figures": [asdict(one) for one in figures], "missing": missing}))
        return
    screen = console()
    screen.print(f"{len(given):,} vectors of length {given.shape[1]}, {len(asked):,} queries, k = {k}, {space}")
    print_table(screen, _table(figures))
    screen.print(
        "Microseconds of a query on one thread: median and 95th percentile, and the median under filters that allow a "
        "share of the items. Bytes a vector are those in memory, the vector itself included."
    )


def _space(name: str) -> Space:
    return next(space for space in SPACES if space == name)


def _read(file: Path, place: str) -> NDArray[np.float32]:
    try:
        found = load_numbers(file, "npy")
    except (OSError, ValueError, EOFError) as fault:
        raise RequestError(f"{place}: {file} cannot be read as npy ({fault}); write it with numpy.save") from None
    if not isinstance(found, np.ndarray) or found.ndim != 2 or not found.size or found.dtype.kind not in "fiu":
        raise RequestError(f"{place}: {file} holds no numbers of shape (n, dim); write one vector in each row")
    vectors: NDArray[np.float32] = np.ascontiguousarray(found, np.float32)
    return vectors


def _sample(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    return vectors[np.random.default_rng(seed).integers(len(vectors), size=SAMPLED)]


def _table(figures: list[KindFigures]) -> Table:
    table = plain_table("kind")
    shares = [f"{100 * share:g} % of items" for share in SHARES]
    for head in ("asked", "recall", "median", "95th", *shares, "built in", "bytes a vector", "adds a second"):
        table.add_column(head, justify="right", no_wrap=True)
    for one in figures:
        table.add_row(
            one.kind,
            "–" if one.asked is None else f"{one.asked:.2f}",
            f"{one.search.recall:.4f}",
            *(f"{us:,.0f}" for us in (one.search.p50_us, one.search.p95_us)),
            *(f"{own.p50_us:,.0f}" for own in one.filtered.values()),
            f"{one.build_s:,.1f} s",
            f"{one.bytes_per_vector:,.0f}",
            f"{one.adds_per_s:,.0f}",
        )
    return table
