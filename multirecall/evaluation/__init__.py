"""Evaluation: splits without leakage, ranking metrics at several k, and reports by path and for the fused list."""

from multirecall.deprecation import former_names
from multirecall.evaluation.answers import Retrieved, latencies, retrieve_lists
from multirecall.evaluation.catalogue import CATALOGUE_METRICS, catalogue_metrics, exposure, gini
from multirecall.evaluation.diversity import diversity, feature_rows, vector_rows
from multirecall.evaluation.embeddings import MEANINGS, EmbeddingHealth, Method, embedding_health, layout
from multirecall.evaluation.figures import require_plots
from multirecall.evaluation.gain import FusionGain, describe_losses, fusion_gain, fusion_gains
from multirecall.evaluation.item_maps import ItemMap, PathEmbeddings, item_map, path_embeddings
from multirecall.evaluation.lengths import history_lengths
from multirecall.evaluation.meanings import EXPLAINED, explain_metrics
from multirecall.evaluation.page import page, write_page
from multirecall.evaluation.report import Report, SegmentFigures, check_ks, evaluate, score_lists
from multirecall.evaluation.shapley import Shapley, shapley
from multirecall.evaluation.splits import (
    Split,
    SplitKind,
    aim_at,
    leave_last_n,
    leave_last_out,
    make_split,
    random_split,
    split_at,
    split_of_logs,
    time_split,
    user_time_split,
)
from multirecall.evaluation.value import PathValue, ValueReport, path_values
from multirecall.learning.bootstrap import Interval, interval, intervals
from multirecall.learning.segments import Segment, history_segments
from multirecall.metrics import METRICS, user_metrics

__all__ = [
    "CATALOGUE_METRICS",
    "EXPLAINED",
    "MEANINGS",
    "METRICS",
    "EmbeddingHealth",
    "FusionGain",
    "Interval",
    "ItemMap",
    "Method",
    "PathEmbeddings",
    "PathValue",
    "Report",
    "Retrieved",
    "Segment",
    "SegmentFigures",
    "Shapley",
    "Split",
    "SplitKind",
    "ValueReport",
    "aim_at",
    "catalogue_metrics",
    "check_ks",
    "describe_losses",
    "diversity",
    "embedding_health",
    "evaluate",
    "explain_metrics",
    "exposure",
    "feature_rows",
    "fusion_gain",
    "fusion_gains",
    "gini",
    "history_lengths",
    "history_segments",
    "interval",
    "intervals",
    "item_map",
    "latencies",
    "layout",
    "leave_last_n",
    "leave_last_out",
    "make_split",
    "page",
    "path_embeddings",
    "path_values",
    "random_split",
    "require_plots",
    "retrieve_lists",
    "score_lists",
    "shapley",
    "split_at",
    "split_of_logs",
    "time_split",
    "user_metrics",
    "user_time_split",
    "vector_rows",
    "write_page",
]

__getattr__ = former_names(
    __name__,
    {
        "made_split": "make_split",
        "given_split": "split_of_logs",
        "retrieved": "retrieve_lists",
        "scored": "score_lists",
        "explained": "explain_metrics",
        "checked_ks": "check_ks",
    },
)
