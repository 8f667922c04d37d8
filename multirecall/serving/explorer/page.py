"""The page as HTML, with the headers that keep it from loading or running anything else, and its own files."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from starlette.responses import HTMLResponse, Response

from multirecall.extras import import_extra
from multirecall.serving.columns import to_json
from multirecall.serving.problems import Problem

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""The media type of each kind of file."""

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of all answers of the explorer."""

UNCACHED = {**SAFE, "Cache-Control": "no-store"}
"""Headers of what holds data."""


def policy(image_hosts: tuple[str, ...]) -> str:
    """The Content-Security-Policy: own files only, no inline script or style, and pictures of the allowed hosts."""
    hosts = "".join(f" https://{host} http://{host}" for host in image_hosts)
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src 'self'{hosts}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


@cache
def static_files() -> dict[str, bytes]:
    """The files of the page by name."""
    folder = files(__package__) / "static"
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in MEDIA_TYPES}


@cache
def version() -> str:
    """A text that changes with any of the files; it is part of their addresses."""
    digest = sha256()
    for name, content in sorted(static_files().items()):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:16]


def static_file(asked_version: str, name: str) -> Response:
    """One file; raises `Problem` 404. Under its present version it may be kept for ever."""
    content = static_files().get(name)
    if content is None:
        raise Problem(404, "no file of the explorer has this address")
    kept = "public, max-age=31536000, immutable" if asked_version == version() else "no-cache"
    media = MEDIA_TYPES[name.rpartition(".")[2]]
    return Response(content, media_type=media, headers={**SAFE, "Cache-Control": kept})


def render(template: str, image_hosts: tuple[str, ...], base: str, status: int = 200, **values: Any) -> Response:
    """A page from a template; `base` is where the application is mounted."""
    text = _environment().get_template(template).render(base=base, version=version(), **values)
    headers = {**UNCACHED, "Content-Security-Policy": policy(image_hosts), "X-Frame-Options": "DENY"}
    return HTMLResponse(text, status, headers)


def as_text(value: Any) -> str:
    """JSON for an attribute of the page."""
    return to_json(value).decode()


@cache
def _environment() -> Any:
    jinja2 = import_extra("jinja2", "multirecall.serving")
    return jinja2.Environment(
        loader=jinja2.PackageLoader("multirecall.serving.explorer"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
