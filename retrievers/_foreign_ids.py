"""Ids in files of other systems, read in the type of the data's ids."""

from __future__ import annotations

import polars as pl

from multirecall.data.config import IdType
from multirecall.data.ids import read_ids_like
from multirecall.data.source import Source
from multirecall.vocabulary import Vocabulary


def foreign_ids(source: Source, column: str, known: Vocabulary, wanted: IdType) -> pl.Series:
    """The ids of a column in the type of `known`; another type is converted in CSV, or where `[data] ids` names one.

    Args:
        source: the file.
        column: whose cells are ids.
        known: the ids of the data.
        wanted: the option `ids` of the data.

    Raises:
        DataError: an id is null, or cannot be of that type.
        IdTypeError: ids are of another type than those of the data.
    """
    return read_ids_like(source, column, known, ("text" if known.holds_text else "int") if source.untyped else wanted)
