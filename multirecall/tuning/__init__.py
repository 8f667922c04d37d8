"""Tuning a fusion: select paths, search weights and settings, and keep gains that a second slice confirms."""

from multirecall.deprecation import former_names
from multirecall.tuning.candidate import Candidate
from multirecall.tuning.config import TuningConfig
from multirecall.tuning.gate import GateStep, Gating
from multirecall.tuning.guard import Comparison, SegmentTrial
from multirecall.tuning.slices import Slices, natural_kind, slices
from multirecall.tuning.tuner import Tuned, compare_on, tune
from multirecall.tuning.write import config_text, statement, write_config

__all__ = [
    "Candidate",
    "Comparison",
    "GateStep",
    "Gating",
    "SegmentTrial",
    "Slices",
    "Tuned",
    "TuningConfig",
    "compare_on",
    "config_text",
    "natural_kind",
    "slices",
    "statement",
    "tune",
    "write_config",
]

__getattr__ = former_names(
    __name__,
    {
        "measured": "compare_on",
    },
)
