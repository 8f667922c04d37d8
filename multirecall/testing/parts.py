"""The contract tests of `Retriever.part`: merged, the parts of a retriever answer as the whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from multirecall.data import Changes, Dataset
from multirecall.lists import RankedBatch, RankedList
from multirecall.protocols import Retriever
from multirecall.query import Query
from multirecall.testing.worlds import LiveShop, live_changes, queries, small_shop
from multirecall.topk import top_k

WINDOW = 15

Owners = NDArray[np.int64]
"""The shard of each item row, int64 (n_items,)."""


class PartContract(ABC):
    """Tests of a retriever that can be split; they are skipped for one that stands whole."""

    @abstractmethod
    def fit(self, data: Dataset, seed: int = 5) -> Retriever:
        """See `RetrieverContract.fit`."""

    @abstractmethod
    def fit_live(self, shop: LiveShop) -> Retriever:
        """See `RetrieverContract.fit_live`."""

    @abstractmethod
    def assert_same(self, first: RankedList, second: RankedList) -> None:
        """See `RetrieverContract.assert_same`."""

    @abstractmethod
    def removals_of(self, shop: LiveShop) -> list[Changes]:
        """See `RetrieverContract.removals_of`."""

    def test_parts_merged_are_the_whole(self) -> None:
        """Under filters, for visitors and users without a history, one by one, in a batch, and for similar items."""
        data = small_shop()
        whole = self.fit(data)
        for owners in splits(data.n_items):
            parts = split(whole, owners)
            for asked in askings(data):
                self.assert_merged(whole, parts, owners, asked)
            self.assert_similar_merged(whole, parts, owners)

    def test_a_part_explains_what_it_owns(self) -> None:
        data = small_shop()
        whole = self.fit(data)
        owners = hashed(data.n_items, 3)
        parts = split(whole, owners)
        for query in queries(data):
            for item in whole.retrieve(query, 5).items.tolist():
                told, expected = parts[owners[item]].explain(query, item), whole.explain(query, item)
                assert (told is None) == (expected is None)
                if told is not None and expected is not None:
                    assert (told.text, told.items.tolist()) == (expected.text, expected.items.tolist())

    def test_parts_share_the_item_vectors(self) -> None:
        whole = self.fit(small_shop())
        owners = hashed(small_shop().n_items, 3)
        parts, found = split(whole, owners), whole.item_vectors()
        if found is None:
            assert all(part.item_vectors() is None for part in parts)
            return
        for number, part in enumerate(parts):
            own, vectors = part.item_vectors() or found
            kept = owners[found[0]] == number
            assert own.tolist() == found[0][kept].tolist()
            np.testing.assert_array_equal(vectors, found[1][kept])

    @pytest.mark.parametrize(("timestamps", "half_life_days"), [(True, 3.0), (False, None)])
    def test_parts_follow_live_changes_as_the_whole_does(
        self, timestamps: bool, half_life_days: float | None, tmp_path: Path
    ) -> None:
        """After each change, some parts having been saved and loaded meanwhile."""
        shop = LiveShop(timestamps=timestamps, half_life_days=half_life_days)
        whole = self.fit_live(shop)
        n_items = shop.data.n_items
        owners = hashed(shop.data.n_items + 20, 3)
        parts = split(whole, owners[:n_items])
        for number, change in enumerate([*live_changes(shop), *self.removals_of(shop)]):
            whole, parts = whole.with_changes(change), [part.with_changes(change) for part in parts]
            place = number % len(parts)
            parts[place] = reloaded(parts[place], change.data, tmp_path / str(number))
            for asked in askings(change.data):
                self.assert_merged(whole, parts, owners[: change.data.n_items], asked, n_items)

    def test_saved_parts_are_the_same_and_take_no_more_than_the_whole(self, tmp_path: Path) -> None:
        """What all parts have alike is saved in files that are the same to the byte, of which one counts."""
        data = small_shop()
        whole = self.fit(data)
        owners = hashed(data.n_items, 3)
        parts = split(whole, owners)
        loaded = [reloaded(part, data, tmp_path / str(number)) for number, part in enumerate(parts)]
        for asked in askings(data):
            self.assert_merged(whole, loaded, owners, asked)
        reloaded(whole, data, tmp_path / "whole")
        saved = [files(tmp_path / str(number)) for number in range(len(parts))]
        alike = {name for name, held in saved[0].items() if all(one.get(name) == held for one in saved[1:])}
        own = sum(array_bytes({name: held for name, held in one.items() if name not in alike}) for one in saved)
        offsets = OFFSET_BYTES * data.n_items * len(parts)
        assert own <= MOST_BYTES * array_bytes(files(tmp_path / "whole")) + offsets

    def assert_merged(
        self,
        whole: Retriever,
        parts: Sequence[Retriever],
        owners: Owners,
        asked: list[Query],
        n_at_split: int | None = None,
    ) -> None:
        """Assert that the lists of the parts, merged, are to the bit those of the whole, one by one and in a batch."""
        split_at = owners.size if n_at_split is None else n_at_split
        told = [[hide(query, owners, shard, split_at) for query in asked] for shard in range(len(parts))]
        batches = [part.retrieve_batch(own, WINDOW) for part, own in zip(parts, told, strict=True)]
        for shard, batch in enumerate(batches):
            assert (owners[batch.items] == shard).all(), "a part proposes an item of another one"
        expected = whole.retrieve_batch(asked, WINDOW)
        for place in range(len(asked)):
            assert_equal(merged([batch[place] for batch in batches]), expected[place])
        for place in range(0, len(asked), 7):
            alone = [part.retrieve(own[place], WINDOW) for part, own in zip(parts, told, strict=True)]
            assert_equal(merged(alone), whole.retrieve(asked[place], WINDOW))
            for batch, one in zip(batches, alone, strict=True):
                self.assert_same(batch[place], one)

    def assert_similar_merged(self, whole: Retriever, parts: Sequence[Retriever], owners: Owners) -> None:
        """Assert that the similar items of the parts, merged, are those of the whole."""
        items = np.arange(owners.size, dtype=np.int32)
        allowed, exclude = items % 3 != 0, items[::5]
        for filters in (None, [(exclude, allowed)] * items.size):
            expected = whole.similar_items(items, WINDOW, filters)
            found = [part.similar_items(items, WINDOW, filters) for part in parts]
            if expected is None:
                assert found == [None] * len(parts)
                continue
            lists = [one for one in found if isinstance(one, RankedBatch)]
            assert len(lists) == len(parts)
            for item in items.tolist():
                assert_equal(merged([one[item] for one in lists]), expected[item])


MOST_BYTES = 1.15
"""The largest sum of what parts hold of their own, as a multiple of what the whole holds."""

OFFSET_BYTES = 8
"""What each part may hold for each item of the whole beside that: where its list begins. Of long lists it is little."""

HEADER = 128
"""Bytes of an npy file before its array."""


def hashed(n_items: int, n_shards: int) -> Owners:
    """A split by a hash of the row."""
    return (np.arange(n_items, dtype=np.int64) * 2_654_435_761 % 2**32 >> 16) % n_shards


def splits(n_items: int) -> list[Owners]:
    """Splits by a hash, at random, and one into an empty shard, one with a single item and one with all others."""
    rng = np.random.default_rng(3)
    uneven = np.full(n_items, 2)
    uneven[n_items // 2] = 1
    return [
        *(hashed(n_items, n) for n in (1, 2, 3, 7)),
        *(rng.integers(0, n, n_items) for n in (2, 7)),
        uneven,
    ]


def split(whole: Retriever, owners: Owners) -> list[Retriever]:
    """The parts of a retriever; skips the test if it stands whole."""
    parts = []
    for shard in range(int(owners.max()) + 1):
        part = whole.part(np.flatnonzero(owners == shard).astype(np.int32))
        if part is None:
            pytest.skip("the retriever is not split: it stands whole on one shard")
        parts.append(part)
    return parts


def askings(data: Dataset) -> list[list[Query]]:
    """Queries of all users, of visitors and of nobody: without a filter, with exclusions, with both kinds of filter."""
    nobody = Query(-1, np.empty(0, np.int32), np.empty(0, np.float32), now=data.now)
    rows = np.arange(data.n_items)
    exclude, allowed = rows[::5].astype(np.int32), rows % 3 != 0
    return [
        [*queries(data), nobody],
        [*queries(data, exclude=exclude), replace(nobody, exclude=exclude)],
        [*queries(data, exclude=exclude, allowed=allowed), replace(nobody, allowed=allowed)],
    ]


def hide(query: Query, owners: Owners, shard: int, n_at_split: int) -> Query:
    """The query as a shard gets it: items of other shards that joined after the split are not allowed."""
    if owners.size == n_at_split:
        return query
    allowed = np.ones(owners.size, np.bool_) if query.allowed is None else query.allowed.copy()
    allowed[n_at_split:] &= owners[n_at_split:] == shard
    return replace(query, allowed=allowed)


def merged(lists: Sequence[RankedList]) -> RankedList:
    """Lists of different items as one, under the ordering rule."""
    items = np.concatenate([one.items for one in lists])
    return RankedList(*top_k(items, np.concatenate([one.scores for one in lists]), WINDOW))


def assert_equal(found: RankedList, expected: RankedList) -> None:
    """Assert that two lists agree to the bit."""
    assert found.items.tolist() == expected.items.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


def reloaded(path: Retriever, data: Dataset, folder: Path) -> Retriever:
    """The retriever, saved into `folder` and loaded."""
    folder.mkdir()
    path.save(folder)
    return type(path).load(path.config, folder, data)


def files(folder: Path) -> dict[str, bytes]:
    """The files below a folder by name."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def array_bytes(saved: dict[str, bytes]) -> int:
    """The bytes of the arrays among the files."""
    return sum(len(held) - HEADER for name, held in saved.items() if name.endswith(".npy"))
