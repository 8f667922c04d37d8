"""Learning a fusion in worlds whose truth is known: what is kept, what is dropped, and what does not hold up.

In each world a path ranks items by noise, to which the item that the user chose adds the path's strength.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from multirecall.learning import design
from multirecall.learning.choice import FusionChoice, SegmentChoice
from multirecall.learning.guard import Fallbacks, choose_trial
from multirecall.learning.judge import JUDGED, Judge, gain_by_user
from multirecall.learning.learn import LearnedFusion, learn_fusion
from multirecall.learning.lists import KnownLists
from multirecall.learning.trials import Trial, path_alone
from multirecall.lists import FusedBatch, RankedBatch

N_ITEMS = 150
LENGTH = 50
FORMS = ("learned", "weighted_sum")
K = 30
NAMES = "abcdef"

Floats = np.ndarray[Any, np.dtype[np.float64]]


@pytest.fixture(scope="module", autouse=True)
def few_others() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design, "OTHERS", 30)
        yield


def world(n: int, strengths: Sequence[float | Floats], seed: int = 0, lengths: Any = 5) -> KnownLists:
    """Requests of `n` users, with one target each, and a path for each of `strengths`, which may differ by user."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, N_ITEMS, n)
    batches = []
    for strength in strengths:
        scores = rng.normal(size=(n, N_ITEMS))
        scores[np.arange(n), targets] += strength
        items = np.argsort(-scores, axis=1)[:, :LENGTH]
        ranked = np.take_along_axis(scores, items, axis=1)
        offsets = np.arange(0, n * LENGTH + 1, LENGTH)
        batches.append(RankedBatch(offsets, items.ravel().astype(np.int32), ranked.ravel().astype(np.float32)))
    return KnownLists(
        tuple(NAMES[: len(strengths)]),
        tuple(batches),
        (LENGTH,) * len(strengths),
        np.arange(n + 1),
        targets.astype(np.int32),
        np.arange(n),
        np.broadcast_to(np.asarray(lengths, np.int64), n).copy(),
    )


def copied(lists: KnownLists, path: int) -> KnownLists:
    """The same with one more path, a copy of `path`."""
    n = len(lists.names)
    return replace(
        lists,
        names=(*lists.names, NAMES[n]),
        batches=(*lists.batches, lists.batches[path]),
        quotas=(*lists.quotas, LENGTH),
    )


def learn(lists: KnownLists, strategies: Sequence[str] = FORMS, **options: Any) -> LearnedFusion:
    return learn_fusion(lists, K, weights=[1.0] * len(lists.names), strategies=strategies, **options)


def asked(learned: LearnedFusion, lists: KnownLists) -> set[str]:
    return {lists.names[path] for path in learned.choice.asked}


def gain(lists: KnownLists, one: FusionChoice, other: FusionChoice) -> Any:
    """The gain of one fusion over another on `lists`."""
    judge = Judge.of(lists, K)
    scores = [judge.score(judge.values(choice.fuse(lists, judge.ks[-1]))) for choice in (one, other)]
    return gain_by_user(scores[0] - scores[1], lists.owners)


def best_path(lists: KnownLists) -> FusionChoice:
    judge = Judge.of(lists, K)
    means = [float(judge.score(judge.values(batch)).mean()) for batch in lists.batches]
    return path_alone(lists, int(np.argmax(means)))


def test_paths_of_unequal_strength_are_fused_better_than_the_best_on_new_users() -> None:
    strengths = [2.5, 1.5, 1.0]
    learned, new = learn(world(400, strengths), strategies=()), world(400, strengths, seed=1)
    assert "a" in asked(learned, new)
    assert len(learned.choice.asked) > 1
    assert learned.best_path == "a"
    assert gain(new, learned.choice, best_path(new)).low > 0
    assert gain(new, learned.choice, FusionChoice("weighted_sum", {}, (1.0, 1.0, 1.0))).low > 0, "weights matter"
    assert all(cell.fused > cell.best for cell in learned.cells if cell.k <= 20)


def test_noise_is_dropped() -> None:
    strengths = [2.0, 2.0, 0.0]
    lists, new = world(300, strengths), world(300, strengths, seed=1)
    learned = learn(lists)
    assert asked(learned, lists) == {"a", "b"}
    assert {step.path for step in learned.steps if not step.kept} == {"c"}
    assert gain(new, learned.choice, best_path(new)).low > 0
    needed = learn(lists, required=["c"])
    assert asked(needed, lists) == {"a", "b", "c"}
    assert "c" not in {step.path for step in needed.steps}
    assert abs(gain(new, needed.choice, learned.choice).mean) < 0.02


def test_of_two_copies_one_is_dropped_and_nothing_is_lost() -> None:
    strengths = [2.0, 2.0]
    lists, new = world(400, strengths, seed=6), world(400, strengths, seed=1)
    one, both = (learn(own, ["learned"]) for own in (lists, copied(lists, 1)))
    kept = asked(both, copied(lists, 1))
    assert "a" in kept
    assert len(kept & {"b", "c"}) == 1
    judge, twice = Judge.of(new, K), copied(new, 1)
    scores = [judge.score(judge.values(own.choice.fuse(of, judge.ks[-1]))) for own, of in ((one, new), (both, twice))]
    assert abs(float((scores[1] - scores[0]).mean())) < 0.02


def test_weights_that_drift_between_the_halves_are_not_kept() -> None:
    """Path a serves the users of one half and misleads the others, path b the other way round."""
    halves = world(300, [0.0]).halves(0)
    first = np.zeros(300, np.bool_)
    first[halves[0]] = True
    lists = world(300, [np.where(first, 4.0, -2.0), np.where(first, -2.0, 4.0)])
    learned = learn(lists)
    assert learned.name in ("equal weights", "reciprocal rank fusion of all paths")
    assert learned.choice.weights == (1.0, 1.0)
    steady = learn(world(300, [4.0, -2.0]))
    assert steady.choice.asked == [0], "where the halves agree, weights are learned"


def test_the_best_path_alone_is_kept_where_fusing_does_not_pay() -> None:
    lists, new = world(300, [3.0, 0.0]), world(300, [3.0, 0.0], seed=1)
    learned = learn(lists)
    assert learned.name == learned.best_path == "a"
    assert asked(learned, lists) == {"a"}
    assert gain(new, learned.choice, path_alone(new, 0)).mean == 0.0
    needed = learn(lists, required=["b"])
    assert needed.name == "a"
    assert asked(needed, lists) == {"a", "b"}
    assert abs(gain(new, needed.choice, path_alone(new, 0)).mean) < 0.02


def test_users_with_short_histories_get_a_fusion_of_their_own_where_they_need_one() -> None:
    lengths = np.tile([1, 2, 3, 10, 20, 30, 40, 50, 60], 80)
    needs = [np.where(lengths <= 3, 3.0, 0.5), np.where(lengths <= 3, 0.5, 3.0)]
    lists, new = world(720, needs, lengths=lengths), world(720, needs, seed=1, lengths=lengths)
    learned = learn(lists, ["weighted_sum"])
    assert [segment.max_history for segment in learned.choice.segments][:1] == [3]
    assert {one.name: one.kept for one in learned.segments}["cold"]
    assert gain(new, learned.choice, replace(learned.choice, segments=())).low > 0
    alike = learn(world(720, [2.5, 2.0], seed=1, lengths=lengths), ["weighted_sum"])
    assert alike.segments, "segments were tried"
    assert not any(one.kept for one in alike.segments)
    assert alike.choice.segments == ()


def test_scores_of_the_learned_form_are_log_odds() -> None:
    """Of the candidates with a score about `s`, a share of `1 / (1 + exp(-s))` is chosen, on new users."""
    strengths = [2.5, 1.5]
    learned, new = learn(world(1_500, strengths), ["learned"]), world(1_500, strengths, seed=1)
    assert learned.choice.strategy == "learned"
    fused = learned.choice.fuse(new, N_ITEMS)
    hit = fused.items == np.repeat(new.targets, np.diff(fused.offsets))
    bounds = np.quantile(fused.scores, [0.5, 0.9, 0.97, 0.99])
    group = np.searchsorted(bounds, fused.scores)
    for one in range(1, 5):
        expected = (1 / (1 + np.exp(-fused.scores[group == one]))).sum()
        assert hit[group == one].sum() == pytest.approx(expected, rel=0.25)


def test_the_same_seed_learns_the_same() -> None:
    lists = world(200, [2.0, 1.0])
    assert learn(lists) == learn(lists)


def test_a_fusion_with_segments_fuses_each_request_by_its_own() -> None:
    lists = world(40, [2.0, 2.0], lengths=np.tile([1, 5], 20))
    whole = FusionChoice("weighted_sum", {}, (1.0, 0.5))
    short = FusionChoice("weighted_sum", {}, (0.25, 1.0))
    segment = SegmentChoice(3, short.params, short.weights)
    fused = replace(whole, segments=(segment,)).fuse(lists, 20)
    parts: list[FusedBatch] = [short.fuse(lists, 20), whole.fuse(lists, 20)]
    for one in range(40):
        expected = parts[one % 2][one]
        assert fused[one].items.tolist() == expected.items.tolist()
        assert fused[one].scores.tolist() == expected.scores.tolist()


# -- the guard, with values made up --------------------------------------------------------------------------


def trial(name: str, level: float, cells: dict[tuple[int, int], float] | None = None, seed: int = 0) -> Trial:
    """A trial whose values are `level` by cell, or what `cells` says, with a little noise by user."""
    values = np.full((len(JUDGED), 200, 4), level)
    for (metric, column), value in (cells or {}).items():
        values[metric, :, column] = value
    values += 0.05 * np.random.default_rng([seed, len(name)]).normal(size=(1, 200, 1))
    return Trial(name, values, values.mean(axis=(0, 2)), fixed=FusionChoice("rrf", {}, (1.0, 1.0)))


@pytest.mark.parametrize(
    ("tried", "single", "equal", "plain", "kept"),
    [
        ([trial("best", 0.6), trial("next", 0.55)], 0.5, 0.5, 0.5, "best"),
        ([trial("best", 0.6)], 0.5, 0.59, 0.5, "best"),
        ([trial("best", 0.6)], 0.5, 0.7, 0.5, "equal"),
        ([trial("best", 0.5)], 0.5, 0.4, 0.4, "single"),
        ([trial("best", 0.4)], 0.5, 0.4, 0.6, "single"),
        ([trial("best", 0.4)], 0.4, 0.5, 0.4, "equal"),
        ([trial("best", 0.4)], 0.4, 0.5, 0.6, "plain"),
        ([trial("best", 0.7, {(1, 0): 0.4}), trial("next", 0.6)], 0.5, 0.5, 0.5, "next"),
        ([trial("best", 0.7, {(1, 0): 0.4})], 0.5, 0.4, 0.4, "single"),
        ([], 0.4, 0.5, 0.5, "equal"),
    ],
)
def test_the_guard(tried: list[Trial], single: float, equal: float, plain: float, kept: str) -> None:
    """The best that gains over the best path and loses nowhere; else that path, equal weights, or rank fusion."""
    lists = world(200, [1.0, 1.0])
    judge = Judge(lists, (10, 20, 30, 100), np.ones((len(JUDGED), 4)))
    alone = trial("single", single)
    weak = trial("weak path", single - 0.1)
    fallbacks = Fallbacks((weak, alone), alone, trial("equal", equal), trial("plain", plain))
    found, reason = choose_trial(tried, fallbacks, judge)
    assert found.name == kept
    assert reason
