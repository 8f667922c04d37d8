"""Why an item has its place among the candidates of a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from multirecall.vocabulary import Id


@dataclass(frozen=True, slots=True)
class PathExplanation:
    """The rank and score of one item in one path.

    Attributes:
        rank: 0-based rank in the path's list, or None.
        score: the path's raw score, or None.
        normalised: what the path alone would add to the fused score at weight 1, or None. In `rrf`, `weighted_sum`
            and `learned`, the fused score is the intercept and the sum of these, each times the weight of its path.
        reason: why the path does not propose the item, or None where it does.
        detail: what the path says about its proposal, such as which interest of the user it serves; None: nothing.
        items: the items that `detail` speaks of, the most important first.
    """

    rank: int | None
    score: float | None
    normalised: float | None
    reason: str | None
    detail: str | None = None
    items: tuple[Id, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item has its rank for a user, or none.

    Attributes:
        item_id: the item.
        rank: 0-based rank among the candidates asked for; None where the item is not among them.
        score: fused score, or None.
        reason: why the item is not among the fused candidates; None where it is.
        paths: the rank and score of the item in each path.
        intercept: what the fused score of every candidate has, whichever paths propose it; 0 unless the fusion is
            `learned`.
    """

    item_id: Id
    rank: int | None
    score: float | None
    reason: str | None
    paths: Mapping[str, PathExplanation]
    intercept: float = 0.0
