"""Honest measuring: splits that do not leak, metrics at several k, reports per path and fused."""

from multirecall.evaluation.metrics import METRICS, coverage, novelty, user_metrics
from multirecall.evaluation.report import Report, evaluate
from multirecall.evaluation.splits import Split, leave_last_out, time_split

__all__ = [
    "METRICS",
    "Report",
    "Split",
    "coverage",
    "evaluate",
    "leave_last_out",
    "novelty",
    "time_split",
    "user_metrics",
]
