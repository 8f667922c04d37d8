"""The check of search terms: several words belong in a text field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multirecall.data import Categorical, Table, Tags, Text
from multirecall.engine.values import list_values
from multirecall.errors import RequestError


def refuse_words(terms: Mapping[str, Any], items: Table) -> None:
    """Refuse several words in a field of single-word categories, because they were meant for a text field.

    A category that no item has is not refused. It matches nothing, because catalogues change.

    Raises:
        RequestError: there are several words. The error names the text fields.
    """
    for field, value in terms.items():
        feature = items.features[field]
        if isinstance(feature, Categorical | Tags):
            phrases = [one for one in list_values(value) if _is_phrase(one)]
            if phrases and not any(map(_is_phrase, feature.categories.ids().tolist())) and len(feature.categories):
                raise RequestError(
                    f"terms: field {field!r} is of kind {feature.kind}, whose categories are single words, got "
                    f"{phrases[0]!r}; pass a category, or {_remedy(field, items)}"
                )


def _is_phrase(value: Any) -> bool:
    return isinstance(value, str) and len(value.split(maxsplit=1)) > 1


def _remedy(field: str, items: Table) -> str:
    texts = [repr(name) for name, feature in items.features.items() if isinstance(feature, Text)]
    if texts:
        return f"send words to a text field: {', '.join(texts)}"
    return f"load a field for words as text: kinds={{{field!r}: 'text'}}"
