from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall.retrievers._sparse import patched_sums
from multirecall.retrievers._sparse.patched_sums import PatchedSums

GAINS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from([0.1, 0.7, 3.0, 1e9])), max_size=4)


@pytest.mark.parametrize("least", [0, 64], ids=["merged", "patched"])
@given(batches=st.lists(GAINS, max_size=6), joined=st.integers(0, 4))
def test_equals_plain_addition_to_the_bit(least: int, batches: list[list[tuple[int, float]]], joined: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patched_sums, "LEAST", least)
        plain = np.array([0.1, 0.2, 0.3, 5.0])
        sums = PatchedSums.of(plain)
        for gains in batches:
            plain, before, former = np.append(plain, np.zeros(8 + joined - plain.size)), sums, sums.whole()
            rows = np.array([row for row, _ in gains], np.int32)
            sums = sums.with_gains(rows, np.array([gain for _, gain in gains]), plain.size)
            for row, gain in gains:
                plain[row] += gain
            assert sums.whole().tolist() == plain.tolist()
            assert sums.at(np.arange(plain.size)).tolist() == plain.tolist()
            assert before.whole().tolist() == former.tolist(), "the sums before stay as they were"
