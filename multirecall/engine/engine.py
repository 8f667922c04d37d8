"""The engine: what fits, changes, saves and closes it; its requests are in `answering.py`."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NoReturn, Self

from multirecall.config import EngineConfig, config_hash, import_classes
from multirecall.data import ChangeKind, Dataset
from multirecall.data.read_change import read_change
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.salvage import Salvaged, salvage_bundle
from multirecall.engine.bundle.store import Store
from multirecall.engine.follower import Followed, Follower
from multirecall.engine.health import CacheHealth, Health, health_of
from multirecall.engine.reader import EngineReader
from multirecall.engine.state import EngineState, fit_state
from multirecall.engine.warmup import warm_up
from multirecall.engine.writer import Writer
from multirecall.errors import BundleError, ConfigError, PluginError, RequestError
from multirecall.progress import SILENT, Progress, terminal_progress
from multirecall.vocabulary import Id


class Engine(EngineReader):
    """Several recall paths behind one call.

    Any number of threads may call it: requests read one immutable state, which `fit` and every live change replace
    by one assignment; writers take turns.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        """Load the plug-ins that the config names and check their settings.

        Raises:
            PluginError: a plug-in is unknown or broken.
            ConfigError: a setting is wrong.
        """
        super().__init__(config)
        self._writer = Writer(self._current, self._publish)
        self._follower: Follower | None = None

    @classmethod
    def from_toml(cls, file: str | Path) -> Self:
        """An engine from a configuration file; raises as the constructor, naming the file.

        Such a file is code: a retriever or fusion may be named as `module:Class`, whose module is then imported.
        """
        config = EngineConfig.from_toml(file)
        try:
            return cls(import_classes(config))
        except ConfigError as fault:
            raise ConfigError(f"{file}: {fault}") from None
        except PluginError as fault:
            raise PluginError(f"{file}: {fault}") from None

    def fit(self, data: Dataset, *, progress: Progress | None = None) -> Self:
        """Fit all paths and compile what requests need; a bar shows on a terminal.

        Raises:
            CannotFit: the data lack what a path of the config needs, or a library that it is fitted with is missing.
            ConfigError: the config's `[data]` differs from how the data were read.
            RequestError: this engine follows a bundle, or `data` is no dataset.
        """
        self._refuse_if_following("fit")
        if not isinstance(data, Dataset):
            raise RequestError(
                f"fit: got a {type(data).__name__}; make a Dataset with Dataset.from_frames or Dataset.load"
            )
        if self.config.data not in (data.config, type(self.config.data)()):
            raise ConfigError(
                "fit: the config's [data] section is not how this dataset was read; "
                "read it with Dataset.load(..., config=engine.config.data)"
            )
        if progress is None:
            with terminal_progress() as bars:
                return self.fit(data, progress=bars)
        self._serve(fit_state(self._blueprint, data, progress), progress)
        return self

    def add_interactions(self, interactions: Any) -> int:
        """Take new events: histories, what counts as seen, popularity counts and `user_cf` have them at once.

        Unknown users and items join. On return the events are durable, if the engine was ever saved.

        Args:
            interactions: a polars, pandas or pyarrow frame, or a list of dicts, with the columns of the log.

        Returns:
            How many events.

        Raises:
            DataError: names column, row and remedy; nothing has changed.
            IdTypeError: an id of the wrong type.
            BundleError: the journal cannot be written, or another writer holds the bundle; nothing has changed.
        """
        return self._change("add_interactions", interactions)

    def add_items(self, items: Any) -> int:
        """Take new items: `item_id` and features, as a frame or a list of dicts. Otherwise as `add_interactions`.

        They can be retrieved at once by the paths that read features. A known id is updated, a removed one revived.
        """
        return self._change("add_items", items)

    def update_items(self, items: Any) -> int:
        """Change features of known items; columns that are not given stay. Otherwise as `add_items`."""
        return self._change("update_items", items)

    def remove_items(self, ids: Iterable[Id]) -> int:
        """Never return these items again, from the moment the call returns. Otherwise as `add_items`.

        Their events go on counting for what they say about other items.
        """
        return self._change("remove_items", ids)

    def remove_interactions(self, interactions: Any) -> int:
        """Take events back: histories, what counts as seen, popularity and `user_cf` are at once as if they never were.

        Other paths learnt from them until `refresh`. Once the refit is saved, nothing of them is left in the bundle:
        not in its version, which is then the only one, and not in the journal.

        Args:
            interactions: a frame or a list of dicts with `user_id` and `item_id` and, where they are to tell events
                apart, `timestamp` and `position`; every event that equals a row in these is taken back.

        Returns:
            How many events were taken back; 0 where no row names one.

        Raises:
            As `add_interactions`.
        """
        return self._take_back("remove_interactions", interactions)

    def remove_users(self, ids: Any) -> int:
        """Forget users: their events are taken back as by `remove_interactions`, and their features and ids with them.

        From the moment the call returns they are unknown; one who comes back is a new user. Ids that are unknown are
        forgotten as well, since older versions and the journal may have them.

        Args:
            ids: a list of ids, or a frame with a column `user_id`.

        Returns:
            How many of them were known.
        """
        return self._take_back("remove_users", ids)

    def refresh(self) -> Future[None]:
        """Fit all paths anew on all data, in the background; requests and live changes go on meanwhile.

        Returns:
            A future: `result()` waits for the new fit to be served, and raises what went wrong. It is in memory
            until `save`.
        """
        self._refuse_if_following("refresh")
        return self._writer.refresh(self._blueprint)

    def health(self) -> Health:
        """How the paths, the cache and what is served fare at this moment; cheap enough to be scraped.

        Raises:
            NotFitted: nothing is served yet.
        """
        cache = CacheHealth() if self._cache is None else self._cache.health
        state, writer = self._current(), self._writer
        return health_of(
            state, config_hash(self._blueprint.resolved), cache, writer.store_health(state), writer.refit_health
        )

    def save(self, folder: str | Path) -> None:
        """Save as a new version of a bundle, which is made if there is none; the version before is kept.

        No version before is kept where a refit has forgotten what was taken back: then nothing is left of it.

        The first folder becomes the engine's own: later live changes are journaled there before they are
        acknowledged. Any other folder gets a copy.

        Raises:
            BundleError: the folder holds something else, cannot be written, or has another writer.
        """
        self._refuse_if_following("save")
        self._current()
        self._writer.save(self._blueprint.resolved, Path(folder))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        version: str | None = None,
        follow: bool = False,
        threads: int | None = None,
        plugins: Iterable[type] = (),
    ) -> Self:
        """The engine that was saved, with every live change acknowledged since, after every file has been verified.

        Args:
            folder: the bundle.
            version: an older version by name, as it was saved; its live changes are not journaled.
            follow: whether to go on taking what another process writes, within a second; such an engine takes no
                live changes of its own.
            threads: what `refresh` may use; a bundle does not hold it, nor any other setting of the machine.
            plugins: retriever and fusion classes that are not installed as plug-ins, which the bundle may use: it notes
                such a class by module and name, and never imports it by itself. One that the bundle does not use
                makes no difference; a class of `__main__` is found by its name alone.

        Raises:
            BundleError: not a bundle, damaged, or of another format.
            ConfigError: `threads` is no whole number > 0.
            PluginError: a plug-in is unknown or broken.
            RequestError: both `version` and `follow` are given, or `plugins` is no list of classes.
            UntrustedPlugin: the bundle uses a class that `plugins` does not have.
        """
        if follow and version is not None:
            raise RequestError("load: follow goes with the current version; leave out either version or follow")
        folder = Path(folder)
        given = None if isinstance(plugins, type) else tuple(plugins)
        if given is None or not all(isinstance(one, type) for one in given):
            raise RequestError(f"load: plugins: got {plugins!r}; pass a list of classes")
        config, state, saved = bundle.load(folder, version, threads, given)
        engine = cls(config)
        engine._serve(state)
        if version is None:
            engine._keep_up(Followed(Store(folder, saved), given), follow)
        return engine

    @staticmethod
    def versions(folder: str | Path) -> list[bundle.Version]:
        """The versions of a bundle, oldest first; raises `BundleError`."""
        return bundle.versions(Path(folder))

    @staticmethod
    def rollback(folder: str | Path, version: str | None = None) -> str:
        """Let a bundle's version before the current one, or `version`, be the current one; returns its name.

        Live changes acknowledged since are journaled and stay. Engines that follow the bundle take it over.

        Raises:
            BundleError: there is no such version, it is damaged, or the bundle has a writer.
        """
        folder = Path(folder)
        bundle.current_name(folder)
        with bundle.claim(folder):
            return bundle.rollback(folder, version)

    @staticmethod
    def salvage(folder: str | Path) -> Salvaged:
        """Begin a damaged journal of a bundle anew with the live changes that are whole, and say what was lost.

        The damaged files stay in the folder as `damaged-…`. A journal that is whole is left as it is.

        Raises:
            BundleError: not a bundle, its current version is damaged, it has a writer, or it cannot be written.
        """
        return salvage_bundle(Path(folder))

    def close(self) -> None:
        """Stop serving, let go of the bundle, let worker threads end and close the paths; waits for a `save` under way.

        A path that still answers a request is closed when that is done.
        """
        if self._follower is not None:
            self._follower.close()
        self._writer.close()

    def __reduce__(self) -> NoReturn:
        raise BundleError("an Engine cannot be pickled or copied: engine.save(folder), then Engine.load(folder)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, state: EngineState, progress: Progress = SILENT) -> None:
        """Compile the kernels of the request path, then let requests see the state, which lives in no bundle yet."""
        warm_up(state, progress)
        self._writer.serve(state)

    def _keep_up(self, followed: Followed, follow: bool) -> None:
        """Take what the bundle's journal holds beyond the version, now and, if asked to, from now on."""
        self._writer.advance(followed.newest)
        self._writer.store = followed.store
        if follow:
            self._follower = Follower(self._writer, followed)

    def _change(self, kind: ChangeKind, given: Any) -> int:
        self._refuse_if_following(kind)
        change = read_change(self._current().data, kind, given)
        if change.frame.height:
            self._writer.commit(change)
        return change.frame.height

    def _take_back(self, kind: ChangeKind, given: Any) -> int:
        self._refuse_if_following(kind)
        change = read_change(self._current().data, kind, given)
        return self._writer.commit(change) if change.frame.height else 0

    def _refuse_if_following(self, what: str) -> None:
        if self._follower is not None:
            raise RequestError(f"{what}: this engine only follows its bundle; call it on the engine that writes it")
