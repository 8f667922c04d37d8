"""The gauges of drift, for Prometheus; a gauge is there once its figure can be told."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

from prometheus_client import Gauge

from multirecall.monitoring.drift import DriftWatch

LOOK_S = 10.0
"""Seconds between two looks, each of which takes some milliseconds."""

SHARES = ("empty", "contribution", "overlap")


class DriftGauges:
    """Shows what a watch tells.

    Args:
        watch: what is shown.
        gauge: makes a gauge of a name, a help text, a mode for several workers, and labels.
    """

    def __init__(self, watch: DriftWatch, gauge: Callable[..., Gauge]) -> None:
        self._watch = watch
        self._next_look = -math.inf
        worst = "The largest of all workers."
        self._answers = gauge("drift_answers", "Newest answers in the figures of drift, over all workers.", "livesum")
        self._unknown = gauge(
            "drift_unknown", f"Share that the engine does not know, or the fit, of events. {worst}", "livemax", "of"
        )
        self._popularity = gauge(
            "drift_popularity",
            f"Distance of the events since the fit from those before. {worst}",
            "livemax",
            "distance",
        )
        self._path = gauge(
            "drift_path", f"What a path does over the newest answers. {worst}", "livemax", "path", "share"
        )
        self._change = gauge(
            "drift_path_change",
            f"What changed of it, as an amount, from the first answers since the fit. {worst}",
            "livemax",
            "path",
            "share",
        )
        self._scores = gauge(
            "drift_scores",
            f"Distance of a path's scores from those in the first answers since the fit. {worst}",
            "livemax",
            "path",
            "distance",
        )

    def look(self) -> None:
        """Set the gauges, unless they were set a moment ago."""
        if monotonic() < self._next_look:
            return
        found = self._watch.figures()
        self._answers.set(found.answers)
        for of in ("users", "items", "events"):
            unknown = getattr(found, f"unknown_{of}")
            if not math.isnan(unknown):  # labels alone would make a gauge of 0
                self._unknown.labels(of).set(unknown)
        if found.popularity is not None:
            for name, value in found.popularity._asdict().items():
                self._popularity.labels(name).set(value)
        for path, own in found.paths.items():
            for share in SHARES:
                now = getattr(own.now, share)
                self._path.labels(path, share).set(now)
                if own.before is not None:
                    self._change.labels(path, share).set(abs(now - getattr(own.before, share)))
            if own.scores is not None:
                for name, value in own.scores._asdict().items():
                    self._scores.labels(path, name).set(value)
        self._next_look = monotonic() + LOOK_S
