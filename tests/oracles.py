"""Slow, obvious reference code."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

Scored = dict[int, float]


def rank_items(scores: Mapping[int, float]) -> list[int]:
    """Items by score descending, then item ascending; non-finite scores dropped."""
    finite = {item: score for item, score in scores.items() if math.isfinite(score)}
    return sorted(finite, key=lambda item: (-finite[item], item))


def similarities(
    chosen: Mapping[int, Mapping[int, float]], *, user: float, source: float, target: float, shrinkage: float
) -> dict[int, Scored]:
    """Item-CF: `C_st / (n_s^a n_t^b + shrinkage^(a+b))`; `chosen[u][i]` is the weight of user u on item i."""
    norms: Scored = defaultdict(float)
    for row in chosen.values():
        for item, weight in row.items():
            norms[item] += weight**2
    together: dict[int, Scored] = defaultdict(lambda: defaultdict(float))
    for row in chosen.values():
        degree = sum(row.values()) ** user
        for s, weight_s in row.items():
            for t, weight_t in row.items():
                if s != t:
                    together[s][t] += weight_s * weight_t / degree
    extra = shrinkage ** (source + target) if shrinkage else 0.0
    return {
        s: {t: c / (norms[s] ** source * norms[t] ** target + extra) for t, c in row.items()}
        for s, row in together.items()
    }


def words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits."""
    return re.findall(r"[^\W_]+", text.lower())


def bm25(documents: Mapping[int, Sequence[str]], k1: float, b: float) -> Callable[[Iterable[str]], Scored]:
    """BM25 with `idf = ln(1 + (N - n + .5) / (n + .5))`, as a function of a query's terms."""
    n = len(documents)
    mean = sum(map(len, documents.values())) / n
    counts = {item: Counter(document) for item, document in documents.items()}
    holders = Counter(term for document in documents.values() for term in set(document))

    def score(query: Iterable[str]) -> Scored:
        scores: Scored = defaultdict(float)
        for term in query:
            idf = math.log(1 + (n - holders[term] + 0.5) / (holders[term] + 0.5))
            for item, document in documents.items():
                if tf := counts[item][term]:
                    scores[item] += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(document) / mean))
        return dict(scores)

    return score


def ndcg(retrieved: Sequence[int], relevant: set[int], k: int) -> float:
    """Binary NDCG@k with the ideal list of `min(k, |relevant|)` hits."""
    gain = sum(1 / math.log2(rank + 2) for rank, item in enumerate(retrieved[:k]) if item in relevant)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(relevant))))


def ranking_metrics(retrieved: Sequence[int], relevant: set[int], k: int) -> dict[str, float]:
    """Every ranking metric at k, one line each."""
    hits = [item in relevant for item in retrieved[:k]]
    ranks = [rank for rank, hit in enumerate(hits, 1) if hit]
    return {
        "recall": len(ranks) / len(relevant),
        "hit_rate": float(bool(ranks)),
        "precision": len(ranks) / k,
        "ndcg": ndcg(retrieved, relevant, k),
        "mrr": 1 / ranks[0] if ranks else 0.0,
        "map": sum(sum(hits[:rank]) / rank for rank in ranks) / len(relevant),
    }
