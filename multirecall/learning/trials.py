"""Which fusion holds up: every form is learned on one half of the users and judged on the other, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.bootstrap import Interval
from multirecall.learning.choice import PLAIN, FusionChoice
from multirecall.learning.form import Form
from multirecall.learning.judge import JUDGED, Judge, gain_by_user
from multirecall.learning.lists import KnownLists

Halves = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The positions of the requests of one half of the users, and of the other half."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A fusion, and how good its lists are on users that it was not learned from.

    Attributes:
        name: what was tried, in words.
        values: the metrics of each request, float64 (n_metrics, n, n_ks).
        scores: the score of each request, float64 (n,).
        form: the additive fusion whose coefficients were learned; None where nothing was learned.
        found: the coefficients learned from either half, float64 (n_paths, n_terms) each; () without a form.
        fixed: the fusion where nothing was learned.
    """

    name: str
    values: NDArray[np.float64]
    scores: NDArray[np.float64]
    form: Form | None = None
    found: tuple[NDArray[np.float64], ...] = ()
    fixed: FusionChoice | None = None


def try_fixed(name: str, choice: FusionChoice, judge: Judge) -> Trial:
    """Judge a fusion of which nothing is learned."""
    values = judge.values(choice.fuse(judge.lists, judge.ks[-1]))
    return Trial(name, values, judge.score(values), fixed=choice)


def try_form(name: str, form: Form, kept: NDArray[np.bool_], judge: Judge, halves: Halves) -> Trial:
    """Learn a form on either half of the users, and judge it on the other."""
    found = tuple(form.learn(half, kept) for half in halves)
    values = np.empty((len(JUDGED), len(judge.lists), len(judge.ks)))
    for coefficients, other in zip(found, halves[::-1], strict=True):
        fused = form.choice(coefficients).fuse(judge.lists.take(other), judge.ks[-1])
        values[:, other] = judge.values(fused, other)
    return Trial(name, values, judge.score(values), form, found)


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric at one list length: the best path, its mean and that of the fused list, and the paired gain."""

    metric: str
    k: int
    path: str
    best: float
    fused: float
    gain: Interval


def compare_with_paths(values: NDArray[np.float64], paths: Sequence[Trial], judge: Judge) -> tuple[Cell, ...]:
    """Compare the values of a fusion (n_metrics, n, n_ks) with the best path of each metric and length."""
    cells = []
    for row, metric in enumerate(JUDGED):
        for column, k in enumerate(judge.ks):
            means = [float(path.values[row, :, column].mean()) for path in paths]
            best = int(np.argmax(means))
            gains = values[row, :, column] - paths[best].values[row, :, column]
            fused = float(values[row, :, column].mean())
            cells.append(Cell(metric, k, paths[best].name, means[best], fused, gain_by_user(gains, judge.lists.owners)))
    return tuple(cells)


def path_alone(lists: KnownLists, path: int) -> FusionChoice:
    """One path alone."""
    return FusionChoice(*PLAIN, tuple(1.0 if other == path else 0.0 for other in range(len(lists.names))))


def describe_form(strategy: str, params: dict[str, Any]) -> str:
    """A form in words."""
    return f"{strategy} ({', '.join(f'{name} {value}' for name, value in params.items())})" if params else strategy
