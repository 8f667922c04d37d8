"""The gate: drop paths that the others do as well without, judged on users that nothing was learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.bootstrap import Interval
from multirecall.learning.coefficients import Chosen
from multirecall.learning.form import Form
from multirecall.learning.judge import gain_by_user


@dataclass(frozen=True, slots=True)
class GateStep:
    """What the others lose without one path, in nats of log loss a request, and whether the path is kept."""

    path: str
    loss: Interval
    kept: bool


@dataclass(frozen=True, slots=True)
class Gating:
    """The paths that are kept, bool (n_paths,), and a step for every path that the gate looked at."""

    kept: NDArray[np.bool_]
    steps: tuple[GateStep, ...]


def gate_paths(
    form: Form, halves: tuple[NDArray[np.int64], NDArray[np.int64]], owners: NDArray[np.integer], required: set[str]
) -> Gating:
    """Drop one path after the other, each time the one that the others miss least, until they would miss any.

    A path is missed if coefficients learned on one half of the users, without it, fit the other half worse.

    Args:
        form: the fusion and its candidates.
        halves: the positions of the requests of either half.
        owners: the user of each request.
        required: the names of paths that are never dropped.
    """
    kept = np.ones(len(form.names), np.bool_)
    sides = [_Side.of(form, halves[one], halves[1 - one], owners) for one in (0, 1)]
    found = [form.learn_from(side.learn, kept) for side in sides]
    before = _losses(sides, found)
    steps: list[GateStep] = []
    missed: dict[int, Interval] = {}
    while kept.sum() > 1:
        candidates = [path for path in np.flatnonzero(kept).tolist() if form.names[path] not in required]
        rough = {path: _losses(sides, [_without(own, path) for own in found]).mean() for path in candidates}
        untried = [path for path in sorted(candidates, key=lambda path: rough[path]) if path not in missed]
        if not untried:
            break
        path = untried[0]
        fewer = kept.copy()
        fewer[path] = False
        without = [
            form.learn_from(side.learn, fewer, start=_without(own, path))
            for side, own in zip(sides, found, strict=True)
        ]
        after = _losses(sides, without)
        loss = gain_by_user(after - before, np.concatenate([side.owners for side in sides]))
        if loss.mean > LEAST_LOSS:
            missed[path] = loss
            if len(missed) == LOOKED_AT:
                break
            continue
        steps.append(GateStep(form.names[path], loss, False))
        kept, found, before, missed = fewer, without, after, {}
    return Gating(kept, (*steps, *(GateStep(form.names[path], loss, True) for path, loss in missed.items())))


LEAST_LOSS = 0.002
"""In nats of log loss a request: what a path must be worth to be asked. Copies of a path are worth less."""

LOOKED_AT = 2
"""The number of paths, least missed first, that have to be missed before the gate stops."""


@dataclass(frozen=True, slots=True)
class _Side:
    """The candidates of one half to learn from, and those of the other half to judge by, with their users."""

    learn: Chosen
    judge: Chosen
    owners: NDArray[np.integer]

    @classmethod
    def of(cls, form: Form, learn: NDArray[np.int64], judge: NDArray[np.int64], owners: NDArray[np.integer]) -> _Side:
        lengths, n_chosen = np.diff(form.design.offsets), form.design.n_chosen
        useful = judge[(n_chosen[judge] > 0) & (lengths[judge] > n_chosen[judge])]
        return cls(Chosen.of(form.design.take(learn)), Chosen.of(form.design.take(useful)), owners[useful])


def _losses(sides: list[_Side], found: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([side.judge.losses(own.ravel())[0] for side, own in zip(sides, found, strict=True)])


def _without(coefficients: NDArray[np.float64], path: int) -> NDArray[np.float64]:
    fewer = coefficients.copy()
    fewer[path] = 0.0
    return fewer
