"""What an answer is to its reader: slices, frames, JSON, and how it shows itself."""

from __future__ import annotations

import copy
import json
import operator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.engine.footprint import held_bytes
from multirecall.errors import BundleError, RequestError
from multirecall.testing import small_shop


@pytest.fixture(scope="module")
def engine() -> Engine:
    """A path of three items at most, so that the fallback adds to it."""
    paths = [{"retriever": "item_cf", "quota": 3}, {"retriever": "content", "quota": 2}]
    return Engine(EngineConfig.model_validate({"paths": paths})).fit(small_shop())


def test_a_slice_is_a_shorter_list_with_the_same_candidates(engine: Engine) -> None:
    whole = engine.retrieve(1, 9)
    assert 0 < whole.n_backfilled < len(whole)
    everything = list(whole)
    for part in (slice(0, 2), slice(3, None), slice(-1, None), slice(None), slice(4, 4), slice(50, 60), slice(-2, 99)):
        taken = whole[part]
        assert list(taken) == everything[part], "provenance included, the fallback's ranks too"
        assert len(taken) == len(everything[part])
        assert list(taken[1:]) == everything[part][1:], "a slice of a slice"
        assert taken.to_polars().equals(whole.to_polars()[part])
    with pytest.raises(RequestError, match=r"no step, got -1; take list\(candidates\) first"):
        whole[::-1]
    with pytest.raises(IndexError):
        whole[99]


def test_a_slice_of_a_batch_is_a_batch(engine: Engine) -> None:
    users: list[Any] = [1, User(history=[1, 77]), 12345, 2]
    whole = engine.retrieve_batch(users, 6)
    for part in (slice(0, 1), slice(1, 3), slice(None, None, -1), slice(3, 3), slice(-2, None)):
        taken = whole[part]
        assert [list(one) for one in taken] == [list(one) for one in list(whole)[part]]
        assert taken.user_ids == whole.user_ids[part]
        assert [one.known for one in taken] == [True, False, False, True][part]
    assert whole[1:].to_polars().equals(whole.to_polars()[6:])


def test_unknown_ids_are_said(engine: Engine) -> None:
    assert engine.retrieve(1).known
    assert engine.retrieve(1).unknown_items == ()
    asked = engine.retrieve(User(-5, history=[3, 901, 2, 902]), exclude=[1, 903])
    assert (asked.known, asked.unknown_items) == (False, (901, 902, 903))
    assert not engine.retrieve(User()).known
    batch = engine.retrieve_batch([1, User(history=[904])], exclude=iter([905]))
    assert batch.known.tolist() == [True, False]
    assert batch.unknown_items == ((905,), (904, 905))
    assert batch[1].unknown_items == (904, 905)
    assert batch[1].to_dict()["known"] is False


def test_frames_and_json_hold_every_digit(engine: Engine) -> None:
    answer = engine.retrieve(2, 7)
    frame = answer.to_polars()
    assert frame.columns == ["item_id", "score", "rank", "rank_item_cf", "rank_content"]
    assert frame["score"].to_list() == answer.scores.tolist()
    assert frame["rank"].to_list() == list(range(7))
    assert frame["rank_content"].to_list() == [one.provenance.get("content") for one in answer]
    pandas = answer.to_pandas()
    assert pandas["score"].tolist() == answer.scores.tolist()
    assert pandas["rank_item_cf"].isna().tolist() == frame["rank_item_cf"].is_null().to_list()
    assert str(pandas["rank_item_cf"].dtype) == "Int32"
    values = json.loads(json.dumps(answer.to_dict()))
    assert [one["score"] for one in values["candidates"]] == answer.scores.tolist()
    assert values["status"]["item_cf"]["state"] == "ok"
    batch = engine.retrieve_batch([2], 7)
    assert batch.to_pandas()["item_id"].tolist() == answer.ids.tolist()


def test_they_show_themselves_in_few_lines(engine: Engine) -> None:
    answer, batch = engine.retrieve(1, 200), engine.retrieve_batch([1, 2])
    for shown in (repr(answer), repr(batch), repr(engine), repr(engine.data), repr(Engine())):
        assert len(shown) < 300
        assert "array" not in shown
    assert repr(answer).startswith(f"<Candidates: {len(answer)} items of 2 paths: {answer[0].item_id!r} ")
    assert repr(batch) == f"<CandidateBatch: {batch.items.size} candidates for 2 users of 2 paths>"
    assert "nothing to serve" in repr(Engine())
    assert "item_cf, content" in repr(engine)
    assert f"{engine.data.n_events:,} interactions" in repr(engine.data)


def test_html_is_escaped() -> None:
    ids = ["<b>x</b>", "a&b", "c"]
    log = pl.DataFrame({"user_id": ["<i>", "<i>", "u", "u"], "item_id": [*ids, ids[0]]})
    items = pl.DataFrame({"item_id": ids, "<th>": ["one", "two", "two"]})
    config = EngineConfig.model_validate({"paths": [{"retriever": "item_cf"}]})
    engine = Engine(config).fit(Dataset.from_frames(log, items))
    batch = engine.retrieve_batch(["<i>", "u"], seen=True)
    shown = (engine.retrieve("u", seen=True), batch, engine, engine.data, Engine(config))
    pages = [one._repr_html_() for one in shown]
    for page in pages:
        assert "<table>" in page
        assert "<b>" not in page
        assert "<i>" not in page
    assert "&lt;b&gt;x" in pages[0]
    assert "&lt;th&gt;" in pages[3]


def test_a_long_list_says_how_much_it_shows(engine: Engine) -> None:
    answer = engine.retrieve(1, 30)
    page = answer._repr_html_()
    assert page.count("<tr>") == 1 + min(20, len(answer))
    assert (f"20 of {len(answer)} shown" in page) == (len(answer) > 20)


@pytest.mark.parametrize("take", [operator.methodcaller("__reduce_ex__", 4), copy.copy, copy.deepcopy])
def test_an_engine_is_saved_not_pickled(engine: Engine, take: object) -> None:
    with pytest.raises(BundleError, match=r"engine\.save\(folder\), then Engine\.load"):
        take(engine)  # type: ignore[operator]


def test_fits_and_memory_are_told(engine: Engine, tmp_path: Path) -> None:
    path = engine.health().paths["item_cf"]
    assert path.fit_seconds is not None
    assert path.fit_seconds >= 0
    assert path.memory_bytes > 0
    engine.save(tmp_path / "bundle")
    with Engine.load(tmp_path / "bundle") as loaded:
        again = loaded.health().paths["item_cf"]
    assert (again.fit_seconds, again.memory_bytes) == (None, path.memory_bytes)
    saved = sum(file.stat().st_size for file in (tmp_path / "bundle").rglob("paths/item_cf/**/*.npy"))
    assert 0.5 * saved < path.memory_bytes < 1.5 * saved


def test_memory_counts_every_array_once_and_none_of_the_data() -> None:
    data = small_shop()
    own = np.zeros(1_000)
    holder = SimpleHolder(parts=[own, own[10:20], {"deep": (own[::2], np.ones(7))}], data=data, log=data.log.base.items)
    assert held_bytes(holder, data) == 8_000 + 56


class SimpleHolder:
    """A plug-in of another package that holds all sorts of things."""

    def __init__(self, **things: object) -> None:
        self.__dict__.update(things)
        self.me = self


def test_the_former_names_of_the_backfill_warn(engine: Engine) -> None:
    one, several = engine.retrieve(1, 9), engine.retrieve_batch([1, 2], 9)
    with pytest.warns(DeprecationWarning, match=r"Candidates\.n_refilled is now called n_backfilled") as caught:
        assert one.n_refilled == one.n_backfilled > 0
    assert caught[0].filename == __file__, "it names who used it"
    with pytest.warns(DeprecationWarning, match=r"CandidateBatch\.n_refilled is now called n_backfilled"):
        assert several.n_refilled.tolist() == several.n_backfilled.tolist()
    shown = one.to_dict()
    assert shown["n_refilled"] == shown["n_backfilled"] == one.n_backfilled
