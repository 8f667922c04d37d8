"""Learning the coefficients of an additive fusion from the candidates of a hold-out.

Each chosen candidate competes with the candidates of its request that were not chosen, a conditional logit (McFadden
1974; the softmax loss of a ranker). With the score `s_i = x_i · c` of candidate `i`, the loss of a request is the mean
over its chosen candidates `p` of

    -log( exp(s_p) / (exp(s_p) + e · Σ_others exp(s_i)) )

where the others are a sample and `e` is the number of candidates that each of them stands for. To the mean over
requests comes a Gaussian prior around equal weights, `PRIOR_REQUESTS / n · ‖c - c_0‖²`: few requests move the
coefficients little, many decide alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from multirecall.learning.design import Design
from multirecall.learning.products import product

PRIOR_REQUESTS = 10.0
"""The strength of the prior, as a number of requests. Measured on four logs: 3 to 30 are equally good, without a prior
few requests give erratic coefficients."""

STEEPEST = 8.0
"""The largest factor on the prior's coefficients that is tried, as the scale of equal weights."""

MOST_STEPS = 200
"""Most steps of the optimiser."""

LEAST_STEP = 1e-7
"""The optimiser stops when a step lowers the loss by less than this share of it."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The chosen candidates of a design, one row each, and the bounds of the others of each request with any."""

    rows: NDArray[np.float32]
    own: NDArray[np.int64]
    others: NDArray[np.float32]
    offsets: NDArray[np.int64]
    expand: NDArray[np.float64]
    share: NDArray[np.float64]

    @classmethod
    def of(cls, design: Design) -> Chosen:
        """Split the rows of `design`; requests without a chosen candidate or without others teach nothing."""
        lengths = np.diff(design.offsets)
        useful = np.flatnonzero((design.n_chosen > 0) & (lengths > design.n_chosen))
        part = design if useful.size == len(design) else design.take(useful)
        is_chosen = np.arange(part.offsets[-1]) - np.repeat(part.offsets[:-1], np.diff(part.offsets)) < np.repeat(
            part.n_chosen, np.diff(part.offsets)
        )
        own = np.repeat(np.arange(len(part)), part.n_chosen)
        offsets = np.append(0, np.cumsum(np.diff(part.offsets) - part.n_chosen))
        share = 1.0 / np.repeat(part.n_chosen, part.n_chosen)
        return cls(part.terms[is_chosen], own, part.terms[~is_chosen], offsets, part.expand, share)

    def __len__(self) -> int:
        return self.offsets.size - 1

    def losses(self, coefficients: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The loss of each request, float64 (n,), and the gradient of their sum, float64 (n_columns,)."""
        narrow = coefficients.astype(np.float32)
        scores, chosen = (product(part, narrow).astype(np.float64) for part in (self.others, self.rows))
        counts = np.diff(self.offsets)
        top = np.maximum.reduceat(scores, self.offsets[:-1])
        powers = np.exp(scores - np.repeat(top, counts))
        sums = np.add.reduceat(powers, self.offsets[:-1])
        margins = (top + np.log(sums * self.expand))[self.own] - chosen
        pull = self.share * expit(margins)
        losses = np.bincount(self.own, self.share * np.logaddexp(0.0, margins), len(self)).astype(np.float64)
        push = np.repeat(np.bincount(self.own, pull, len(self)) / sums, counts) * powers
        gradient = product(push.astype(np.float32), self.others) - product(pull.astype(np.float32), self.rows)
        return losses, gradient.astype(np.float64)


def learn_coefficients(
    chosen: Chosen,
    prior: NDArray[np.float64],
    lowest: NDArray[np.float64],
    start: NDArray[np.float64] | None = None,
    strength: float = PRIOR_REQUESTS,
) -> NDArray[np.float64]:
    """The coefficients of every column, float64 (n_columns,), ≥ `lowest`.

    Args:
        chosen: the candidates.
        prior: the centre of the prior, float64 (n_columns,).
        lowest: the lowest value of each coefficient, float64 (n_columns,).
        start: where the optimiser begins; None: at the prior.
        strength: that of the prior, as a number of requests.
    """
    if not len(chosen):
        return prior
    ridge = strength / len(chosen)

    def loss(coefficients: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        losses, gradient = chosen.losses(coefficients)
        away = coefficients - prior
        return float(losses.mean() + ridge * product(away, away)), gradient / len(chosen) + 2.0 * ridge * away

    found = minimize(
        loss,
        prior if start is None else start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(low, None) for low in lowest],
        options={"maxiter": MOST_STEPS, "ftol": LEAST_STEP},
    )
    coefficients: NDArray[np.float64] = found.x
    return coefficients


def scale_prior(chosen: Chosen, prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equal weights at the scale that fits best, float64 (n_columns,): the prior times one factor."""
    if not len(chosen):
        return prior

    def loss(factor: float) -> float:
        return float(chosen.losses(factor * prior)[0].mean())

    return float(minimize_scalar(loss, bounds=(0.0, STEEPEST), method="bounded", options={"xatol": 0.05}).x) * prior


def calibrate(design: Design, scores: NDArray[np.float64]) -> tuple[float, float]:
    """The factor and the intercept that turn scores into log odds of being chosen (Platt 1999).

    Args:
        design: the candidates; every sampled other counts for all that it stands for.
        scores: the score of each row, float64 (n_rows,), by coefficients that were not learned from it.
    """
    lengths = np.diff(design.offsets)
    place = np.arange(design.offsets[-1]) - np.repeat(design.offsets[:-1], lengths)
    is_chosen = place < np.repeat(design.n_chosen, lengths)
    weights = np.where(is_chosen, 1.0, np.repeat(design.expand, lengths))
    odds = weights[is_chosen].sum() / max(weights[~is_chosen].sum(), 1.0)

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = line[0] * scores + line[1]
        surprise = np.logaddexp(0.0, np.where(is_chosen, -margins, margins))
        push = weights * (expit(margins) - is_chosen)
        return float((weights * surprise).sum() / weights.sum()), np.array(
            [product(push, scores), push.sum()]
        ) / weights.sum()

    start = np.array([1.0, np.log(max(odds, 1e-9)) - float(np.average(scores, weights=weights))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (None, None)])
    return float(found.x[0]), float(found.x[1])
