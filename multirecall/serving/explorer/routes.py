"""The explorer's routes: the page, its files, signing in and out, and what the page asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from multirecall.errors import MultirecallError
from multirecall.serving.columns import to_json
from multirecall.serving.exchange import Exchange, exchange_of
from multirecall.serving.explorer.page import UNCACHED, as_text, render, static_file
from multirecall.serving.explorer.recent import Recent
from multirecall.serving.explorer.sessions import COOKIE, ROOT, SESSION_S, SIGN_IN, SIGN_OUT, STATIC, cookie_settings
from multirecall.serving.explorer.traces import KEPT_S
from multirecall.serving.explorer.work import Work
from multirecall.serving.problems import problem_of

if TYPE_CHECKING:
    from multirecall.serving.service import Service

API = f"{ROOT}/api"


def add_explorer(app: FastAPI, service: Service) -> Callable[[], None]:
    """Add the page `/explore` and what it needs, unless the settings switch it off.

    Returns:
        A function that ends the watching of the engine's answers.
    """
    if not service.settings.explorer.enabled:
        return lambda: None
    recent = Recent()
    service.observers.append(recent.note)
    work = Work(service, recent)
    _add_page(app, service, work)
    _add_questions(app, service, work)
    return service.engine.observe(recent)


def _add_page(app: FastAPI, service: Service, work: Work) -> None:
    sessions, hosts = service.sessions, service.settings.explorer.image_hosts

    @app.get(ROOT, include_in_schema=False)
    async def page(request: Request) -> Response:
        headers, base = dict(request.scope["headers"]), request.scope.get("root_path", "")
        if sessions.needed and sessions.key_of(headers) is None:
            return render("sign_in.html", hosts, base, fault=None)
        try:
            setup = await service.read(work.setup)
        except MultirecallError as fault:
            problem = problem_of(fault)
            return render("fault.html", hosts, base, problem.status, fault=problem.detail)
        token = sessions.token(headers)
        return render("explorer.html", hosts, base, setup=as_text(setup), token=token, has_session=sessions.needed)

    @app.get(STATIC + "{version}/{name}", include_in_schema=False)
    async def static(request: Request) -> Response:
        return static_file(request.path_params["version"], request.path_params["name"])

    @app.post(SIGN_IN, include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        base = request.scope.get("root_path", "")
        key = service.keys.find(_secret(exchange_of(request.scope).body)) if sessions.needed else None
        if sessions.needed and (key is None or "read" not in key.scopes):
            said = "This key is not known here, or may not read."
            return render("sign_in.html", hosts, base, 403, fault=said)
        answer = RedirectResponse(base + ROOT, 303, headers=UNCACHED)
        if key is not None:
            exchange_of(request.scope).key = key.name
            answer.set_cookie(COOKIE, sessions.begin(key), max_age=SESSION_S, **cookie_settings(request.scope))
        return answer

    @app.post(SIGN_OUT, include_in_schema=False)
    async def sign_out(request: Request) -> Response:
        answer = RedirectResponse(request.scope.get("root_path", "") + ROOT, 303, headers=UNCACHED)
        answer.delete_cookie(COOKIE, **cookie_settings(request.scope))
        return answer


def _add_questions(app: FastAPI, service: Service, work: Work) -> None:
    def endpoint(job: Callable[[Exchange], bytes]) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            content = await service.read(_answered, job, exchange_of(request.scope))
            if len(work.traces):
                asyncio.get_running_loop().call_later(KEPT_S + 1, work.traces.sweep)
            return Response(content, media_type="application/json", headers=UNCACHED)

        return answer

    for job in (work.ask, work.fuse, work.why, work.similar, work.search, work.pulse):
        app.add_api_route(f"{API}/{job.__name__}", endpoint(job), methods=["POST"], include_in_schema=False)


def _answered(job: Callable[[Exchange], bytes], exchange: Exchange) -> bytes:
    """The answer; where the engine refuses, its sentence, which is for the page to show and no fault of the page."""
    try:
        return job(exchange)
    except MultirecallError as fault:
        problem = problem_of(fault)
        return to_json({"refused": {"status": problem.status, "detail": problem.detail}})


def _secret(body: bytes) -> str:
    """The key of the form."""
    try:
        given = parse_qs(body.decode("latin-1"), max_num_fields=4).get("key", [""])
    except ValueError:  # more fields than the form has
        return ""
    return given[0].strip()
