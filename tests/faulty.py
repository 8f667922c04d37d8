"""Retrievers that misbehave, for tests of how the engine bears them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from multirecall.data import Dataset
from multirecall.errors import NotDeployed
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress
from multirecall.protocols import PluginConfig, Retriever
from multirecall.query import Query


class Rows(Retriever):
    """Proposes the rows 0, 1, 2 … and does not filter."""

    asked: ClassVar[list[int]] = []

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        self.n_items = data.n_items

    def retrieve(self, query: Query, quota: int) -> RankedList:
        self.asked.append(quota)
        n = min(quota, self.n_items)
        return RankedList(np.arange(n, dtype=np.int32), -np.arange(n, dtype=np.float32))

    def save(self, folder: Path) -> None:
        (folder / "n_items").write_text(str(self.n_items))

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        path = cls(config)
        path.n_items = int((folder / "n_items").read_text())
        return path


class Raises(Rows):
    """Raises on every call but the first, which warms the engine up."""

    inline = True

    def retrieve(self, query: Query, quota: int) -> RankedList:
        raise RuntimeError("out of order")


class Undeployed(Rows):
    """Lacks what the deployment has to give, until it is given."""

    deployed: ClassVar[bool] = False

    def retrieve(self, query: Query, quota: int) -> RankedList:
        if not self.deployed:
            raise NotDeployed("no address here: set THE_URL")
        return super().retrieve(query, quota)


class Exits(Rows):
    """Raises what is no Exception."""

    def retrieve(self, query: Query, quota: int) -> RankedList:
        raise SystemExit(3)


class Leaks(Rows):
    """Promises to filter and does not."""

    inline = True
    filters = True


class Shuffled(Rows):
    """Proposes all rows in an order drawn at fit."""

    inline = True

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        self.order = rng.permutation(data.n_items).astype(np.int32)

    def retrieve(self, query: Query, quota: int) -> RankedList:
        items = self.order[:quota]
        return RankedList(items, -np.arange(items.size, dtype=np.float32))


class Blocks(Rows):
    """Waits until `gate` is set; each call is noted in `entered`."""

    gate = threading.Event()
    entered: ClassVar[list[int]] = []

    def retrieve(self, query: Query, quota: int) -> RankedList:
        self.entered.append(query.user)
        self.gate.wait(timeout=60)
        return super().retrieve(query, quota)


class UnreadableError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no message")


THROWN: dict[str, type[BaseException]] = {
    "error": RuntimeError,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "memory": MemoryError,
    "unreadable": UnreadableError,
    "generator": GeneratorExit,
    "timeout": TimeoutError,
}


class KindConfig(PluginConfig):
    kind: str = "nan"


class Throws(Rows):
    """Raises an exception of the kind asked for."""

    Config = KindConfig

    def retrieve(self, query: Query, quota: int) -> RankedList:
        raise THROWN[self.config.kind]("thrown")


class InlineThrows(Throws):
    """The same on the caller's thread."""

    inline = True


class Reuses(Rows):
    """Writes every answer into the same two arrays; after `gate` the late call writes nonsense into them."""

    gate = threading.Event()
    written = threading.Event()

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        super().fit(data, rng=rng, progress=progress)
        self.own = RankedList(np.arange(5, dtype=np.int32), -np.arange(5, dtype=np.float32))

    def retrieve(self, query: Query, quota: int) -> RankedList:
        if query.user == 0:
            self.gate.wait(timeout=60)
            self.own.items[:] = 10**6
            self.written.set()
        return self.own


class Garbage(Rows):
    """Returns something that is no ranked list."""

    Config = KindConfig

    def retrieve(self, query: Query, quota: int) -> Any:
        items, scores = np.array([3, 1], np.int32), np.array([2, 1], np.float32)
        match self.config.kind:
            case "nan":
                return RankedList(items, np.array([np.nan, 1], np.float32))
            case "inf":
                return RankedList(items, np.array([np.inf, 1], np.float32))
            case "duplicate":
                return RankedList(np.array([3, 3], np.int32), scores)
            case "too_high":
                return RankedList(np.array([3, 10**6], np.int32), scores)
            case "negative":
                return RankedList(np.array([-1, 3], np.int32), scores)
            case "unsorted":
                return RankedList(items, scores[::-1])
            case "tie_unsorted":
                return RankedList(items, np.array([1, 1], np.float32))
            case "wide":
                return RankedList(items.astype(np.int64), scores)
            case "double":
                return RankedList(items, scores.astype(np.float64))
            case "longer":
                return RankedList(items, scores[:1])
            case "more":
                return RankedList(np.arange(quota + 1, dtype=np.int32), -np.arange(quota + 1, dtype=np.float32))
            case "bare":
                return RankedList([3, 1], [2.0, 1.0])  # type: ignore[arg-type]
            case "table":
                return RankedList(items.reshape(1, 2), scores.reshape(1, 2))
            case "list":
                return [3, 1]
            case _:
                return None

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> Any:
        lists = [self.retrieve(query, quota) for query in queries]
        try:
            return RankedBatch.from_lists(lists)
        except (AttributeError, TypeError, ValueError):
            return lists


class InlineGarbage(Garbage):
    """The same on the caller's thread."""

    inline = True


class BadOffsets(Rows):
    """Returns batches whose offsets do not fit."""

    Config = KindConfig
    inline = True

    def retrieve_batch(self, queries: Sequence[Query], quota: int) -> Any:
        whole = super().retrieve_batch(queries, quota)
        offsets = {
            "short": whole.offsets[:-1],
            "wide": whole.offsets.astype(np.int32),
            "falling": np.array([0, *whole.offsets[:0:-1]]),
            "beyond": whole.offsets * 2,
            "late": whole.offsets + 1,
            "bare": whole.offsets.tolist(),
        }
        return RankedBatch(offsets[self.config.kind], whole.items, whole.scores)


GARBAGE = (
    "nan",
    "inf",
    "duplicate",
    "too_high",
    "negative",
    "unsorted",
    "tie_unsorted",
    "wide",
    "double",
    "longer",
    "more",
    "bare",
    "table",
    "list",
    "none",
)


class NotARetriever:
    """Claims to be a plug-in."""


class Unfinished(Retriever):
    """Defines nothing."""


class Forgetful(Rows):
    """Claims to take live changes, and defines no `with_changes`."""

    live = frozenset({"interactions", "items"})


class Misspelt(Rows):
    """Names a kind of change that does not exist."""

    live = frozenset({"item"})
