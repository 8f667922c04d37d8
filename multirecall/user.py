"""The user whom a request is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from multirecall.vocabulary import Id


@dataclass(frozen=True, slots=True)
class User:
    """The user whom a request is for, with what the request says about them beyond their id.

    Attributes:
        id: the external id, or None for a visitor.
        history: item ids, oldest first. They replace the stored history for scoring; the items of both count as
            seen. None: the stored history is used. Ids that the catalogue lacks are ignored.
        features: user features by field name; they override those of the user table.
        terms: search terms by item field: words for a text field, values for the other kinds. Retrievers over item
            features search for these instead of the profile of the history. A word or category that no item has
            matches nothing; several words in a field of single-word categories are an error.
    """

    id: Id | None = None
    history: Sequence[Id] | NDArray[Any] | None = None
    features: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)
