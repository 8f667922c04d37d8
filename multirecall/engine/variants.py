"""Variants of an engine: other fusions, weights and quotas over the same fitted paths, for the users that get them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.engine.fuse import FusionPlan, plan_of
from multirecall.engine.path import fault_text
from multirecall.engine.state import EngineState
from multirecall.engine.what_if import refuse_unknown
from multirecall.errors import ConfigError, RequestError
from multirecall.online import Request, VariantChooser
from multirecall.user import User
from multirecall.validation import AUTO
from multirecall.vocabulary import Id

_log = logging.getLogger("multirecall.engine")

Part = tuple[EngineState, NDArray[np.int64]]
"""What answers some of the users of a request, and their positions in it, int64 (n,)."""


@dataclass(frozen=True, slots=True)
class Interleaving:
    """A variant in which two fusions compete for each user: their lists are interleaved by team draft.

    `Candidates.draw.team` says which of the two drafted a candidate. `Engine.trace`, `Engine.explain` and
    `Candidates.features` know the first one only.

    Attributes:
        first: the config of the first fusion.
        second: the config of the second.
    """

    first: EngineConfig
    second: EngineConfig


Variant = EngineConfig | Interleaving
"""What a user may get in place of the engine's own settings."""


class NoVariants:
    """Stands where all users get what the engine serves."""

    def of(
        self, state: EngineState, user: Id | User, context: Mapping[str, Any] | None, request_id: str
    ) -> EngineState:
        """What answers a user."""
        return state

    def split(self, state: EngineState, request: Request) -> Sequence[Part]:
        """What answers several users."""
        return ((state, np.arange(len(request.users))),)

    def config_of(self, state: EngineState, own: EngineConfig) -> EngineConfig:
        """The config of a state that `of` gave; `own` is the engine's. Of two fusions, it is that of the first."""
        return own

    def teams_of(self, state: EngineState) -> tuple[EngineConfig, EngineConfig] | None:
        """The configs whose fusions are interleaved in a state that `of` gave, or None."""
        return None


class Variants(NoVariants):
    """Variants by name, and who decides which of them a user gets.

    Args:
        chooser: decides.
        variants: the variants.
        paths: the names of the engine's paths.

    Raises:
        RequestError: a config lacks one of the paths, or is none.
        ConfigError: a fusion is "auto", refuses its settings, or cannot do with these paths.
        PluginError: a fusion is unknown or broken.
    """

    def __init__(self, chooser: VariantChooser, variants: Mapping[str, Variant], paths: Sequence[str]) -> None:
        self._chooser = chooser
        self._configs: dict[str, tuple[EngineConfig, ...]] = {}
        self._fault: str | None = None
        self._plans_of = cache(self._make_plans)  # alike in all states, but after a fit that left a path out
        for name, variant in variants.items():
            configs = (variant.first, variant.second) if isinstance(variant, Interleaving) else (variant,)
            for config in configs:
                if not isinstance(name, str) or not isinstance(config, EngineConfig):
                    raise RequestError(
                        f"variants: {name!r} is a {type(config).__name__}; pass an EngineConfig for each name, or an "
                        "Interleaving of two"
                    )
                refuse_unknown(paths, [path.name for path in config.paths], f"variant {name!r}")
                if config.fusion.strategy == AUTO:
                    raise ConfigError(
                        f"variant {name!r}: its fusion is 'auto', which only a fit can learn; name a strategy"
                    )
            self._configs[name] = configs
            self._plans_of(name, tuple(paths))

    def of(
        self, state: EngineState, user: Id | User, context: Mapping[str, Any] | None, request_id: str
    ) -> EngineState:
        """What answers a user: the engine's own state, or one that differs from it by a variant."""
        name = self._name_of(user, context, request_id)
        if name is None:
            return state
        varied = state.varied.get((self, name))
        if varied is None:
            varied = state.varied[self, name] = _vary(
                state, name, self._configs[name], self._plans_of(name, state.names)
            )
        return varied

    def split(self, state: EngineState, request: Request) -> Sequence[Part]:
        """What answers several users: a part for each variant that one of them gets."""
        states = [
            self.of(state, user, request.context, request_id)
            for user, request_id in zip(request.users, request.ids, strict=True)
        ]
        distinct = {id(one): one for one in states} or {id(state): state}
        numbers = np.array([id(one) for one in states], np.uint64)
        return tuple((one, np.flatnonzero(numbers == key)) for key, one in distinct.items())

    def config_of(self, state: EngineState, own: EngineConfig) -> EngineConfig:
        """The config of a state that `of` gave; `own` is the engine's."""
        return own if state.variant is None else self._configs[state.variant][0]

    def teams_of(self, state: EngineState) -> tuple[EngineConfig, EngineConfig] | None:
        """The configs whose fusions are interleaved in a state that `of` gave, or None."""
        if state.variant is None or state.rivals is None:
            return None
        first, second = self._configs[state.variant]
        return first, second

    def _name_of(self, user: Id | User, context: Mapping[str, Any] | None, request_id: str) -> str | None:
        try:
            name = self._chooser.choose(user, context or {}, request_id)
            if name is not None and name not in self._configs:
                raise LookupError(f"it chose {name!r}, which is none of {', '.join(self._configs)}")
        except Exception as fault:  # noqa: BLE001 - an experiment must not fail a request
            if (text := fault_text(fault)) != self._fault:
                _log.warning("the chooser of variants failed, the engine's own settings serve: %s", text)
            self._fault = text
            return None
        return name

    def _make_plans(self, name: str, paths: tuple[str, ...]) -> tuple[FusionPlan, ...]:
        return tuple(plan_of(config, paths) for config in self._configs[name])


def _vary(state: EngineState, name: str, configs: Sequence[EngineConfig], plans: Sequence[FusionPlan]) -> EngineState:
    """The state of a variant: other segments, and the quota and `enabled` of each path in its config.

    Where two fusions are interleaved, a path is asked for what either of them uses.
    """
    by_name = [{path.name: path for path in config.paths} for config in configs]
    left_out = f"the variant {name!r} does without it"
    paths = tuple(
        replace(
            path,
            quota=max(own[path.name].quota for own in by_name),
            required=path.required and any(own[path.name].enabled for own in by_name),
            dropped=None if any(own[path.name].enabled for own in by_name) else left_out,
        )
        for path in state.paths
    )
    windows = [plan.windows(state.data.n_items) for plan in plans]
    return replace(
        state,
        paths=paths,
        segments=plans[0].segments,
        windows=tuple(map(max, zip(*windows, strict=True))),
        learned=None,
        variant=name,
        rivals=(plans[0], plans[1]) if len(plans) == 2 else None,
    )
