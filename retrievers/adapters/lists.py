"""Lists: candidates that another system has computed, from a file that may be read again while the engine serves."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multirecall.data import Changes, Dataset
from multirecall.deployment import NAME, file_of
from multirecall.errors import CannotFit, DataError
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Reason
from multirecall.query import Filter, Query
from multirecall.validation import Positive

from .._recency import recent_items
from .._similar import SimilarByHistory
from ._lists_by_id import ListsById, ListsByRow
from ._watch import Signature, Watch, signature_of

_log = logging.getLogger("multirecall.retrievers")


class ListsConfig(PluginConfig):
    """Settings of `lists`."""

    file: str
    """File with the lists: parquet, CSV or TSV with columns `user_id, item_id, score`, or `item_id, neighbour_id,
    score`. A relative path starts at the working directory. Every fit and refit reads the file, and after a fit it is
    read again when it changes. Changes results."""

    name: Annotated[str, Field(pattern=f"^{NAME}$")] | None = None
    """Name of the file in the deployment: if the environment variable `MULTIRECALL_FILE_` with the name in capitals
    behind holds a path, that file takes the place of `file`, after a load as well; without it, a loaded bundle serves
    the lists of the fit. Changes results."""

    half_life: Positive | None = None
    """With lists of items, the number of newer items after which the weight of an item in the history is halved; None:
    equal weights, as linear models are trained. Changes results."""


@dataclass(frozen=True, slots=True)
class View:
    """What requests read, replaced as a whole.

    Attributes:
        lists: the lists by rows of the data.
        revision: how often the file was read again until then.
    """

    lists: ListsByRow
    revision: int


class Feed:
    """What a retriever and its copies by `with_changes` share: the lists as read last, and the watch over the file."""

    def __init__(self, lists: ListsById) -> None:
        self.lists, self.revision = lists, 0
        self.lock = threading.Lock()
        self.copies: weakref.WeakSet[StoredLists] = weakref.WeakSet()
        self.watch: Watch | None = None


class StoredLists(SimilarByHistory):
    """Proposes a user's stored list, or items in the lists of the user's history, from a file.

    With lists of items, the score of an item is Σ w_s · score(s, item) over the items s of the history, w the weight of
    an event, which fades with a `half_life`: the linear item-item model that EASE and item-based neighbours are. Items
    whose sum is not above 0 are not proposed. With lists of users, scores are those of the file.

    Live: an item or user that joins and stands in the file is served at once; with lists of items, histories count at
    once. The list of a user who is removed is forgotten. The file is read again when it changes, on a thread of its
    own; requests are answered from the former lists until the new ones are whole.
    """

    Config: ClassVar[type[PluginConfig]] = ListsConfig
    inline = True
    filters = True
    live = frozenset({"interactions", "items", "removals"})
    config: ListsConfig
    _data: Dataset
    _feed: Feed
    _view: View

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Read the file.

        Raises:
            DataError: the file is missing or breaks a rule of its format; see `ListsById.read`.
            CannotFit: no list has an item of the catalogue.
        """
        file = self._deployed or self.config.file
        seen = signature_of(file)
        self._serve(ListsById.read(file, data), data)
        if not self._view.lists.rows.columns.size:
            raise CannotFit(
                f"{file}: holds no pair of ids that the data have; let its ids be those of the log, "
                "or leave the path out"
            )
        self._log_coverage(file)
        self._watch(file, seen)

    @property
    def _deployed(self) -> str | None:
        return None if self.config.name is None else file_of(self.config.name)

    def _log_coverage(self, file: str) -> None:
        mapped = self._view.lists
        n_known, whose = mapped.rows.columns.size, "users" if mapped.lists.of_users else "items"
        _log.info(
            "%s: %s candidates of %s %s; %s more have an id that the data lack so far",
            file,
            f"{n_known:,}",
            f"{np.count_nonzero(np.diff(mapped.rows.offsets)):,}",
            whose,
            f"{mapped.lists.columns.size - n_known:,}",
        )

    def _serve(self, lists: ListsById, data: Dataset) -> None:
        self._data, self._feed = data, Feed(lists)
        self._view = View(self._map(lists), 0)
        self._feed.copies.add(self)

    def _map(self, lists: ListsById) -> ListsByRow:
        return ListsByRow.of(lists, self._data.users.ids, self._data.items.ids)

    def _watch(self, file: str, seen: Signature | None) -> None:
        feed = self._feed

        def read() -> None:
            """Read the file, and let every copy serve it, which all have the same types of ids."""
            with feed.lock:
                copies = list(feed.copies)
            if not copies:
                return
            data = copies[0]._data
            lists = ListsById.read(file, data)
            if not lists.knows_any(data.users.ids, data.items.ids):
                raise DataError("it holds no pair of ids that the data have")
            with feed.lock:
                feed.lists, feed.revision = lists, feed.revision + 1
                copies = list(feed.copies)
            for path in copies:
                path._catch_up()

        feed.watch = Watch(file, read, seen)

    def _catch_up(self) -> None:
        """Serve what the feed has if it is newer; the view is replaced by one assignment."""
        with self._feed.lock:
            lists, revision = self._feed.lists, self._feed.revision
        if revision > self._view.revision:
            self._take(View(self._map(lists), revision))

    def _take(self, view: View) -> None:
        with self._feed.lock:
            if view.revision > self._view.revision:
                self._view = view

    def reload(self) -> bool:
        """Read the file now if it has changed; True if new lists are served. The engine calls it on a thread."""
        return self._feed.watch is not None and self._feed.watch.look()

    def _poll(self) -> View:
        """The lists of now; where it is time for it, a thread is sent to look at the file."""
        if self._feed.watch is not None:
            self._feed.watch.poll()
        return self._view

    @property
    def revision(self) -> int:
        """See `Retriever.revision`."""
        return self._poll().revision

    @property
    def trouble(self) -> str | None:
        """See `Retriever.trouble`."""
        return None if self._feed.watch is None else self._feed.watch.trouble

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        mapped = self._poll().lists
        if not mapped.lists.of_users:
            return mapped.sum_for(*recent_items(query, None, self.config.half_life), query, quota)
        if query.user < 0:
            return RankedList.empty()
        own = slice(*mapped.rows.offsets[query.user : query.user + 2])
        items, scores = mapped.rows.columns[own], mapped.rows.values[own]
        keep = np.flatnonzero(query.eligible(items))[:quota]
        return RankedList(items[keep], scores[keep])

    def explain(self, query: Query, item: int) -> Reason | None:
        """See `Retriever.explain`; with lists of items, the items of the history in whose lists it stands."""
        mapped = self._view.lists
        return (
            None if mapped.lists.of_users else mapped.explain(*recent_items(query, None, self.config.half_life), item)
        )

    def similar_items(
        self, items: NDArray[np.int32], k: int, filters: Sequence[Filter] | None = None
    ) -> RankedBatch | None:
        """See `Retriever.similar_items`; None for lists of users."""
        return None if self._view.lists.lists.of_users else super().similar_items(items, k, filters)

    def with_changes(self, changes: Changes) -> Self:
        """See `Retriever.with_changes`; see `ListsByRow.with_changes` for what it takes."""
        view = self._view
        mapped = view.lists.with_changes(changes)
        if mapped is view.lists:
            return self
        path = copy(self)
        path._data, path._view = changes.data, View(mapped, view.revision)
        with self._feed.lock:
            self._feed.copies.add(path)
        path._catch_up()
        return path

    def close(self) -> None:
        """See `Retriever.close`: the file is looked at no more."""
        if self._feed.watch is not None:
            self._feed.watch.close()

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        self._view.lists.lists.save(folder)

    @classmethod
    def load(cls, config: ListsConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`; a file is opened only if the deployment names one, and not before requests come."""
        path = cls(config)
        path._serve(ListsById.load(folder), data)
        if path._deployed is not None:
            path._watch(path._deployed, None)
        return path
