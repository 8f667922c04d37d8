"""Who may ask: the `Host` header, API keys with their scopes, and only this machine where there is no key.

The explorer's routes know sessions in place of keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from multirecall.serving.exchange import exchange_of
from multirecall.serving.explorer.sessions import covers
from multirecall.serving.keys import Key
from multirecall.serving.problems import Problem, problem_response
from multirecall.serving.settings import LOOPBACK_HOSTS, is_loopback

if TYPE_CHECKING:
    from multirecall.serving.service import Service

HEALTH = "/health/"
"""Where a load balancer asks, which has no key and may not know the name of the service."""

READING_POSTS = ("/v1/retrieve", "/v1/retrieve/batch", "/v1/similar", "/v1/explain")
"""The routes that are asked with POST and change nothing."""


class Guard:
    """Refuse a request before anything of it is read."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._keys, self._sessions = app, service.keys, service.sessions
        settings = service.settings
        self._any_host = "*" in settings.allowed_hosts
        self._hosts = {one.lower() for one in (*LOOPBACK_HOSTS, settings.host, *settings.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "http" and not path_of(scope).startswith(HEALTH):
            try:
                self._check(scope)
            except Problem as problem:
                await problem_response(problem, exchange_of(scope).request_id)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = _name(headers.get(b"host", b"").decode("latin-1"))
        if not self._any_host and host not in self._hosts:
            raise Problem(400, f"host {host[:60]!r} is not served here; add it to allowed_hosts if it should be")
        if not self._keys.required and scope.get("client") and not is_loopback(scope["client"][0]):
            raise Problem(403, "without API keys only this machine is served; set keys in the settings")
        method, path = scope["method"], path_of(scope)
        if covers(path):
            key = self._sessions.admit(method, path, headers)
        else:
            key = self._key_of(headers) if self._keys.required else None
        if key is None:
            return
        exchange_of(scope).key = key.name
        wanted = scope_of(method, path)
        if wanted not in key.scopes:
            raise Problem(403, f"the API key {key.name!r} does not have the scope {wanted!r}, which this needs")

    def _key_of(self, headers: Mapping[bytes, bytes]) -> Key:
        """The key that a request brings."""
        kind, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = self._keys.find(secret.strip()) if kind.lower() == "bearer" else None
        if key is None:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "an API key is needed: send the header `Authorization: Bearer KEY`", challenge)
        return key


def scope_of(method: str, path: str) -> str:
    """The scope that a request needs."""
    reads = method in ("GET", "HEAD", "OPTIONS") or path in READING_POSTS or covers(path)
    return "read" if reads else "write"


def path_of(scope: Scope) -> str:
    """The path within this application, which may be mounted in another."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _name(host: str) -> str:
    """The host of a `Host` header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
