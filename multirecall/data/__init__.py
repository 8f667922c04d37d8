"""Interaction logs and feature tables: reading, checking, and the arrays that the engine works on."""

from multirecall.data.changes import Change, ChangeKind, Changes
from multirecall.data.config import DataConfig, IdType, Kind
from multirecall.data.dataset import Dataset
from multirecall.data.features import Categorical, Feature, Numeric, Tags, Text
from multirecall.data.interactions import Interactions
from multirecall.data.kinds import ColumnKind
from multirecall.data.log import EventLog, History
from multirecall.data.table import Table
from multirecall.deprecation import former_names

__all__ = [
    "Categorical",
    "Change",
    "ChangeKind",
    "Changes",
    "ColumnKind",
    "DataConfig",
    "Dataset",
    "EventLog",
    "Feature",
    "History",
    "IdType",
    "Interactions",
    "Kind",
    "Numeric",
    "Table",
    "Tags",
    "Text",
]

__getattr__ = former_names(
    __name__,
    {
        "Runs": "EventLog",
    },
)
