"""The writer of an engine: it makes live changes durable and visible, one group at a time, and runs refits."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import sleep

from multirecall.config import EngineConfig
from multirecall.data import Change
from multirecall.engine.bundle import bundle, erasure
from multirecall.engine.bundle.store import Store
from multirecall.engine.fitting import fit_engine
from multirecall.engine.health import RefitHealth, StoreHealth, ToForget
from multirecall.engine.learned import Learned
from multirecall.engine.live import apply_changes
from multirecall.engine.path import fault_text
from multirecall.engine.state import Blueprint, EngineState
from multirecall.engine.warmup import warm_up
from multirecall.errors import BundleError, NotFitted, RequestError
from multirecall.progress import SILENT

GATHER_STEPS, GATHER_S = 5, 2e-4
"""How often, and for how many seconds each time, a group waits for more threads: far less than the disk takes."""

_log = logging.getLogger("multirecall.engine")


def _interrupted() -> Exception:
    return BundleError(
        "the thread that wrote this change was interrupted, so the change may be stored or not; "
        "look up what it changed, and send it again only if it is missing"
    )


@dataclass(slots=True, eq=False)
class Ticket:
    """A change that waits for its turn. Until its outcome is known, its fault is that of an interrupt.

    `found` is the number of events or users that it took back.
    """

    change: Change
    found: int = 0
    done: bool = False
    fault: Exception | None = field(default_factory=_interrupted)


class Writer:
    """Changes the state that an engine serves. Readers take no lock: they see one assignment.

    Group commit (DeWitt et al., SIGMOD 1984): one of the threads that wait writes the changes of all. A group
    shares one transaction of the journal and one new state. Where threads write again and again, the next group waits a
    moment for those of the last one; a thread that writes alone never waits.

    Attributes:
        store: the bundle that changes are journaled in, or None.
        said: whether the caller knows that without a bundle changes stay in memory.
    """

    def __init__(
        self,
        current: Callable[[], EngineState],
        publish: Callable[[EngineState | None], None],
        adopt: Callable[[Blueprint], None],
    ) -> None:
        """How to reach what is served.

        Args:
            current: gives the state that is served, or raises `NotFitted`.
            publish: replaces it.
            adopt: makes the config of a refit that of the engine, right before its state is published.
        """
        self.store: Store | None = None
        self.said = False
        self._current = current
        self._publish = publish
        self._adopt = adopt
        self._turn = threading.RLock()
        self._waiting: deque[Ticket] = deque()
        self._gate = threading.Condition(threading.Lock())
        self._is_led = False
        self._crowd = 1
        self._missed: dict[int, list[Change]] | None = None
        self._refit: Future[None] | None = None
        self._refits = 0
        self._refit_fault: str | None = None
        self._saving = threading.Lock()

    def commit(self, change: Change) -> int:
        """Apply and journal a change. On return requests see it, and it is durable if the engine was ever saved.

        Returns:
            The number of events or users that it took back.

        Raises:
            DataError: a retriever refuses it, or it does not fit the data; nothing has changed.
            BundleError: the journal cannot be written, or another writer holds the bundle; nothing has changed.
        """
        ticket = Ticket(change)
        leads = False
        try:
            with self._gate:
                self._waiting.append(ticket)
                self._gate.wait_for(lambda: ticket.done or not self._is_led)
                if not ticket.done:
                    leads = self._is_led = True
            if leads:
                self._gather()
                with self._turn:
                    self._commit([self._waiting.popleft() for _ in range(len(self._waiting))])
        finally:
            if leads:
                with self._gate:
                    self._is_led = False
                    self._gate.notify_all()
        fault, ticket.fault = ticket.fault, None
        if fault is not None:
            try:
                raise fault
            finally:
                del fault  # the exception holds this frame, and the cycle would keep retired states alive
        return ticket.found

    def hold(self) -> None:
        """Become the bundle's writer, and serve what others have journaled; raises `BundleError`."""
        with self._turn:
            self._write([])

    def serve(self, state: EngineState) -> None:
        """Serve a state that belongs to no bundle in place of all that was served. A running refit is dropped."""
        with self._saving, self._turn:
            with suppress(NotFitted):
                state = replace(state, data_version=self._current().data_version + 1)
            self._replace(state)

    def close(self) -> None:
        """Wait for a running save, then stop serving and release the bundle. A running refit is dropped."""
        with self._saving, self._turn:
            self._replace(None)

    def save(self, config: Callable[[], EngineConfig], folder: Path) -> None:
        """Save the served state. The first folder becomes the engine's own; any other folder gets a copy.

        Args:
            config: gives the config of what is served.
            folder: the bundle.

        Raises:
            BundleError: the folder holds something else, cannot be written, or has another writer.
        """
        with self._saving:
            if self.store is None:
                self._settle(config, folder)
            elif self.store.folder == folder.resolve():
                with self._turn:
                    self.hold()
                    state, own = self._current(), config()
                version = bundle.save(state, own, self.store.folder)
                with self._turn:
                    self.store.note_version(version)
                    self._note_forgotten(state)
            else:
                with self._turn:
                    state, own = self._current(), config()
                copy, _ = Store.create(state, own, folder)
                copy.close()

    def refresh(
        self, blueprint: Blueprint, prior: Callable[[Learned | None], Learned | None], *, join: bool = True
    ) -> Future[None]:
        """Fit on all data, on a thread of its own, and serve the result after the changes that came meanwhile.

        Args:
            blueprint: the config.
            prior: of what the fit before has learned, what this one goes by.
            join: whether a refit that runs already will do.

        Raises:
            RequestError: a refit runs already, without `join`; or as `prior`.
        """
        with self._turn:
            if self._missed is not None and not join:
                raise RequestError("refresh: a refit runs already; wait for its result, then refit again")
            if self._missed is None:
                refit: Future[None] = Future()
                refit.set_running_or_notify_cancel()  # from here on it cannot be cancelled
                missed: dict[int, list[Change]] = {}
                before = self._current()
                work = (blueprint, before, prior(before.learned), missed, refit)
                threading.Thread(target=self._refresh, args=work, name="multirecall-refresh", daemon=True).start()
                self._refit, self._missed = refit, missed
            assert self._refit is not None
            return self._refit

    def advance(self, newest: Callable[[EngineState, Callable[[Blueprint], None]], EngineState]) -> None:
        """Serve the state that `newest` returns for the served one, if it differs; raises as `newest` does.

        `newest` is also given what to call with the config of that state, if it is another one.
        """
        with self._turn:
            before = self._current()
            state = newest(before, self._adopt)
            if state is not before:
                self._publish(state)

    def store_health(self, state: EngineState) -> StoreHealth | None:
        """The health of the engine's bundle, or None if it was never saved."""
        store = self.store
        if store is None:
            return None
        unsaved = state.journal_seq - store.version.journal_seq
        to_forget: ToForget = (
            "refresh" if state.forgetting else "save" if state.forgot or erasure.is_due(store.folder) else None
        )
        return StoreHealth(
            str(store.folder), store.version.name, store.held, state.journal_seq, unsaved, to_forget, store.fault
        )

    @property
    def refit_health(self) -> RefitHealth:
        """The health of the last refit."""
        return RefitHealth(self._missed is not None, self._refits, self._refit_fault)

    def _replace(self, state: EngineState | None) -> None:
        self._missed = None
        if self.store is not None:
            self.store.close()
            self.store = None
        self._publish(state)

    def _gather(self) -> None:
        """Wait a moment for the threads whose changes the last group had: they are about to bring the next ones."""
        for _ in range(GATHER_STEPS):
            if len(self._waiting) >= self._crowd:
                break
            sleep(GATHER_S)
        self._crowd = len(self._waiting)

    def _commit(self, group: list[Ticket]) -> None:
        try:
            found = self._write([ticket.change for ticket in group])
        except Exception as fault:  # noqa: BLE001 - the thread that waits must learn of it
            if len(group) == 1:
                group[0].fault = fault
            else:  # perhaps only one of them is at fault
                for ticket in group:
                    self._commit([ticket])
        else:
            for ticket in group:
                ticket.found = found.get(ticket.change, 0)
                ticket.fault = None
        finally:
            for ticket in group:
                ticket.done = True
            self._crowd = len(group) + len(self._waiting)

    def _write(self, changes: list[Change]) -> dict[Change, int]:
        """Apply and journal changes, and serve the new state; changes that others journaled go first.

        Each change is applied before it is journaled. So a change that cannot be applied never reaches the journal.

        Returns:
            For each change that takes events back, the number that it found.
        """
        found: dict[Change, int] = {}
        before = self._current()
        seq = before.journal_seq
        theirs = self.store.hold(seq) if self.store is not None else []
        due = [*theirs, *changes]
        if not due:
            return found
        state = apply_changes(apply_changes(before, theirs), changes, found, committing=True)
        if self.store is not None:
            seq = self.store.append(changes)
        elif not self.said:
            self.said = True
            _log.warning("live changes stay in memory, since the engine was never saved; save(folder) keeps them")
        if self._missed is not None:
            self._missed[before.data_version] = (
                due  # keyed by version, so that after an interrupt each group counts once
            )
        self._publish(replace(state, journal_seq=seq))
        return found

    def _note_forgotten(self, saved: EngineState) -> None:
        """Note that the bundle has erased, or will erase at its next save, what `saved` was fitted without."""
        now = self._current()
        if saved.forgot and now.forgot == saved.forgot:
            self._publish(replace(now, forgot=0))

    def _settle(self, config: Callable[[], EngineConfig], folder: Path) -> None:
        """Save for the first time. Live changes wait, because none may come between the version and its journal."""
        with self._turn:
            store, state = Store.create(self._current(), config(), folder)
            self._publish(state)
            self.store = store
            self._note_forgotten(state)

    def _refresh(
        self,
        blueprint: Blueprint,
        before: EngineState,
        prior: Learned | None,
        missed: dict[int, list[Change]],
        refit: Future[None],
    ) -> None:
        try:
            state = fit_engine(blueprint, before.data.compact(), SILENT, prior)
            warm_up(state)
            forgot = before.forgetting or before.forgot > 0
            reached, early = self._since(before.data_version, missed)
            state = apply_changes(state, early)
            with self._turn:
                _, late = self._since(reached, missed)
                now = self._current()
                version = now.data_version + 1
                state = replace(
                    apply_changes(state, late),
                    data_version=version,
                    journal_seq=now.journal_seq,
                    forgot=version if forgot else 0,
                )
                self._adopt(blueprint)
                self._publish(state)
                self._missed = None
                self._refits += 1
                self._refit_fault = None
        except BaseException as fault:  # noqa: BLE001 - the caller that waits for the refit must learn of it
            with self._turn:
                if self._missed is missed:
                    self._missed = None
                    self._refit_fault = fault_text(fault)
            _log.warning("the refit is not served, the engine goes on as it was: %s", fault)
            refit.set_exception(fault)
        else:
            refit.set_result(None)

    def _since(self, data_version: int, missed: dict[int, list[Change]]) -> tuple[int, list[Change]]:
        """The served data version and the changes that led to it; raises `NotFitted` if the engine was replaced."""
        with self._turn:
            if self._missed is not missed:
                raise NotFitted("the refit was dropped: the engine has been fitted, loaded or closed meanwhile")
            now = self._current().data_version
            led = [group for version, group in missed.items() if data_version <= version < now]
            return now, [change for group in led for change in group]
