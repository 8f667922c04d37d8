"""Debian's chromium for tests, driven by playwright: fixtures that a module makes of these functions, and helpers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from patience import eventually
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 20_000

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")

Open = Callable[..., Page]


def launch_browser() -> Iterator[Browser]:
    """One browser for all tests; without a sandbox, since CI runs as root."""
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def visiting(browser: Browser) -> Iterator[Open]:
    """Open a page; at the end nothing may have been logged, and nothing asked of another host."""
    with ExitStack() as stack:
        watched: list[tuple[str, list[str], list[str]]] = []

        def open_page(
            url: str, *, at: str = "/explore", allow: tuple[str, ...] = (), logs: tuple[str, ...] = (), **context: Any
        ) -> Page:
            held: BrowserContext = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **context})
            stack.callback(held.close)
            page = held.new_page()
            page.set_default_timeout(PATIENCE_MS)
            said: list[str] = []
            asked: list[str] = []
            page.on("console", lambda one: None if any(log in one.text for log in logs) else said.append(one.text))
            page.on("pageerror", lambda fault: said.append(str(fault)))
            page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))

            def note(request: Request) -> None:
                if not request.url.startswith((f"{url}/", *allow)):
                    asked.append(request.url)

            page.on("request", note)
            watched.append((url, said, asked))
            page.goto(f"{url}{at}")
            return page

        yield open_page
        for _, said, asked in watched:
            assert not said
            assert not asked


def fused(page: Page) -> list[str]:
    """The ids of the fused list that are on the page."""
    page.locator(".fused .row").first.wait_for()
    ids: list[str] = page.evaluate("[...document.querySelectorAll('.fused .row')].map((row) => row.dataset.id)")
    return ids


def names(ids: Any) -> list[str]:
    return [str(one) for one in ids.tolist()]


def ask_for(page: Page, user: str) -> None:
    """Ask for a user, and wait until the page shows the answer."""
    page.fill("#user", user)
    with page.expect_response("**/explore/api/ask"):
        page.press("#user", "Enter")
    expect(page.locator("body")).not_to_have_class("asking")


def until(page: Page, condition: str) -> None:
    """Wait until a condition in JavaScript holds. The page's policy forbids what Playwright has for it."""
    eventually(lambda: page.evaluate(condition))
