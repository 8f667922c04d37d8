"""A service with the explorer in this process, as its page asks it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import orjson
from service_client import Client

from multirecall import Engine
from multirecall.serving import ServeSettings, create_app

OWN = {"Origin": "http://127.0.0.1"}
"""What a browser says about a request from the page itself."""


class Explorer(Client):
    """Asks as the page does.

    Attributes:
        session: the cookie of a session, or "".
    """

    session = ""

    def page(self) -> str:
        """The HTML of the page."""
        return self("GET", "/explore", headers=self.headers).text

    @property
    def headers(self) -> dict[str, str]:
        """What the browser adds to each request."""
        return {**OWN, **({"Cookie": f"multirecall_explorer={self.session}"} if self.session else {})}

    def token(self) -> str:
        """The token of the page."""
        return meta(self.page(), "token")

    def post(self, question: str, body: Any, **headers: str) -> Any:
        """The answer to a question of the page, which must succeed."""
        given = {**self.headers, "X-Explorer-Token": self.token(), **headers}
        answer = self("POST", f"/explore/api/{question}", body, headers=given)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return orjson.loads(answer.content)

    def refused(self, question: str, body: Any) -> str:
        """The engine's sentence in place of an answer."""
        sentence: str = self.post(question, body)["refused"]["detail"]
        return sentence

    def sign_in(self, key: str) -> int:
        """Send the form with a key, keep the session, and say how it was answered."""
        answer = self("POST", "/explore/session", headers=OWN, data={"key": key})
        found = re.match(r'multirecall_explorer="?([^";]+)', answer.headers.get("set-cookie", ""))
        self.session = found[1] if found else ""
        return answer.status_code


def meta(page: str, name: str) -> str:
    """What the page has for its script."""
    found = re.search(f'<meta name="explorer-{name}" content="([^"]*)">', page)
    assert found, page
    return unescape(found[1])


def exploring(engine: Engine, **settings: Any) -> Explorer:
    """The explorer of an engine."""
    return Explorer(create_app(engine, ServeSettings.model_validate(settings)))
