"""The engine: the calls that fit, change, save and close it. The calls that read are in `reader.py`."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Self

from multirecall.config import EngineConfig, config_hash, import_classes
from multirecall.cores import Threads
from multirecall.data import Change, ChangeKind, Dataset
from multirecall.data.read_change import read_change
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.journal import JournalReader
from multirecall.engine.bundle.salvage import Salvaged, salvage_bundle
from multirecall.engine.bundle.store import Store, replay
from multirecall.engine.fitting import Refusion, fit_engine, prior_of, require_same_data
from multirecall.engine.follower import Followed, Follower
from multirecall.engine.health import CacheHealth, Health, health_of, source_health
from multirecall.engine.reader import EngineReader
from multirecall.engine.state import Blueprint, EngineState
from multirecall.engine.warmup import warm_up
from multirecall.engine.writer import Writer
from multirecall.errors import BundleError, ConfigError, PluginError, RequestError
from multirecall.large_pages import load_into_large_pages
from multirecall.progress import SILENT, Progress, terminal_progress
from multirecall.vocabulary import Id


class Engine(EngineReader):
    """Several recall paths behind one call.

    Any number of threads may call it. Requests read one immutable state; `fit` and every live change replace that state
    by one assignment. Writers take turns.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        """Load the plug-ins that the config names and check their settings.

        Raises:
            PluginError: a plug-in is unknown or broken.
            ConfigError: a setting is wrong.
        """
        super().__init__(config)
        self._writer = Writer(self._current, self._publish, self._adopt)
        self._follower: Follower | None = None

    @classmethod
    def from_toml(cls, file: str | Path) -> Self:
        """An engine from a configuration file; raises as the constructor, naming the file.

        Such a file is code: it may name a retriever or fusion as `module:Class`, and that module is imported.
        """
        config = EngineConfig.from_toml(file)
        try:
            return cls(import_classes(config))
        except ConfigError as fault:
            raise ConfigError(f"{file}: {fault}") from None
        except PluginError as fault:
            raise PluginError(f"{file}: {fault}") from None

    def fit(self, data: Dataset, *, progress: Progress | None = None) -> Self:
        """Fit all paths and compile the kernels of requests. A terminal shows a progress bar.

        Where the config leaves the fusion or settings of paths to the log ("auto"), the fit holds some events out,
        learns from them, and then takes them in as live changes; `fusion_report` says what it learned.

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
        require_same_data(self.config, data, "read it with Dataset.load(..., config=engine.config.data)")
        if progress is None:
            with terminal_progress() as bars:
                return self.fit(data, progress=bars)
        self._serve(fit_engine(self._blueprint, data, progress), progress)
        return self

    def add_interactions(self, interactions: Any) -> int:
        """Add events. Histories, seen items, popularity counts and `user_cf` take them at once.

        Unknown users and items join. On return the events are durable if the engine was ever saved.

        Args:
            interactions: a polars, pandas or pyarrow frame, or a list of dicts, with the columns of the log.

        Returns:
            The number of events.

        Raises:
            DataError: names column, row and remedy; nothing has changed.
            IdTypeError: an id of the wrong type.
            BundleError: the journal cannot be written, or another writer holds the bundle; nothing has changed.
        """
        return self._change("add_interactions", interactions)

    def add_items(self, items: Any) -> int:
        """Add items: `item_id` and features, as a frame or a list of dicts. Otherwise as `add_interactions`.

        Paths that read features can propose them at once. A known item is updated; a removed item is revived.
        """
        return self._change("add_items", items)

    def update_items(self, items: Any) -> int:
        """Change features of known items. Columns that are not given keep their values. Otherwise as `add_items`."""
        return self._change("update_items", items)

    def remove_items(self, ids: Iterable[Id]) -> int:
        """Remove items: no request that begins after the call returns them. Otherwise as `add_items`.

        Their events still count for what they say about other items.
        """
        return self._change("remove_items", ids)

    def remove_interactions(self, interactions: Any) -> int:
        """Take events back. Histories, seen items, popularity and `user_cf` are at once as if they had never been.

        The other paths forget the events with the next `refresh`. Once that refit is saved, the bundle holds nothing
        of them: its only version is the new one, and the journal is erased.

        Args:
            interactions: a frame or a list of dicts with `user_id`, `item_id` and optionally `timestamp`, `position`.
                Every event that equals a row in all given columns is taken back.

        Returns:
            The number of events that were taken back.

        Raises as `add_interactions`.
        """
        return self._take_back("remove_interactions", interactions)

    def remove_users(self, ids: Any) -> int:
        """Forget users: take back their events as `remove_interactions` does, and their features and ids.

        After the call they are unknown; a user who comes back is a new user. Unknown ids are erased as well, because
        older versions and the journal may hold them.

        Args:
            ids: a list of ids, or a frame with a column `user_id`.

        Returns:
            The number of users that were known.
        """
        return self._take_back("remove_users", ids)

    def take_changes(self, changes: Iterable[Change]) -> None:
        """Make live changes that were read and checked before, such as those of a journal, in order.

        Raises as `add_interactions`; the changes before the faulty one have been made.
        """
        self._refuse_if_following("take_changes")
        for change in changes:
            if change.frame.height:
                self._writer.commit(change)

    def refresh(self, config: EngineConfig | None = None, *, fusion: Refusion | None = None) -> Future[None]:
        """Fit all paths again on all data, in the background. Requests and live changes go on meanwhile.

        What a fit learned from held-out events is learned anew from other users, whose events are taken in as before. A
        refit keeps what was learned, and holds nothing out, where the fit before held out the newest period or too few
        other users are left. So each event is held out of at most one fit.

        Args:
            config: what to fit from now on; default: the config as it is. Once the fit is served, it is the engine's.
            fusion: `learn`: learn anew what the config leaves to the log, as a first fit does; `keep`: keep what was
                learned; default: as above with the same config, `learn` with another one.

        Returns:
            A future. Its `result()` waits until the new fit is served, and raises the error if the fit failed. The new
            fit is in memory only until `save`.

        Raises:
            RequestError: this engine follows a bundle; nothing was learned that could be kept; variants are in use
                and the config has other paths; or a refit of other settings runs already.
            ConfigError: a setting of the config is wrong, or its `[data]` differs from how the data were read.
        """
        self._refuse_if_following("refresh")
        blueprint = self._blueprint
        if config is not None:
            require_same_data(config, self.data, "leave the section out, or fit a new engine on the files")
            blueprint, fusion = Blueprint.of(config), fusion or "learn"
            self._refuse_paths_beside_variants(blueprint.names)
        prior = partial(prior_of, refusion=fusion, blueprint=blueprint, paths=self._blueprint.names)
        return self._writer.refresh(blueprint, prior, join=config is None and fusion is None)

    @property
    def last_change(self) -> int:
        """The number of the last live change that requests see. Once it has reached that of a write, the write is read.

        In a bundle, it is the number in the journal: the same in every process that serves the bundle, and after a
        restart, a `save`, a `refresh` or a rollback, none of which counts as a change. An engine without a bundle
        counts by itself, as `data_version`, and begins anew when it is first saved.

        Raises:
            NotFitted: nothing is served yet.
        """
        state = self._current()
        return state.data_version if self._writer.store is None else state.journal_seq

    @property
    def _version_name(self) -> str | None:
        """The name of the version of the bundle that is served, or None without a bundle."""
        store = self._writer.store
        return None if store is None else store.version.name

    def hold(self) -> None:
        """Become the writer of the bundle now, as the first live change would; without a bundle, do nothing.

        Raises:
            BundleError: another writer holds the bundle, or has saved a version since it was loaded.
            RequestError: this engine follows a bundle.
        """
        self._refuse_if_following("hold")
        self._writer.hold()

    def look_now(self) -> None:
        """Let the follower look at its bundle at once, rather than within a quarter of a second. It does not wait."""
        if self._follower is not None:
            self._follower.look_now()

    def health(self) -> Health:
        """The health of the paths, the cache, the data and the bundle now. A monitoring system may call it often.

        Raises:
            NotFitted: nothing is served yet.
        """
        cache = CacheHealth() if self._cache is None else self._cache.health
        state, writer = self._current(), self._writer
        return health_of(
            state,
            config_hash(self._blueprint.resolved),
            cache,
            writer.store_health(state),
            writer.refit_health,
            source_health(self._source.tally),
            self._feeds.missed,
            self._width.level,
        )

    def save(self, folder: str | Path) -> None:
        """Save as a new version of a bundle, which is made if needed. The version before is kept.

        After a refit without what was taken back, no older version is kept, so that the bundle holds nothing of it.

        The first folder becomes the engine's own: later live changes are journaled there before they are
        acknowledged. Any other folder gets a copy.

        Raises:
            BundleError: the folder holds something else, cannot be written, or has another writer.
        """
        self._refuse_if_following("save")
        self._current()
        self._writer.save(lambda: self._blueprint.resolved, Path(folder))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        version: str | None = None,
        last_change: int | None = None,
        follow: bool = False,
        threads: Threads | None = None,
        plugins: Iterable[type] = (),
        large_pages: bool = False,
    ) -> Self:
        """Load a saved engine, with every live change that was acknowledged since. Every file is verified first.

        Args:
            folder: the bundle.
            version: the name of an older version, loaded as it was saved. Live changes to it are not journaled.
            last_change: with `version`, the number of the last live change to apply to it, as the property
                `last_change` gives it. So several processes get the same state, whatever is written meanwhile.
            follow: whether to keep up with the process that writes the bundle, within a second. Such an engine takes
                no live changes of its own.
            threads: those of `refresh`, as in the config; default: 1, so that requests keep the other cores. A bundle
                holds no setting of the machine.
            plugins: retriever and fusion classes, not installed as plug-ins, that the bundle may use. The bundle notes
                such a class by module and name, and never imports it by itself. Classes that the bundle does not use
                are ignored. A class of `__main__` is found by its name alone.
            large_pages: whether to copy the bundle into large pages of the process's own memory, where the system has
                them. A request over 100,000 items or more then takes about a tenth less time. Otherwise the process
                maps the files: it begins sooner, the system may drop what no request reads, and other processes that
                load the bundle share it. Changes no result.

        Raises:
            BundleError: not a bundle, damaged, or of another format; or it lacks a live change up to `last_change`.
            ConfigError: `threads` is neither "auto" nor a whole number > 0.
            PluginError: a plug-in is unknown or broken.
            RequestError: both `version` and `follow` are given, or `last_change` without `version`, or `plugins` is no
                list of classes.
            UntrustedPlugin: the bundle uses a class that is not among `plugins`.
        """
        if follow and version is not None:
            raise RequestError("load: follow goes with the current version; leave out either version or follow")
        if last_change is not None and version is None:
            raise RequestError("load: last_change goes with a version; name the version, or leave last_change out")
        folder = Path(folder)
        given = None if isinstance(plugins, type) else tuple(plugins)
        if given is None or not all(isinstance(one, type) for one in given):
            raise RequestError(f"load: plugins: got {plugins!r}; pass a list of classes")
        with load_into_large_pages(large_pages):
            config, state, saved = bundle.load(folder, version, threads, given)
        if last_change is not None:
            state = replay(state, JournalReader(folder, saved.bundle), last_change)
        engine = cls(config)
        engine._serve(state)
        if version is not None:
            engine._writer.said = True
        else:
            engine._keep_up(Followed(Store(folder, saved), config, given, large_pages), follow)
        return engine

    @staticmethod
    def versions(folder: str | Path) -> list[bundle.Version]:
        """The versions of a bundle, oldest first; raises `BundleError`."""
        return bundle.versions(Path(folder))

    @staticmethod
    def rollback(folder: str | Path, version: str | None = None) -> str:
        """Make an older version of a bundle current (default: the one before) and return its name.

        Live changes that were acknowledged since are journaled and stay. Engines that follow the bundle switch to it.

        Raises:
            BundleError: there is no such version, it is damaged, or the bundle has a writer.
        """
        folder = Path(folder)
        bundle.current_name(folder)
        with bundle.claim(folder):
            return bundle.rollback(folder, version)

    @staticmethod
    def salvage(folder: str | Path) -> Salvaged:
        """Repair a damaged journal: start a new one with the live changes that are intact, and report what was lost.

        The damaged files stay in the folder as `damaged-…`. An intact journal is left as it is.

        Raises:
            BundleError: not a bundle, its current version is damaged, it has a writer, or it cannot be written.
        """
        return salvage_bundle(Path(folder))

    def close(self) -> None:
        """Stop serving, release the bundle, end the worker threads, close the paths. A running `save` completes first.

        A path that still answers a request is closed when the request is done.
        """
        if self._follower is not None:
            self._follower.close()
        self._writer.close()
        self._source.close()
        self._feeds.close()

    def __reduce__(self) -> NoReturn:
        raise BundleError("an Engine cannot be pickled or copied: engine.save(folder), then Engine.load(folder)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, state: EngineState, progress: Progress = SILENT) -> None:
        """Compile the kernels of the request path, then serve the state, which belongs to no bundle yet."""
        warm_up(state, progress)
        self._writer.serve(state)

    def _keep_up(self, followed: Followed, follow: bool) -> None:
        """Apply what the journal holds beyond the version; with `follow`, keep doing so."""
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
