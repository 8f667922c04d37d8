"""Which rows of a feature column hold one of some values: kernels that read the column once."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.data.features import Categorical, Tags, Text
from multirecall.kernels import Array, kernel


def have_category(feature: Categorical | Tags, codes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each row has one of the categories `codes`, int32 (m,), each ≥ 0; bool (n,)."""
    chosen = np.zeros(len(feature.categories), np.bool_)
    chosen[codes] = True
    if isinstance(feature, Categorical):
        return _are_chosen(feature.codes, chosen)
    return _have_chosen(feature.offsets, feature.codes, chosen)


def have_text(feature: Text, texts: Collection[bytes]) -> NDArray[np.bool_]:
    """Whether each row is one of `texts`, in UTF-8, not empty; bool (n,). Most rows are told apart by length."""
    by_length = sorted(texts, key=len)
    longest = len(by_length[-1]) if by_length else 0
    firsts = np.searchsorted([len(text) for text in by_length], np.arange(longest + 2)).astype(np.int64)
    wanted = np.frombuffer(b"".join(by_length), np.uint8)
    offsets = offsets_of([len(text) for text in by_length])
    return _are_among(feature.offsets, feature.data, offsets, wanted, firsts)


@kernel
def _are_chosen(codes: Array, chosen: Array) -> NDArray[np.bool_]:
    matches = np.zeros(codes.size, np.bool_)
    for row in range(codes.size):
        if codes[row] >= 0:
            matches[row] = chosen[codes[row]]
    return matches


@kernel
def _have_chosen(offsets: Array, codes: Array, chosen: Array) -> NDArray[np.bool_]:
    matches = np.zeros(offsets.size - 1, np.bool_)
    for row in range(matches.size):
        for place in range(offsets[row], offsets[row + 1]):
            matches[row] |= chosen[codes[place]]
    return matches


@kernel
def _are_among(offsets: Array, data: Array, wanted_offsets: Array, wanted: Array, firsts: Array) -> NDArray[np.bool_]:
    """Compare each row with the wanted texts of its length, which are `firsts[length]` to `firsts[length + 1]`."""
    matches = np.zeros(offsets.size - 1, np.bool_)
    longest = firsts.size - 2
    for row in range(matches.size):
        start, length = offsets[row], offsets[row + 1] - offsets[row]
        if length == 0 or length > longest:
            continue
        for text in range(firsts[length], firsts[length + 1]):
            other, same = wanted_offsets[text], 0
            while same < length and data[start + same] == wanted[other + same]:
                same += 1
            if same == length:
                matches[row] = True
                break
    return matches
