"""Checks of values from users against pydantic models, with errors that name place, value and remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
)

from multirecall.deprecation import warn_of_name
from multirecall.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

AUTO: Any = "auto"
"""The value of a setting that the log chooses."""

Count = Annotated[int, Field(strict=True, gt=0, lt=2**31)]
"""A whole number ≥ 1."""

Positive = Annotated[float, Field(strict=True, gt=0)]
"""A number > 0."""

NonNegative = Annotated[float, Field(strict=True, ge=0)]
"""A number ≥ 0."""


def _accept_auto(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    return value if value == AUTO else read(value)


def _write_auto(value: Any, write: SerializerFunctionWrapHandler) -> Any:
    return value if value == AUTO else write(value)


Auto = Annotated[T, WrapValidator(_accept_auto), WrapSerializer(_write_auto)]
"""A setting of type `T` that may also be "auto"; see `PluginConfig.resolve`, which replaces "auto" by a value."""


class StrictModel(BaseModel):
    """Base of every configuration: immutable, refuses unknown keys; a field's docstring is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def validate(model: type[M], values: Mapping[str, Any], place: str, *, stored: bool = False) -> M:
    """Build `model` from `values`; `stored`: they come from a bundle and may have former names without a warning.

    Raises:
        ConfigError: a value is invalid; the message has one line for each fault, which begins with `place`.
    """
    try:
        return model.model_validate(dict(values), context={"stored": stored})
    except ValidationError as fault:
        raise ConfigError("\n".join(_describe(model, error, place) for error in fault.errors())) from None


def accept_former(former: Mapping[str, str]) -> BeforeValidator:
    """A validator that replaces a setting's former values by their present names, with a `DeprecationWarning`."""

    def read(value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str) or value not in former:
            return value
        if not (info.context or {}).get("stored"):
            warn_of_name(f"{info.field_name} = {value!r}", repr(former[value]))
        return former[value]

    return BeforeValidator(read)


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name, as text: the most similar known name, or all known names."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in a field's annotation, such as `Model`, `dict[str, Model]` or `Model | None`; None: no model."""
    candidates = [annotation, *get_args(annotation)]
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _describe(model: type[BaseModel], error: Any, place: str) -> str:
    location = list(error["loc"])
    if error["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        where = _join(place, location[:-1])
        return f"{where}: unknown key {location[-1]!r}; {nearest(str(location[-1]), owner.model_fields)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{_join(place, location[:-1])}: key {location[-1]!r} is missing; add it"
    if error["type"] == "value_error" and not location:
        return f"{place}: {message}"
    return f"{_join(place, location)}: {message[0].lower()}{message[1:]}, got {error['input']!r}"


def _join(place: str, location: list[int | str]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{place}: {path}" if path else place


def _model_at(model: type[BaseModel], location: list[int | str]) -> type[BaseModel]:
    """The model whose fields are at `location`, through nested models, and lists and tables of models."""
    for part in location:
        if part in model.model_fields:
            model = model_in(model.model_fields[part].annotation) or model
    return model
