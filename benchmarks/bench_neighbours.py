"""Vectors of cold items and neighbour lists beside the ways before: time, and the share of exact neighbours found."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from _generated import item_vectors
from _harness import write
from numpy.typing import NDArray

from multirecall import Dataset
from multirecall.datasets import generate
from multirecall.progress import terminal_progress
from multirecall.retrievers._neighbours import knn_cells
from multirecall.retrievers._neighbours.knn import RECALL
from multirecall.retrievers._neighbours.knn_cells import WIDEST, VectorCells
from multirecall.retrievers._sparse.units import unit_rows
from multirecall.retrievers._text import cold_start
from multirecall.retrievers._text.cold_start import MOST_POSTINGS, MOST_TERMS, ColdRule, with_cold_items
from multirecall.retrievers._vector_table import VectorTable

SEED = 7
N_BEST = 101
"""A list of 100 neighbours, and the item itself."""

JUDGED = 4
"""Vectors of each cell whose lists are compared with the exact ones."""


def main(
    items: Annotated[int, typer.Option(help="Items of the generated catalogue.")] = 100_000,
    one_by_one: Annotated[int, typer.Option(help="Cold items that are also searched one by one.")] = 5_000,
    cells: Annotated[int, typer.Option(help="Cells whose lists are searched.")] = 200,
) -> None:
    """Measure both on one thread, in CPU time."""
    log = generate(items // 2, items, 2 * items)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    vectors = item_vectors(data, SEED)
    with terminal_progress() as progress, progress.task("cold items, then neighbour lists", 2) as advance:
        cold = cold_items(data, vectors, one_by_one)
        advance(1)
        lists = neighbour_lists(vectors, cells)
        advance(1)
    typer.echo(cold)
    typer.echo(lists)
    typer.echo(write("neighbours", {"items": items, "cold": cold, "lists": lists}))


def cold_items(data: Dataset, vectors: NDArray[np.float32], n: int) -> dict[str, Any]:
    """The CPU time of the cold rule for all items without events, and of one search for each of some of them."""
    with_cold_items(vectors, data, 10)  # compiles
    start = thread_time()
    with patch.object(cold_start, "run_here", _in_turn):
        filled, rule = with_cold_items(vectors, data, 10)
    together_s = thread_time() - start
    rows = np.random.default_rng(SEED).permutation(np.flatnonzero(~rule.learnt))[:n].astype(np.int32)
    table = VectorTable.of(filled)
    _one_by_one(rule, data, rows[:10], table)
    start = thread_time()
    found = _one_by_one(rule, data, rows, table)
    one_by_one_us = (thread_time() - start) / rows.size * 1e6
    n_cold = int((~rule.learnt).sum())
    return {
        "cold": n_cold,
        "together_s": together_s,
        "one_by_one_s": one_by_one_us * n_cold / 1e6,
        "searched_one_by_one": rows.size,
        "same_bits": bool((found == filled[rows]).all()),
    }


def _in_turn(work: Callable[..., Any], arguments: Any, bounds: Any, threads: int) -> Any:
    return (work(*bound, *arguments) for bound in bounds)


def _one_by_one(rule: ColdRule, data: Dataset, rows: NDArray[np.int32], table: VectorTable) -> NDArray[np.float32]:
    """The vectors of cold items by a search for each, as before."""
    terms = cold_start._terms_of(rule.lexicons, data.items, rows)
    own = cold_start.Postings.under(rule.postings.statistics, terms, rows.size, cold_start.K1)
    found = np.zeros((rows.size, table.dim), np.float32)
    for item in range(rows.size):
        one = np.array([item], np.int32), np.ones(1, np.float32)
        order = rule.postings.order(*own.profile(*one, MOST_TERMS, MOST_POSTINGS))
        places, scores = rule.postings.search(*order, rule.n_similar)
        if places.size:
            like = unit_rows(table.take(rule.rows[places]))
            found[item] = np.float32(rule.length) * (scores @ like) / scores.sum()
    return found


def neighbour_lists(vectors: NDArray[np.float32], n_cells: int) -> dict[str, Any]:
    """What lists find and take with the margin as it was chosen before, and as it is."""
    grouped = VectorCells.of(np.arange(len(vectors), dtype=np.int32), unit_rows(vectors), np.random.default_rng(0))
    places = np.random.default_rng(SEED).choice(len(grouped.values), n_cells, replace=False)
    drawn = np.unique(np.searchsorted(grouped.starts, places, side="right") - 1)
    asked = [grouped.values[grouped.starts[cell] : grouped.starts[cell + 1]] for cell in drawn]
    exact = [grouped.search(queries[:JUDGED], WIDEST, N_BEST)[0] for queries in asked]
    figures: dict[str, Any] = {"asked": RECALL, "vectors": sum(map(len, asked)), "judged": sum(map(len, exact))}
    for name, tried, refined in (("before", (1.0,), 0), ("now", knn_cells.TRIED, knn_cells.REFINED)):
        with patch.multiple(knn_cells, TRIED=tried, REFINED=refined):
            start = thread_time()
            margin = grouped.margin(N_BEST, RECALL, np.random.default_rng(1))
            margin_s = thread_time() - start
        start = thread_time()
        found = [grouped.search(queries, margin, N_BEST)[0] for queries in asked]
        search_s = thread_time() - start
        shares = [
            np.isin(best, own).mean()
            for lists, judged in zip(found, exact, strict=True)
            for own, best in zip(lists, judged, strict=False)
        ]
        figures[name] = {
            "margin": margin,
            "margin_s": margin_s,
            "us_a_list": search_s / figures["vectors"] * 1e6,
            "found": float(np.mean(shares)),
            "error": float(np.std(shares) / np.sqrt(len(asked))),
        }
    return figures


if __name__ == "__main__":
    typer.run(main)
