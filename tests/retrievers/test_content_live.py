"""What `content` retrieves after live changes equals an index built anew under the fitted statistics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.lists import RankedList
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._text import live_postings
from multirecall.retrievers._text.live_postings import LivePostings
from multirecall.retrievers._text.postings import Postings
from multirecall.retrievers.content import Content, ContentConfig

N_FITTED, N_LATER = 120, 150
NO_ITEMS, NO_WEIGHTS = np.empty(0, np.int32), np.empty(0, np.float32)
WORDS = np.array(["red", "blue", "duck", "pond", "wood", "bridge", "cafe", "train"])


@dataclass
class Changes:
    """Stands for what the engine passes."""

    data: Dataset
    touched: np.ndarray


def table(n: int, seed: int, *, new_words: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    words = np.append(WORDS, "zeppelin") if new_words else WORDS
    return pl.DataFrame(
        {
            "item_id": np.arange(n),
            "kind": rng.choice(["a", "b", "c", "0 new"] if new_words else ["a", "b", "c"], n),
            "tags": pl.Series([sorted({str(tag) for tag in rng.choice(words, 3)}) for _ in range(n)]),
            "price": np.round(rng.lognormal(2, 1, n), 1),
            "text": [" ".join(rng.choice(words, int(rng.integers(0, 9)))) for _ in range(n)],
        }
    )


def dataset(items: pl.DataFrame) -> Dataset:
    log = pl.DataFrame({"user_id": [0, 0, 1], "item_id": [0, 5, 7]})
    return Dataset.from_frames(log, items, kinds={"text": "text"})


def change_features(items: pl.DataFrame, rows: np.ndarray, n: int, seed: int) -> pl.DataFrame:
    """`items` with new features for `rows`, and more items up to `n` of them."""
    fresh = table(n, seed, new_words=True)
    kept = np.setdiff1d(np.arange(items.height), rows)
    replaced: list[int] = np.setdiff1d(np.arange(n), kept).tolist()
    both: pl.DataFrame = pl.concat([items[kept.tolist()], fresh[replaced]])
    return both.sort("item_id")


def fit_path(items: pl.DataFrame, **params: Any) -> Content:
    path = Content(ContentConfig.model_validate(params))
    path.fit(dataset(items), rng=np.random.default_rng(0), progress=SILENT)
    return path


def rebuild(path: Content, data: Dataset) -> Content:
    """An index of all items of `data` under the lexicons and statistics of `path`."""
    anew = Content(path.config)
    anew._lexicons, anew._sets = path._lexicons, {}
    counts = {field: lexicon.counts(data.items.features[field]) for field, lexicon in path._lexicons.items()}
    anew._index_sets(counts, data.n_items)
    statistics = path._index.base.statistics
    postings = Postings.under(statistics, anew._fields(counts), data.n_items, path.config.k1)
    anew._index = LivePostings.of(postings)
    return anew


def queries(n_items: int, seed: int) -> list[Query]:
    rng = np.random.default_rng(seed)
    asked = []
    for step in range(12):
        exclude = np.unique(rng.integers(0, n_items, 10)).astype(np.int32) if step % 2 else NO_ITEMS
        allowed = rng.random(n_items) < 0.7 if step % 3 == 1 else None
        history = rng.integers(0, n_items, 12).astype(np.int32)
        asked.append(Query(-1, history, np.ones(12, np.float32), exclude=exclude, allowed=allowed))
        terms = {"text": " ".join(rng.choice(WORDS, 3)) + " zeppelin", "kind": "a", "tags": ["red", "zeppelin"]}
        asked.append(Query(-1, NO_ITEMS, NO_WEIGHTS, terms=terms, exclude=exclude, allowed=allowed))
    return asked


def assert_same(first: RankedList, second: RankedList) -> None:
    assert first.items.tolist() == second.items.tolist()
    assert first.scores.tolist() == second.scores.tolist()


@pytest.mark.parametrize("merged_from", [0.0, 0.5], ids=["merged", "overlay"])
@pytest.mark.parametrize("params", [{}, {"jaccard": ["tags"]}, {"profile_postings": 100, "b": 0.3}], ids=str)
def test_equals_an_index_built_anew(
    params: dict[str, Any], merged_from: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_postings, "MERGED_FROM", merged_from)
    items = table(N_FITTED, 1)
    first = path = fit_path(items, **params)
    before = [first.retrieve(query, 20) for query in queries(N_FITTED, 9)]
    proposed_new = 0
    for step, n in enumerate((N_FITTED, N_FITTED + 1, N_LATER)):
        rows = np.unique(np.random.default_rng(step).integers(0, items.height, 8))
        touched = np.union1d(rows, np.arange(items.height, n)).astype(np.int32)
        items = change_features(items, rows, n, seed=20 + step)
        data = dataset(items)
        path = path.with_changes(Changes(data, touched))
        anew = rebuild(first, data)
        path.save(tmp_path)
        loaded = Content.load(path.config, tmp_path, data)
        for query in queries(n, step):
            expected = anew.retrieve(query, 20)
            assert_same(path.retrieve(query, 20), expected)
            assert_same(loaded.retrieve(query, 20), expected)
            proposed_new += int((expected.items >= N_FITTED).sum())
    assert proposed_new, "no new item was ever proposed"
    if not path.config.jaccard:
        assert bool(path._index.changed.size) == (merged_from > 0)
    for query, ranked in zip(queries(N_FITTED, 9), before, strict=True):
        assert_same(first.retrieve(query, 20), ranked)


def test_a_new_item_is_found_at_once_and_an_old_value_no_longer() -> None:
    items = table(N_FITTED, 1).with_columns(kind=pl.lit("a"))
    items = items.with_columns(kind=pl.when(pl.col("item_id") == 3).then(pl.lit("b")).otherwise(pl.col("kind")))
    path = fit_path(items, fields=["kind"])
    asked = Query(-1, NO_ITEMS, NO_WEIGHTS, terms={"kind": "b"})
    assert path.retrieve(asked, 5).items.tolist() == [3]
    later = pl.concat(
        [items.with_columns(kind=pl.lit("a")), table(N_FITTED + 1, 2)[-1:].with_columns(kind=pl.lit("b"))]
    )
    live = path.with_changes(Changes(dataset(later), np.array([3, N_FITTED], np.int32)))
    assert live.retrieve(asked, 5).items.tolist() == [N_FITTED]
    assert path.retrieve(asked, 5).items.tolist() == [3], "requests on the old one go on"
