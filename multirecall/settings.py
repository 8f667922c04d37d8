"""The settings of a configuration as rows of text: for the command line and the reference pages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from multirecall.validation import AUTO, model_in

INT32_MAX = 2**31 - 1
"""The largest count. No user meets this limit, so ranges leave it out."""

TYPES = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "null": "None", "object": "table"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a configuration, in words.

    Attributes:
        name: its key; that of a field within a table is `table.key`, within a list of tables `list[].key`, within
            tables by name `tables.*.key`.
        type: such as `int`, `float or None`, `float or "auto"`, `list of str`, `table`.
        default: as JSON, with `None` for null; `required` where there is none, "" for a table, whose keys have theirs.
            That of a setting that the log chooses is followed by its prior.
        range: what values are allowed, such as `1 to 4,096`, `> 0` or `one of auto, exact`; "" where any of the type.
        meaning: the field's docstring as one line; "" where it has none.
    """

    name: str
    type: str
    default: str
    range: str
    meaning: str


def settings_of(config: type[BaseModel]) -> list[Setting]:
    """A row for each field of a configuration, in the order of the class; those of a table's keys follow the table's.

    The defaults are those of `config`, which may differ from those of the class of a table.
    """
    return _rows(config, None, "")


class _Lenient(GenerateJsonSchema):
    """A schema in which a type that JSON cannot hold may be anything, in place of an error."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        return {}


def _rows(config: type[BaseModel], defaults: BaseModel | None, place: str) -> list[Setting]:
    """The rows of the fields at `place`, with the values of `defaults`, or else the class's own, as defaults."""
    properties = config.model_json_schema(by_alias=False, schema_generator=_Lenient)["properties"]
    priors, rows = getattr(config, "priors", {}), []
    for name, field in config.model_fields.items():
        schema, inner = properties[name], model_in(field.annotation)
        value = getattr(defaults, name) if defaults else field.get_default(call_default_factory=True)
        default = "required" if defaults is None and field.is_required() else _default(value)
        meaning = " ".join((field.description or "").split())
        sort = _type(schema)
        if name in priors and AUTO not in schema.get("enum", ()):
            sort += f' or "{AUTO}"'
            default += f", prior {_default(priors[name])}" if value == AUTO else ""
        rows.append(Setting(place + name, sort, default, _range(schema), meaning))
        if inner is not None:
            own = value if isinstance(value, inner) else None
            by_name = isinstance(schema.get("additionalProperties"), dict)
            many = "[]" if schema.get("type") == "array" else ".*" if by_name else ""
            rows += _rows(inner, own, f"{place}{name}{many}.")
    return rows


def _default(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return f"{len(value)} tables"
    return json.dumps(value, default=str, ensure_ascii=False)


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "$ref" in schema or "allOf" in schema:
        return "table"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "type" not in schema and ("const" in schema or "enum" in schema):
        return " or ".join(dict.fromkeys(type(one).__name__ for one in _choices(schema)))
    return TYPES.get(schema.get("type", ""), "any")


def _choices(schema: dict[str, Any]) -> list[Any]:
    return schema["enum"] if "enum" in schema else [schema["const"]]


def _range(schema: dict[str, Any]) -> str:
    if not schema:
        return ""
    if "anyOf" in schema:
        return " or ".join(filter(None, map(_range, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return f"one of {', '.join(map(str, _choices(schema)))}"
    lengths = {ours: schema[key] for ours, key in (("minimum", "minItems"), ("maximum", "maxItems")) if key in schema}
    parts = {
        "": _bounds(schema),
        "length": _bounds(lengths),
        "each": _range(schema.get("items", {})),
        "keys": _range(schema.get("propertyNames", {})),
        "values": _range(values) if isinstance(values := schema.get("additionalProperties"), dict) else "",
        "of the form": schema.get("pattern", ""),
    }
    return "; ".join(f"{word} {text}".strip() for word, text in parts.items() if text)


def _bounds(schema: dict[str, Any]) -> str:
    """The range of a number; of two bounds on one side the tighter counts, and those of a whole number belong to it."""
    whole = schema.get("type") == "integer"

    def given(inclusive: str, exclusive: str, step: int) -> list[tuple[float, bool]]:
        """The bounds that the schema has, each with whether it is out of range itself."""
        bounds = [(schema[inclusive], False)] if inclusive in schema else []
        if exclusive in schema:
            bounds.append((schema[exclusive] + step, False) if whole else (schema[exclusive], True))
        return [bound for bound in bounds if not (whole and bound[0] == INT32_MAX)]

    low = max(given("minimum", "exclusiveMinimum", 1), default=None)
    high = min(given("maximum", "exclusiveMaximum", -1), key=lambda bound: (bound[0], not bound[1]), default=None)
    if low and high and not (low[1] or high[1]):
        return f"{_number(low[0])} to {_number(high[0])}"
    signed = [(">" if low[1] else "≥", low[0])] if low else []
    signed += [("<" if high[1] else "≤", high[0])] if high else []
    return ", ".join(f"{sign} {_number(bound)}" for sign, bound in signed)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,}"
