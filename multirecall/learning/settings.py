"""Choosing the settings of a retriever that are "auto", on requests whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.bootstrap import Interval
from multirecall.learning.guard import HOLDS_UP
from multirecall.learning.hold_out import HeldOut
from multirecall.learning.judge import JUDGED, KS, gain_by_user
from multirecall.lists import RankedBatch
from multirecall.metrics import METRICS, user_metrics
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever, Trials
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
    tried: list[tuple[PluginConfig, NDArray[np.float64]]] = []
    first = _first_half(held_out.owners, rng)

    def score(config: PluginConfig, lists: RankedBatch) -> float:
        values = user_metrics(lists.offsets, lists.items, held_out.offsets, held_out.targets, KS)
        values = values[[METRICS.index(metric) for metric in JUDGED]]
        tried.append((config, values))
        means = tried[0][1].mean(axis=1, keepdims=True)
        return float((values / np.maximum(means, 1e-12)).mean(axis=(0, 2))[first].mean())

    retriever = plugin(settings)
    retriever.choose_settings(held_out.rest, Trials(queries, settings.free, KS[-1], score), rng=rng, progress=progress)
    priors = {name: settings.resolve().model_dump(mode="json")[name] for name in sorted(settings.free)}
    if not tried:
        return SettingsOutcome(priors, 0, None, False)
    means = np.maximum(tried[0][1].mean(axis=1, keepdims=True), 1e-12)
    scores = np.stack([(values / means).mean(axis=(0, 2)) for _, values in tried])
    best = int(np.argmax(scores[:, first].mean(axis=1)))
    if best == 0:
        return SettingsOutcome(priors, len(tried), None, False)
    gain = gain_by_user((scores[best] - scores[0])[~first], held_out.owners[~first])
    kept = gain_by_user((scores[best] - scores[0])[~first], held_out.owners[~first], level=HOLDS_UP).low > 0
    found = tried[best][0].model_dump(mode="json")
    chosen = {name: found[name] for name in sorted(settings.free)}
    return SettingsOutcome(chosen if kept else priors, len(tried), gain, kept)


def _first_half(owners: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.bool_]:
    users, own = np.unique(owners, return_inverse=True)
    first = np.zeros(users.size, np.bool_)
    first[rng.permutation(users.size)[: (users.size + 1) // 2]] = True
    return first[own]
