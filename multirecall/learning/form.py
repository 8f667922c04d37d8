"""A form: an additive fusion whose coefficients are learned, and its candidates in a hold-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.learning.choice import FusionChoice, open_fusion
from multirecall.learning.coefficients import Chosen, calibrate, learn_coefficients, scale_prior
from multirecall.learning.design import Design, build_design
from multirecall.learning.lists import KnownLists
from multirecall.protocols import Fusion

DIGITS = 4
"""Decimals that coefficients are rounded to, so that a config can be read. A path whose coefficients all vanish is
dropped."""


@dataclass(frozen=True, slots=True)
class Form:
    """An additive fusion over the candidates of a hold-out.

    Attributes:
        strategy: the name of the plug-in.
        params: its settings.
        names: the names of the paths.
        fusion: the plug-in.
        design: the candidates.
        prior: the coefficients of equal weights at the scale that fits best, float64 (n_paths, n_terms).
    """

    strategy: str
    params: Mapping[str, Any]
    names: tuple[str, ...]
    fusion: Fusion
    design: Design
    prior: NDArray[np.float64]

    @classmethod
    def of(
        cls, strategy: str, params: Mapping[str, Any], lists: KnownLists, weights: Sequence[float], seed: int
    ) -> Form:
        """The form over `lists`; `weights` are those of the paths before anything is learned."""
        fusion = open_fusion(strategy, params)
        terms = [fusion.term_values(batch, quota) for batch, quota in zip(lists.batches, lists.quotas, strict=True)]
        design = build_design(lists, terms, seed)
        prior = np.outer(weights, [term.prior for term in fusion.terms])
        scaled = scale_prior(Chosen.of(design), prior.ravel()).reshape(prior.shape)
        return cls(strategy, params, lists.names, fusion, design, scaled)

    def learn(
        self,
        requests: NDArray[np.integer] | None,
        kept: NDArray[np.bool_],
        prior: NDArray[np.float64] | None = None,
        start: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """The coefficients learned from some requests, float64 (n_paths, n_terms); 0 for paths that are not kept.

        Args:
            requests: the positions of the requests; None: all.
            kept: the paths that may have coefficients, bool (n_paths,).
            prior: the centre of the prior, float64 (n_paths, n_terms); None: equal weights.
            start: where the optimiser begins, float64 (n_paths, n_terms); None: at the prior.
        """
        design = self.design if requests is None else self.design.take(requests)
        return self.learn_from(Chosen.of(design), kept, prior, start)

    def learn_from(
        self,
        chosen: Chosen,
        kept: NDArray[np.bool_],
        prior: NDArray[np.float64] | None = None,
        start: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """As `learn`, from candidates that are split already."""
        columns = np.repeat(kept, len(self.fusion.terms))
        lowest = np.tile([term.lowest for term in self.fusion.terms], len(self.names))
        part = (
            Chosen(
                chosen.rows[:, columns],
                chosen.own,
                chosen.others[:, columns],
                chosen.offsets,
                chosen.expand,
                chosen.share,
            )
            if not columns.all()
            else chosen
        )
        centre = (self.prior if prior is None else prior).ravel()[columns]
        found = np.zeros(columns.size)
        first = None if start is None else start.ravel()[columns]
        found[columns] = learn_coefficients(part, centre, lowest[columns], first)
        return found.reshape(self.prior.shape)

    def calibrate(
        self, coefficients: NDArray[np.float64], scores: NDArray[np.float64], requests: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], float]:
        """Coefficients scaled so that a score is the log odds of being chosen, and the intercept.

        `scores` are those of the rows of `requests` by coefficients that were not learned from them.
        """
        factor, intercept = calibrate(self.design.take(requests), scores)
        return factor * coefficients, intercept

    def choice(self, coefficients: NDArray[np.float64], intercept: float = 0.0) -> FusionChoice:
        """The fusion with these coefficients, rounded; a path without any is not asked."""
        rounded = np.round(coefficients, DIGITS)
        params, weights = self.fusion.with_coefficients(self.names, rounded, round(intercept, DIGITS))
        asked: NDArray[np.bool_] = np.any(rounded != 0, axis=1)
        return FusionChoice(
            self.strategy,
            {**self.params, **params},
            tuple(weight if keep else 0.0 for weight, keep in zip(weights, asked, strict=True)),
        )
