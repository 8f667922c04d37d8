"""Candidates as row groups of a parquet file, with the columns of `CandidateBatch.to_polars`."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.parquet.columns import (
    Column,
    Texts,
    coded_column,
    float_column,
    kind_of,
    plain_numbers,
    rank_column,
    repeated_column,
)
from multirecall.parquet.kernels import code_rows
from multirecall.parquet.writer import RowGroup, row_group_of
from multirecall.result import CandidateBatch
from multirecall.vocabulary import Vocabulary


class CandidateEncoder:
    """Encodes batches over one catalogue; any number of threads may call it.

    Args:
        catalogue: the item ids.
    """

    def __init__(self, catalogue: Vocabulary) -> None:
        self._catalogue = catalogue

    def encode(self, batch: CandidateBatch) -> RowGroup:
        """The row group of a batch."""
        lengths = np.diff(batch.offsets)
        rank = np.arange(batch.items.size) - np.repeat(batch.offsets[:-1], lengths)
        ranks = [rank_column(f"rank_{path}", batch.ranks, number) for number, path in enumerate(batch.paths)]
        longest = np.arange(lengths.max(initial=0), dtype=np.int32)
        own = coded_column("rank", kind_of(longest.dtype), plain_numbers(longest), longest.size, rank.astype(np.int32))
        first = _user_column(batch, lengths), self._item_column(batch.items), float_column("score", batch.scores)
        return row_group_of([*first, own, *ranks])

    @cached_property
    def _texts(self) -> Texts:
        return Texts.of(self._catalogue.ids())

    def _item_column(self, items: NDArray[np.int32]) -> Column:
        distinct, codes = code_rows(items, len(self._catalogue))
        kind = kind_of(self._catalogue.dtype)
        if self._catalogue.holds_text:
            dictionary = self._texts.take(distinct)
        else:
            dictionary = plain_numbers(self._catalogue.ids(distinct))
        return coded_column("item_id", kind, dictionary, distinct.size, codes)


def _user_column(batch: CandidateBatch, lengths: NDArray[np.int64]) -> Column:
    """The ids of the users, each as often as it has candidates; null for a visitor."""
    numbers: dict[Any, int] = {}
    for user in batch.user_ids:
        if user is not None:
            numbers.setdefault(user, len(numbers))
    codes = np.array([-1 if user is None else numbers[user] for user in batch.user_ids], np.int32)
    if batch.user_dtype.kind == "U":
        ids = np.array(list(numbers), np.str_)
        return repeated_column("user_id", kind_of(ids.dtype), Texts.of(ids).data.tobytes(), ids.size, codes, lengths)
    dtype = np.dtype(np.uint64 if batch.user_dtype == np.uint64 else np.int64)
    dictionary = plain_numbers(np.array(list(numbers), dtype))
    return repeated_column("user_id", kind_of(dtype), dictionary, len(numbers), codes, lengths)
