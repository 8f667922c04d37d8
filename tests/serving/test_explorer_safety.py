"""The explorer in a real browser: hostile data become neither markup nor script, and keys stay hidden."""

from __future__ import annotations

import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import polars as pl
import pytest
from _served import hosting
from browsers import Open, ask_for, fused, launch_browser, needs_chromium, until, visiting
from playwright.sync_api import expect
from service_client import shop_engine

from multirecall import Dataset, Engine, EngineConfig

READ = "read-key-of-20-characters"

pytestmark = needs_chromium

browser = pytest.fixture(scope="module")(launch_browser)
visit = pytest.fixture(visiting)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")


class Pictures(BaseHTTPRequestHandler):
    """A host of pictures, which keeps what it was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        assert "referer" not in {name.lower() for name in self.headers}
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(PIXEL)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


HOSTILE = (
    "<script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 1">',
    "{{ 7 * 7 }} ${7 * 7} <%= 7 * 7 %> {% if 1 %}",
    "\u202egnp.exe \u2066 override",
    "</textarea></title><svg onload=window.hit=1>",
    "javascript:window.hit=1",
    "A" * 50_000,
    "';window.hit=1;//\\",
    "&lt;b&gt; &amp; &#x27;",
    "__proto__",
)


def test_nothing_of_the_data_becomes_markup(visit: Open) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as host:
        threading.Thread(target=host.serve_forever, args=(0.05,), daemon=True).start()
        own = f"127.0.0.1:{host.server_port}"
        images = [
            f"http://{own}/good.png",
            "javascript:window.hit=1",
            "http://evil.example/a.png",
            f"http://{own}@evil.example/a.png",
            "data:image/svg+xml,<svg onload='window.hit=1'/>",
            f'http://{own}/" onerror="window.hit=1',
            "//evil.example/a.png",
            "file:///etc/passwd",
            "x" * 5_000,
            "",
        ]
        ids = [f"<i>{number}</i>" for number in range(len(HOSTILE))]
        items = pl.DataFrame(
            {"item_id": ids, "title": HOSTILE, "image": images, "kind": [one[:200] for one in HOSTILE]}
        )
        log = pl.DataFrame(
            {
                "user_id": ["<b>u</b>", "<b>u</b>", *(["other"] * len(ids))],
                "item_id": [ids[0], ids[1], *ids],
                "timestamp": [1_700_000_000 + step for step in range(len(ids) + 2)],
            }
        )
        config: dict[str, Any] = {"paths": [{"retriever": "item_cf"}, {"retriever": "popularity"}]}
        data = Dataset.from_frames(log, items, kinds={"title": "text", "image": "text", "kind": "categorical"})
        settings = {"explorer": {"title": "title", "image": "image", "image_hosts": [own]}}
        with Engine(EngineConfig.model_validate(config)).fit(data) as engine, hosting(engine, **settings) as url:
            page = visit(url, allow=(f"http://{own}/",))
            page.check("#seen")
            ask_for(page, "<b>u</b>")
            assert sorted(fused(page)) == sorted(ids)
            shown = page.locator(".fused .row .name").all_inner_texts()
            assert sorted(shown) == sorted(one[:160] for one in HOSTILE)
            page.select_option("#field", "kind")
            for place in range(len(ids)):
                page.locator(".fused .row").nth(place).click()
                page.locator(".why table").wait_for()
                page.locator(".alike h3").wait_for()
            page.fill("#why-search", "<script>")
            page.locator("#why-options [role=option]").first.wait_for()
            page.keyboard.press("Escape")
            assert page.evaluate("window.hit") is None
            assert (
                page.evaluate("document.querySelectorAll('body script, svg:not(#threads), bdi *, b *, i *').length")
                == 0
            )
            sources = page.evaluate("[...new Set([...document.images].map((one) => one.src))]")
            assert sources == [f"http://{own}/good.png"]
            until(page, "[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
        host.shutdown()
    assert set(Pictures.asked) == {"/good.png"}


def test_a_key_opens_the_page_and_is_in_no_address(
    engine: Engine, visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_KEYS", f"read:{READ}")
    with hosting(engine, keys={"keys_env": "SERVICE_KEYS"}) as url:
        page = visit(url)
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        page.fill("#key", READ)
        page.keyboard.press("Enter")
        assert fused(page)
        assert not any(READ in one for one in addresses)
        [cookie] = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/explore")
        assert READ not in cookie["value"]
        assert page.evaluate("document.cookie") == ""
        page.get_by_text("Sign out").click()
        page.locator("#key").wait_for()
        assert page.context.cookies() == []


def test_a_session_that_ended_is_told(engine: Engine, visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_KEYS", f"read:{READ}")
    with hosting(engine, keys={"keys_env": "SERVICE_KEYS"}) as url:
        page = visit(url, logs=("401 (Unauthorized)",))  # the browser itself logs it
        page.fill("#key", READ)
        page.keyboard.press("Enter")
        assert fused(page)
        page.context.clear_cookies()
        page.click("#go")
        expect(page.locator("#notice")).to_contain_text("the session has ended")
        page.get_by_text("Load the page again").click()
        page.locator("#key").wait_for()
