"""The OpenAPI document: bodies, parameters and problems, which the routes read by themselves for speed."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

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
        _, schemas = models_json_schema([(one, "validation") for one in BODIES], ref_template=REFERENCE)
        components = document.setdefault("components", {})
        components["schemas"] = {**schemas["$defs"], "Problem": PROBLEM}
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        content = {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}}
        for operations in document["paths"].values():
            for operation in operations.values():
                for status, meaning in PROBLEMS.items():
                    operation["responses"][status] = {"description": meaning, "content": content}
        app.openapi_schema = document
    return app.openapi_schema
