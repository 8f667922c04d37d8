"""The rows that the command line and the reference pages make of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from multirecall.config import EngineConfig
from multirecall.data.config import DataConfig
from multirecall.protocols import PluginConfig
from multirecall.registry import GROUPS
from multirecall.settings import Setting, settings_of
from multirecall.tuning.config import TuningConfig
from multirecall.validation import AUTO, Auto, Count, Positive, StrictModel


def configs() -> Iterator[Any]:
    """Every configuration of the package; those of tables within them come with them."""
    for config in (EngineConfig, DataConfig, TuningConfig):
        yield pytest.param(config, id=config.__name__)
    for group in GROUPS:
        for name in group.names():
            yield pytest.param(group.load(name).Config, id=name)


@pytest.mark.parametrize("config", list(configs()))
def test_every_setting_says_what_it_means(config: type[StrictModel]) -> None:
    without = [row.name for row in settings_of(config) if not row.meaning]
    assert not without, f"{config.__name__}: write a docstring under each of these"


class Inner(StrictModel):
    """A table."""

    depth: Count = 3
    """How deep."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """How
    much."""


def test_a_docstring_reaches_the_schema() -> None:
    fields = Inner.model_json_schema()["properties"]
    assert [fields[name]["description"] for name in ("depth", "share")] == ["How deep.", "How\nmuch."]


class Opaque:
    """A type that JSON knows nothing of."""


class Sample(StrictModel, arbitrary_types_allowed=True):
    """One field of each sort."""

    must: Count
    size: Annotated[Count, Field(le=4_096)] = 8
    below: Annotated[int, Field(ge=2, lt=10)] = 2
    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.25
    tight: Annotated[Positive, Field(ge=0.01, le=1e6)] = 1.0
    long: float = Field(default=0.5, ge=0)
    maybe: Positive | None = None
    mode: Literal["auto", "exact"] = "auto"
    only: Literal[3] = 3
    names: Annotated[tuple[str, ...], Field(min_length=1)] = ("a", "é")
    speeds: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=8)] = (1.0,)
    map: dict[Literal["x", "y"], Positive] = Field(default_factory=dict)
    code: str = Field(default="", pattern="^[a-z]*$")
    inner: Inner = Inner(depth=7)
    either: Inner | None = None
    rows: tuple[Inner, ...] = ()
    filled: tuple[Inner, ...] = (Inner(), Inner())
    thing: Opaque | None = None


def test_each_sort_of_field() -> None:
    rows = {row.name: (row.type, row.default, row.range) for row in settings_of(Sample)}
    assert rows == {
        "must": ("int", "required", "≥ 1"),
        "size": ("int", "8", "1 to 4,096"),
        "below": ("int", "2", "2 to 9"),
        "ratio": ("float", "0.25", "≥ 0, < 1"),
        "tight": ("float", "1.0", "0.01 to 1,000,000"),
        "long": ("float", "0.5", "≥ 0"),
        "maybe": ("float or None", "None", "> 0"),
        "mode": ("str", '"auto"', "one of auto, exact"),
        "only": ("int", "3", "one of 3"),
        "names": ("list of str", '["a", "é"]', "length ≥ 1"),
        "speeds": ("list of float", "[1.0]", "length 1 to 8; each > 0"),
        "map": ("table", "{}", "keys one of x, y; values > 0"),
        "code": ("str", '""', "of the form ^[a-z]*$"),
        "inner": ("table", "", ""),
        "inner.depth": ("int", "7", "≥ 1"),
        "inner.share": ("float", "0.5", "> 0, ≤ 1"),
        "either": ("table or None", "None", ""),
        "either.depth": ("int", "3", "≥ 1"),
        "either.share": ("float", "0.5", "> 0, ≤ 1"),
        "rows": ("list of table", "[]", ""),
        "rows[].depth": ("int", "3", "≥ 1"),
        "rows[].share": ("float", "0.5", "> 0, ≤ 1"),
        "filled": ("list of table", "2 tables", ""),
        "filled[].depth": ("int", "3", "≥ 1"),
        "filled[].share": ("float", "0.5", "> 0, ≤ 1"),
        "thing": ("any or None", "None", ""),
    }


def test_a_meaning_is_one_line_and_the_order_is_that_of_the_class() -> None:
    assert settings_of(Inner) == [
        Setting("depth", "int", "3", "≥ 1", "How deep."),
        Setting("share", "float", "0.5", "> 0, ≤ 1", "How much."),
    ]
    assert [row.name for row in settings_of(Sample)][:3] == ["must", "size", "below"]


class Free(PluginConfig):
    """Settings that a log chooses, among them one whose own values have an "auto"."""

    priors: ClassVar[Mapping[str, Any]] = {"share": 0.5, "life": None, "speeds": (1.0, 2.0), "mode": "auto"}

    share: Auto[Positive] = AUTO
    life: Auto[Positive | None] = AUTO
    speeds: Auto[tuple[Positive, ...]] = AUTO
    mode: Literal["auto", "exact"] = "auto"
    plain: Positive = 3.0


def test_a_setting_that_the_log_chooses_shows_its_prior() -> None:
    assert {row.name: (row.type, row.default, row.range) for row in settings_of(Free)} == {
        "share": ('float or "auto"', '"auto", prior 0.5', "> 0"),
        "life": ('float or None or "auto"', '"auto", prior None', "> 0"),
        "speeds": ('list of float or "auto"', '"auto", prior [1.0, 2.0]', "each > 0"),
        "mode": ("str", '"auto"', "one of auto, exact"),
        "plain": ("float", "3.0", "> 0"),
    }
