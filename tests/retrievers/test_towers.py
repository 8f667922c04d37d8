"""The base of all towers, with encoders that use what `two_tower` does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch
from toy_towers import DAY_S, AgedTower, ConvolutionTower, Interests, InterestsTower, RecurrentTower

from multirecall import Dataset
from multirecall.csr import offsets_of
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.registry import RETRIEVERS
from multirecall.retrievers._queries import query_of
from multirecall.retrievers._towers.batches import Batch
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.encoders import UserEncoder
from multirecall.retrievers._towers.histories import Histories, histories_before
from multirecall.retrievers._towers.model import TowerModel, best_scores
from multirecall.retrievers._towers.retriever import TowerRetriever, item_vector
from multirecall.retrievers._towers.text_retriever import TextRetriever
from multirecall.retrievers._towers.tower import Tower
from multirecall.retrievers._vector_table import VectorTable
from multirecall.testing import RetrieverContract, small_shop
from multirecall.testing.worlds import queries

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL: dict[str, Any] = {"dim": 8, "epochs": 2, "batch": 128, "precision": "float32"}
TOYS: list[type[TowerRetriever]] = [InterestsTower, RecurrentTower, AgedTower, ConvolutionTower]
INSTALLED = [RETRIEVERS.load(name) for name in RETRIEVERS.names()]
TOWERS = [
    *TOYS,
    *(kind for kind in INSTALLED if issubclass(kind, TowerRetriever) and not issubclass(kind, TextRetriever)),
]


class TestSeveralVectors(RetrieverContract):
    retriever = InterestsTower
    params = SMALL
    score_tolerance = 1e-5


class TestOrderInATextAndAnotherItemEncoder(RetrieverContract):
    retriever = ConvolutionTower
    params = SMALL
    score_tolerance = 1e-5


class TestOrder(RetrieverContract):
    retriever = RecurrentTower
    params: ClassVar[dict[str, Any]] = {**SMALL, "tokeniser": "letters"}
    score_tolerance = 1e-5


def config_of(tower: type[TowerRetriever], **params: Any) -> Any:
    return tower.Config.model_validate({**SMALL, **params})


def fit_path(tower: type[TowerRetriever], data: Dataset, **params: Any) -> TowerRetriever:
    path = tower(config_of(tower, **params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def model_of(tower: type[TowerRetriever], data: Dataset, **params: Any) -> TowerModel:
    torch.manual_seed(0)
    config = config_of(tower, **params)
    kind = {"tied": tower.tied, "causal": tower.causal}
    training = TrainingData.of(data, config, tower.name, np.random.default_rng(0), **kind)
    return TowerModel(training, config, tower.new_encoders, torch.device("cpu"), torch.float32)


SHAPES: dict[str, list[dict[str, Any]]] = {
    "two_tower": [{}, {"user_widths": (16, 8), "item_widths": (8,), "norm": "batch"}, {"norm": "layer"}],
    "youtube_dnn": [{}, {"user_widths": (), "norm": "layer"}, {"user_widths": (16, 8), "norm": "batch"}],
    "sasrec": [{}, {"gate": "none", "blocks": 1, "heads": 1}, {"blocks": 3, "heads": 4, "widening": 1, "history": 3}],
    "multi_interest": [
        {},
        {"interests": 1, "attention_width": 5, "history": 3},
        {"kind": "comirec_dr", "interests": 3, "user_widths": (16, 8), "item_widths": (8,), "norm": "batch"},
        {"kind": "mind", "interests": 5, "iterations": 1, "norm": "layer", "user_widths": (16,)},
        {"kind": "mind", "history": 6},
    ],
    "gru4rec": [{}, {"layers": 2, "width": 12}, {"history": 3, "width": 4}],
}
"""Settings under which the exported encoder of a retriever is compared with the trained one."""

ENCODERS = [
    (tower, shape, ordered)
    for tower in TOWERS
    for shape in SHAPES.get(tower.name, [{}])
    for ordered in ((True,) if tower.causal else (True, False))
]


@pytest.mark.parametrize(("tower", "shape", "ordered"), ENCODERS)
def test_exported_encoder_equals_the_trained_one(
    tower: type[TowerRetriever], shape: dict[str, Any], ordered: bool
) -> None:
    """For histories of all their events, of one and of none."""
    data = small_shop(timestamps=ordered)
    model = model_of(tower, data, **shape)
    users = np.array([0, 3, 8, 5, 7], np.int32)
    log = model.data.whole
    events = np.append(log.offsets[users[:3] + 1] - 1, log.offsets[users[3:]] + np.array([1, 0]) * ordered)
    lengths = [model.config.history] * 3 + [1, 1]
    parts = [histories_before(log, events[[row]], np.zeros(1, np.int64), n) for row, n in enumerate(lengths)]
    path = tower(model.config)
    path._users = Tower(model.data.user_profile, model.tables["users"].values.numpy(), model.user_net.export())
    path._history = VectorTable.of(model.tables["history"].values.numpy())
    columns = zip(*([one.items, one.weights, one.positions, one.ages] for one in parts), strict=True)
    joined = Histories(offsets_of([one.items.size for one in parts]), *map(np.concatenate, columns))
    vectors = model.user_vectors(users, joined).numpy()
    for user, event, history, expected in zip(users, events, parts, vectors, strict=True):
        now = None if log.times is None else int(log.times[event])
        query = Query(
            int(user),
            history.items,
            history.weights,
            times=None if now is None else now - history.ages.astype(np.int64),
            ordered=ordered,
            features=data.users.values(int(user)),
            now=now,
        )
        np.testing.assert_allclose(path.user_vectors(query), expected, atol=1e-5)
        if tower.space == "cosine" and history.items.size:
            assert np.linalg.norm(expected, axis=1) == pytest.approx(np.ones(len(expected)), abs=1e-5)
    assert [history.items.size for history in parts[3:]] == ([1, 0] if ordered else [1, 1])


@pytest.mark.parametrize("tower", [tower for tower in TOWERS if not tower.tied])
def test_exported_item_encoder_equals_the_trained_one(tower: type[TowerRetriever]) -> None:
    data = small_shop()
    model = model_of(tower, data)
    items = Tower(model.data.item_profile, model.tables["items"].values.numpy(), model.item_net.export())
    chosen = model.data.is_target()
    vectors = [item_vector(items, row if chosen[row] else -1, data.items.values(row)) for row in range(data.n_items)]
    np.testing.assert_allclose(vectors, model.item_vectors().numpy(), atol=1e-5)


def test_an_item_encoder_may_read_the_order_of_words() -> None:
    data = small_shop()
    path = fit_path(ConvolutionTower, data, epochs=1)
    plain, turned = (item_vector(path._items, -1, {"title": title}) for title in ("warm red coat", "coat red warm"))
    assert not np.allclose(plain, turned)


def test_an_item_has_the_best_score_under_any_vector() -> None:
    data = small_shop()
    path = fit_path(InterestsTower, data)
    for query in queries(data)[:20]:
        vectors = path.user_vectors(query)
        assert vectors.shape == (2, 8)
        expected: dict[int, float] = {}
        lists = [path._index.search(vector, data.n_items) for vector in vectors]
        for ranked in lists:
            for item, score in zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True):
                expected[item] = max(expected.get(item, -np.inf), score)
        order = sorted(expected, key=lambda item: (-expected[item], item))[:12]
        found = path.retrieve(query, 12)
        assert found.items.tolist() == order
        assert found.scores.tolist() == [expected[item] for item in order]


def test_the_target_reaches_a_label_aware_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`choose` is given the vectors of the items to learn, and only where there are several vectors."""
    data = small_shop(features=False)
    model = model_of(InterestsTower, data, id_dropout=0.0)
    events = model.data.examples[:5]
    log, rng = model.data.log, np.random.default_rng(0)
    batch = Batch(
        log.users[events],
        model.data.histories(events, 1, 10, rng),
        log.items[events],
        log.weights[events],
        model.data.example_ages(events),
    )
    given: list[torch.Tensor] = []
    choose = type(model.user_net).choose

    def watched(self: Any, vectors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        given.append(targets.detach().clone())
        chosen: torch.Tensor = choose(self, vectors, targets)
        return chosen

    monkeypatch.setattr(type(model.user_net), "choose", watched)
    model.loss(batch, rng, None).backward()
    torch.testing.assert_close(given[0], model.item_vectors()[batch.targets.tolist()])
    assert all(weight.grad is not None and weight.grad.any() for weight in model.user_net.parameters())


def test_by_default_all_vectors_learn() -> None:
    """A vector that is near no target still moves away from the other items."""

    class Plain(Interests):
        choose = UserEncoder.choose

    class PlainTower(InterestsTower):
        encoder = Plain

    model = model_of(PlainTower, small_shop(features=False), id_dropout=0.0)
    log, events = model.data.log, model.data.examples[:1]
    histories = model.data.histories(events, 1, 10, np.random.default_rng(0))
    batch = Batch(log.users[events], histories, log.items[events], log.weights[events], model.data.example_ages(events))
    learning: list[torch.Tensor] = []
    model.user_net.register_forward_hook(lambda *call: learning.append(call[2]))
    loss = model.loss(batch, np.random.default_rng(1), None)
    learning[0].retain_grad()
    loss.backward()
    assert learning[0].grad is not None
    assert learning[0].grad.abs().sum(dim=2).min() > 0


def test_best_scores_by_hand() -> None:
    users = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    items = torch.tensor([[0.2, 0.9], [0.5, -1.0]])
    assert best_scores(users, items).tolist() == [pytest.approx([0.9, 0.5])]


def test_order_and_ages_change_what_is_proposed() -> None:
    data = small_shop()
    path = fit_path(RecurrentTower, data, epochs=4)
    history = np.array([0, 1, 2, 3], np.int32)
    now = 1_700_000_000
    plain = {"weights": np.ones(4, np.float32), "times": np.full(4, now), "now": now}

    def scores(**changed: Any) -> list[float]:
        query = Query(**{"user": -1, "history": history, **plain, **changed})
        return list(path.retrieve(query, 10).scores.tolist())

    assert scores() != scores(history=history[::-1].copy())
    assert scores() != scores(times=np.full(4, now - 3 * int(DAY_S)))


def test_example_ages_end_at_the_newest_event() -> None:
    data = small_shop()
    training = TrainingData.of(data, config_of(AgedTower), "aged", np.random.default_rng(0))
    assert training.log.times is not None
    ages = training.example_ages(training.examples)
    newest = training.log.times.max()
    assert ages.tolist() == [float(np.float32(newest - moment)) for moment in training.log.times[training.examples]]
    assert ages.min() == 0
    timeless = TrainingData.of(small_shop(timestamps=False), config_of(AgedTower), "aged", np.random.default_rng(0))
    assert not timeless.example_ages(timeless.examples).any()


def test_messages_and_checkpoints_bear_the_name_of_the_retriever(tmp_path: Path) -> None:
    data = small_shop()
    fit_path(AgedTower, data, checkpoint=str(tmp_path))
    assert [one.name.rsplit("-", 1)[0] for one in tmp_path.iterdir()] == ["aged"]


def test_histories_of_a_query_are_cut_to_the_newest() -> None:
    data = small_shop()
    path = fit_path(RecurrentTower, data, history=3)
    query = query_of(data, 3)
    assert query.history.size > 3
    assert query.times is not None
    cut = Query(
        3, query.history[-3:], query.weights[-3:], times=query.times[-3:], features=query.features, now=query.now
    )
    assert path.retrieve(query, 9).scores.tolist() == path.retrieve(cut, 9).scores.tolist()


def test_a_checkpoint_is_of_the_times_of_its_log(tmp_path: Path) -> None:
    """Encoders may read ages, so that another log's training must not go on from it."""
    log = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [7, 8, 7, 9]})
    for step in (60, 3_600):
        data = Dataset.from_frames(log.with_columns(timestamp=pl.Series([1_700_000_000 + step * n for n in range(4)])))
        fit_path(AgedTower, data, checkpoint=str(tmp_path), epochs=1)
    assert len(list(tmp_path.iterdir())) == 2
