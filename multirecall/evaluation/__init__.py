"""Honest measuring: splits that do not leak, metrics at several k, reports per path and fused."""

from multirecall.evaluation.metrics import METRICS, coverage, novelty, user_metrics
from multirecall.evaluation.report import Report, evaluate
from multirecall.evaluation.splits import Split, time_split

__all__ = ["METRICS", "Report", "Split", "coverage", "evaluate", "novelty", "time_split", "user_metrics"]
