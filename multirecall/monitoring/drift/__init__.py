"""Drift: how far the newest events are from what an engine was fitted on, and what to do about it."""

from multirecall.monitoring.drift.embeddings import VectorDrift, compare_vectors, vector_drift
from multirecall.monitoring.drift.live import DriftSettings, DriftWatch, LiveDrift, LivePath
from multirecall.monitoring.drift.measure import DriftOptions, measure_drift
from multirecall.monitoring.drift.page import drift_page, write_drift_page
from multirecall.monitoring.drift.recall import Recall, recall_on
from multirecall.monitoring.drift.report import Action, Advice, DriftReport, Figure, Histograms
from multirecall.monitoring.drift.timeline import read_events

__all__ = [
    "Action",
    "Advice",
    "DriftOptions",
    "DriftReport",
    "DriftSettings",
    "DriftWatch",
    "Figure",
    "Histograms",
    "LiveDrift",
    "LivePath",
    "Recall",
    "VectorDrift",
    "compare_vectors",
    "drift_page",
    "measure_drift",
    "read_events",
    "recall_on",
    "vector_drift",
    "write_drift_page",
]
