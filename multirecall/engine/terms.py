"""The check of what a user asks for: words belong to text fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multirecall.data import Categorical, Table, Tags, Text
from multirecall.engine.values import list_values
from multirecall.errors import RequestError


def refuse_words(terms: Mapping[str, Any], items: Table) -> None:
    """Refuse several words where a category is asked for.

    A category that no item has is none of them: it matches nothing, since catalogues change. But text of several words
    in a field whose categories are all single words was meant for another field.

    Raises:
        RequestError: that; it names the text fields.
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
