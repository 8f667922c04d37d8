"""What a deployment attaches to an engine: a source of history, observers, and variants with who chooses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from multirecall.config import EngineConfig
from multirecall.engine.feeds import Feeds
from multirecall.engine.lookup import Lookup, NoSource
from multirecall.engine.state import Blueprint
from multirecall.engine.variants import NoVariants, Variants
from multirecall.online import HistorySource, Observer, VariantChooser


class Attached:
    """The calls that attach something to an engine. Nothing of it is part of the config or of a bundle."""

    _blueprint: Blueprint

    def __init__(self) -> None:
        self._source = NoSource()
        self._variants = NoVariants()
        self._feeds = Feeds()

    def use_history(self, source: HistorySource | None) -> None:
        """Ask a source for users' newest events and features, from the next request on; None: ask nobody any more.

        They are merged with the stored history by time, in all calls that take users. The source has half of a
        request's deadline, and one second where there is none. If it is late or fails, the request is answered from
        what the engine holds, and `Candidates.store` says so. The source stays the caller's to close.
        """
        replaced, self._source = self._source, NoSource() if source is None else Lookup(source)
        replaced.close()

    def use_variants(self, chooser: VariantChooser | None, variants: Mapping[str, EngineConfig] | None = None) -> None:
        """Let some users have another fusion, from the next request on, as in an experiment; None: nobody any more.

        A variant is the fusion and segments of a config, with its weight, quota and `enabled` of each path, over the
        fitted paths that all users share: nothing is fitted, and no array is held twice. `Engine.trace(...).vary(...)`
        makes such a config, and any other of the same paths will do. A user gets what an engine of this config gives
        them, and `Candidates.variant` says so; all calls that take users heed it, `similar` does not.

        Args:
            chooser: decides for each user.
            variants: a config for each name that it may choose.

        Raises:
            RequestError: a config lacks one of the paths.
            ConfigError: a fusion is "auto", refuses its settings, or cannot do with these paths.
        """
        self._variants = NoVariants() if chooser is None else Variants(chooser, variants or {}, self._blueprint.names)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Show an observer each answer of `retrieve`, `retrieve_batch` and `similar` from now on; see `Observer`.

        Returns:
            A function that ends it. `close` does so too.
        """
        return partial(self._feeds.drop, self._feeds.add(observer))
