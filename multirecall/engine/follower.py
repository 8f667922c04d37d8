"""Following a bundle that another process writes."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress

from multirecall.config import EngineConfig, config_hash
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.bundle import Version
from multirecall.engine.bundle.journal import JournalReader, Pruned
from multirecall.engine.bundle.store import Store, replay
from multirecall.engine.bundle.versions import CURRENT
from multirecall.engine.path import fault_text
from multirecall.engine.state import Blueprint, EngineState
from multirecall.engine.warmup import warm_up
from multirecall.engine.writer import Writer
from multirecall.errors import BundleError, MultirecallError, PluginError, RequestError
from multirecall.large_pages import load_into_large_pages

INTERVAL_S = 0.25
"""Seconds between two checks of the bundle, unless somebody waits for what it holds."""

Adopt = Callable[[Blueprint], None]
"""Makes a config that of the engine, right before its state is published."""

_log = logging.getLogger("multirecall.engine")


class Followed:
    """A bundle that another process writes, with the version that was read last.

    Args:
        store: the bundle; its `version` is the one that was read last.
        config: what was read from it, with the settings of all its parts.
        plugins, large_pages: as for `Engine.load`.
    """

    def __init__(
        self, store: Store, config: EngineConfig, plugins: Sequence[type] = (), large_pages: bool = False
    ) -> None:
        self.store = store
        self._config = config
        self._plugins = plugins
        self._large_pages = large_pages
        self._refused: tuple[bytes, MultirecallError] | None = None

    def newer(self, state: EngineState, adopt: Adopt) -> EngineState:
        """Like `newest`, but return at once if the writer has noted nothing new."""
        folder, version = self.store.folder, self.store.version
        with suppress(BundleError):  # `newest` handles it
            same = bundle.current_name(folder) == version.name
            if same and JournalReader(folder, version.bundle).noted == state.journal_seq:
                return state
        return self.newest(state, adopt)

    def newest(self, state: EngineState, adopt: Adopt) -> EngineState:
        """Return the state that the bundle holds now; it is `state` itself if nothing was written since.

        Args:
            state: the state that was read before.
            adopt: is given the config of a version that has another one, once the state is there.

        Raises:
            BundleError: the bundle is damaged.
            PluginError: a version of another config uses a plug-in that is unknown here.
            RequestError: `adopt` refuses the config.
        """
        folder, version, config = self.store.folder, self.store.version, self._config
        if bundle.current_name(folder) != version.name:
            config, state, version = self._reload()
        try:
            state = replay(state, JournalReader(folder, version.bundle))
        except BundleError as fault:
            written = bundle.headline(folder, bundle.current_name(folder), current=True)
            if not isinstance(fault, Pruned) and written.bundle == version.bundle:
                raise
            # the writer saved in between, or another bundle was put into the folder
            config, state, version = self._reload()
            state = replay(state, JournalReader(folder, version.bundle))
        if config_hash(config) != config_hash(self._config):  # as read, since an older release wrote fewer settings
            self._adopt(config, adopt)
        self.store.version = version
        return state

    def _adopt(self, config: EngineConfig, adopt: Adopt) -> None:
        try:
            adopt(Blueprint.of(config, stored=True))
        except RequestError as fault:
            self._refused = (self.store.folder / CURRENT).read_bytes(), fault
            raise
        self._config = config

    def _reload(self) -> tuple[EngineConfig, EngineState, Version]:
        pointer = (self.store.folder / CURRENT).read_bytes()
        if self._refused is not None and self._refused[0] == pointer:
            raise self._refused[1].with_traceback(None)  # a version never changes, and to load it takes long
        try:
            with load_into_large_pages(self._large_pages):
                config, state, version = bundle.load(self.store.folder, plugins=self._plugins)
        except PluginError as fault:
            self._refused = pointer, fault
            raise
        warm_up(state)
        return config, state, version


class Follower:
    """A daemon thread that keeps an engine up to date with its bundle, until it is closed or the engine is garbage."""

    def __init__(self, writer: Writer, followed: Followed) -> None:
        self._closed, self._due = threading.Event(), threading.Event()
        work = (weakref.ref(writer), followed, self._closed, self._due)
        threading.Thread(target=_follow, args=work, name="multirecall-follower", daemon=True).start()

    def look_now(self) -> None:
        """Check the bundle at once. The call does not wait for it."""
        self._due.set()

    def close(self) -> None:
        """Stop following."""
        self._closed.set()
        self._due.set()


def _follow(engine: weakref.ref[Writer], followed: Followed, closed: threading.Event, due: threading.Event) -> None:
    while True:
        due.wait(INTERVAL_S)
        due.clear()  # before the look, so that who asks during it gets another one
        if closed.is_set() or (writer := engine()) is None:
            return
        try:
            writer.advance(followed.newer)
            followed.store.fault = None
        except Exception as fault:  # noqa: BLE001 - what cannot be read now may be readable at the next look
            text = fault_text(fault)
            if text != followed.store.fault and not closed.is_set():
                _log.warning("cannot follow the bundle, the engine serves as before: %s", text)
            followed.store.fault = text
        del writer
