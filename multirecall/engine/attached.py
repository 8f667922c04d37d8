"""What a deployment attaches to an engine: a source of history, observers, variants, exploration, adaptive width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from multirecall.config import EngineConfig
from multirecall.engine.feeds import Feeds
from multirecall.engine.lookup import Lookup, NoSource
from multirecall.engine.state import Blueprint, EngineState
from multirecall.engine.variants import NoVariants, Part, Variant, Variants
from multirecall.engine.width import AdaptiveWidth, FullWidth, WidthControl
from multirecall.errors import ConfigError, RequestError
from multirecall.online import Exploration, HistorySource, Observer, Request, VariantChooser
from multirecall.user import User
from multirecall.validation import nearest
from multirecall.vocabulary import Id


class Attached:
    """The calls that attach something to an engine. Nothing of it is part of the config or of a bundle."""

    config: EngineConfig
    _blueprint: Blueprint

    def __init__(self) -> None:
        self._source = NoSource()
        self._variants = NoVariants()
        self._exploration: Exploration | None = None
        self._width = FullWidth()
        self._feeds = Feeds()

    def use_history(self, source: HistorySource | None) -> None:
        """Ask a source for users' newest events and features, from the next request on; None: ask nobody any more.

        They are merged with the stored history by time, in all calls that take users. The source has half of a
        request's deadline, and one second where there is none. If it is late or fails, the request is answered from
        what the engine holds, and `Candidates.store` says so. The source stays the caller's to close.
        """
        replaced, self._source = self._source, NoSource() if source is None else Lookup(source)
        replaced.close()

    def use_variants(self, chooser: VariantChooser | None, variants: Mapping[str, Variant] | None = None) -> None:
        """Let some users have another fusion, from the next request on, as in an experiment; None: nobody any more.

        A variant is the fusion and segments of a config, with its weight, quota and `enabled` of each path, over the
        fitted paths that all users share: nothing is fitted, and no array is held twice. `Engine.trace(...).vary(...)`
        makes such a config, and any other of the same paths will do. A user gets what an engine of this config gives
        them, and `Candidates.variant` says so; all calls that take users heed it, `similar` does not.

        An `Interleaving` of two configs lets both fusions compete for each user.

        Args:
            chooser: decides for each user.
            variants: a config, or an `Interleaving`, for each name that it may choose.

        Raises:
            RequestError: a config lacks one of the paths.
            ConfigError: a fusion is "auto", refuses its settings, or cannot do with these paths.
        """
        self._variants = NoVariants() if chooser is None else Variants(chooser, variants or {}, self._blueprint.names)

    def use_exploration(self, exploration: Exploration | None) -> None:
        """Draw the last slots of some answers by chance, from the next request on; None: of none any more.

        It lets a log of requests judge another fusion, which proposes what the present one would not. All calls that
        take users heed it, but for users whose variant is interleaved.

        Raises:
            RequestError: it is neither an `Exploration` nor None.
        """
        if not isinstance(exploration, Exploration | None):
            raise RequestError(f"use_exploration: got {exploration!r}; pass an Exploration, or None")
        self._exploration = exploration

    def use_adaptive_width(self, settings: AdaptiveWidth | None) -> None:
        """Shrink quotas and index effort step by step while answers are too slow; None: full width for all.

        `retrieve` heeds it, `Candidates.level` and `health().width` have the level, and the paths' `status` counts
        what is left.

        Raises:
            RequestError: it is neither an `AdaptiveWidth` nor None.
            ConfigError: no path has the name of one that it spares.
        """
        if not isinstance(settings, AdaptiveWidth | None):
            raise RequestError(f"use_adaptive_width: got {settings!r}; pass an AdaptiveWidth, or None")
        names = self._blueprint.names
        if settings is not None and (unknown := next((one for one in settings.spare if one not in names), None)):
            raise ConfigError(f"width.spare: no path is named {unknown!r}; {nearest(unknown, names)}")
        self._width = FullWidth() if settings is None else WidthControl(settings, self.config.k)

    def note_refused(self, waited_ms: float) -> None:
        """Tell adaptive width of a request that waited so many milliseconds and was refused, so that it counts too."""
        self._width.note(0.0, waited_ms)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Show an observer each answer of `retrieve`, `retrieve_batch` and `similar` from now on; see `Observer`.

        Returns:
            A function that ends it. `close` does so too.
        """
        return partial(self._feeds.drop, self._feeds.add(observer))

    def _refuse_paths_beside_variants(self, paths: Sequence[str]) -> None:
        """Refuse other paths than those that the variants are made for; raises `RequestError`."""
        if isinstance(self._variants, Variants) and {*paths} != {*self._blueprint.names}:
            raise RequestError(
                f"the variants in use are made for {', '.join(self._blueprint.names)}, and the new config has "
                f"{', '.join(paths)}; end them with use_variants(None) first"
            )

    def _state_of(
        self, state: EngineState, user: Id | User, context: Mapping[str, Any] | None, request_id: str
    ) -> EngineState:
        """What answers a user, at full width."""
        return self._explored(self._variants.of(state, user, context, request_id))

    def _parts_of(self, state: EngineState, request: Request) -> list[Part]:
        """What answers the users of a batch, and their positions in it."""
        return [(self._explored(own), places) for own, places in self._variants.split(state, request)]

    def _explored(self, state: EngineState) -> EngineState:
        if self._exploration is None or state.rivals is not None:
            return state
        explored = state.varied.get((self._exploration, 0))
        if explored is None:
            explored = state.varied[self._exploration, 0] = replace(state, exploration=self._exploration)
        return explored
