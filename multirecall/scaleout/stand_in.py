"""What stands in an engine for a retriever whose parts are in shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.errors import RequestError
from multirecall.lists import RankedBatch
from multirecall.protocols import Reason, Retriever
from multirecall.query import Filter, Query
from multirecall.scaleout.shards import Shards
from multirecall.vocabulary import Vocabulary

FIT_ANEW = "fit an engine on `engine.data`, save it, and shard its bundle"


class StandIn(Retriever):
    """The retriever of a path that stands in shards. Requests ask all paths at once, see `Shards`; the rest is here."""

    filters = True

    def __init__(self, name: str, shards: Shards, ids: Vocabulary) -> None:
        self._name = name
        self._shards = shards
        self._ids = ids

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Any) -> NoReturn:
        """Raise, since a fit needs the whole."""
        raise RequestError(f"a sharded engine cannot be fitted: {FIT_ANEW}")

    def retrieve(self, query: Query, quota: int) -> NoReturn:
        """Raise, since the engine asks all paths that stand in shards at once."""
        raise TypeError("a path that stands in shards is asked by Shards.ask")

    def explain(self, query: Query, item: int) -> Reason | None:
        """As the retriever that it stands for."""
        return self._shards.explain(self._name, query, item, self._ids.id(item))

    def with_changes(self, changes: Changes) -> Self:
        """The same, over the ids that there are now; the shards take the change by themselves."""
        return type(self)(self._name, self._shards, changes.data.items.ids)

    def similar_items(
        self, items: NDArray[np.int32], k: int, filters: Sequence[Filter] | None = None
    ) -> RankedBatch | None:
        """As the retriever that it stands for."""
        if not self._shards.layout.paths[self._name].compares:
            return None
        return self._shards.similar(self._name, items, k, filters) if items.size else RankedBatch.empty(0)

    def item_vectors(self) -> NoReturn:
        """Raise, since the vectors are in the shards."""
        raise RequestError("a sharded engine gives no item vectors; load the bundle that was sharded")

    def save(self, folder: Path) -> NoReturn:
        """Raise, since a bundle needs the whole."""
        raise RequestError(f"a sharded engine cannot be saved: {FIT_ANEW}")

    @classmethod
    def load(cls, config: Any, folder: Path, data: Dataset) -> Self:
        """Raise, since it needs the shards."""
        raise RequestError("a sharded bundle is opened with ShardedEngine.connect")


def stand_in(name: str, plugin: type[Retriever], shards: Shards, data: Dataset) -> StandIn:
    """A stand-in that takes the live changes that the retriever takes, so that the engine counts rows as for it."""
    kind = type("StandIn", (StandIn,), {"live": plugin.live, "__module__": __name__})
    made: StandIn = kind(name, shards, data.items.ids)
    return made
