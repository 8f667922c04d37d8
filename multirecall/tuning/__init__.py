"""Tuning a fusion: learn it on one slice of the log, and keep what a second slice confirms."""

from multirecall.deprecation import former_names
from multirecall.tuning.comparison import Comparison
from multirecall.tuning.config import TuningConfig
from multirecall.tuning.slices import Slices, natural_kind, slices
from multirecall.tuning.tuner import Tuned, compare_on, tune
from multirecall.tuning.write import config_text, statement, write_config

__all__ = [
    "Comparison",
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
