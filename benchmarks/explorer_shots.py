"""The pictures of the explorer in the README, in both themes: a browser on the demo's engine."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Annotated

import typer
from _served import hosting
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.evaluation import time_split
from multirecall.progress import terminal_progress

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZE = {"width": 1440, "height": 860}
COLOURS = 256
USER = "u00718"


def main(
    users: Annotated[int, typer.Option(help="Users of the generated log.")] = 2_000,
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 3_000,
    interactions: Annotated[int, typer.Option(help="Events of the generated log.")] = 120_000,
    folder: Annotated[Path, typer.Option(help="Where the pictures go.")] = FOLDER,
) -> None:
    """Fit the demo's engine, and take a picture of its explorer in each theme."""
    browser = shutil.which("chromium")
    if browser is None:
        raise typer.BadParameter("chromium is not installed: apt-get install chromium")
    log = generate(users, items, interactions, seed=7)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    with terminal_progress() as progress:
        engine = Engine(EngineConfig(seed=7)).fit(time_split(data, 0.1).train, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    with hosting(engine) as address, sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        light = page_in(opened, address, "light")
        slider = light.locator(".path:not(.off) >> nth=1 >> input[type=range]").first
        for _ in range(15):
            slider.press("ArrowRight")
        light.locator(".move.up").first.wait_for()
        light.wait_for_load_state("networkidle")
        light.locator(".fused .row").nth(6).hover()
        save(light, folder / "explorer-light.png")
        dark = page_in(opened, address, "dark")
        dark.locator(".fused .row").nth(2).click()
        dark.locator(".alike-list li").first.wait_for()
        dark.mouse.move(1, 1)
        save(dark, folder / "explorer-dark.png")
        opened.close()
    engine.close()


def page_in(browser: Browser, address: str, scheme: str) -> Page:
    """The page in one theme, once the lists are there."""
    page = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()  # type: ignore[arg-type]
    page.goto(f"{address}/explore")
    page.locator(".fused .row").first.wait_for()
    page.fill("#user", USER)
    with page.expect_response("**/explore/api/ask"):
        page.press("#user", "Enter")
    page.wait_for_load_state("networkidle")
    return page


def save(page: Page, file: Path) -> None:
    """A picture with few colours, which takes a third of the bytes."""
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)
    typer.echo(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
