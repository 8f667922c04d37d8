from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.cli import app
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers._queries import query_of
from multirecall.retrievers._towers.interest_attention import attend
from multirecall.retrievers._towers.interest_encoders import AttentionEncoder
from multirecall.retrievers._towers.interests import Attention
from multirecall.retrievers.multi_interest import MultiInterest, mean_cosine
from multirecall.testing import RetrieverContract, small_shop

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL: dict[str, Any] = {"dim": 8, "epochs": 2, "batch": 128, "precision": "float32", "interests": 3}


class TestSelfAttention(RetrieverContract):
    retriever = MultiInterest
    params: ClassVar[dict[str, Any]] = {**SMALL, "routing_penalty": 1.0, "negatives": {"hardness": 0.1}}
    score_tolerance = 1e-5


class TestDynamicRouting(RetrieverContract):
    retriever = MultiInterest
    params: ClassVar[dict[str, Any]] = {**SMALL, "kind": "comirec_dr", "user_widths": (8,), "user_id": False}
    score_tolerance = 1e-5


class TestMind(RetrieverContract):
    retriever = MultiInterest
    params: ClassVar[dict[str, Any]] = {**SMALL, "kind": "mind", "norm": "batch", "label_aware": True}
    score_tolerance = 1e-5


def fit_path(data: Dataset, seed: int = 0, **params: Any) -> MultiInterest:
    path = MultiInterest(MultiInterest.Config.model_validate({**SMALL, **params}))
    path.fit(data, rng=np.random.default_rng(seed), progress=SILENT)
    return path


@pytest.mark.parametrize("kind", ["comirec_sa", "comirec_dr", "mind"])
def test_every_kind_learns_who_likes_what(kind: str) -> None:
    data = small_shop(features=False)
    path = fit_path(data, kind=kind, epochs=12, learning_rate=0.02)
    right = []
    for user in range(data.n_users):
        query = query_of(data, user)
        fresh = replace(query, exclude=np.unique(query.history))
        right.append((path.retrieve(fresh, 5).items % 2 == user % 2).mean())
    assert np.mean(right) > 0.9


def test_a_short_history_has_one_interest_in_mind() -> None:
    data = small_shop()
    path = fit_path(data, kind="mind", interests=4)
    history = np.arange(16, dtype=np.int32)
    for n_events, n_distinct in ((0, 1), (3, 1), (4, 2), (8, 3), (16, 4)):
        vectors = path.user_vectors(Query(-1, history[:n_events], np.ones(n_events, np.float32)))
        assert vectors.shape == (4, 8)
        assert len(np.unique(vectors, axis=0)) == n_distinct


def test_requests_are_deterministic_across_fits_of_one_seed() -> None:
    data = small_shop()
    first, second = (fit_path(data, kind="mind").user_vectors(query_of(data, 3)) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_attention_to_a_single_event_is_penalised_by_hand() -> None:
    """Shares 1 and 0, then 1/2 and 1/2: variances of 1/2 and 0, whose squares are 1/4 and 0, in the mean 1/8."""
    encoder = MultiInterest.new_encoder(MultiInterest.Config(dim=2, interests=1, routing_penalty=3.0))
    assert isinstance(encoder, AttentionEncoder)
    assert encoder.penalty() is None
    encoder._attention = torch.tensor([[1.0], [0.0], [0.5], [0.5]]), torch.tensor([0, 2, 4])
    penalty = encoder.penalty()
    assert penalty is not None
    assert float(penalty) == pytest.approx(3 / 8)


def test_a_routing_penalty_spreads_the_attention() -> None:
    data = small_shop(features=False)
    spread = []
    for penalty in (0.0, 30.0):
        path = fit_path(data, epochs=12, learning_rate=0.02, routing_penalty=penalty)
        extractor = path._users.net.extractor
        assert isinstance(extractor, Attention)
        rows = path._history.take(np.arange(12, dtype=np.int32))
        hidden, one_bag = rows @ extractor.hidden, np.array([0, 12])
        positions = np.arange(12)
        shares = attend(
            rows, hidden, extractor.shift, extractor.heads, positions, positions, one_bag, np.ones(12, np.float32)
        )[1]
        spread.append(shares.var(axis=0).mean())
    assert spread[1] < spread[0] / 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kind": "mind", "routing_penalty": 1.0}, "routing_penalty is for kind = 'comirec_sa', got 'mind'"),
        ({"loss": "bpr", "negatives": {"hardness": 1.0}}, "of the losses softmax and infonce, not of bpr"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiInterest.Config.model_validate(params)


def test_power_of_label_aware_attention() -> None:
    """Logits 1 and 2 give the shares softmax(1 ** p, 2 ** p); the result has length 1."""
    vectors = torch.tensor([[[0.8, 0.6, 0.0], [0.6, 0.0, 0.8]]])
    targets = torch.tensor([[0.5, 0.0, 0.875]])
    logits = np.array([0.4, 1.0])
    for power in (0.0, 1.0, 2.0):
        encoder = MultiInterest.new_encoder(
            MultiInterest.Config(dim=3, interests=2, label_aware=True, power=power, temperature=1.0)
        )
        shares = np.exp(logits**power)
        expected = (shares / shares.sum()) @ vectors[0].numpy()
        [found] = encoder.choose(vectors, targets)[0].numpy()
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_the_cosine_of_interests_by_hand() -> None:
    """A pair at 0.6, a pair at 0, and one that repeats, which does not count."""
    vectors = np.array([[[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]], np.float32)
    assert mean_cosine(vectors) == pytest.approx(0.3)
    assert np.isnan(mean_cosine(vectors[2:]))
    assert np.isnan(mean_cosine(vectors[:, :1]))


def test_a_fit_says_how_alike_interests_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = small_shop()
    with caplog.at_level(logging.INFO, "multirecall.retrievers"):
        path = fit_path(data)
    assert -1 <= path.cosine <= 1
    assert f"mean cosine of {path.cosine:.2f}" in caplog.text
    path.save(tmp_path)
    assert MultiInterest.load(path.config, tmp_path, data).cosine == path.cosine
    assert np.isnan(fit_path(data, interests=1).cosine)


def test_a_fit_warns_of_collapsed_interests(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multirecall.retrievers.multi_interest.COLLAPSED", -1.0)
    fit_path(small_shop(), epochs=1)
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert "lower `interests`" in caplog.text


def test_explain_says_which_interest_brought_an_item() -> None:
    data = small_shop()
    path = fit_path(data)
    query = query_of(data, 3)
    vectors, items = path.user_vectors(query), path.item_vectors()[1]
    for item in path.retrieve(query, 10).items.tolist():
        told = path.explain(query, item)
        assert told is not None
        cosines = vectors @ items[item]
        best = int(cosines.argmax())
        listed = ", ".join(f"{cosine:.2f}" for cosine in cosines)
        assert told.text == f"interest {best + 1} of 3 (cosines {listed}), nearest in the history"
        own = sorted(set(query.history.tolist()), key=lambda row: -float(items[row] @ vectors[best]))
        assert told.items.tolist() == own[:3]
    visitor = Query(-1, query.history[:0], query.weights[:0])
    told = path.explain(visitor, 5)
    assert told is not None
    assert not told.items.size
    assert told.text.endswith(")")
    assert fit_path(data, interests=1, epochs=1).explain(query, 5) is None


def test_the_engine_and_the_command_line_show_it(tmp_path: Path) -> None:
    params = {**SMALL, "epochs": 1}
    paths = [{"retriever": "multi_interest", "params": params}]
    config = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})
    with Engine(config).fit(small_shop("str")) as engine:
        engine.save(tmp_path / "bundle")
        user = User(history=["i3", "i8"])
        item = engine.retrieve(user, 5).ids[0].item()
        told = engine.explain(user, item).paths["multi_interest"]
    assert set(told.items) == {"i3", "i8"}
    asked = ["explain", str(tmp_path / "bundle"), item, "--history", "i3", "--history", "i8"]
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, asked).stdout
    assert f"{told.detail}: {', '.join(map(str, told.items))}" in shown
