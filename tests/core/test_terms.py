"""What is asked for in item fields: words, categories that exist or not, and words sent to the wrong field."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from multirecall import Engine, EngineConfig, User
from multirecall.data import Dataset
from multirecall.errors import RequestError

LOG = pl.DataFrame({"user_id": [1, 2], "item_id": [0, 1]})
ITEMS: dict[str, list[Any]] = {
    "item_id": [0, 1, 2],
    "shelf": ["toys", "books", None],
    "place": ["aisle one", "aisle two", "cellar"],
    "tags": [["wood", "red"], ["paper"], []],
    "code": [7, 8, 9],
    "name": ["wooden puzzle", "a novel", "nothing else"],
}


def engine(**items: list[Any]) -> Engine:
    kinds = {"name": "text", "code": "categorical", "place": "categorical"}
    kinds = {field: kind for field, kind in kinds.items() if field in items}
    data = Dataset.from_frames(LOG, pl.DataFrame(items), kinds=kinds)  # type: ignore[arg-type]
    return Engine(EngineConfig.model_validate({"k": 3, "paths": [{"retriever": "content"}]})).fit(data)


def found(served: Engine, **terms: Any) -> set[int]:
    result = served.retrieve(User(terms=terms), seen=True)
    assert result.status["content"].state == "ok"
    return {int(item) for item, ranks in zip(result.ids, result.ranks, strict=True) if ranks[0] >= 0}


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"name": "the puzzle of wood"}, {0}),
        ({"shelf": "toys"}, {0}),
        ({"shelf": "garden"}, set()),
        ({"shelf": "toys\0"}, set()),
        ({"shelf": "x" * 300}, set()),
        ({"place": "aisle nine"}, set()),
        ({"place": "aisle two"}, {1}),
        ({"tags": ["red", "blue"]}, {0}),
        ({"tags": ["\ud800"]}, set()),
        ({"code": 10}, set()),
        ({"shelf": "  toys"}, set()),
    ],
)
def test_what_is_unknown_matches_nothing(terms: dict[str, Any], expected: set[int]) -> None:
    assert found(engine(**ITEMS), **terms) == expected


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"shelf": "wooden puzzle"}, "field 'shelf' is of kind categorical, whose categories are single words, got"),
        ({"shelf": "two\twords"}, "pass a category, or send words to a text field: 'name'"),
        (
            {"tags": "red wood"},
            "terms: field 'tags' is of kind list, whose categories are single words, got 'red wood'",
        ),
        ({"tags": ["red", "of wood"]}, "got 'of wood'"),
        ({"code": "wooden puzzle"}, "terms: field 'code' is of kind categorical, got ['wooden puzzle']; pass int"),
    ],
)
def test_words_in_a_field_of_categories(terms: dict[str, Any], message: str) -> None:
    served = engine(**ITEMS)
    for _ in range(6):
        with pytest.raises(RequestError) as fault:
            served.retrieve(User(terms=terms))
        assert message in str(fault.value)
    assert served.health().paths["content"].failed == 0


def test_without_a_text_field_the_kind_is_the_remedy() -> None:
    with pytest.raises(RequestError, match=r"load a field for words as text: kinds=\{'shelf': 'text'\}"):
        engine(item_id=[0, 1], shelf=["toys", "books"]).retrieve(User(terms={"shelf": "wooden puzzle"}))


def test_where_takes_any_category() -> None:
    served = engine(**ITEMS)
    assert served.retrieve(1, where={"shelf": "wooden puzzle"}).ids.tolist() == []
    assert served.retrieve(1, where={"shelf": ["x" * 300, "toys\0", "books"]}).ids.tolist() == [1]
