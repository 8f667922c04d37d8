"""The OpenAPI document: bodies, parameters, answers and problems, which the routes read and write by themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from multirecall.serving.answers import ANSWERS, BatchAnswer
from multirecall.serving.arrow import MEDIA_TYPE as ARROW
from multirecall.serving.problems import MEDIA_TYPE
from multirecall.serving.schemas import BODIES

REFERENCE = "#/components/schemas/{model}"

PROBLEMS = {
    "400": "The request cannot be answered as it is.",
    "401": "An API key is needed.",
    "403": "The API key does not have the scope.",
    "404": "There is no such item, user or route.",
    "408": "The body came too slowly.",
    "409": "Another process writes the bundle.",
    "413": "The request is too large.",
    "422": "A field is unknown, missing or wrong.",
    "429": "Too many requests wait already.",
    "503": "The service is not ready, or every path failed.",
}
"""The statuses of errors, each with what it means here."""

PROBLEM = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do."},
        "request_id": {"type": "string", "description": "As in the log of the service."},
    },
}


def body_of(model: type[BaseModel], *parameters: dict[str, Any]) -> dict[str, Any]:
    """What a route with this body and these parameters adds to its operation."""
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "parameters": [*parameters],
    }


def parameter(name: str, place: str, kind: str, meaning: str, *, required: bool = False) -> dict[str, Any]:
    """A parameter of an operation."""
    schema: dict[str, Any] = {"type": kind, "items": {"type": "string"}} if kind == "array" else {"type": kind}
    return {"name": name, "in": place, "required": required, "description": meaning, "schema": schema}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of the application's routes."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        models = {one: TypeAdapter(one) for one in (*BODIES, *ANSWERS.values())}
        _, schemas = TypeAdapter.json_schemas(
            [(one.__name__, "validation", adapter) for one, adapter in models.items()], ref_template=REFERENCE
        )
        components = document.setdefault("components", {})
        components["schemas"] = {**schemas["$defs"], "Problem": PROBLEM}
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        problem = {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                [answered] = (one for status, one in operation["responses"].items() if status.startswith("2"))
                if (method, path) in ANSWERS:
                    answered["content"] = _content(ANSWERS[method, path])
                for status, meaning in PROBLEMS.items():
                    operation["responses"][status] = {"description": meaning, "content": problem}
        app.openapi_schema = document
    return app.openapi_schema


def _content(model: type[Any]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": REFERENCE.format(model=model.__name__)}},
    }
    if model is BatchAnswer:
        content[ARROW] = {}
    return content
