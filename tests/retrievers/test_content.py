from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.content import Content, ContentConfig
from multirecall.testing import RetrieverContract, small_shop

NOTHING = np.empty(0, np.int32)


class TestContent(RetrieverContract):
    retriever = Content


class TestJaccard(RetrieverContract):
    retriever = Content
    params = {"jaccard": ["tags"], "fields": ["tags", "title"], "field_weights": {"tags": 2.0}}


def fit_path(data: Dataset, **params: Any) -> Content:
    path = Content(ContentConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def scores_for(path: Content, **terms: Any) -> dict[int, float]:
    ranked = path.retrieve(Query(-1, NOTHING, np.empty(0, np.float32), terms=terms), 10_000)
    return dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))


def catalogue(**columns: list[Any]) -> Dataset:
    """Items 0, 1, 2 … with the given features."""
    n = len(next(iter(columns.values())))
    log = pl.DataFrame({"user_id": [0], "item_id": [0]})
    return Dataset.from_frames(
        log, pl.DataFrame({"item_id": range(n), **columns}), kinds={"text": "text"} if "text" in columns else {}
    )


TEXTS = ["red red wooden duck", "Blue DUCK, blue pond!", "a wooden pond bridge of red wood", "", "über-café 42"]


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (2.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("query", ["red duck", "wooden red pond pond", "café", "no such words"])
def test_text_equals_bm25_by_loop(query: str, k1: float, b: float) -> None:
    path = fit_path(catalogue(text=TEXTS), k1=k1, b=b)
    documents = {item: oracles.words(text) for item, text in enumerate(TEXTS)}
    expected = oracles.bm25(documents, k1, b)(oracles.words(query))
    assert scores_for(path, text=query) == pytest.approx(expected, rel=1e-5)


def test_cranfield_equals_bm25_by_loop(real_data: Path) -> None:
    folder = real_data / "ir-cranfield"
    docs, queries, judged = (pl.read_parquet(folder / f"{name}.parquet") for name in ("docs", "queries", "qrels"))
    log = pl.DataFrame({"user_id": [0], "item_id": [docs["doc_id"][0]]})
    data = Dataset.from_frames(log, docs.select(item_id="doc_id", text="text"), kinds={"text": "text"})
    path = fit_path(data)
    documents = {row: oracles.words(text or "") for row, text in enumerate(docs.sort("doc_id")["text"])}
    loop = oracles.bm25(documents, 1.2, 0.75)
    relevant = {
        qid: set(data.items.ids.rows(rows["doc_id"].to_numpy()).tolist())
        for (qid,), rows in judged.filter(pl.col("rel") > 0).group_by("qid")
    }
    ours, loops = [], []
    for qid, text in queries.select("qid", "text").iter_rows():
        if qid in relevant:
            ranked = list(scores_for(path, text=text))[:10]
            expected = oracles.rank_items(loop(oracles.words(text)))[:10]
            ours.append(oracles.ndcg(ranked, relevant[qid], 10))
            loops.append(oracles.ndcg(expected, relevant[qid], 10))
    assert np.mean(ours) == pytest.approx(np.mean(loops), abs=1e-4)
    assert np.mean(ours) > 0.3


def test_each_kind_finds_its_value() -> None:
    data = catalogue(
        kind=["a", "b", "a", None],
        tags=[["x", "y"], ["y"], ["z"], []],
        price=[1.0, 10.0, 100.0, None],
    )
    path = fit_path(data, buckets=3)
    assert scores_for(path, kind="a").keys() == {0, 2}
    assert scores_for(path, tags=["y", "z"]).keys() == {0, 1, 2}
    assert scores_for(path, price=150.0).keys() == {2}
    assert scores_for(path, price=90).keys() == {1}
    assert scores_for(path, price=-5).keys() == {0}


def test_fields_add_up_and_weights_scale() -> None:
    data = catalogue(kind=["a", "b", "a"], tags=[["x"], ["y"], ["z"]])
    plain, heavy = fit_path(data), fit_path(data, field_weights={"tags": 3.0})
    kind, tag = scores_for(plain, kind="a")[0], scores_for(plain, tags="x")[0]
    assert scores_for(plain, kind="a", tags="x")[0] == pytest.approx(kind + tag)
    assert scores_for(heavy, kind="a", tags="x")[0] == pytest.approx(kind + 3 * tag)


def test_field_weight_scales_profiles_once() -> None:
    data = catalogue(kind=["a", "b", "a"], tags=[["x"], ["y"], ["z"]])
    history = Query(-1, np.array([0], np.int32), np.ones(1, np.float32))

    def score(**params: Any) -> float:
        ranked = fit_path(data, fields=["kind"], **params).retrieve(history, 10)
        return float(ranked.scores[ranked.items == 2][0])

    assert score(field_weights={"kind": 2.0}) == pytest.approx(2 * score())
    both = fit_path(data, jaccard=["tags"], field_weights={"tags": 3.0}).retrieve(history, 10)
    single = fit_path(data, jaccard=["tags"]).retrieve(history, 10)
    assert both.scores[0] - single.scores[0] == pytest.approx(2.0), "the item itself overlaps fully"


def test_jaccard_written_out() -> None:
    data = catalogue(tags=[["a", "b", "c"], ["b", "c"], ["d"], []])
    path = fit_path(data, jaccard=["tags"])
    assert scores_for(path, tags=["b", "c", "unknown"]) == pytest.approx({0: 2 / 4, 1: 2 / 3})
    history = Query(-1, np.array([0, 2], np.int32), np.array([1.0, 2.0], np.float32), ordered=False)
    ranked = path.retrieve(history, 10)
    found = dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))
    assert found == pytest.approx({0: 1.0, 1: 2 / 3, 2: 2.0})


def test_profile_prefers_what_the_newest_items_have() -> None:
    data = catalogue(kind=["a", "b", "a", "b", "c", "d"])
    path = fit_path(data, half_life=1)
    ranked = path.retrieve(Query(-1, np.array([0, 1], np.int32), np.ones(2, np.float32)), 10)
    assert ranked.items.tolist() == [1, 3, 0, 2]


def test_profile_is_cut_to_its_heaviest_terms() -> None:
    data = catalogue(kind=["rare", "common", "common", "common"], tags=[["x"], ["x"], ["x"], ["x"]])
    path = fit_path(data, profile_terms=1)
    ranked = path.retrieve(Query(-1, np.array([0], np.int32), np.ones(1, np.float32)), 10)
    assert ranked.items.tolist() == [0], "the rare kind outweighs the tag that all items share"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"fields": ["titel"]}, "'titel' is no item feature; did you mean 'title'"),
        ({"field_weights": {"colour": 2}}, "'colour' is no item feature; known: "),
        ({"jaccard": ["price"]}, "jaccard needs a list-valued field, 'price' is of kind number"),
    ],
)
def test_settings_that_do_not_suit_the_data(params: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotFit, match=message):
        fit_path(small_shop(), **params)


def test_needs_item_features() -> None:
    with pytest.raises(CannotFit, match="no item features; pass an item table"):
        fit_path(small_shop(features=False))


LONG = "https://example.org/" + "a1b2c3" * 60


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("cafe\u0301", {0}),
        ("STRASSE", {0}),
        ("大学", {1}),
        ("茶", {2}),
        ("กาแฟ", {3}),
        (LONG.rpartition("/")[2], {4}),
        (LONG.rpartition("/")[2] + "x", set()),
        ("ก" * 5_000, set()),
        ("\ud800 café \udfff", {0}),
        ("\ud800", set()),
        ("\0", set()),
    ],
)
def test_words_of_any_script_and_length_find_what_holds_them(asked: str, found: set[int]) -> None:
    path = fit_path(catalogue(text=["Café in der Straße", "在北京大学学习", "绿茶很好", "ร้านกาแฟสด", f"see {LONG}"]))
    assert scores_for(path, text=asked).keys() == found
