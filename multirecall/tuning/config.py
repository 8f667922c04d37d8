"""How a fusion is tuned."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from multirecall.evaluation import METRICS, SplitKind
from multirecall.validation import Count, Positive, StrictModel, nearest


class TuningConfig(StrictModel):
    """Settings of `tune`; every one changes results."""

    metric: str = "recall"
    """What is raised: recall, hit_rate, precision, ndcg, mrr or map."""

    k: Count = 100
    """List length at which the metric is taken."""

    split: SplitKind | None = None
    """How the slices are held out: `time`, `user-time`, `last` or `random`; None: by time where the log has
    timestamps, by last event where it has positions, else at random."""

    fraction: Annotated[float, Field(strict=True, gt=0, lt=0.5)] = 0.1
    """Share of the events of each slice; without meaning for `last`."""

    last: Count = 1
    """Events of each user that `last` holds out."""

    seen: bool = False
    """Whether items that the user has interacted with count as targets and may be retrieved."""

    search_users: Count = 3_000
    """Most users of the slice that is searched on; more are steadier and slower."""

    confirm_users: Count = 10_000
    """Most users of the slice that confirms."""

    budget_ms: Positive | None = None
    """Milliseconds that the paths of a request may take together (medians of single requests); None: no limit."""

    strategies: tuple[str, ...] = ()
    """Fusion plug-ins to choose from; none named: all that are installed."""

    trials: Count = 2_000
    """Most fusions that are scored, once each strategy under each of its settings was."""

    patience: Count = 150
    """The search ends after so many fusions without a gain."""

    segments: bool = True
    """Whether weights by length of history are tried as well."""

    resamples: Annotated[int, Field(strict=True, ge=100)] = 1_000
    """Resamples of the bootstrap intervals, ≥ 100."""

    level: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.95
    """Confidence level of the intervals, between 0 and 1."""

    seed: Annotated[int, Field(strict=True, ge=0)] = 7
    """Of the draws of users and of the resamples."""

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"is no metric of a user's list; {nearest(metric, METRICS)}")
        return metric
