from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from multirecall import Dataset
from multirecall.errors import BundleError, CannotFit, ConfigError, DataError
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._towers.batches import Batch
from multirecall.retrievers._towers.config import learning_rate_of
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.encoders import Net
from multirecall.retrievers._towers.histories import histories_before
from multirecall.retrievers._towers.model import TowerModel
from multirecall.retrievers._towers.retriever import item_vector
from multirecall.retrievers._towers.tower import Tower
from multirecall.retrievers._vector_table import VectorTable
from multirecall.retrievers.two_tower import TwoTower
from multirecall.testing import RetrieverContract, checkerboard, small_shop
from multirecall.testing.worlds import queries

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL: dict[str, Any] = {"dim": 8, "epochs": 2, "batch": 128, "user_widths": (16,), "precision": "float32"}


class TestDefaults(RetrieverContract):
    retriever = TwoTower
    params = SMALL
    score_tolerance = 1e-5


class TestEverythingElse(RetrieverContract):
    """Ids of users, hidden item layers, norms, dropout, mined negatives, and the graph index."""

    retriever = TwoTower
    params: ClassVar[dict[str, Any]] = {
        **SMALL,
        "user_id": True,
        "item_widths": (8, 8),
        "norm": "batch",
        "dropout": 0.2,
        "horizon": 3,
        "learn_temperature": True,
        "negatives": {"uniform": 8, "frequency": 8, "hard": 16},
        "index": {"kind": "hnsw"},
    }
    score_tolerance = 1e-5


def fit_path(data: Dataset, seed: int = 0, **params: Any) -> TwoTower:
    path = TwoTower(TwoTower.Config.model_validate({**SMALL, **params}))
    path.fit(data, rng=np.random.default_rng(seed), progress=SILENT)
    return path


def preferred(path: TwoTower, data: Dataset) -> float:
    """The share of the ten best for each user that are of the user's half of the shop."""
    shares = [(path.retrieve(query, 10).items % 2 == query.user % 2).mean() for query in queries(data)[:40]]
    return float(np.mean(shares))


@pytest.mark.parametrize("loss", ["softmax", "infonce", "bpr", "bpr_max", "triplet", "bce", "gbce"])
def test_every_loss_learns_who_likes_what(loss: str) -> None:
    """In gBCE, the many negatives outweigh the positive at first."""
    data = small_shop(features=False)
    epochs = 30 if loss == "gbce" else 12
    params: dict[str, Any] = {"start": "random", "learning_rate": 0.02, "user_widths": ()}
    assert preferred(fit_path(data, loss=loss, epochs=epochs, **params), data) > 0.95


@pytest.mark.parametrize(
    "negatives",
    [
        {"in_batch": False, "uniform": 64},
        {"in_batch": True, "uniform": 0},
        {"in_batch": False, "uniform": 0, "frequency": 64},
        {"in_batch": True, "uniform": 0, "hard": 32},
        {"all_up_to": 1_000},
    ],
)
def test_every_source_of_negatives_teaches(negatives: dict[str, Any]) -> None:
    data = small_shop(features=False)
    path = fit_path(data, start="random", negatives=negatives, epochs=12, learning_rate=0.02, user_widths=())
    assert preferred(path, data) > 0.95


def test_spectrum_knows_who_likes_what_before_the_first_step() -> None:
    """A learning rate close to 0 leaves the model where it begins."""
    data = small_shop(features=False)
    untrained: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-9, "user_widths": ()}
    assert preferred(fit_path(data, start="spectrum", **untrained), data) > 0.95
    assert preferred(fit_path(data, start="random", **untrained), data) < 0.75


def test_unordered_log_is_learnt_from_the_other_items() -> None:
    data = checkerboard()
    path = fit_path(data, start="random", epochs=60, learning_rate=0.02, user_widths=(), user_id=False)
    right = 0
    for query in queries(data)[: data.n_users]:
        own = Query(query.user, query.history, query.weights, ordered=False, exclude=np.unique(query.history))
        right += int(path.retrieve(own, 1).items[0] % 2 == query.user % 2)
    assert right == data.n_users


def model_on(data: Dataset, **params: Any) -> TowerModel:
    config = TwoTower.Config.model_validate({**SMALL, **params})
    torch.manual_seed(0)
    training = TrainingData.of(data, config, "two_tower", np.random.default_rng(0))
    return TowerModel(training, config, TwoTower.new_encoders, torch.device("cpu"), torch.float32)


def batch_of(model: TowerModel, events: np.ndarray) -> Batch:
    log = model.data.log
    histories = model.data.histories(events, 1, model.config.history, np.random.default_rng(0))
    ages = model.data.example_ages(events)
    return Batch(log.users[events], histories, log.items[events], log.weights[events], ages)


def test_one_batch_can_be_learnt_by_heart() -> None:
    model = model_on(small_shop(), id_dropout=0.0, user_id=True)
    batch = batch_of(model, model.data.examples[5::70])
    assert np.unique(batch.targets).size > 5
    rng = np.random.default_rng(1)
    for number in range(1, 200):
        loss = model.loss(batch, rng, None)
        model.step(loss, 0.02, number)
    assert loss.item() < 0.05


def test_an_example_without_weight_teaches_nothing() -> None:
    """The loss is a weighted mean: doubling all weights changes nothing, a zero weight leaves its example out."""
    model = model_on(small_shop(), id_dropout=0.0, negatives={"in_batch": False, "uniform": 40})
    events = model.data.examples[:6]
    batch = batch_of(model, events)
    losses = []
    for weights in (batch.weights, 2 * batch.weights, np.array([1, 1, 1, 0, 0, 0], np.float32)):
        weighted = replace(batch, weights=weights)
        losses.append(model.loss(weighted, np.random.default_rng(2), None).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


def test_a_target_that_nobody_drew_is_no_negative() -> None:
    """With one negative and the loss BPR, the gradient of a batch reaches its targets and that negative only."""
    model = model_on(
        small_shop(features=False), id_dropout=0.0, loss="bpr", negatives={"in_batch": False, "uniform": 1}
    )
    batch = batch_of(model, model.data.examples[5::70])
    with_others = replace(batch, weights=np.where(np.arange(batch.targets.size) == 0, 1.0, 0.0).astype(np.float32))
    model.loss(with_others, np.random.default_rng(1), None).backward()
    table = model.tables["items"]
    ((used, leaf),) = table.used
    assert leaf.grad is not None
    assert len(used) > 3
    assert (leaf.grad.abs().sum(dim=1) > 0).sum() <= 2


def test_a_step_touches_only_the_rows_of_its_batch() -> None:
    model = model_on(small_shop(), id_dropout=0.0, negatives={"uniform": 0})
    before = {name: table.values.clone() for name, table in model.tables.items()}
    batch = batch_of(model, model.data.examples[:3])
    model.step(model.loss(batch, np.random.default_rng(0), None), 0.01, 1)
    moved = (model.tables["history"].values != before["history"]).any(dim=1).nonzero().ravel().tolist()
    assert set(moved) <= set(batch.histories.items.tolist())
    ids = (model.tables["items"].values != before["items"]).any(dim=1)[1 : 1 + model.data.log.n_items]
    assert ids.nonzero().ravel().tolist() == sorted(set(batch.targets.tolist()))


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_exported_net_equals_torch(activation: Any, norm: Any) -> None:
    torch.manual_seed(0)
    net = Net(6, (5, 4), 3, activation, norm, 0.1)
    net.train()
    for _ in range(3):
        net(torch.randn(32, 6) * 2 + 1)
    net.eval()
    inputs = torch.randn(7, 6)
    expected = net(inputs).detach().numpy()
    np.testing.assert_allclose(net.export()(inputs.numpy()), expected, atol=1e-5)
    np.testing.assert_allclose(net.export()(inputs.numpy()[2]), expected[2], atol=1e-5)


@pytest.mark.parametrize("ordered", [True, False])
def test_served_user_tower_equals_torch(ordered: bool) -> None:
    data = small_shop(timestamps=ordered)
    model = model_on(data, user_id=True)
    training = model.data
    users = np.array([0, 3, 8], np.int32)
    events = data.interactions.offsets[users + 1] - 1
    histories = histories_before(training.whole, events, np.zeros(3, np.int64), model.config.history)
    expected = model.user_vectors(users, histories).numpy()
    path = TwoTower(model.config)
    path._users = Tower(training.user_profile, model.tables["users"].values.numpy(), model.user_net.export())
    path._history = VectorTable.of(model.tables["history"].values.numpy())
    for row, user in enumerate(users):
        run = slice(histories.offsets[row], histories.offsets[row + 1])
        values = data.users.values(int(user))
        query = Query(int(user), histories.items[run], histories.weights[run], ordered=ordered, features=values)
        np.testing.assert_allclose(path.user_vectors(query), expected[row], atol=1e-5)


def test_items_without_interactions_are_found_by_their_features() -> None:
    """Items 60, 61, … stand in no history; their group is that of even or odd items."""
    data = small_shop()
    path = fit_path(data, epochs=20, learning_rate=0.01, id_dropout=0.3)
    cold = np.arange(60, 65, dtype=np.int32)
    exclude = np.setdiff1d(np.arange(data.n_items, dtype=np.int32), cold)
    right = total = 0
    for query in queries(data, exclude=exclude)[:40]:
        ranked = path.retrieve(query, 5)
        assert sorted(ranked.items.tolist()) == cold.tolist()
        right += int(ranked.items[0] % 2 == query.user % 2)
        total += 1
    assert right / total > 0.8


def test_an_item_has_a_vector_from_its_features_at_once() -> None:
    """That of a row equals what the fit put into the index; a new item lies near those of its kind."""
    data = small_shop()
    path = fit_path(data, epochs=20, learning_rate=0.01, id_dropout=0.3)
    even = path.user_vectors(Query(-1, np.array([0, 2, 4, 6], np.int32), np.ones(4, np.float32)))[0]
    for row in (0, 7, 61):
        known = row if row < 60 else -1
        scores = path._index.search(even, data.n_items)
        expected = scores.scores[scores.items == row]
        assert item_vector(path._items, known, data.items.values(row)) @ even == pytest.approx(expected[0], abs=1e-5)
    alike = [item_vector(path._items, -1, {"group": group}) @ even for group in ("even", "odd")]
    assert alike[0] > alike[1]


def test_a_visitor_is_served_from_history_and_from_features() -> None:
    data = small_shop()
    path = fit_path(data, epochs=20, learning_rate=0.01)
    even = np.array([0, 2, 4, 6], np.int32)
    items = path.retrieve(Query(-1, even, np.ones(4, np.float32)), 10).items
    assert (items % 2 == 0).mean() > 0.8
    nobody = Query(-1, even[:0], np.empty(0, np.float32))
    plain = path.user_vectors(nobody)[0]
    german = path.user_vectors(Query(-1, even[:0], np.empty(0, np.float32), features={"country": "DE"}))[0]
    unseen = path.user_vectors(Query(-1, even[:0], np.empty(0, np.float32), features={"country": "XX"}))[0]
    assert np.isfinite(unseen).all()
    assert not np.allclose(plain, german)


def test_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_shop()
    settings: dict[str, Any] = {"epochs": 4, "dropout": 0.2, "checkpoint": str(tmp_path / "state")}
    whole = fit_path(data, **{**settings, "checkpoint": None})
    from multirecall.retrievers._towers import training

    run_epoch = training._Training._run_epoch

    def interrupted(self: Any, advance: Any) -> None:
        if self.epoch == 2:
            raise KeyboardInterrupt
        run_epoch(self, advance)

    monkeypatch.setattr(training._Training, "_run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_path(data, **settings)
    epochs: list[int] = []

    def counted(self: Any, advance: Any) -> None:
        epochs.append(self.epoch)
        run_epoch(self, advance)

    monkeypatch.setattr(training._Training, "_run_epoch", counted)
    resumed = fit_path(data, **settings)
    assert epochs == [2, 3]
    for query in queries(data):
        first, second = whole.retrieve(query, 20), resumed.retrieve(query, 20)
        assert first.items.tolist() == second.items.tolist()
        assert first.scores.tolist() == second.scores.tolist()


def test_each_training_has_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    """Other settings, features or seeds neither go on from it nor touch it, nor anything else in the folder."""
    data = small_shop()
    (tmp_path / "precious.txt").write_text("mine")
    fit_path(data, checkpoint=str(tmp_path))
    fit_path(data, checkpoint=str(tmp_path), dim=4)
    fit_path(data, checkpoint=str(tmp_path), seed=1)
    fit_path(small_shop(features=False), checkpoint=str(tmp_path))
    assert len(list(tmp_path.glob("two-tower-*"))) == 4
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    fit_path(small_shop(), checkpoint=str(tmp_path))
    (file,) = tmp_path.glob("two-tower-*/torch-random.npy")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match="torch-random"):
        fit_path(small_shop(), checkpoint=str(tmp_path))


def test_a_checkpoint_that_is_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is no folder"):
        fit_path(small_shop(), checkpoint=str(tmp_path / "file"))


@pytest.mark.parametrize("batch", [1, 233])
def test_batch_norm_bears_a_batch_of_one(batch: int) -> None:
    data = small_shop(features=False)
    path = fit_path(data, norm="batch", item_widths=(4,), batch=batch, epochs=1)
    assert len(path.retrieve(queries(data)[0], 5)) == 5


def test_an_item_that_no_history_held_has_the_place_of_its_like() -> None:
    """Item 9 stands last in the only history that has it, so its own embedding was never learnt."""
    frame = pl.DataFrame({"user_id": [1, 1, 1, 2, 2], "item_id": [7, 8, 9, 7, 8], "position": [1, 2, 3, 1, 2]})
    items = pl.DataFrame({"item_id": [7, 8, 9], "kind": ["a", "b", "a"]})
    path = fit_path(Dataset.from_frames(frame, items))
    like, other, last = path._history.whole()
    assert last @ like > 0.99 * np.linalg.norm(last) * np.linalg.norm(like)
    assert not np.allclose(last, other)


def test_divergence_names_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multirecall.retrievers._towers.model.SPREAD", float("nan"))
    with pytest.raises(DataError, match=r"epoch 1, batch 1 of .*users \[.*lower learning_rate"):
        fit_path(small_shop())


def test_a_longer_training_has_a_lower_learning_rate() -> None:
    assert [learning_rate_of("auto", steps) for steps in (1, 1_000, 4_000)] == pytest.approx([0.01, 0.01, 0.005])
    assert learning_rate_of(0.3, 4_000) == 0.3


def chance_log(rng: np.random.Generator) -> Dataset:
    frame = pl.DataFrame({"user_id": rng.integers(0, 300, 3000), "item_id": rng.integers(0, 400, 3000)})
    return Dataset.from_frames(frame.with_columns(timestamp=pl.Series(range(1_700_000_000, 1_700_003_000))))


def test_training_stops_when_recall_no_longer_grows() -> None:
    path = fit_path(chance_log(np.random.default_rng(0)), epochs=40, patience=2, learning_rate=0.02, held_out=2_000)
    assert 3 <= len(path.recalls) < 40
    assert len(path.recalls) - 1 - int(np.argmax(path.recalls)) == 2


def test_held_out_events_are_the_last_of_their_users_and_are_not_learnt() -> None:
    rng = np.random.default_rng(0)
    data = chance_log(rng)
    training = TrainingData.of(data, TwoTower.Config(held_out=2_000), "two_tower", rng)
    log = data.interactions
    assert training.held_out.size == 30
    assert (training.held_out == log.offsets[log.users[training.held_out] + 1] - 1).all()
    assert len(training.log) == len(log) - 30


def test_callers_torch_settings_come_back() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    fit_path(small_shop())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(1), expected)


def test_missing_gpu_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="finds no GPU; use 'auto' or 'cpu'"):
        fit_path(small_shop(), device="cuda")


def test_log_without_weight_cannot_be_fitted() -> None:
    data = Dataset.from_frames(pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "weight": [0.0, 0.0]}))
    with pytest.raises(CannotFit, match="weighs more than 0"):
        fit_path(data)


@pytest.mark.parametrize("n_events", [1, 2])
def test_tiny_log_is_served(n_events: int) -> None:
    data = Dataset.from_frames(pl.DataFrame({"user_id": list(range(n_events)), "item_id": list(range(n_events))}))
    path = fit_path(data)
    assert len(path.retrieve(Query(0, np.array([0], np.int32), np.ones(1, np.float32)), 5)) == n_events


def test_bfloat16_learns_as_well() -> None:
    data = small_shop(features=False)
    params: dict[str, Any] = {"start": "random", "learning_rate": 0.02, "user_widths": ()}
    assert preferred(fit_path(data, precision="bfloat16", epochs=12, **params), data) > 0.95


def test_loading_and_asking_import_no_torch(tmp_path: Path) -> None:
    from multirecall import Engine, EngineConfig, PathConfig

    data = small_shop()
    config = EngineConfig(paths=(PathConfig(retriever="two_tower", params=SMALL),))
    Engine(config).fit(data).save(tmp_path / "bundle")
    program = (
        "import sys; from multirecall import Engine\n"
        f"engine = Engine.load({str(tmp_path / 'bundle')!r}); engine.retrieve(0, 5)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"
