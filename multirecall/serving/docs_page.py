"""The page `/docs`: the OpenAPI document for people. It has no script and fetches nothing."""

from __future__ import annotations

import json
from html import escape
from typing import Any

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What the page may load: nothing but its own styles."""

STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;"
    "margin:2rem auto;padding:0 1rem}"
    "code,pre{font-family:ui-monospace,monospace}pre{overflow:auto;border:1px solid #8886;padding:.7rem}"
    "summary{cursor:pointer;padding:.3rem 0}table{border-collapse:collapse}td,th{padding:.1rem .8rem .1rem 0;"
    "text-align:left;vertical-align:top}"
)


def docs_page(document: dict[str, Any]) -> str:
    """The document as HTML: each route with its parameters and body, then the schemas."""
    routes = "".join(
        _operation(path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    schemas = "".join(
        f'<details id="{escape(name)}"><summary>{escape(name)}</summary>'
        f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre></details>"
        for name, schema in document["components"]["schemas"].items()
    )
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<h1>{title} {escape(document["info"]["version"])}</h1><p><a href="openapi.json">openapi.json</a></p>'
        f"<h2>Routes</h2>{routes}<h2>Schemas</h2>{schemas}</body></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    model = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    body = f'<p>Body: <a href="#{escape(model)}">{escape(model)}</a></p>' if model else ""
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td>{escape(one['description'])}</td></tr>"
        for one in operation.get("parameters", ())
    )
    meaning = escape(operation.get("description", ""))
    return (
        f"<details open><summary><code>{method.upper()} {escape(path)}</code></summary><p>{meaning}</p>{body}"
        f"{f'<table>{rows}</table>' if rows else ''}</details>"
    )
