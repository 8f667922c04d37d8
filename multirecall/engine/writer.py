"""The writer of an engine: live changes made durable and visible, one group at a time, and the refit behind them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from multirecall.config import EngineConfig
from multirecall.data import Change
from multirecall.engine import bundle
from multirecall.engine.health import RefitHealth, StoreHealth
from multirecall.engine.live import applied
from multirecall.engine.path import fault_text
from multirecall.engine.state import Blueprint, EngineState, fitted
from multirecall.engine.store import Store
from multirecall.engine.warmup import warm_up
from multirecall.progress import SILENT

_log = logging.getLogger("multirecall.engine")


@dataclass(slots=True, eq=False)
class Ticket:
    """A change that waits for its turn."""

    change: Change
    done: bool = False
    fault: BaseException | None = None


class Writer:
    """Changes the state that an engine serves; readers take no lock and see one assignment.

    Changes that several threads hand in while one group is being written form the next group: they share one
    transaction of the journal and one new state.
    """

    def __init__(self, current: Callable[[], EngineState], publish: Callable[[EngineState], None]) -> None:
        """`current` gives the state that is served, `publish` replaces it."""
        self.store: Store | None = None
        self._current = current
        self._publish = publish
        self._turn = threading.RLock()
        self._waiting: deque[Ticket] = deque()
        self._missed: list[Change] | None = None
        self._refit: Future[None] | None = None
        self._refits = 0
        self._refit_fault: str | None = None
        self._saving = threading.Lock()
        self._said = False

    def commit(self, change: Change) -> None:
        """Journal and apply a change; on return it is durable, if the engine was ever saved, and seen by requests.

        Raises:
            BundleError: the journal cannot be written, or another writer holds the bundle; nothing has changed.
        """
        ticket = Ticket(change)
        self._waiting.append(ticket)
        with self._turn:
            if not ticket.done:
                self._commit_waiting()
        if ticket.fault is not None:
            raise ticket.fault

    def serve(self, state: EngineState) -> None:
        """Replace all that is served by a state that lives in no bundle; a refit under way is dropped."""
        with self._turn:
            self.close()
            self._publish(state)

    def save(self, config: EngineConfig, folder: Path) -> None:
        """Save what is served. The first folder becomes the engine's own; into any other goes a copy.

        Raises:
            BundleError: the folder holds something else, cannot be written, or has another writer.
        """
        with self._saving:
            if self.store is None:
                self._settle(config, folder)
            elif self.store.folder.resolve() == folder.resolve():
                with self._turn:
                    state = self.store.hold(self._current())
                    self._publish(state)
                version = bundle.save(state, config, folder)
                with self._turn:
                    self.store.saved_as(version)
            else:
                copy, _ = Store.founded(self._current(), config, folder)
                copy.close()

    def refresh(self, blueprint: Blueprint) -> Future[None]:
        """Fit anew on all data, on a thread of its own, and serve that once it has what changed meanwhile."""
        with self._turn:
            if self._refit is None or self._refit.done():
                self._refit, self._missed = Future(), []
                work = (blueprint, self._current(), self._missed, self._refit)
                threading.Thread(target=self._refresh, args=work, name="multirecall-refresh", daemon=True).start()
            return self._refit

    def advance(self, newest: Callable[[EngineState], EngineState]) -> None:
        """Serve what `newest` makes of what is served, if that is something else; raises as it does."""
        with self._turn:
            before = self._current()
            state = newest(before)
            if state is not before:
                self._publish(state)

    def close(self) -> None:
        """Let go of the bundle, and drop a refit under way."""
        with self._turn:
            self._missed = None
            if self.store is not None:
                self.store.close()
                self.store = None

    def store_health(self, state: EngineState) -> StoreHealth | None:
        """How the bundle fares that the engine lives in, or None."""
        store = self.store
        if store is None:
            return None
        unsaved = state.journal_seq - store.version.journal_seq
        return StoreHealth(str(store.folder), store.version.name, store.held, state.journal_seq, unsaved)

    @property
    def refit_health(self) -> RefitHealth:
        """How the last refit fares."""
        running = self._refit is not None and not self._refit.done()
        return RefitHealth(running, self._refits, self._refit_fault)

    def _commit_waiting(self) -> None:
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            self._write([ticket.change for ticket in group])
        except BaseException as fault:  # noqa: BLE001 - each thread of the group must learn of it
            for ticket in group:
                ticket.fault = fault
        finally:
            for ticket in group:
                ticket.done = True

    def _write(self, changes: list[Change]) -> None:
        state = self._current()
        journal_seq = state.journal_seq
        if self.store is not None:
            state = self.store.hold(state)
            journal_seq = self.store.append(changes)
        elif not self._said:
            self._said = True
            _log.warning("live changes stay in memory, since the engine was never saved; save(folder) keeps them")
        if self._missed is not None:
            self._missed.extend(changes)
        self._publish(replace(applied(state, changes), journal_seq=journal_seq))

    def _settle(self, config: EngineConfig, folder: Path) -> None:
        """Save for the first time; live changes wait, since none may come between the version and its journal."""
        with self._turn:
            store, state = Store.founded(self._current(), config, folder)
            self.store = store
            self._publish(state)

    def _refresh(self, blueprint: Blueprint, before: EngineState, missed: list[Change], refit: Future[None]) -> None:
        try:
            state = fitted(blueprint, before.data.refreshed(), SILENT)
            warm_up(state)
            with self._turn:
                early = missed[:]
            state = applied(state, early)
            with self._turn:
                if self._missed is missed:
                    late = applied(state, missed[len(early) :])
                    now = self._current()
                    self._publish(replace(late, data_version=now.data_version + 1, journal_seq=now.journal_seq))
                    self._missed = None
                    self._refits += 1
                else:
                    _log.warning("the refit was dropped: the engine has been fitted, loaded or closed meanwhile")
        except BaseException as fault:  # noqa: BLE001 - whoever waits for the refit must learn of it
            self._refit_fault = fault_text(fault)
            _log.warning("the refit failed, the engine serves as before: %s", fault)
            refit.set_exception(fault)
        else:
            self._refit_fault = None
            refit.set_result(None)
