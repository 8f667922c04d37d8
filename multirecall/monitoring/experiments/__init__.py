"""Experiments: users are assigned to arms, and a log of requests says which arm is better."""

from multirecall.monitoring.experiments.assignment import Assignment
from multirecall.monitoring.experiments.attach import use_experiment
from multirecall.monitoring.experiments.outcomes import ANSWERS, METRICS, join_events
from multirecall.monitoring.experiments.plan import (
    Design,
    Plan,
    noise_of_means,
    noise_of_preferences,
    noise_of_rates,
    plan_effect,
    plan_users,
    users_for_mismatch,
)
from multirecall.monitoring.experiments.report import ExperimentReport, report_experiment
from multirecall.monitoring.experiments.settings import (
    ArmSettings,
    Experiments,
    ExperimentSettings,
    check_experiments,
    read_experiments,
)

__all__ = [
    "ANSWERS",
    "METRICS",
    "ArmSettings",
    "Assignment",
    "Design",
    "ExperimentReport",
    "ExperimentSettings",
    "Experiments",
    "Plan",
    "check_experiments",
    "join_events",
    "noise_of_means",
    "noise_of_preferences",
    "noise_of_rates",
    "plan_effect",
    "plan_users",
    "read_experiments",
    "report_experiment",
    "use_experiment",
    "users_for_mismatch",
]
