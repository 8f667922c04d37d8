"""The engine."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Self

from numpy.typing import NDArray

from multirecall.config import EngineConfig, config_hash
from multirecall.data import ChangeKind, Dataset
from multirecall.engine import bundle
from multirecall.engine.answer import answered, answered_batch
from multirecall.engine.cache import ResultCache
from multirecall.engine.explain import explained
from multirecall.engine.export import write_candidates
from multirecall.engine.follower import Followed, Follower
from multirecall.engine.footprint import footprints
from multirecall.engine.health import CacheHealth, Health, health_of
from multirecall.engine.request import listed, read_deadline, read_filters, read_queries, read_query, read_size
from multirecall.engine.runner import run_batch
from multirecall.engine.salvage import Salvaged, salvage_bundle
from multirecall.engine.state import Blueprint, EngineState, fitted
from multirecall.engine.store import Store
from multirecall.engine.warmup import warm_up
from multirecall.engine.writer import Writer
from multirecall.errors import BundleError, ConfigError, NotFitted, PathError, RequestError
from multirecall.lists import RankedBatch
from multirecall.progress import SILENT, Progress, terminal_progress
from multirecall.query import User
from multirecall.result import CandidateBatch, Candidates, Explanation
from multirecall.shown import html_table
from multirecall.vocabulary import Id

_log = logging.getLogger("multirecall.engine")


class Engine:
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
        if not isinstance(config, EngineConfig | None):
            raise ConfigError(f"Engine: got a {type(config).__name__}; pass an EngineConfig, or use Engine.from_toml")
        self.config = config or EngineConfig()
        self._blueprint = Blueprint.of(self.config)
        self._resolved = self._blueprint.resolved
        self._state: EngineState | None = None
        self._cache = ResultCache(self.config.cache_size) if self.config.cache_size else None
        self._writer = Writer(self._current, self._publish)
        self._follower: Follower | None = None

    @classmethod
    def from_toml(cls, file: str | Path) -> Self:
        """An engine from a configuration file; raises as the constructor, naming the file."""
        config = EngineConfig.from_toml(file)
        try:
            return cls(config)
        except ConfigError as fault:
            raise ConfigError(f"{file}: {fault}") from None

    def fit(self, data: Dataset, *, progress: Progress | None = None) -> Self:
        """Fit all paths and compile what requests need; a bar shows on a terminal.

        Raises:
            CannotFit: the data lack what a path of the config needs.
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
        self._serve(fitted(self._blueprint, data, progress), progress)
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

    def retrieve(
        self,
        user: Id | User,
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        deadline_ms: float | None = None,
    ) -> Candidates:
        """The `k` best candidates for one user, fewer only when the catalogue has no more.

        Args:
            user: an id, or a `User` with a history, features or terms. An unknown id gets what visitors get.
            k: how many; default: the config's.
            exclude: item ids to leave out.
            where: predicates over item features, e.g. `{"category": ["books"], "price": {"max": 20}}`.
            seen: whether items that the user has interacted with may be returned.
            deadline_ms: go on without the paths that have not answered by then; default: the config's.

        With `cache_size`, an equal request on the same data gets the answer kept, status included, whose arrays are
        read-only; the deadline makes no difference.

        Raises:
            RequestError: an unusable argument.
            IdTypeError: an id of the wrong type.
            PathError: a required path failed, or all did.
            NotFitted: the engine has nothing to serve.
        """
        state, k, deadline = (
            self._current(),
            read_size(k, self.config.k),
            read_deadline(deadline_ms, self.config.deadline_ms),
        )
        ask = partial(answered, state, user, k, exclude, where, seen, deadline)
        return ask() if self._cache is None else self._cache.answer(state, (user, k, exclude, where, seen), ask)

    def retrieve_batch(
        self,
        users: Sequence[Id | User] | NDArray[Any],
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
    ) -> CandidateBatch:
        """The same for several users, without a deadline; arguments and errors as in `retrieve`."""
        return answered_batch(
            self._current(), listed(users, "users"), read_size(k, self.config.k), exclude, where, seen
        )

    def path_lists(
        self,
        users: Sequence[Id | User] | NDArray[Any],
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
        windows: bool = False,
    ) -> dict[str, RankedBatch]:
        """What each path alone hands to the fusion, as rows of `data.items`; for measuring and tuning.

        A list ends at the path's quota. With `windows` it goes on as far as the fusion looks, which for a cascade
        that refills is further; a fusion of such lists gives what `retrieve` does.

        Raises as `retrieve`, and `PathError` where any path fails.
        """
        state = self._current()
        queries = read_queries(state.data, listed(users, "users"), read_filters(state, exclude, where, seen))
        lists = {}
        for path, outcome in zip(state.paths, run_batch(state.paths, state.windows, queries), strict=True):
            if outcome.ranked is None:
                raise PathError(f"path {path.name!r} {outcome.state}: {outcome.detail}")
            lists[path.name] = outcome.ranked if windows else outcome.ranked.heads(path.quota)
        return lists

    def write_candidates(
        self,
        users: Iterable[Id | User],
        file: str | Path,
        k: int | None = None,
        *,
        chunk: int = 1000,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
    ) -> int:
        """Write the candidates of many users to a file, `chunk` users in memory at a time.

        The suffix names the format: parquet (`.parquet`, `.pq`), Arrow (`.arrow`, `.feather`, `.ipc`), `.csv`, or JSON
        lines (`.jsonl`, `.ndjson`). Columns as in `CandidateBatch.to_polars`. All users see the engine as it is at the
        call; live changes meanwhile are not in the file.

        Returns:
            The number of rows.

        Raises:
            RequestError: no format has the suffix, the file cannot be written, or as `retrieve`.
        """
        if not isinstance(chunk, int) or chunk < 1:
            raise RequestError(f"chunk must be a whole number > 0, got {chunk!r}")
        state, k = self._current(), read_size(k, self.config.k)
        excluded = None if exclude is None else listed(exclude, "exclude")
        return write_candidates(
            users, Path(file), chunk, lambda part: answered_batch(state, part, k, excluded, where, seen)
        )

    def explain(
        self,
        user: Id | User,
        item: Id,
        k: int | None = None,
        *,
        exclude: Iterable[Id] | None = None,
        where: Mapping[str, Any] | None = None,
        seen: bool = False,
    ) -> Explanation:
        """Why `item` stands where it does in `retrieve` with the same arguments, or why it is missing.

        Raises:
            RequestError: the catalogue does not have the item, or as `retrieve`.
        """
        state, k = self._current(), read_size(k, self.config.k)
        row = state.data.items.ids.row(item)
        if row < 0:
            raise RequestError(f"explain: no item has the id {item!r}; pass an id of the log or the item table")
        filters = read_filters(state, exclude, where, seen)
        return explained(state, read_query(state.data, user, filters), filters, row, k)

    def health(self) -> Health:
        """How the paths, the cache and what is served fare at this moment; cheap enough to be scraped.

        Raises:
            NotFitted: nothing is served yet.
        """
        cache = CacheHealth() if self._cache is None else self._cache.health
        state, writer = self._current(), self._writer
        return health_of(state, config_hash(self._resolved), cache, writer.store_health(state), writer.refit_health)

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
        self._writer.save(self._resolved, Path(folder))

    @classmethod
    def load(
        cls, folder: str | Path, *, version: str | None = None, follow: bool = False, threads: int | None = None
    ) -> Self:
        """The engine that was saved, with every live change acknowledged since, after every file has been verified.

        Args:
            folder: the bundle.
            version: an older version by name, as it was saved; its live changes are not journaled.
            follow: whether to go on taking what another process writes, within a second; such an engine takes no
                live changes of its own.
            threads: what `refresh` may use; a bundle does not hold it, nor any other setting of the machine.

        Raises:
            BundleError: not a bundle, damaged, or of another format.
            ConfigError: `threads` is no whole number > 0.
            RequestError: both `version` and `follow` are given.
        """
        if follow and version is not None:
            raise RequestError("load: follow goes with the current version; leave out either version or follow")
        folder = Path(folder)
        config, state, saved = bundle.load(folder, version, threads)
        engine = cls(config)
        engine._serve(state)
        if version is None:
            engine._keep_up(folder, saved, follow)
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
        bundle.pointed(folder)
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
        """Stop serving, let go of the bundle and let worker threads end; waits for a `save` under way."""
        if self._follower is not None:
            self._follower.close()
        self._writer.close()

    def __repr__(self) -> str:
        state = self._state
        if state is None:
            return f"<Engine: nothing to serve; paths {', '.join(self._blueprint.names)}>"
        return f"<Engine: paths {', '.join(state.names)}; {state.data.sizes}>"

    def _repr_html_(self) -> str:
        state = self._state
        if state is None:
            return html_table(["path", "state"], [[name, "not fitted"] for name in self._blueprint.names], 0)
        rows = [[name, *cells] for name, cells in footprints(state)]
        return f"<p>{state.data.sizes}</p>{html_table(['path', 'quota', 'fitted in', 'memory'], rows, len(rows))}"

    def __reduce__(self) -> NoReturn:
        raise BundleError("an Engine cannot be pickled or copied: engine.save(folder), then Engine.load(folder)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def data(self) -> Dataset:
        """What the engine serves.

        Raises:
            NotFitted: nothing yet.
        """
        return self._current().data

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of the paths that serve, in order; raises `NotFitted`."""
        return self._current().names

    def _current(self) -> EngineState:
        state = self._state
        if state is None:
            raise NotFitted("the engine has nothing to serve: call fit(data), or Engine.load(folder)")
        return state

    def _serve(self, state: EngineState, progress: Progress = SILENT) -> None:
        """Compile the kernels of the request path, then let requests see the state, which lives in no bundle yet."""
        warm_up(state, progress)
        self._writer.serve(state)

    def _publish(self, state: EngineState | None) -> None:
        """Let requests see the state, or nothing any more."""
        replaced, self._state = self._state, state
        if self._cache is not None:
            self._cache.clear()
        if replaced is not None:
            replaced.close(state)

    def _keep_up(self, folder: Path, version: bundle.Version, follow: bool) -> None:
        """Take what the bundle's journal holds beyond the version, now and, if asked to, from now on."""
        followed = Followed(Store(folder, version))
        self._writer.advance(followed.newest)
        self._writer.store = followed.store
        if follow:
            self._follower = Follower(self._writer, followed)

    def _change(self, kind: ChangeKind, given: Any) -> int:
        self._refuse_if_following(kind)
        change = self._current().data.read_change(kind, given)
        if change.frame.height:
            self._writer.commit(change)
        return change.frame.height

    def _take_back(self, kind: ChangeKind, given: Any) -> int:
        self._refuse_if_following(kind)
        change = self._current().data.read_change(kind, given)
        return self._writer.commit(change) if change.frame.height else 0

    def _refuse_if_following(self, what: str) -> None:
        if self._follower is not None:
            raise RequestError(f"{what}: this engine only follows its bundle; call it on the engine that writes it")
