"""Search terms in a tower of any kind, with `AskingTower`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from toy_towers import AskingTower

from multirecall.data import Text
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._towers.batches import Batch, new_batches
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.histories import Histories
from multirecall.retrievers._towers.model import TowerModel
from multirecall.retrievers._towers.tower import Tower, WordTable
from multirecall.retrievers._vector_table import VectorTable
from multirecall.testing import RetrieverContract, small_shop

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL: dict[str, Any] = {"dim": 8, "epochs": 2, "batch": 128, "text_buckets": 512, "precision": "float32"}
NONE = np.empty(0, np.float32)


class TestTerms(RetrieverContract):
    retriever = AskingTower
    params: ClassVar[dict[str, Any]] = {**SMALL, "tokeniser": "letters"}
    score_tolerance = 1e-5


def training_of(**searches: Any) -> tuple[AskingTower, TrainingData]:
    data = small_shop()
    path = AskingTower(AskingTower.Config.model_validate({**SMALL, "searches": searches}))
    drawn = path.new_searches(data)
    return path, TrainingData.of(data, path.config, "asking", np.random.default_rng(0), searches=drawn)


def test_terms_of_training_are_words_of_the_target() -> None:
    """Titles end in the number of the item, so that its token tells whose words these are."""
    _, training = training_of(share=0.5, typos=0.0, most_words=9)
    searches = training.searches
    assert searches is not None
    asked = 0
    for batch in new_batches(training, AskingTower.Config(**SMALL)).draw(np.random.default_rng(1)):
        terms = batch.terms
        assert terms is not None
        assert len(terms) == batch.targets.size
        for row, target in enumerate(batch.targets.tolist()):
            own = terms.take(np.array([row])).words.tokens
            asked += own.size > 0
            assert np.isin(own, searches.texts.take(np.array([target])).words.tokens).all()
    assert 0.4 < asked / training.examples.size < 0.6


def test_exported_encoder_equals_the_trained_one() -> None:
    path, training = training_of()
    torch.manual_seed(0)
    model = TowerModel(training, path.config, AskingTower.new_encoders, torch.device("cpu"), torch.float32)
    searches = training.searches
    assert searches is not None
    path._users = Tower(training.user_profile, model.tables["users"].values.numpy(), model.user_net.export())
    path._history = VectorTable.of(model.tables["history"].values.numpy())
    path._words = WordTable(searches.rule, model.tables["words"].values.numpy())
    asked = ["", "red", "red item nmuber red"]
    items, ones = np.array([3, 9, 9], np.int32), np.ones(3, np.float32)
    past = Histories(np.array([0, 0, 3, 3]), items, ones, np.array([2, 1, 0], np.float32), np.zeros(3, np.float32))
    terms = searches.rule.of_texts(Text.of(asked))[1]
    batch = Batch(np.full(3, -1, np.int32), past, items[:0], NONE, np.zeros(3, np.float32), terms)
    with torch.no_grad():
        expected = model._user_vectors(model.user_net, batch, training.users.take(batch.users)).numpy()
    for row, text in enumerate(asked):
        run = slice(past.offsets[row], past.offsets[row + 1])
        query = Query(-1, items[run], ones[run], terms={"title": text})
        np.testing.assert_allclose(path.user_vectors(query), expected[row], atol=1e-5)


def test_a_visitor_is_served_from_what_they_ask_for() -> None:
    """The group of an item, even or odd, is one of its words."""
    path = AskingTower(AskingTower.Config.model_validate({**SMALL, "epochs": 20, "learning_rate": 0.02}))
    path.fit(small_shop(), rng=np.random.default_rng(0), progress=SILENT)
    for parity, word in enumerate(("even", "odd")):
        found = path.retrieve(Query(-1, np.empty(0, np.int32), NONE, terms={"group": word}), 20).items
        assert (found % 2 == parity).mean() > 0.8
