"""An engine of five paths, trained briefly, or with vectors and neighbour lists that are generated instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.csr import offsets_of
from multirecall.data import Categorical, Tags
from multirecall.progress import Progress
from multirecall.query import Query
from multirecall.retrievers import item2vec, node2vec, two_tower
from multirecall.retrievers._neighbours import vector_retriever
from multirecall.retrievers._recency import recent_items
from multirecall.retrievers._sparse.rows import SparseRows
from multirecall.retrievers._text.cold_start import with_cold_items
from multirecall.retrievers._towers import retriever as tower_retriever
from multirecall.retrievers._towers import training

Vectors = NDArray[np.float32]

PATHS = ("two_tower", "item2vec", "node2vec", "item_cf", "content")
DIM = 64
SPREADS = (1.0, 0.6, 0.4)
"""Lengths of the centre of a group, of what a family of about `FAMILY` items adds to it, and of an item's own part."""
FAMILY = 50
TRAINED_ON = 4096
"""Examples that the towers are trained on, for networks of the true shape."""

NOTE = (
    f"unit vectors, sums of a part for each category and tag, one for each family of {FAMILY} items among them and one "
    f"of an item's own (lengths {SPREADS}), and neighbours from the same category and tag, are generated; "
    "the user vector of two_tower runs the real network and is then replaced by the recency-weighted mean of the "
    "history's generated vectors; item_cf and content are fitted"
)


BRIEFLY: dict[str, dict[str, Any]] = {
    "two_tower": {"epochs": 1},
    "item2vec": {"epochs": 3},
    "node2vec": {"walks_per_node": 4, "walk_length": 20},
}
TRAINED_NOTE = f"every path is fitted on a generated log, with fewer passes than by default: {BRIEFLY}"

RECALL = 0.975
"""Of the index of two_tower: at a hundred thousand items about what a bare search finds at twice the width."""


def engine_config(recall: float) -> EngineConfig:
    """Five paths of quota 500, fused by `rrf`; `recall` is that of two_tower's index."""
    params = {**BRIEFLY, "two_tower": {**BRIEFLY["two_tower"], "index": {"recall": recall}}}
    return EngineConfig.model_validate(
        {
            "paths": [PathConfig(retriever=name, quota=500, params=params.get(name, {})) for name in PATHS],
            "fusion": {"strategy": "rrf"},
        }
    )


def item_vectors(data: Dataset, seed: int) -> Vectors:
    """Unit vectors, float32 (n_items, DIM): items lie around families, which lie around the centres of groups."""
    rng = np.random.default_rng(seed)
    groups = centres_of(data)
    families = groups + (int(groups.max()) + 1) * rng.integers(0, np.bincount(groups)[groups] // FAMILY + 1)
    vectors = np.zeros((data.n_items, DIM), np.float32)
    for length, members in zip(SPREADS, (groups, families, np.arange(data.n_items)), strict=True):
        numbers = np.unique(members, return_inverse=True)[1]
        parts = rng.standard_normal((int(numbers.max()) + 1, DIM), dtype=np.float32)
        vectors += np.float32(length) * _units(parts)[numbers]
    return _units(vectors)


def centres_of(data: Dataset) -> NDArray[np.int64]:
    """The group of each item, int64 (n_items,)."""
    key = np.zeros(data.n_items, np.int64)
    for feature in data.items.features.values():
        if isinstance(feature, Categorical):
            key = key * 1009 + feature.codes
        elif isinstance(feature, Tags):
            for position in range(2):
                first = np.minimum(feature.offsets[:-1] + position, max(feature.codes.size - 1, 0))
                has = feature.offsets[1:] - feature.offsets[:-1] > position
                key = key * 1009 + np.where(has, feature.codes[first], -1)
    groups: NDArray[np.int64] = np.unique(key, return_inverse=True)[1]
    return groups


def neighbour_lists(groups: NDArray[np.int64], n_neighbours: int, seed: int) -> SparseRows:
    """`n_neighbours` rows of the same group for each item, similarities falling from 1."""
    rng = np.random.default_rng(seed)
    order = np.argsort(groups, kind="stable").astype(np.int32)
    starts = np.searchsorted(groups[order], groups)
    sizes = np.bincount(groups)[groups]
    lengths = np.minimum(sizes, n_neighbours)
    offsets = offsets_of(lengths)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    shift = rng.integers(0, sizes)
    places = np.repeat(starts, lengths) + (within * 7919 + np.repeat(shift, lengths)) % np.repeat(sizes, lengths)
    values = (1.0 - within / (n_neighbours + 1)).astype(np.float32)
    return SparseRows(offsets, order[places], values, groups.size)


@contextmanager
def use_generated_vectors(data: Dataset, vectors: Vectors, seed: int) -> Iterator[None]:
    """Within it, a fit of the vector paths takes `vectors` and generated neighbour lists for trained ones."""
    fit_towers = training.fit_towers

    def towers(training: Any, *rest: Any) -> Any:
        few = replace(training, examples=training.examples[:TRAINED_ON])
        return replace(fit_towers(few, *rest), vectors=vectors)

    def all_learnt(kept: Vectors, whole: Dataset, *_: Any) -> tuple[Vectors, Any]:
        return kept, with_cold_items(kept, whole, 0)[1]

    def lists(_: Vectors, n_neighbours: int, *__: Any, **___: Any) -> SparseRows:
        return neighbour_lists(centres_of(data), n_neighbours, seed)

    with ExitStack() as patches:
        for target, name, stand_in in (
            (training, "fit_towers", towers),
            (item2vec, "train_skipgram", lambda *_, **__: vectors),
            (vector_retriever, "with_cold_items", all_learnt),
            (tower_retriever, "with_cold_items", all_learnt),
            (vector_retriever, "nearest_neighbours", lists),
            (node2vec.Node2Vec, "_train", lambda *_: vectors),
        ):
            patches.enter_context(patch.object(target, name, stand_in))
        yield


@contextmanager
def use_generated_users(vectors: Vectors) -> Iterator[None]:
    """Within it, the user vector of two_tower lies among the generated vectors of the user's history."""
    one, each = two_tower.TwoTower.user_vectors, two_tower.TwoTower.user_vectors_of_each

    def mean_of(query: Query) -> Vectors:
        items, weights = recent_items(query, None, 10.0)
        mean: Vectors = weights @ vectors[items]
        return mean[None] / max(float(np.linalg.norm(mean)), 1e-12)

    def user_vectors(path: two_tower.TwoTower, query: Query) -> Vectors:
        one(path, query)
        return mean_of(query)

    def user_vectors_of_each(path: two_tower.TwoTower, queries: Sequence[Query]) -> Vectors:
        each(path, queries)
        return np.array([mean_of(query) for query in queries], np.float32)

    with (
        patch.object(two_tower.TwoTower, "user_vectors", user_vectors),
        patch.object(two_tower.TwoTower, "user_vectors_of_each", user_vectors_of_each),
    ):
        yield


def folder_of(cache: Path, items: int, users: int, events: int, kind: str = "generated") -> Path:
    """Where a cache keeps what was built for a log of this size."""
    return cache / f"{items}-{users}-{events}-{kind}"


def fit_or_load(
    data: Dataset, vectors: Vectors, seed: int, folder: Path | None, progress: Progress, recall: float = RECALL
) -> Engine:
    """The engine with generated vectors, from the bundle in `folder` where one is there, or fitted and saved there."""
    if folder is not None and (folder / "CURRENT").is_file():
        return Engine.load(folder)
    with use_generated_vectors(data, vectors, seed):
        engine = Engine(engine_config(recall)).fit(data, progress=progress)
    if folder is not None:
        engine.save(folder)
    return engine


def train_or_load(data: Dataset, folder: Path | None, progress: Progress, recall: float = RECALL) -> Engine:
    """The engine fitted on `data`, from the bundle in `folder` where one is there."""
    if folder is not None and (folder / "CURRENT").is_file():
        return Engine.load(folder)
    engine = Engine(engine_config(recall)).fit(data, progress=progress)
    if folder is not None:
        engine.save(folder)
    return engine


def _units(vectors: Vectors) -> Vectors:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
