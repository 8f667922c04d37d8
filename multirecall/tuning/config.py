"""Settings of the tuner."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from multirecall.evaluation import METRICS, SplitKind
from multirecall.validation import Count, Positive, StrictModel, nearest


class TuningConfig(StrictModel):
    """Settings of `tune`. `metric`, `k`, `resamples` and `level` only change what is reported."""

    metric: str = "recall"
    """The metric that comparisons report: recall, hit_rate, precision, ndcg, mrr or map. What is learned is judged by
    recall and NDCG at 10, 20, 100 and the engine's `k` together."""

    k: Count = 100
    """The list length at which comparisons report the metric."""

    split: SplitKind | None = None
    """The split that holds out the slices: `time`, `user-time`, `last` or `random`; None: by time where the log has
    timestamps, by last event where it has positions, else at random."""

    fraction: Annotated[float, Field(strict=True, gt=0, lt=0.5)] = 0.1
    """The share of events in each slice, between 0 and 0.5; not used by `last`."""

    last: Count = 1
    """The number of events of each user that `last` holds out."""

    seen: bool = False
    """Whether items that the user has interacted with count as targets and may be retrieved."""

    search_users: Count = 3_000
    """Most users of the search slice, from which the fusion is learned; more give steadier results, and take longer."""

    confirm_users: Count = 10_000
    """Most users of the second slice, which confirms the gain."""

    budget_ms: Positive | None = None
    """Limit in milliseconds on the sum of the paths' median latencies in single requests; None: no limit."""

    strategies: tuple[str, ...] = ()
    """The fusion plug-ins to try; empty: all that are installed."""

    segments: bool = True
    """Whether fusions by history length are kept where they gain."""

    resamples: Annotated[int, Field(strict=True, ge=100)] = 1_000
    """The number of resamples of the intervals in comparisons, ≥ 100."""

    level: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.95
    """The confidence level of the intervals in comparisons, between 0 and 1."""

    seed: Annotated[int, Field(strict=True, ge=0)] = 7
    """The seed of the samples of users and of the bootstrap, ≥ 0."""

    @model_validator(mode="before")
    @classmethod
    def _name_removed(cls, values: Any) -> Any:
        if isinstance(values, dict) and (removed := [name for name in ("trials", "patience") if name in values]):
            raise ValueError(f"{removed[0]} has no use: the fusion is learned, not searched; leave it out")
        return values

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"is not a metric of a user's list; {nearest(metric, METRICS)}")
        return metric
