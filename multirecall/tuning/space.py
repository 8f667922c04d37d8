"""The search space of a fusion, read from the `Config` of its plug-in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, get_args, get_origin

from multirecall.errors import RequestError
from multirecall.protocols import PluginConfig
from multirecall.registry import FUSIONS, fusion_class
from multirecall.validation import nearest

SCALE = (1 / 60, 1 / 12, 1 / 6, 1 / 3, 2 / 3, 1.0, 2.0, 4.0)
"""Factors on a positive default that are tried; for the rank constant 60 of `rrf` they give 1 to 240."""


def strategies(wanted: Sequence[str]) -> list[str]:
    """The fusion plug-ins to try: the names in `wanted` or, if it is empty, all that are installed and load.

    Raises:
        RequestError: a name is unknown.
    """
    usable = [one.name for one in FUSIONS.listings() if one.fault is None]
    for name in wanted:
        if name not in usable:
            raise RequestError(f"tune: no fusion plug-in is named {name!r}; {nearest(name, usable)}")
    return list(wanted) or usable


def choices(strategy: str) -> dict[str, list[Any]]:
    """The values to try by setting, the default included.

    All values of a `Literal` or bool are tried, and multiples of a positive default number. Any other setting keeps
    its default.
    """
    fields = fusion_class(strategy).Config.model_fields
    found: dict[str, list[Any]] = {}
    for name, field in fields.items():
        if get_origin(field.annotation) is Literal:
            found[name] = list(get_args(field.annotation))
        elif field.annotation is bool:
            found[name] = [False, True]
        elif field.annotation in (int, float) and isinstance(field.default, int | float) and field.default > 0:
            kind = type(field.default)
            found[name] = sorted({kind(round(field.default * factor, 6)) for factor in SCALE} - {kind(0)})
    return {name: [value for value in values if _is_accepted(strategy, name, value)] for name, values in found.items()}


def settings(strategy: str) -> list[dict[str, Any]]:
    """Every combination of `choices` as settings of the plug-in; a setting at its default is left out."""
    own = choices(strategy)
    defaults = _defaults(fusion_class(strategy).Config)
    return [
        {name: value for name, value in zip(own, values, strict=True) if value != defaults[name]}
        for values in product(*own.values())
    ]


def _is_accepted(strategy: str, name: str, value: Any) -> bool:
    try:
        fusion_class(strategy).Config.model_validate({name: value})
    except ValueError:
        return False
    return True


def _defaults(config: type[PluginConfig]) -> dict[str, Any]:
    return {name: field.default for name, field in config.model_fields.items()}
