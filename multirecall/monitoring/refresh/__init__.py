"""A guarded refresh: fit a bundle anew on new events, and publish the fit only if it is not worse than what serves."""

from multirecall.monitoring.refresh.events import Intake
from multirecall.monitoring.refresh.guard import guarded_refit
from multirecall.monitoring.refresh.report import ArmFigures, Comparison, Decision, RefitReport
from multirecall.monitoring.refresh.settings import Guard

__all__ = ["ArmFigures", "Comparison", "Decision", "Guard", "Intake", "RefitReport", "guarded_refit"]
