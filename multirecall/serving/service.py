"""What the routes of a service share: the engine, the settings, the keys, and the threads that compute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from multirecall.engine import Engine
from multirecall.errors import NotFitted
from multirecall.serving.crew import Membership
from multirecall.serving.exchange import Exchange
from multirecall.serving.explorer.sessions import Sessions
from multirecall.serving.fields import FieldReader
from multirecall.serving.keys import KeyRing
from multirecall.serving.monitors import Monitors
from multirecall.serving.settings import ServeSettings
from multirecall.serving.store import open_store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refit:
    """The last fit that a request began, and its save.

    Attributes:
        state: how far it came.
        fault: why it failed, or None.
    """

    state: Literal["none", "running", "ok", "failed"] = "none"
    fault: str | None = None


class Service:
    """An engine with the settings of its deployment.

    Attributes:
        engine: answers.
        settings: of the deployment.
        keys: of the deployment.
        sessions: of people who use the explorer.
        store: the store of the deployment, or None.
        fields: reads item features, from the store as well.
        monitors: what watches the engine.
        membership: what this process has from the workers of its deployment.
        secret: random bytes that all workers of a deployment share, made anew at each start; they sign sessions.
        refit: the last fit that a request began here.
        observers: called on the event loop with each exchange once it is answered; they must be quick and not raise.
    """

    def __init__(
        self, engine_or_bundle: Engine | str | Path, settings: ServeSettings, membership: Membership | None = None
    ) -> None:
        self.settings = settings
        self.membership = membership or Membership()
        self.secret = self.membership.secret
        self.keys = KeyRing(settings.keys)
        self.sessions = Sessions(self.secret, self.keys)
        self.refit = Refit()
        self.observers: list[Callable[[Exchange], None]] = []
        self._owns_engine = not isinstance(engine_or_bundle, Engine)
        self.engine = (
            engine_or_bundle
            if isinstance(engine_or_bundle, Engine)
            else Engine.load(engine_or_bundle, follow=not settings.writable, large_pages=settings.large_pages)
        )
        self.store = open_store(settings.store)
        if self.store is not None:
            self.engine.use_history(self.store)
        self.monitors = Monitors(self.engine, settings)
        self.fields = FieldReader(self.store, settings.store.item_fields)
        self._readers = ThreadPoolExecutor(settings.limits.threads, "multirecall-read")
        # Changes take turns and wait for the disk. In threads of their own they cannot keep requests waiting.
        self._writers = ThreadPoolExecutor(2, "multirecall-write")

    @property
    def writes(self) -> bool:
        """Whether this process changes the data itself."""
        return self.settings.writable and not self.membership.forwards

    async def read(self, work: Callable[..., T], *args: object) -> T:
        """The result of `work`, which asks the engine, from a thread."""
        return await _run(self._readers, work, *args)

    async def write(self, work: Callable[..., T], *args: object) -> T:
        """The result of `work`, which changes the engine, from a thread."""
        return await _run(self._writers, work, *args)

    def close(self) -> None:
        """End the threads, and close the engine if it was loaded here. What waits for a thread is dropped."""
        for pool in (self._readers, self._writers):
            pool.shutdown(wait=False, cancel_futures=True)
        self.monitors.close()
        if self._owns_engine:
            self.engine.close()
        self.fields.close()
        if self.store is not None:
            self.engine.use_history(None)
            self.store.close()


async def _run(pool: ThreadPoolExecutor, work: Callable[..., T], *args: object) -> T:
    try:
        future = pool.submit(work, *args)
    except RuntimeError:  # the pool was closed meanwhile
        raise NotFitted("the service shuts down; ask another one") from None
    return await asyncio.wrap_future(future)
