"""Scoring candidates, and early stopping of the search."""

from __future__ import annotations

from multirecall.progress import Advance
from multirecall.tuning.candidate import Candidate
from multirecall.tuning.config import TuningConfig
from multirecall.tuning.journal import Journal
from multirecall.tuning.memory import Memory

LEAST_GAIN = 1e-6
"""The smallest difference of the metric that counts as a gain; smaller ones are rounding errors."""


class Scorer:
    """Scores candidates by their mean metric on one memory, and remembers the best.

    Attributes:
        memory: the lists that candidates are scored on.
        best: the best candidate so far, or None.
        best_score: the score of `best`, minus infinity without one.
        n_scored: the number of different candidates scored so far.
        n_idle: the number of these since the last gain.
    """

    def __init__(self, memory: Memory, config: TuningConfig, journal: Journal, advance: Advance) -> None:
        self.memory = memory
        self.best: Candidate | None = None
        self.best_score = float("-inf")
        self.n_scored = self.n_idle = 0
        self._met: set[str] = set()
        self._config, self._journal, self._advance = config, journal, advance

    @property
    def exhausted(self) -> bool:
        """Whether the search must stop: the limit of trials or the patience is reached."""
        return self.n_scored >= self._config.trials or self.n_idle >= self._config.patience

    def score(self, candidate: Candidate) -> float:
        """The mean metric of a candidate; minus infinity where it has no path or exceeds the budget."""
        budget = self._config.budget_ms
        if not candidate.chosen or (budget is not None and self.memory.cost(candidate) > budget):
            return float("-inf")
        score = self._journal.score(candidate.key, lambda: float(self.memory.values(candidate).mean()))
        if candidate.key not in self._met:
            self._met.add(candidate.key)
            self.n_scored += 1
            self.n_idle += 1
            self._advance(1, f"best {max(score, self.best_score):.4f}")
        if score > self.best_score + LEAST_GAIN:
            self.best, self.best_score, self.n_idle = candidate, score, 0
        return score
