"""A graph of items from a file: a table of edges, or GraphML."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.data.files import read
from multirecall.data.source import Source
from multirecall.errors import CannotFit, DataError
from multirecall.extras import import_extra
from multirecall.validation import nearest

from .._foreign_ids import foreign_ids
from .graph import LARGEST, SMALLEST, Graph

GRAPHML = (".graphml", ".graphml.gz")

_log = logging.getLogger("multirecall.retrievers")


def item_graph(file: str, data: Dataset, *, directed: bool, weighted: bool) -> Graph:
    """The graph in `file`; node `i` is the item of row `i`, and an item that the file does not name is isolated.

    Ids that the catalogue lacks are left out with their edges; a log line says how many, another one what was read.

    Args:
        file: of this machine. A table of edges, in any form that `Dataset.load` reads, has columns `source, target,
            weight`, one edge a row, and parallel edges are summed. GraphML has item ids as nodes, and an attribute
            `weight` of its edges.
        data: whose items the ids are, in the type of theirs; cells of CSV and nodes of GraphML take that type.
        directed: whether an edge of a table leads from `source` to `target` alone; GraphML says so itself.
        weighted: whether weights are read and count; otherwise all edges weigh the same.

    Raises:
        DataError: the file is missing, cannot be read or lacks a column, or a weight is no number above 0.
        IdTypeError: ids are of another type than the catalogue's.
        MissingExtra: networkx, which reads GraphML, is not installed.
        CannotFit: no edge joins two items of the catalogue.
    """
    path = Path(file)  # Path() collapses the slashes of a URL, so the reader cannot open one
    if not path.is_file():
        raise DataError(
            f"{file}: the graph of items is no file; each fit and refit reads it: put it there, or name it anew"
        )
    try:
        if file.lower().endswith(GRAPHML):
            graph = _of_graphml(path, data, weighted)
        else:
            graph = _of_table(read(path, "graph of items"), data, directed, weighted)
    except CannotFit:
        raise CannotFit(
            f"{file}: no edge joins two items of the catalogue; let its ids be those of the log, or leave the graph out"
        ) from None
    joined = f"{np.count_nonzero(graph.degrees):,} of {data.n_items:,} items"
    _log.info("%s: read as the graph of items, which joins %s", file, joined)
    return graph if weighted else graph.without_weights()


def _of_table(source: Source, data: Dataset, directed: bool, weighted: bool) -> Graph:
    for column in ("source", "target", *(["weight"] if weighted else [])):
        if column not in source.frame.columns:
            leave_out = ", or set weighted = false" if column == "weight" else ""
            raise DataError(
                f"{source.name}: column {column!r} is missing; {nearest(column, source.frame.columns)}. "
                f"Name the columns source, target and weight{leave_out}"
            )
    if source.frame.is_empty():
        raise CannotFit("no edges")
    sources, targets = (foreign_ids(source, end, data.items.ids, data.config.ids) for end in ("source", "target"))
    distinct = pl.concat([sources, targets]).unique()
    rows = _known_rows(source.name, distinct, data)
    ends = [one.replace_strict(distinct, rows, return_dtype=pl.Int32).to_numpy() for one in (sources, targets)]
    weights = _weights(source) if weighted else np.ones(sources.len())
    kept = (ends[0] >= 0) & (ends[1] >= 0)
    return Graph.from_edges(ends[0][kept], ends[1][kept], weights[kept], data.n_items, directed=directed)


def _weights(source: Source) -> NDArray[np.float64]:
    weights = source.numbers("weight", "cast it to numbers, or set weighted = false")
    held = weights.is_between(SMALLEST, LARGEST).fill_null(False)
    source.refuse("weight", ~held, "{value} is not a positive float32; correct it, or drop the row")
    return weights.to_numpy()


def _of_graphml(path: Path, data: Dataset, weighted: bool) -> Graph:
    networkx = import_extra("networkx", f"{path}: reading GraphML")

    try:
        found: Any = networkx.read_graphml(path)
    except (networkx.NetworkXError, SyntaxError, OSError, EOFError, ValueError, KeyError, TypeError) as fault:
        raise DataError(f"{path}: cannot be read as GraphML: {fault}; write it with networkx.write_graphml") from None
    nodes = Source(pl.DataFrame({"node": list(found)}, schema={"node": pl.String}), ((str(path), len(found)),), True)
    rows = _known_rows(str(path), foreign_ids(nodes, "node", data.items.ids, data.config.ids), data)
    try:
        return Graph.from_networkx(found, "weight" if weighted else None, rows=rows, n_nodes=data.n_items)
    except CannotFit:
        raise
    except DataError as fault:
        raise DataError(f"{path}: {fault}, or set weighted = false") from None


def _known_rows(file: str, distinct: pl.Series, data: Dataset) -> NDArray[np.int32]:
    """The item row of each of `distinct` ids, -1 for one that the catalogue lacks."""
    rows = data.items.ids.rows(distinct.to_numpy())
    n_unknown = np.count_nonzero(rows < 0)
    if n_unknown:
        _log.warning(
            "%s: %s of %s ids are no items of the catalogue; their edges are left out",
            *(file, f"{n_unknown:,}", f"{rows.size:,}"),
        )
    return rows
