"""What `youtube_dnn` adds to a tower: a cap on examples, the example age, search terms, items as a table."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from multirecall import Dataset
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._towers.batches import ExampleBatches
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.encoders import HistoryBags, TokenBags, UserBatch
from multirecall.retrievers.youtube_dnn import YouTubeDNN
from multirecall.testing import RetrieverContract, small_shop

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL: dict[str, Any] = {"dim": 8, "epochs": 2, "batch": 128, "precision": "float32", "user_widths": [16, 8]}


class TestYouTubeDNNContract(RetrieverContract):
    retriever = YouTubeDNN
    params: ClassVar[dict[str, Any]] = SMALL
    score_tolerance = 1e-5


def batches_of(data: Dataset, **params: Any) -> ExampleBatches:
    config = YouTubeDNN.Config.model_validate({**SMALL, "held_out": 0, **params})
    return ExampleBatches(TrainingData.of(data, config, "youtube_dnn", np.random.default_rng(0), tied=True), config)


def test_a_heavy_user_gives_so_many_examples_a_pass() -> None:
    log = pl.DataFrame({"user_id": [1] * 90 + [2] * 4, "item_id": [n % 7 for n in range(94)], "position": range(94)})
    batches = batches_of(Dataset.from_frames(log), examples_per_user=10, batch=6)
    rng = np.random.default_rng(0)
    passes = [list(batches.draw(rng)) for _ in range(2)]
    for drawn in passes:
        users = np.concatenate([batch.users for batch in drawn])
        assert np.bincount(users).tolist() == [10, 4]
        assert len(drawn) == batches.steps == 3
    first, second = ([batch.histories.offsets.tolist() for batch in drawn] for drawn in passes)
    assert first != second, "each pass draws others"
    assert batches.n_targets == 14


def test_without_a_cap_every_event_is_an_example() -> None:
    data = small_shop()
    batches = batches_of(data, examples_per_user=None)
    assert sum(batch.targets.size for batch in batches.draw(np.random.default_rng(0))) == len(data.interactions)


def test_the_age_of_an_example_moves_its_vector_in_training_only() -> None:
    torch.manual_seed(0)
    encoder = YouTubeDNN.new_encoder(YouTubeDNN.Config.model_validate(SMALL)).eval()
    rows, one = torch.randn(3, 8), torch.ones(3)
    places, offsets = torch.arange(3), torch.tensor([0, 3])
    history = HistoryBags(rows, places, offsets, one, torch.tensor([2.0, 1.0, 0.0]), torch.zeros(3))
    profile = TokenBags(rows, places[:1], torch.tensor([0, 1]), one[:1])
    new, old = (
        encoder(UserBatch(profile, history, torch.tensor([age]))).detach().numpy() for age in (0.0, 90 * 86_400.0)
    )
    assert not np.allclose(new, old, atol=1e-3)


def test_search_terms_count_in_a_request() -> None:
    path = YouTubeDNN(YouTubeDNN.Config.model_validate(SMALL))
    path.fit(small_shop(), rng=np.random.default_rng(0), progress=SILENT)
    nobody = np.empty(0, np.int32), np.empty(0, np.float32)
    plain, asked = (path.user_vectors(Query(-1, *nobody, terms=terms)) for terms in ({}, {"title": "warm red coat"}))
    assert not np.allclose(plain, asked, atol=1e-4)
