"""Variants of an engine: other fusions, weights and quotas over the same fitted paths, for the users that get them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig
from multirecall.engine.path import fault_text
from multirecall.engine.segments import Segment, load_fusions, segments_of, windows_of
from multirecall.engine.state import EngineState
from multirecall.engine.what_if import refuse_unknown
from multirecall.errors import ConfigError, RequestError
from multirecall.online import VariantChooser
from multirecall.user import User
from multirecall.validation import AUTO
from multirecall.vocabulary import Id

_log = logging.getLogger("multirecall.engine")

Part = tuple[EngineState, NDArray[np.int64]]
"""What answers some of the users of a request, and their positions in it, int64 (n,)."""


class NoVariants:
    """Stands where all users get what the engine serves."""

    def of(self, state: EngineState, user: Id | User, context: Mapping[str, Any] | None) -> EngineState:
        """What answers a user."""
        return state

    def split(
        self, state: EngineState, users: Sequence[Id | User], context: Mapping[str, Any] | None
    ) -> Sequence[Part]:
        """What answers several users."""
        return ((state, np.arange(len(users))),)

    def config_of(self, state: EngineState, own: EngineConfig) -> EngineConfig:
        """The config of a state that `of` gave; `own` is the engine's."""
        return own


class Variants(NoVariants):
    """Variants by name, and who decides which of them a user gets.

    Args:
        chooser: decides.
        configs: the variants.
        paths: the names of the engine's paths.

    Raises:
        RequestError: a config lacks one of the paths, or is none.
        ConfigError: a fusion is "auto", refuses its settings, or cannot do with these paths.
        PluginError: a fusion is unknown or broken.
    """

    def __init__(self, chooser: VariantChooser, configs: Mapping[str, EngineConfig], paths: Sequence[str]) -> None:
        self._chooser, self._configs = chooser, dict(configs)
        self._fault: str | None = None
        self._segments_of = cache(self._make_segments)  # alike in all states, but after a fit that left a path out
        for name, config in self._configs.items():
            if not isinstance(name, str) or not isinstance(config, EngineConfig):
                raise RequestError(
                    f"variants: {name!r} is a {type(config).__name__}; pass an EngineConfig for each name"
                )
            refuse_unknown(paths, [path.name for path in config.paths], f"variant {name!r}")
            if config.fusion.strategy == AUTO:
                raise ConfigError(
                    f"variant {name!r}: its fusion is 'auto', which only a fit can learn; name a strategy"
                )
            self._segments_of(name, tuple(paths))

    def of(self, state: EngineState, user: Id | User, context: Mapping[str, Any] | None) -> EngineState:
        """What answers a user: the engine's own state, or one that differs from it by the config of a variant."""
        name = self._name_of(user, context)
        if name is None:
            return state
        varied = state.varied.get((self, name))
        if varied is None:
            varied = state.varied[self, name] = _vary(
                state, name, self._configs[name], self._segments_of(name, state.names)
            )
        return varied

    def split(
        self, state: EngineState, users: Sequence[Id | User], context: Mapping[str, Any] | None
    ) -> Sequence[Part]:
        """What answers several users: a part for each variant that one of them gets."""
        states = [self.of(state, user, context) for user in users]
        distinct = {id(one): one for one in states} or {id(state): state}
        numbers = np.array([id(one) for one in states], np.uint64)
        return tuple((one, np.flatnonzero(numbers == key)) for key, one in distinct.items())

    def config_of(self, state: EngineState, own: EngineConfig) -> EngineConfig:
        """The config of a state that `of` gave; `own` is the engine's."""
        return own if state.variant is None else self._configs[state.variant]

    def _name_of(self, user: Id | User, context: Mapping[str, Any] | None) -> str | None:
        try:
            name = self._chooser.choose(user, context or {})
            if name is not None and name not in self._configs:
                raise LookupError(f"it chose {name!r}, which is none of {', '.join(self._configs)}")
        except Exception as fault:  # noqa: BLE001 - an experiment must not fail a request
            if (text := fault_text(fault)) != self._fault:
                _log.warning("the chooser of variants failed, the engine's own settings serve: %s", text)
            self._fault = text
            return None
        return name

    def _make_segments(self, name: str, paths: tuple[str, ...]) -> tuple[Segment, ...]:
        config = self._configs[name]
        return segments_of(config, load_fusions(config, stored=True), paths)


def _vary(state: EngineState, name: str, config: EngineConfig, segments: tuple[Segment, ...]) -> EngineState:
    """The state of a variant: other segments, and the quota and `enabled` of each path in its config."""
    by_name = {path.name: path for path in config.paths}
    left_out = f"the variant {name!r} does without it"
    paths = tuple(
        replace(
            path,
            quota=by_name[path.name].quota,
            required=path.required and by_name[path.name].enabled,
            dropped=None if by_name[path.name].enabled else left_out,
        )
        for path in state.paths
    )
    windows = windows_of(segments, paths, state.data)
    return replace(state, paths=paths, segments=segments, windows=windows, learned=None, variant=name)
