"""The meaning of each metric, in one plain sentence."""

from __future__ import annotations

from collections.abc import Iterable

EXPLAINED = {
    "recall": "share of a user's targets that are among the first k",
    "hit_rate": "share of users with at least one target among the first k",
    "precision": "share of the first k that are targets",
    "ndcg": "like recall, but a hit counts less the lower it stands; 1 is the best order possible",
    "mrr": "1 divided by the place of the first hit, counted from 1; 0 without one",
    "map": "mean of the precision at each hit, over all targets",
    "diversity": "how different the features of the items of a list are, from 0 to 1",
    "coverage": "share of the catalogue that is in at least one list",
    "novelty": "how little known the items shown are: mean of -log2 of the share of users who chose them, in bits",
    "gini": "how unevenly the items are shown: 0 all equally often, near 1 only one item",
    "long_tail": "share of what is shown that lies outside the most chosen items, which make 80 % of all choices",
}
"""The meaning by metric, in the order of a report."""


def figure(metric: str, value: float) -> str:
    """A value of the metric as text: four digits behind the point, two of a novelty, which is in bits."""
    return f"{value:.{2 if metric == 'novelty' else 4}f}"


def explain_metrics(metrics: Iterable[str]) -> list[str]:
    """A line for each metric: its name and its meaning."""
    return [f"{metric}: {EXPLAINED[metric]}" for metric in metrics]
