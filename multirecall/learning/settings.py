"""Choosing the settings of a retriever that are "auto", on requests whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import take_runs
from multirecall.learning.bootstrap import Interval
from multirecall.learning.guard import HOLDS_UP
from multirecall.learning.hold_out import HeldOut
from multirecall.learning.judge import JUDGED, KS, gain_by_user
from multirecall.metrics import METRICS, user_metrics
from multirecall.progress import Progress
from multirecall.protocols import Answer, PluginConfig, Retriever, Trials
from multirecall.query import Query


@dataclass(frozen=True, slots=True)
class SettingsOutcome:
    """The settings of one path that were "auto".

    Attributes:
        values: the value of each, chosen or prior.
        n_tried: the number of combinations that were tried.
        gain: the gain of the best combination over the priors on users that it was not chosen on, as a share of what
            the priors find; None where no other combination was better on the first half.
        kept: whether that combination is kept; otherwise the priors are.
    """

    values: dict[str, Any]
    n_tried: int
    gain: Interval | None
    kept: bool


def choose_settings(
    plugin: type[Retriever],
    settings: PluginConfig,
    held_out: HeldOut,
    queries: list[Query],
    rng: np.random.Generator,
    progress: Progress,
) -> SettingsOutcome:
    """Let a retriever try combinations on one half of the users, and confirm the best one on the other half.

    Raises:
        CannotFit: as `Retriever.choose_settings`.
        MissingExtra: as `Retriever.choose_settings`.
    """
    contest = _Contest(held_out, _first_half(held_out.owners, rng))
    retriever = plugin(settings)
    trials = Trials(queries, settings.free, KS[-1], contest.score)
    retriever.choose_settings(held_out.rest, trials, rng=rng, progress=progress)
    priors = {name: settings.resolve().model_dump(mode="json")[name] for name in sorted(settings.free)}
    best = contest.best
    if best is None or contest.prior is None or best.config == contest.prior.config:
        return SettingsOutcome(priors, contest.n_tried, None, False)
    second = np.flatnonzero(~contest.first)
    gains = contest.values(best.answer, second) - contest.prior.values[second]
    owners = held_out.owners[second]
    kept = gain_by_user(gains, owners, level=HOLDS_UP).low > 0
    found = best.config.model_dump(mode="json")
    chosen = {name: found[name] for name in sorted(settings.free)}
    return SettingsOutcome(chosen if kept else priors, contest.n_tried, gain_by_user(gains, owners), kept)


class _Trial(NamedTuple):
    """A combination: its config, what answers, how good its lists are, and their mean."""

    config: PluginConfig
    answer: Answer
    values: NDArray[np.float64]
    score: float


class _Contest:
    """Compares combinations on one half of the users; the other half is asked of the priors alone, which set the scale.

    Attributes:
        first: whether a request belongs to a user of the first half, bool (n,).
        prior: the first combination, with its values for all requests.
        best: the best one on the first half; of equal ones, the earliest.
        n_tried: the number of combinations.
    """

    def __init__(self, held_out: HeldOut, first: NDArray[np.bool_]) -> None:
        self._held_out = held_out
        self._scale: NDArray[np.float64] | None = None
        self.first = first
        self.prior: _Trial | None = None
        self.best: _Trial | None = None
        self.n_tried = 0

    def score(self, config: PluginConfig, answer: Answer) -> float:
        """See `Trials.score`."""
        self.n_tried += 1
        every = np.arange(self.first.size)
        values = self.values(answer, every if self.prior is None else every[self.first])
        own = values[self.first] if self.prior is None else values
        trial = _Trial(config, answer, values, float(own.mean()))
        self.prior = self.prior or trial
        if self.best is None or trial.score > self.best.score:
            self.best = trial
        return trial.score

    def values(self, answer: Answer, requests: NDArray[np.int64]) -> NDArray[np.float64]:
        """How good the lists for the requests at some positions are, float64 (n,): 1 is the mean of the priors.

        The first call is about the priors and all requests.
        """
        lists, (offsets, places) = answer(requests), take_runs(self._held_out.offsets, requests)
        values = user_metrics(lists.offsets, lists.items, offsets, self._held_out.targets[places], KS)
        values = values[[METRICS.index(metric) for metric in JUDGED]]
        if self._scale is None:
            self._scale = np.maximum(values.mean(axis=1, keepdims=True), 1e-12)
        scores: NDArray[np.float64] = (values / self._scale).mean(axis=(0, 2))
        return scores


def _first_half(owners: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.bool_]:
    users, own = np.unique(owners, return_inverse=True)
    first = np.zeros(users.size, np.bool_)
    first[rng.permutation(users.size)[: (users.size + 1) // 2]] = True
    return first[own]
