"""Greedy quotas: each block of places goes to the path where it raises the metric most."""

from __future__ import annotations

from dataclasses import replace

from multirecall.tuning.candidate import Candidate
from multirecall.tuning.scorer import LEAST_GAIN, Scorer

BLOCKS = 10
"""Number of blocks in the widest quota of a path; more blocks are finer and need more trials."""


def greedy_quotas(at: Candidate, scorer: Scorer) -> Candidate:
    """A copy of `at` with greedy quotas: each chosen path begins with one block; blocks are added while they gain."""
    widths = scorer.memory.widths
    blocks = [max(1, width // BLOCKS) for width in widths]
    quotas = [min(blocks[p], width) if at.weights[p] else at.quotas[p] for p, width in enumerate(widths)]
    current = scorer.memory.limit_quotas(replace(at, quotas=tuple(quotas)))
    while True:
        grown = []
        for path in current.chosen:
            more = min(current.quotas[path] + blocks[path], widths[path])
            quotas = [*current.quotas[:path], more, *current.quotas[path + 1 :]]
            grown.append(scorer.memory.limit_quotas(replace(current, quotas=tuple(quotas))))
        best = max(grown, key=scorer.score)
        if scorer.score(best) <= scorer.score(current) + LEAST_GAIN:
            return current
        current = best
