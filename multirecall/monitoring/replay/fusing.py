"""Fusing logged requests again: as they were, and under another config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.engine.backfill import append
from multirecall.engine.fuse import FusionPlan, plan_of
from multirecall.engine.merge import Merging
from multirecall.errors import ConfigError, RequestError
from multirecall.lists import FusedBatch
from multirecall.monitoring.replay.groups import Group
from multirecall.monitoring.request_log.parts import flat
from multirecall.monitoring.request_log.table_reader import LoggedConfig
from multirecall.plugins import match_names
from multirecall.query import Query
from multirecall.query_batch import eligible_in_lists
from multirecall.topk import NO_ROWS
from multirecall.validation import AUTO, validate

NO_WEIGHTS = np.empty(0, np.float32)


class AsItWas:
    """Fuses requests as the log says that they were fused.

    Args:
        plugins: fusion classes that a logged config may name.
    """

    def __init__(self, plugins: Sequence[type] = ()) -> None:
        self._plugins = plugins
        self._plans: dict[str, tuple[FusionPlan, ...]] = {}

    def plans(self, group: Group) -> tuple[FusionPlan, ...]:
        """The fusion, or the two that were interleaved; raises as `plan_of`."""
        if group.digest not in self._plans:
            self._plans[group.digest] = _plans_of(group.config, self._plugins)
        plans = self._plans[group.digest]
        return plans if len(plans) == 2 else (replace(plans[0], quotas=list(group.quotas)),)

    def fuse(self, group: Group) -> FusedBatch | None:
        """The answers, or None where the log does not say enough: two fusions interleaved at less than full width.

        Raises:
            PluginError: a fusion is unknown, or a class that is not among the plug-ins.
            ConfigError: a fusion refuses its settings.
        """
        plans = self.plans(group)
        if len(plans) == 2 and group.level:
            return None
        rivals = (plans[0], plans[1]) if len(plans) == 2 else None
        merging = Merging(plans[0], rivals, group.config.exploration)
        merged, _ = merging.merge_batch(group.lists, group.lengths, group.k, group.frame["id"].to_list())
        return fill_up(group, merged)[0]

    def everything(self, group: Group) -> FusedBatch:
        """The whole fused lists, from which explored slots are drawn."""
        (plan,) = self.plans(group)
        proposed = np.sum([np.diff(batch.offsets) for batch in group.lists], axis=0)
        return plan.fuse_batch(group.lists, group.lengths, max(group.k, int(proposed.max())))


@dataclass(slots=True)
class Unknown:
    """What a log cannot tell about another config, in requests.

    Attributes:
        cut: by path, requests whose list ended at the logged window, where the config would ask for more.
        unasked: by path, requests in which the path was not asked, since the config that answered did without it.
        short: requests with fewer candidates than were asked for, because the logged backfill does not suffice.
    """

    cut: Counter[str] = field(default_factory=Counter)
    unasked: Counter[str] = field(default_factory=Counter)
    short: int = 0


class Otherwise:
    """Fuses requests under another config, without exploration.

    Args:
        config: the config; paths of the log that it lacks, or disables, count as not there.

    Raises:
        ConfigError: its fusion is "auto", or refuses its settings.
        PluginError: a fusion is unknown or broken.
    """

    def __init__(self, config: EngineConfig) -> None:
        if config.fusion.strategy == AUTO:
            raise ConfigError("config: the fusion is 'auto', which only a fit can learn; name a strategy")
        self.names = tuple(path.name for path in config.paths if path.enabled)
        self.plan = plan_of(config, self.names)
        self.unknown = Unknown()
        self._windows = cache(self.plan.windows)

    def fuse(self, group: Group) -> FusedBatch:
        """The answers.

        Raises:
            RequestError: the log lacks a path of the config.
        """
        absent = [name for name in self.names if name not in group.config.paths]
        if absent:
            raise RequestError(
                f"config: the log lacks path {absent[0]!r}, so it cannot tell what it would have proposed; "
                f"disable it, or use those of the log: {', '.join(group.config.paths)}"
            )
        places = [group.config.paths.index(name) for name in self.names]
        self._count(group, places)
        fused = self.plan.fuse_batch([group.lists[place] for place in places], group.lengths, group.k)
        final, missing = fill_up(group, fused)
        self.unknown.short += int((missing > 0).sum())
        return final

    def _count(self, group: Group, places: Sequence[int]) -> None:
        """Count what the lists of a group do not tell."""
        wanted = self._windows(int(group.frame["n_items"].max()))  # type: ignore[arg-type]
        for name, place, window in zip(self.names, places, wanted, strict=True):
            lengths, own = np.diff(group.lists[place].offsets), group.windows[:, place]
            self.unknown.cut[name] += int(((lengths == own) & (window > own)).sum())
            self.unknown.unasked[name] += int((group.states[place] == "dropped").sum())


def fill_up(group: Group, fused: FusedBatch) -> tuple[FusedBatch, NDArray[np.int64]]:
    """Fused lists without excluded items, and with the logged backfill where they are short.

    Returns:
        The lists, and how many candidates each lacks of those that were answered at most, int64 (n,).
    """
    bounds, excluded = flat(group.frame["excluded"])
    rows = [excluded[bounds[one] : bounds[one + 1]] for one in range(len(group))]
    queries = [Query(-1, NO_ROWS, NO_WEIGHTS, exclude=own) for own in rows]
    fused = fused.keep(eligible_in_lists(queries, fused.offsets, fused.items))
    backfilled, stops = group.backfilled, group.answer.offsets[1:]
    short = np.flatnonzero((np.diff(fused.offsets) < group.k) & (backfilled > 0))
    if short.size:
        full = []
        for user in short.tolist():
            own, added = fused[user], group.answer.items[stops[user] - backfilled[user] : stops[user]]
            full.append(append(own, added[~np.isin(added, own.items)][: group.k - len(own)]))
        fused = fused.replace(short, FusedBatch.from_lists(full))
    most = np.minimum(group.k, np.diff(group.answer.offsets))
    return fused, np.maximum(most - np.diff(fused.offsets), 0)


def equal(group: Group, fused: FusedBatch) -> NDArray[np.bool_]:
    """Whether each answer equals the logged one, items, scores and ranks, to the byte. bool (n,)."""
    logged = group.answer
    same: NDArray[np.bool_] = np.diff(fused.offsets) == np.diff(logged.offsets)
    for place in np.flatnonzero(same).tolist():
        ours, theirs = fused[place], logged[place]
        same[place] = (
            ours.items.tobytes() == theirs.items.tobytes()
            and ours.scores.tobytes() == theirs.scores.tobytes()
            and ours.ranks.tobytes() == theirs.ranks.tobytes()
        )
    return same


def _plans_of(config: LoggedConfig, plugins: Sequence[type]) -> tuple[FusionPlan, ...]:
    plans = []
    for values in config.teams or (config.values,):
        read = validate(EngineConfig, values, "the log", stored=True)
        read = read.with_classes(match_names(read.bare_classes, plugins))
        plans.append(plan_of(read, config.paths))
    return tuple(plans)
