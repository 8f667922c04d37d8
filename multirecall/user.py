"""Who asks for candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from multirecall.vocabulary import Id


@dataclass(frozen=True, slots=True)
class User:
    """Who asks for candidates, when an id alone does not say it.

    Attributes:
        id: the external id, or None for a visitor.
        history: item ids, oldest first. It replaces the stored history for scoring; items of both count as
            seen. None: the stored one. Items that the catalogue does not have are passed over.
        features: user features by field name; they override those of the user table.
        terms: what is asked for, by item field: words for a text field, values for the other kinds.
            Retrievers over item features search these instead of the history's profile. A word or category that
            no item has matches nothing; several words in a field of single-word categories are an error.
    """

    id: Id | None = None
    history: Sequence[Id] | NDArray[Any] | None = None
    features: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)
