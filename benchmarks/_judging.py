"""Inputs whose right answer an oracle knows, by the thousand."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from _judged_data import Rng, future, ids, kinds, times
from _judged_requests import filters, words

Case = Callable[[Rng, Path], str]
Cases = Callable[[Rng, Path], Iterator[str]]


def _repeated(case: Case) -> Cases:
    def repeated(rng: Rng, folder: Path) -> Iterator[str]:
        while True:
            yield case(rng, folder)

    return repeated


JUDGED: dict[str, Cases] = {
    "times": _repeated(times),
    "ids": _repeated(ids),
    "kinds": _repeated(kinds),
    "future": _repeated(future),
    "words": words,
    "filters": filters,
}
"""What an oracle judges, by name."""


def judge(kind: str, n: int, seed: int, folder: Path) -> Counter[str]:
    """Outcomes of `n` inputs of a kind; raises `Wrong` at the first whose reading is not what the oracle says."""
    rng = np.random.default_rng([seed, sum(kind.encode())])
    logging.getLogger("multirecall").setLevel(logging.ERROR)  # notes belong to what is judged, and would flood
    outcomes: Counter[str] = Counter()
    while outcomes.total() < n:
        for outcome in JUDGED[kind](rng, folder):
            outcomes[outcome] += 1
            if outcomes.total() == n:
                break
    return outcomes
