"""The candidates of a hold-out as rows of terms, against a plain reading of the lists."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.learning import design as module
from multirecall.learning.design import build_design
from multirecall.learning.lists import KnownLists
from multirecall.lists import RankedBatch, RankedList

N_ITEMS = 9
N_TERMS = 2

LIST = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=N_ITEMS)
REQUEST = st.tuples(st.tuples(LIST, LIST, LIST), st.sets(st.integers(-1, N_ITEMS + 1), max_size=4))
Request = tuple[tuple[list[int], ...], set[int]]


def known(requests: list[Request]) -> KnownLists:
    batches = tuple(
        RankedBatch.from_lists(
            [
                RankedList(np.array(lists[path], np.int32), -np.arange(len(lists[path]), dtype=np.float32))
                for lists, _ in requests
            ]
        )
        for path in range(3)
    )
    targets = [sorted(wanted) for _, wanted in requests]
    return KnownLists(
        ("a", "b", "c"),
        batches,
        (N_ITEMS,) * 3,
        np.cumsum([0, *map(len, targets)]),
        np.array([one for own in targets for one in own], np.int32),
        np.arange(len(requests)),
        np.ones(len(requests), np.int64),
    )


def terms_of(lists: KnownLists) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Two terms for each entry, all distinct and none 0, so that a row tells which entries it was made of."""
    return [
        (1 + np.arange(batch.items.size * N_TERMS, dtype=np.float32)).reshape(-1, N_TERMS) + 1_000 * (path + 1)
        for path, batch in enumerate(lists.batches)
    ]


def rows_of(requests: list[Request]) -> list[dict[int, tuple[float, ...]]]:
    """The row of every candidate of each request, written out entry by entry."""
    rows: list[dict[int, tuple[float, ...]]] = []
    entry = [0, 0, 0]
    for lists, _ in requests:
        own: dict[int, list[float]] = {item: [0.0] * (3 * N_TERMS) for ranked in lists for item in ranked}
        for path, ranked in enumerate(lists):
            for item in ranked:
                for term in range(N_TERMS):
                    own[item][path * N_TERMS + term] = 1 + entry[path] * N_TERMS + term + 1_000 * (path + 1)
                entry[path] += 1
        rows.append({item: tuple(row) for item, row in own.items()})
    return rows


@given(st.lists(REQUEST, min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 3))
def test_every_proposed_target_and_a_sample_of_the_others(requests: list[Request], n_others: int, seed: int) -> None:
    lists = known(requests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "OTHERS", n_others)
        design = build_design(lists, terms_of(lists), seed)
        again = build_design(lists, terms_of(lists), seed)
    assert design.terms.tolist() == again.terms.tolist()
    assert design.offsets[-1] == len(design.terms)
    for one, (own, (_, wanted)) in enumerate(zip(rows_of(requests), requests, strict=True)):
        chosen = Counter(row for item, row in own.items() if item in wanted)
        others = {row for item, row in own.items() if item not in wanted}
        found = [tuple(row) for row in design.terms[design.offsets[one] : design.offsets[one + 1]].tolist()]
        n_chosen = int(design.n_chosen[one])
        assert Counter(found[:n_chosen]) == chosen, "all targets that a path proposes come first"
        sample = found[n_chosen:]
        assert len(set(sample)) == len(sample) == min(n_others, len(others))
        assert set(sample) <= others
        assert design.expand[one] == (len(others) / len(sample) if sample else 1.0)


def test_every_other_is_drawn_equally_often() -> None:
    n_requests = 3_000
    lists = known([((list(range(8)), [], []), {0})] * n_requests)
    terms = [np.repeat(batch.items[:, None], N_TERMS, axis=1).astype(np.float32) for batch in lists.batches]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "OTHERS", 2)
        design = build_design(lists, terms, 0)
    sampled = design.terms.reshape(n_requests, 3, -1)[:, 1:, 0]
    counts = np.bincount(sampled.ravel().astype(int), minlength=8)
    expected = n_requests * 2 / 7
    assert counts[0] == 0
    assert np.abs(counts[1:] - expected).max() < 5 * np.sqrt(expected)


@given(st.lists(REQUEST, min_size=1, max_size=5), st.data())
def test_some_of_the_requests(requests: list[Request], data: st.DataObject) -> None:
    lists = known(requests)
    some = np.array(sorted(data.draw(st.sets(st.integers(0, len(requests) - 1)))), np.int64)
    design = build_design(lists, terms_of(lists), 0)
    part = design.take(some)
    assert len(part) == some.size
    for place, one in enumerate(some.tolist()):
        rows = design.terms[design.offsets[one] : design.offsets[one + 1]]
        assert part.terms[part.offsets[place] : part.offsets[place + 1]].tolist() == rows.tolist()
    assert part.n_chosen.tolist() == design.n_chosen[some].tolist()
    assert part.expand.tolist() == design.expand[some].tolist()
