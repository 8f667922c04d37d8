"""An engine whose paths stand in shards: the calls of `Engine`, answered by several processes or machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Self

from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.engine import Engine
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.journal import JournalReader
from multirecall.engine.bundle.store import Store
from multirecall.engine.fitting import Refusion
from multirecall.engine.follower import Followed
from multirecall.engine.health import Health
from multirecall.engine.state import EngineState, Part
from multirecall.errors import BundleError, RequestError
from multirecall.progress import Progress
from multirecall.protocols import Retriever
from multirecall.scaleout.health import ShardHealth, shard_healths, with_shards
from multirecall.scaleout.layout import Layout
from multirecall.scaleout.ray_replicas import start_replicas
from multirecall.scaleout.replicas import Replica, Replicas
from multirecall.scaleout.shards import Shards
from multirecall.scaleout.stand_in import FIT_ANEW, stand_in
from multirecall.storage import read_manifest

LOADING_S = 600.0
"""Seconds that replicas have to load their bundles."""


class ShardedEngine(Engine):
    """An engine whose paths stand in shards, which `shard_bundle` made; open one with `connect`.

    A request is read here, goes to one replica of each shard, and is fused here, so that an answer is that of the
    engine that was sharded. What a shard does not deliver in time is missing: the path is then `partial` in
    `status`, which names the shard. Live changes are journaled here and reach every replica before the call returns.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        """An engine without shards, which serves nothing; `connect` makes one that does."""
        self._replicas = Replicas(())
        self._end: Callable[[], None] = lambda: None
        super().__init__(config)

    @classmethod
    def load(cls, folder: str | Path, **_: Any) -> NoReturn:
        """Raise `RequestError`: `connect` opens a sharded bundle, `Engine.load` any other."""
        raise RequestError(f"load: open {folder} with ShardedEngine.connect if it is sharded, else with Engine.load")

    @classmethod
    def connect(
        cls,
        folder: str | Path,
        *,
        replicas: int = 2,
        ray: str | None = None,
        cpus: float = 1.0,
        threads: int = 4,
        follow: bool = False,
        plugins: Iterable[type] = (),
    ) -> Self:
        """Start the replicas of all shards as Ray actors, and open the engine over them.

        A replica whose process or node dies is started again by Ray, loads its bundle and catches up with the live
        changes before it serves. Replicas of one shard stand on different nodes where the cluster has enough. They end
        when this engine is closed.

        Args:
            folder: the sharded bundle; every node finds it at this path.
            replicas: the number of replicas of each shard.
            ray: the address of a cluster, as for `ray.init`; None: the one that this process has joined, or Ray on
                this machine alone.
            cpus: the CPUs that Ray reserves for a replica.
            threads: the requests that a replica answers at once.
            follow: whether another process writes the bundle, which is followed as by `Engine.load`.
            plugins: as for `Engine.load`; their modules are imported on every node.

        Raises:
            BundleError: not a sharded bundle, or damaged.
            MissingExtra: Ray is not installed; it is the extra `ray`.
            RequestError: `replicas` or `threads` is no whole number > 0, or the cluster has no room for the replicas.
        """
        for name, value in (("replicas", replicas), ("threads", threads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RequestError(f"connect: {name} must be a whole number > 0, got {value!r}")
        classes = tuple(plugins)
        layout = Layout.read(Path(folder))
        started, end = start_replicas(Path(folder), layout, replicas, ray, cpus, threads, classes)
        return cls.over(folder, started, follow=follow, plugins=classes, end=end)

    @classmethod
    def over(
        cls,
        folder: str | Path,
        shards: Sequence[Sequence[Replica]],
        *,
        follow: bool = False,
        plugins: Sequence[type] = (),
        end: Callable[[], None] = lambda: None,
    ) -> Self:
        """Open the engine over replicas that are started already: those of each shard. It closes them with itself.

        Args:
            folder: the sharded bundle.
            shards: the replicas of each shard.
            follow: as in `connect`.
            plugins: as in `connect`.
            end: called once the replicas are closed.

        Raises as `connect`.
        """
        folder, replicas = Path(folder), Replicas(shards)
        try:
            layout = Layout.read(folder)
            replicas.start(LOADING_S)
            paths = Shards(layout, replicas)

            def stand(name: str, part: Part, data: Dataset) -> Retriever:
                return stand_in(name, part.plugin, paths, data)

            config, state, version = bundle.load(folder, plugins=plugins, stand_in=stand)
            if read_manifest(folder / version.name)["sha256"] != layout.client:
                raise BundleError(
                    f"{folder}: its version {version.name} is not what was sharded; shard the bundle again"
                )
            engine = cls(config)
            engine._replicas, engine._end = replicas, end
            replicas.follow(JournalReader(folder, version.bundle).since)
            engine._serve(replace(state, paths=tuple(replace(path, elsewhere=paths) for path in state.paths)))
            engine._keep_up(Followed(Store(folder, version), config, plugins), follow)
        except BaseException:
            replicas.close()
            end()
            raise
        return engine

    def fit(self, data: Dataset, *, progress: Progress | None = None) -> NoReturn:
        """Raise `RequestError`: a fit needs the whole."""
        raise RequestError(f"fit: this engine is sharded; {FIT_ANEW}")

    def refresh(self, config: EngineConfig | None = None, *, fusion: Refusion | None = None) -> Future[None]:
        """Raise `RequestError`: a fit needs the whole."""
        raise RequestError(f"refresh: this engine is sharded; {FIT_ANEW}")

    def save(self, folder: str | Path) -> NoReturn:
        """Raise `RequestError`: a bundle holds the whole, and live changes are journaled already."""
        raise RequestError(f"save: this engine is sharded, and its live changes are journaled already; {FIT_ANEW}")

    def health(self) -> Health:
        """As `Engine.health`; a path has the memory of its parts, and the trouble of any, as `shard_health` tells."""
        return with_shards(super().health(), self.shard_health())

    def shard_health(self) -> tuple[ShardHealth, ...]:
        """The health of each replica of each shard now; those that do not answer within a second say so."""
        return shard_healths(self._replicas)

    def close(self) -> None:
        """Stop serving, as `Engine.close` does, and end the replicas."""
        super().close()
        self._replicas.close()
        self._end()

    def _publish(self, state: EngineState | None) -> None:
        """Let the replicas apply the changes first, so that a request finds shards that are no older than its state."""
        if state is not None:
            self._replicas.advance(state.journal_seq)
        super()._publish(state)
