"""Requests of the log in groups that are fused together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.lists import FusedBatch, RankedBatch
from multirecall.monitoring.request_log.parts import flat
from multirecall.monitoring.request_log.table_reader import LoggedConfig, TableReader


@dataclass(frozen=True, slots=True)
class Group:
    """Requests that one config answered, with the same number of candidates, over one catalogue.

    Attributes:
        config: what answered.
        digest: of the config.
        catalogue: the names of the tables of item ids.
        k: the most candidates: those that were asked for, at most the catalogue.
        quotas: the quota of each path.
        level: the level of adaptive width.
        frame: the requests, with the columns of the log and `row`, the number of a request in its part.
        lists: for each path its list for each request, as item rows.
        windows: how many items each path was asked for, int32 (n, n_paths).
        states: the state of each path, by path.
        answer: what was answered.
        propensity: of each candidate of the answer; NaN where it was not exploration that decided. float64.
    """

    config: LoggedConfig
    digest: str
    catalogue: tuple[str, str | None]
    k: int
    quotas: tuple[int, ...]
    level: int
    frame: pl.DataFrame
    lists: tuple[RankedBatch, ...]
    windows: NDArray[np.int32]
    states: tuple[pl.Series, ...]
    answer: FusedBatch
    propensity: NDArray[np.float64]

    def __len__(self) -> int:
        return self.frame.height

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each user's history, int64 (n,)."""
        return self.frame["length"].to_numpy()

    @property
    def backfilled(self) -> NDArray[np.int64]:
        """The number of candidates at the end of each answer that no path proposed, int64 (n,)."""
        return self.frame["n_backfilled"].to_numpy().astype(np.int64)

    @property
    def segments(self) -> list[str]:
        """The segment of each request in words, by the longest history in it."""
        longest = [segment["max_history"] for segment in self.config.values["segments"]]
        names = [*(f"up to {n}" for n in longest), "longer" if longest else "all"]
        return [names[min(one, len(longest))] for one in self.frame["segment"].to_list()]

    @property
    def arms(self) -> list[str]:
        """The variant of each request, "-" for the engine's own settings."""
        return self.frame["variant"].fill_null("-").to_list()


def groups_of(frame: pl.DataFrame, tables: TableReader) -> Iterator[Group]:
    """The groups of a block of the log, which must not be empty; raises `DataError`."""
    quotas = pl.col("paths").list.eval(pl.element().struct.field("quota").cast(pl.String)).list.join(",")
    keyed = frame.with_columns(pl.min_horizontal("k", "n_items").alias("size"), quotas.alias("quotas"))
    keys = ["config", "size", "catalogue", "late", "level", "quotas"]
    for part in keyed.partition_by(keys, maintain_order=True):
        yield _group(part, tables)


def _group(part: pl.DataFrame, tables: TableReader) -> Group:
    first = part.row(0, named=True)
    config = tables.config(first["config"])
    n_paths = len(config.paths)
    paths = part["paths"].explode().struct.unnest()
    of_path = [paths.gather_every(n_paths, number) for number in range(n_paths)]
    lists = []
    for own in of_path:
        offsets, items = flat(own["items"])
        lists.append(RankedBatch(offsets, items, flat(own["scores"])[1]))
    offsets, items = flat(part["items"])
    ranks = flat(part["ranks"])[1].reshape(-1, n_paths)
    chances = part["propensity"].is_not_null().to_numpy()
    propensity = np.full(items.size, np.nan)
    propensity[np.repeat(chances, np.diff(offsets))] = flat(part["propensity"])[1]
    return Group(
        config,
        first["config"],
        (first["catalogue"], first["late"]),
        first["size"],
        tuple(of_path[number]["quota"][0] for number in range(n_paths)),
        first["level"],
        part,
        tuple(lists),
        np.stack([own["window"].to_numpy() for own in of_path], axis=1),
        tuple(own["state"] for own in of_path),
        FusedBatch(offsets, items, flat(part["scores"])[1], ranks),
        propensity,
    )
