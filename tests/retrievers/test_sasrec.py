"""What `sasrec` and `gru4rec` learn, and how they read a history."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from multirecall import Dataset
from multirecall.errors import CannotFit, ConfigError
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._queries import query_of
from multirecall.retrievers._towers.batches import SequenceBatches
from multirecall.retrievers._towers.causal_retriever import CausalRetriever
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.dropout import Dropout
from multirecall.retrievers._towers.vectorised import layer_norm, raise_e, sigmoid
from multirecall.retrievers.gru4rec import GRU4Rec
from multirecall.retrievers.sasrec import SASRec
from multirecall.testing import RetrieverContract, small_shop

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL: dict[str, Any] = {"dim": 8, "epochs": 2, "batch": 128, "precision": "float32", "history": 12}
PATHS: list[type[CausalRetriever]] = [SASRec, GRU4Rec]


class TestSASRecContract(RetrieverContract):
    retriever = SASRec
    params = SMALL
    score_tolerance = 1e-4


class TestSASRecWithoutGates(RetrieverContract):
    retriever = SASRec
    params: ClassVar[dict[str, Any]] = {**SMALL, "gate": "none", "blocks": 1}
    score_tolerance = 1e-4


class TestGRU4RecContract(RetrieverContract):
    retriever = GRU4Rec
    params: ClassVar[dict[str, Any]] = {**SMALL, "width": 8}
    score_tolerance = 1e-4


def circle(n_users: int = 150, n_items: int = 12, length: int = 9) -> Dataset:
    """A log in which every user walks a circle of items, from a random start, forwards or (odd users) backwards."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, n_items, n_users)
    steps = np.where(np.arange(n_users) % 2, -1, 1)
    items = (starts[:, None] + steps[:, None] * np.arange(length)) % n_items
    users = np.repeat(np.arange(n_users), length)
    positions = np.tile(np.arange(length), n_users)
    return Dataset.from_frames(pl.DataFrame({"user_id": users, "item_id": items.ravel(), "position": positions}))


def training_of(data: Dataset, **params: Any) -> tuple[TrainingData, Any]:
    config = SASRec.Config.model_validate({"held_out": 0, **params})
    return TrainingData.of(data, config, "sasrec", np.random.default_rng(0), tied=True, causal=True), config


@pytest.mark.parametrize("path", PATHS)
def test_the_order_of_the_history_decides(path: type[CausalRetriever]) -> None:
    """Both directions hold the same items; only their order tells which comes next."""
    data = circle()
    params = {"dim": 16, "epochs": 60, "batch": 256, "learning_rate": 1e-2, "history": 9, "dropout": 0.0, "held_out": 0}
    fitted = path(path.Config.model_validate({**params, "negatives": {"in_batch": False, "all_up_to": 100}}))
    fitted.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    for user in range(20):
        past = query_of(data, user).history
        step = -1 if user % 2 else 1
        assert fitted.retrieve(Query(-1, past, np.ones(past.size, np.float32)), 1).items.tolist() == [
            (past[-1] + step) % 12
        ]
        turned = past[::-1].copy()
        assert fitted.retrieve(Query(-1, turned, np.ones(past.size, np.float32)), 1).items.tolist() == [
            (past[0] - step) % 12
        ]


@pytest.mark.parametrize("path", PATHS)
def test_a_user_without_history_gets_nothing(path: type[CausalRetriever]) -> None:
    fitted = path(path.Config.model_validate({**SMALL, "epochs": 1}))
    fitted.fit(circle(), rng=np.random.default_rng(0), progress=SILENT)
    nobody = Query(-1, np.empty(0, np.int32), np.empty(0, np.float32))
    somebody = Query(-1, np.array([3], np.int32), np.ones(1, np.float32))
    assert not len(fitted.retrieve(nobody, 5))
    batch = fitted.retrieve_batch([nobody, somebody, nobody], 5)
    assert [len(batch[user]) for user in range(3)] == [0, 5, 0]
    assert not len(fitted.retrieve_batch([nobody], 5)[0])


@pytest.mark.parametrize("path", PATHS)
def test_a_log_without_order_is_refused(path: type[CausalRetriever]) -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 2, 3]})
    with pytest.raises(CannotFit, match=f"{path.name}: the log has no order; give it a column"):
        path(path.Config()).fit(Dataset.from_frames(log), rng=np.random.default_rng(0), progress=SILENT)


def test_heads_divide_the_dimensions() -> None:
    with pytest.raises((ConfigError, ValueError), match="heads must divide dim, got heads 3 and dim 64"):
        SASRec.Config.model_validate({"heads": 3})


@pytest.mark.parametrize("history", [1, 3, 50])
def test_every_event_but_the_first_is_a_target_once_in_a_pass(history: int) -> None:
    data = small_shop()
    training, config = training_of(data, history=history, batch=40)
    log = training.log
    batches = SequenceBatches(training, config)
    drawn = list(batches.draw(np.random.default_rng(1)))
    assert len(drawn) <= batches.steps
    found = []
    for batch in drawn:
        past, sizes = batch.histories, np.diff(batch.histories.offsets)
        assert sizes.min() >= 1
        assert sizes.max() <= history
        assert past.positions.tolist() == [place for size in sizes for place in range(size - 1, -1, -1)]
        found += list(zip(np.repeat(batch.users, sizes).tolist(), past.items, batch.targets, strict=True))
    expected = [
        (user, log.items[event], log.items[event + 1])
        for user in range(data.n_users)
        for event in range(log.offsets[user], log.offsets[user + 1] - 1)
    ]
    assert sorted(found) == sorted(expected)
    assert batches.n_targets == len(expected) == training.examples.size


def test_a_target_lies_within_the_horizon() -> None:
    data = circle(length=30)
    training, config = training_of(data, history=30, horizon=5, batch=5000)
    found: set[int] = set()
    for batch in SequenceBatches(training, config).draw(np.random.default_rng(0)):
        step = np.where(np.repeat(batch.users, np.diff(batch.histories.offsets)) % 2, -1, 1)
        found |= set(((batch.targets - batch.histories.items) * step % 12).tolist())
    assert found == {1, 2, 3, 4, 5}


def test_a_small_log_has_more_steps_a_pass_of_fewer_events() -> None:
    """150 users with 29 targets each are 4,350, that is 8 steps of 512 or more; a small `batch` is kept."""
    data = circle(length=30)
    assert SequenceBatches(*training_of(data, history=30)).steps == 8
    assert SequenceBatches(*training_of(data, history=30, batch=100)).steps == 44


def test_events_without_weight_teach_nothing_and_break_nothing() -> None:
    """The log ends with users whose events all weigh 0, so whole batches do."""
    frame = pl.DataFrame(
        {
            "user_id": [user for user in range(60) for _ in range(4)],
            "item_id": [(user + step) % 9 for user in range(60) for step in range(4)],
            "position": list(range(4)) * 60,
            "weight": [1.0 if user < 30 else 0.0 for user in range(60) for _ in range(4)],
        }
    )
    data = Dataset.from_frames(frame)
    path = SASRec(SASRec.Config.model_validate({**SMALL, "batch": 3, "epochs": 1, "held_out": 0}))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    assert len(path.retrieve(query_of(data, 0), 3)) == 3


def test_a_log_in_which_nothing_follows_is_refused() -> None:
    log = pl.DataFrame({"user_id": [1, 2, 3], "item_id": [1, 2, 3], "position": [0, 0, 0]})
    with pytest.raises(CannotFit, match="sasrec: no event of weight above 0 follows another event of its user"):
        SASRec(SASRec.Config()).fit(Dataset.from_frames(log), rng=np.random.default_rng(0), progress=SILENT)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    torch.manual_seed(0)
    layer = Dropout(0.25)
    values = layer(torch.ones(333, 301))
    assert values.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float((values == 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert float(values.mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(layer.eval()(values), values)


def test_vectorised_functions_equal_the_exact_ones() -> None:
    values = np.linspace(-80, 80, 20_001).astype(np.float32)
    powers = values.copy()
    raise_e(powers)
    np.testing.assert_allclose(powers, np.exp(values.astype(np.float64)), rtol=5e-6)
    np.testing.assert_allclose(sigmoid(values), 1 / (1 + np.exp(-values.astype(np.float64))), rtol=5e-6)
    extreme = np.array([-1e30, -200, 200, 1e30], np.float32)
    assert sigmoid(extreme) == pytest.approx([0, 0, 1, 1])
    rows = np.random.default_rng(0).normal(3, 2, (5, 9)).astype(np.float32)
    gain, shift = np.linspace(0.5, 2, 9, dtype=np.float32), np.linspace(-1, 1, 9, dtype=np.float32)
    inputs, factors, addends = map(torch.from_numpy, (rows, gain, shift))
    expected = torch.nn.functional.layer_norm(inputs, (9,), factors, addends)
    np.testing.assert_allclose(layer_norm(rows, gain, shift, 1e-5), expected.numpy(), atol=1e-5)


def test_the_presets_of_the_page_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "retrievers" / "sasrec.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w*SASRec\b[^|]*) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == 3
    for name, cells in rows:
        params = tomllib.loads("\n".join(re.findall(r"`([^`]+)`", cells)))
        config = SASRec.Config.model_validate(params)
        assert {key: config.model_dump()[key] for key in params if key != "negatives"} == {
            key: value for key, value in params.items() if key != "negatives"
        }, name
        assert not config.negatives.in_batch
