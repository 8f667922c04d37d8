"""The bodies of the explorer's requests. Ids are text, as a page has them, and are read in the bundle's kind of id."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from multirecall.serving.schemas import Body, FieldTable, Flag, Name, Number

TextId = Annotated[str, Field(strict=True, max_length=256)]
TextIds = Annotated[list[TextId], Field(max_length=1_000)]
Weight = Annotated[float, Field(strict=True, gt=0, le=1e6)]


class ChoicesPart(Body):
    """What differs from the engine's config."""

    weights: Annotated[dict[Name, Weight], Field(max_length=100)] = Field(default_factory=dict)
    quotas: Annotated[dict[Name, Number], Field(max_length=100)] = Field(default_factory=dict)
    enabled: Annotated[dict[Name, Flag], Field(max_length=100)] = Field(default_factory=dict)
    strategy: Name | None = None
    params: FieldTable | None = None

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return bool(self.weights or self.quotas or self.enabled or self.strategy or self.params is not None)

    def to_dict(self) -> dict[str, Any]:
        """The arguments of `Trace.vary`."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class AskBody(Body):
    """Who asks, and what the list is narrowed by."""

    user: TextId | None = None
    history: TextIds | None = None
    k: Number | None = None
    exclude: TextIds = Field(default_factory=list)
    where: FieldTable = Field(default_factory=dict)
    seen: Flag = False
    choices: ChoicesPart = ChoicesPart()

    @property
    def request(self) -> str:
        """A text that only equal requests share, whatever their choices."""
        return self.model_dump_json(exclude={"choices"})


class WhyBody(AskBody):
    """Why an item is where it is, or why it is missing."""

    item: TextId


class SimilarBody(Body):
    """Items like an item."""

    item: TextId
    k: Annotated[int, Field(strict=True, ge=1, le=100)] = 24
    where: FieldTable = Field(default_factory=dict)


class SearchBody(Body):
    """Words that are searched for in ids and titles."""

    text: Annotated[str, Field(strict=True, max_length=200)]
