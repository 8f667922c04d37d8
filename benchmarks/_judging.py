"""Inputs whose right answer an oracle knows, by the thousand."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from _judged_data import Rng, future, ids, kinds, times
from _judged_requests import filters, words

Case = Callable[[Rng, Path], str]
Cases = Callable[[Rng, Path], Iterator[str]]


def _repeat(case: Case) -> Cases:
    def run_both(rng: Rng, folder: Path) -> Iterator[str]:
        while True:
            yield case(rng, folder)

    return run_both


JUDGED: dict[str, Cases] = {
    "times": _repeat(times),
    "ids": _repeat(ids),
    "kinds": _repeat(kinds),
    "future": _repeat(future),
    "words": words,
    "filters": filters,
}
"""What an oracle judges, by name."""


def judge(kind: str, n: int, seed: int, folder: Path) -> Counter[str]:
    """Outcomes of `n` inputs of a kind; raises `Wrong` at the first whose reading is not what the oracle says."""
    rng = np.random.default_rng([seed, sum(kind.encode())])
    outcomes: Counter[str] = Counter()
    with _silence_log():
        while outcomes.total() < n:
            outcomes.update(islice(JUDGED[kind](rng, folder), n - outcomes.total()))
    return outcomes


@contextmanager
def _silence_log() -> Iterator[None]:
    """Without the notes in the log, which would flood it."""
    logger = logging.getLogger("multirecall")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
