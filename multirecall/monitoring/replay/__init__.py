"""What another fusion would have made of logged requests, and how good it would have been."""

from multirecall.monitoring.replay.estimates import Estimates
from multirecall.monitoring.replay.replay import replay
from multirecall.monitoring.replay.report import ReplayReport, Sameness

__all__ = ["Estimates", "ReplayReport", "Sameness", "replay"]
