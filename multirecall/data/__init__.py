"""Interaction logs and feature tables, checked and turned into arrays."""

from multirecall.data.config import DataConfig, Kind
from multirecall.data.dataset import Dataset
from multirecall.data.features import Categorical, Feature, Numeric, Tags, Text
from multirecall.data.interactions import Interactions
from multirecall.data.table import Table

__all__ = [
    "Categorical",
    "DataConfig",
    "Dataset",
    "Feature",
    "Interactions",
    "Kind",
    "Numeric",
    "Table",
    "Tags",
    "Text",
]
