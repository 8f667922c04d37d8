"""Quotas given out greedily: every block goes to the path that it raises the metric most for."""

from __future__ import annotations

from dataclasses import replace

from multirecall.tuning.candidate import Candidate
from multirecall.tuning.scorer import LEAST_GAIN, Scorer

BLOCKS = 10
"""Blocks that the widest quota of a path consists of."""


def greedy_quotas(at: Candidate, scorer: Scorer) -> Candidate:
    """The quotas of the chosen paths, one block each at first, grown block by block while the metric gains."""
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
