"""The text towers `dssm` and `cdssm`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.data import Text
from multirecall.errors import CannotFit
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._towers.batches import Batch
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.histories import Histories
from multirecall.retrievers._towers.model import TowerModel
from multirecall.retrievers._towers.text_retriever import TextRetriever
from multirecall.retrievers._towers.tower import Tower, WordTable
from multirecall.retrievers._vector_table import VectorTable
from multirecall.retrievers.cdssm import CDSSM
from multirecall.retrievers.dssm import DSSM
from multirecall.testing import LiveShop, RetrieverContract, small_shop

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL: dict[str, Any] = {"dim": 8, "epochs": 2, "batch": 128, "text_buckets": 512, "precision": "float32"}
TOWERS: list[type[TextRetriever]] = [DSSM, CDSSM]
NOBODY = np.empty(0, np.int32), np.empty(0, np.float32)
COLOURS, THINGS = ("crimson", "emerald", "ivory", "golden"), ("teapot", "lantern", "cushion", "bracelet")


class TestDSSM(RetrieverContract):
    retriever = DSSM
    params: ClassVar[dict[str, Any]] = {**SMALL, "item_widths": (12,), "dropout": 0.1, "held_out": 100}
    score_tolerance = 1e-5


class TestCDSSM(RetrieverContract):
    retriever = CDSSM
    params: ClassVar[dict[str, Any]] = {**SMALL, "filters": 8, "tokeniser": "letters"}
    score_tolerance = 1e-5


def fit_path(tower: type[TextRetriever], data: Dataset, **params: Any) -> TextRetriever:
    path = tower(tower.Config.model_validate({**SMALL, **params}))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def asking(**terms: Any) -> Query:
    return Query(-1, *NOBODY, terms=terms)


@pytest.fixture(scope="module")
def shop() -> Dataset:
    """64 things in four colours, of which users choose one colour; things 60 … 63 are in no event."""
    rng = np.random.default_rng(0)
    items = pl.DataFrame(
        {
            "item_id": range(64),
            "title": [f"{COLOURS[n % 4]} {THINGS[n // 4 % 4]} no {n // 16 + 1}" for n in range(64)],
        }
    )
    users = rng.integers(0, 40, 1_200)
    log = pl.DataFrame({"user_id": users, "item_id": 4 * rng.integers(0, 15, 1_200) + users % 4})
    stamped = log.with_columns(timestamp=1_700_000_000 + pl.int_range(pl.len()))
    return Dataset.from_frames(stamped, items, kinds={"title": "text"})


LEARNT: dict[str, Any] = {"dim": 32, "epochs": 10, "batch": 256, "text_buckets": 2_048, "learning_rate": 0.02}


@pytest.fixture(scope="module", params=TOWERS)
def learnt(request: pytest.FixtureRequest, shop: Dataset) -> TextRetriever:
    return fit_path(request.param, shop, **LEARNT)


def titles(path: TextRetriever, data: Dataset, query: Query, n: int) -> list[str]:
    return [data.items.values(row)["title"] for row in path.retrieve(query, n).items.tolist()]


@pytest.mark.parametrize(
    "search", ["emerald lantern", "emerlad lantern", "emerlad lantren", "emerald lnatern", "emeralds lanterns"]
)
def test_misspelt_and_inflected_words_find_what_is_meant(learnt: TextRetriever, shop: Dataset, search: str) -> None:
    found = titles(learnt, shop, asking(title=search), 4)
    assert all(title.startswith("emerald lantern") for title in found)


def test_search_terms_win_over_the_history(learnt: TextRetriever) -> None:
    history = np.array([0, 4, 8], np.int32), np.ones(3, np.float32)
    alone = learnt.retrieve(asking(title="ivory cushion"), 9)
    beside = learnt.retrieve(Query(3, *history, terms={"title": "ivory cushion"}), 9)
    assert beside.items.tolist() == alone.items.tolist()
    assert beside.scores.tolist() == alone.scores.tolist()


@pytest.mark.parametrize("terms", [{}, {"title": "?"}, {"price": 3.0}])
def test_without_words_in_the_terms_the_history_counts(learnt: TextRetriever, terms: dict[str, Any]) -> None:
    query = Query(-1, np.array([2, 6, 10, 14], np.int32), np.ones(4, np.float32), terms=terms)
    items = learnt.retrieve(query, 12).items
    assert (items % 4 == 2).mean() > 0.9


def test_items_without_events_are_found_by_their_words(learnt: TextRetriever) -> None:
    """Each user likes one colour; things 60 … 63, one in each colour, are in no history."""
    cold = np.arange(64) >= 60
    for colour in range(4):
        query = Query(
            -1,
            np.arange(colour, 60, 8, dtype=np.int32),
            np.ones(8, np.float32)[: len(range(colour, 60, 8))],
            allowed=cold,
        )
        assert learnt.retrieve(query, 1).items.tolist() == [60 + colour]


def test_a_text_is_its_words_whoever_has_it(learnt: TextRetriever, shop: Dataset) -> None:
    """The vector of an item in the index is that of a search for its whole title, to the bit of rounding."""
    rows, vectors = learnt.item_vectors()
    for row in (0, 33, 63):
        values = shop.items.values(row)
        np.testing.assert_allclose(learnt.item_vector(values), vectors[rows == row][0], atol=1e-5)
        np.testing.assert_allclose(
            learnt.user_vectors(asking(title=values["title"]))[0], learnt.item_vector(values), atol=1e-6
        )


def model_of(tower: type[TextRetriever], data: Dataset, **params: Any) -> tuple[TowerModel, TextRetriever]:
    """A model with random weights, and a path that serves it."""
    torch.manual_seed(0)
    path = tower(tower.Config.model_validate({**SMALL, **params}))
    searches = path.new_searches(data)
    training = TrainingData.of(data, path.config, tower.name, np.random.default_rng(0), searches=searches, by_text=True)
    model = TowerModel(training, path.config, tower.new_encoders, torch.device("cpu"), torch.float32)
    path._words = WordTable(searches.rule, model.tables["words"].values.numpy())
    path._users = Tower(training.user_profile, model.tables["users"].values.numpy(), model.user_net.export())
    exported = model.item_net.export()
    assert exported is not None
    path._item_net = exported
    path._history = VectorTable.of(model.item_vectors().numpy())
    return model, path


SHAPES: list[dict[str, Any]] = [{}, {"item_widths": (12, 5)}, {"half_lives": (3.0,), "activation": "gelu"}]


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_exported_item_encoder_equals_the_trained_one(tower: type[TextRetriever], shape: dict[str, Any]) -> None:
    data = small_shop()
    model, path = model_of(tower, data, **shape)
    vectors = [path.item_vector(data.items.values(row)) for row in range(data.n_items)]
    np.testing.assert_allclose(vectors, model.item_vectors().numpy(), atol=1e-5)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ordered", [True, False])
def test_exported_user_encoder_equals_the_trained_one(
    tower: type[TextRetriever], shape: dict[str, Any], ordered: bool
) -> None:
    """For histories of 0, 1 and 5 events, and for searches, an empty one among them."""
    model, path = model_of(tower, small_shop(), **shape)
    lengths = [0, 1, 5]
    events = np.array([7, 1, 2, 3, 2, 60], np.int32)
    weights = np.array([1, 2, 1, 0.5, 1, 3], np.float32)
    positions = np.array([0, 4, 3, 2, 1, 0], np.float32) * ordered
    offsets = np.cumsum([0, *lengths])
    past = Histories(offsets, events, weights, positions, np.zeros(6, np.float32))
    with torch.no_grad():
        expected = model.user_vectors(np.full(3, -1, np.int32), past).numpy()
        for row in range(3):
            run = slice(offsets[row], offsets[row + 1])
            query = Query(-1, events[run], weights[run], ordered=ordered)
            np.testing.assert_allclose(path.user_vectors(query), expected[row], atol=1e-5)
        asked = ["", "blue", "numbr of itms red red"]
        searches = model.data.searches
        assert searches is not None
        terms = searches.rule.of_texts(Text.of(asked))[1]
        batch = Batch(np.full(3, -1, np.int32), past, events[:0], weights[:0], np.zeros(3, np.float32), terms)
        found = model._user_vectors(model.user_net.eval(), batch, model.data.users.take(batch.users)).numpy()
    for row, text in enumerate(asked):
        run = slice(offsets[row], offsets[row + 1])
        query = Query(-1, events[run], weights[run], ordered=ordered, terms={"title": text})
        np.testing.assert_allclose(path.user_vectors(query), found[row], atol=1e-5)


@pytest.mark.parametrize("tower", TOWERS)
def test_a_new_item_is_found_by_its_words_and_counts_in_histories(tower: type[TextRetriever]) -> None:
    shop = LiveShop(fields=("title",))
    path = fit_path(tower, shop.data)
    new = shop.data.n_items
    changed = path.with_changes(shop.describe([new], title="zebra umbrella"))
    assert changed.retrieve(asking(title="zebra umbrella"), 1).items.tolist() == [new]
    assert new not in path.retrieve(asking(title="zebra umbrella"), 99).items
    past = np.array([new], np.int32), np.ones(1, np.float32)
    with_it = changed.user_vectors(Query(-1, *past))
    changed = changed.with_changes(shop.describe([new], title="something else"))
    assert not np.allclose(changed.user_vectors(Query(-1, *past)), with_it)


def test_word_order_counts_for_a_convolution_only() -> None:
    same = {}
    for tower in TOWERS:
        path = fit_path(tower, small_shop(), epochs=1)
        plain, turned = (path.item_vector({"title": title}) for title in ("warm red coat", "coat red warm"))
        same[tower.name] = np.allclose(plain, turned, atol=1e-6)
    assert same == {"dssm": True, "cdssm": False}


def test_the_engine_passes_search_terms_on(shop: Dataset) -> None:
    engine = Engine(EngineConfig(paths=(PathConfig(retriever="dssm", params={**SMALL, **LEARNT}),))).fit(shop)
    found = engine.retrieve(User(terms={"title": "goldn braclet"}), 4)
    assert all(row % 16 == 15 for row in engine.data.items.ids.rows(found.ids))


@pytest.mark.parametrize("tower", TOWERS)
def test_resumed_training_equals_an_uninterrupted_one(tower: type[TextRetriever], tmp_path: Path) -> None:
    """A finished training is read from its checkpoint, and another catalogue's training is not."""
    first = fit_path(tower, small_shop(), checkpoint=str(tmp_path))
    again = fit_path(tower, small_shop(), checkpoint=str(tmp_path))
    assert first.item_vectors()[1].tolist() == again.item_vectors()[1].tolist()
    fit_path(tower, LiveShop(fields=("title",)).data, checkpoint=str(tmp_path), epochs=1)
    assert len(list(tmp_path.iterdir())) == 2


def test_items_without_words_cannot_be_fitted() -> None:
    log = pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2]})
    with pytest.raises(CannotFit, match="dssm: no item feature has words"):
        fit_path(DSSM, Dataset.from_frames(log))
    items = pl.DataFrame({"item_id": [1, 2], "title": ["?", ""]})
    with pytest.raises(CannotFit, match="dssm: no item has a word"):
        fit_path(DSSM, Dataset.from_frames(log, items, kinds={"title": "text"}))


def test_loading_and_asking_import_no_torch(tmp_path: Path) -> None:
    paths = tuple(PathConfig(retriever=name, params={**SMALL, "epochs": 1}) for name in ("dssm", "cdssm"))
    Engine(EngineConfig(paths=paths)).fit(small_shop()).save(tmp_path / "bundle")
    program = (
        "import sys; from multirecall import Engine, User\n"
        f"engine = Engine.load({str(tmp_path / 'bundle')!r})\n"
        "engine.retrieve(User(terms={'title': 'red itme'}), 5); engine.retrieve(0, 5)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"
