"""The explorer in a real browser: what it shows, and that it can be used."""

from __future__ import annotations

from collections.abc import Iterator

import faulty
import pytest
from _served import hosting
from browsers import Open, ask_for, fused, launch_browser, names, needs_chromium, until, visiting
from patience import eventually
from playwright.sync_api import expect
from service_client import fitted, shop_engine

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.datasets import generate

NAMES = ("item_cf", "user_cf", "content", "popularity")

pytestmark = needs_chromium

browser = pytest.fixture(scope="module")(launch_browser)
visit = pytest.fixture(visiting)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    with hosting(engine) as url:
        yield url


def test_the_page_shows_all_lists(engine: Engine, address: str, visit: Open) -> None:
    page = visit(address)
    ask_for(page, "1")
    assert fused(page) == names(engine.retrieve(1, 50).ids)
    assert page.locator(".path h2 span:nth-child(2)").all_inner_texts() == list(NAMES)
    lists = engine.path_lists([1])
    for number, name in enumerate(NAMES):
        rows = page.locator(f".path >> nth={number} >> .row:not(.barred):not(.gap)")
        ids = [rows.nth(place).get_attribute("data-id") for place in range(3)]
        assert ids == names(lists[name][0].items[:3])
    assert page.locator(".state .is").all_inner_texts() == ["ok"] * 4
    assert "events" in page.locator("#timeline h2").inner_text()
    assert page.locator("#timeline .events button").count() > 3
    expect(page.locator("#facts")).to_contain_text("65 items")
    page.locator(".fused .row").nth(2).hover()
    assert page.locator(".lit").count() > 1
    assert page.locator("#threads path").count() > 0


def test_a_slider_fuses_at_once(engine: Engine, address: str, visit: Open) -> None:
    page = visit(address)
    page.fill("#k", "50")
    ask_for(page, "1")
    before = fused(page)
    with page.expect_response("**/explore/api/fuse"):
        page.locator(".path >> nth=3 >> input[type=range] >> nth=0").press("End")
    expect(page.locator("#change")).to_contain_text("moved")
    trace = engine.trace(1, 50)
    expected = trace.fuse(trace.vary(weights={"popularity": 10.0}))
    assert fused(page) == names(expected.ids) != before
    page.locator(".path >> nth=0 >> input[role=switch]").uncheck()
    page.select_option("#strategy", "weighted_sum")
    page.select_option("#params select", "rank")
    expected = trace.fuse(
        trace.vary(
            weights={"popularity": 10.0},
            enabled={"item_cf": False},
            strategy="weighted_sum",
            params={"normaliser": "rank"},
        )
    )
    eventually(lambda: fused(page) == names(expected.ids))
    expect(page.locator(".path").first).to_have_class("col path c0 off")
    page.click("#toml")
    assert 'normaliser = "rank"' in page.inner_text("#keep-text")
    page.keyboard.press("Escape")
    kept = page.url
    with page.expect_response("**/explore/api/fuse"):
        page.click("#reset")
    expect(page.locator("#change")).to_contain_text("As the engine serves it")
    assert fused(page) == before
    again = visit(address, at=kept.removeprefix(address))
    assert fused(again) == names(expected.ids)
    assert again.input_value("#strategy") == "weighted_sum"


def test_items_that_leave_are_listed(engine: Engine, address: str, visit: Open) -> None:
    page = visit(address)
    page.fill("#k", "5")
    ask_for(page, "1")
    before = fused(page)
    assert len(before) == 5
    page.locator(".path >> nth=2 >> input[type=range] >> nth=0").press("End")
    page.locator("#left").wait_for()
    trace = engine.trace(1, 5)
    after = names(trace.fuse(trace.vary(weights={"content": 10.0})).ids)
    page.locator("#left summary").click()
    assert page.locator("#left li").count() == len([one for one in before if one not in after]) > 0
    assert page.locator(".move.new").count() == len([one for one in after if one not in before])


def test_learned_coefficients_are_shown(visit: Open) -> None:
    learned = {"intercept": -3.0, "paths": {"item_cf": {"presence": 1.0, "z_score": 0.5}}}
    paths = [{"retriever": "item_cf"}, {"retriever": "popularity"}]
    with fitted(paths=paths, fusion={"strategy": "learned", "params": learned}) as engine, hosting(engine) as url:
        page = visit(url)
        ask_for(page, "1")
        expect(page.locator(".coefficients")).to_have_text(["presence 1.00 · z score 0.500", "no coefficients"])
        page.select_option("#strategy", "cascade")
        expect(page.locator(".coefficients").first).to_be_hidden()
        expect(page.locator("#desk")).to_have_class("desk weightless")
        with page.expect_response("**/explore/api/fuse"):
            page.select_option("#strategy", "learned")
        expect(page.locator(".coefficients").first).to_be_visible()


def test_why_and_similar(engine: Engine, address: str, visit: Open) -> None:
    page = visit(address)
    ask_for(page, "1")
    first = page.locator(".fused .row").first
    first.click()
    expect(page.locator(".why .sentence")).to_contain_text("At rank 1, with a score of")
    assert page.locator(".why tbody tr").count() == 4
    alike = names(engine.similar(int(fused(page)[0]), 24).ids)
    expect(page.locator(".alike-list li")).to_have_count(len(alike))
    page.mouse.move(1, 1)
    expect(first).to_have_class("row lit")
    page.locator(".alike-list button").first.click()
    expect(page.locator(".panel code").first).to_have_text(alike[0])
    expect(first).to_have_class("row")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    expect(first).to_be_focused()


def test_a_search_tells_why_not(engine: Engine, address: str, visit: Open) -> None:
    page = visit(address)
    ask_for(page, "1")
    seen = engine.data.history(1).items[0]
    page.fill("#why-search", f"number {seen}")
    page.locator("#why-options [role=option]").first.wait_for()
    page.press("#why-search", "ArrowDown")
    assert page.get_attribute("#why-search", "aria-activedescendant") == "why-option-0"
    page.press("#why-search", "Enter")
    expect(page.locator(".why h3").first).to_have_text("Why not")
    page.keyboard.press("Escape")
    page.fill("#why-search", "987654")
    page.press("#why-search", "Enter")
    expect(page.locator(".why .fault")).to_contain_text("no item has the id 987654")


def test_filters_histories_and_visitors(engine: Engine, address: str, visit: Open) -> None:
    page = visit(address)
    page.select_option("#field", "group")
    page.get_by_label("odd").check()
    page.select_option("#field", "price")
    page.locator("#filters [aria-label=price] input").nth(1).fill("9")
    ask_for(page, "1")
    where = {"group": ["odd"], "price": {"max": 9.0}}
    assert fused(page) == names(engine.retrieve(1, 100, where=where).ids)
    page.locator(".row.gap, .row.barred").first.wait_for()
    page.get_by_label("Remove the filter price").click()
    page.get_by_label("Remove the filter group").click()
    page.locator(".segments label", has_text="History").click()
    for item in ("3", "4"):
        page.fill("#history-search", item)
        page.press("#history-search", "Enter")
    with page.expect_response("**/explore/api/ask"):
        page.click("#go")
    expect(page.locator("#timeline h2")).to_contain_text("2 events")
    assert fused(page) == names(engine.retrieve(User(history=[3, 4]), 50).ids)
    page.locator(".segments label", has_text="Visitor").click()
    with page.expect_response("**/explore/api/ask"):
        page.click("#go")
    expect(page.locator("#timeline")).to_contain_text("what visitors get")
    assert fused(page) == names(engine.retrieve(User(), 50).ids)
    page.locator(".segments label", has_text="User").click()
    ask_for(page, "no number")
    expect(page.locator("#notice")).to_contain_text("user ids are int, got 'no number'")


def test_a_failing_path_is_told_and_the_rest_works(visit: Open) -> None:
    paths = [{"retriever": "item_cf"}, {"retriever": faulty.Raises, "name": "broken"}]
    with fitted(paths=paths) as engine, hosting(engine) as url:
        page = visit(url)
        ask_for(page, "1")
        broken = page.locator(".path").nth(1)
        expect(broken.locator(".is")).to_have_text("failed")
        expect(broken.locator(".nothing")).to_have_text("RuntimeError: out of order")
        assert fused(page)
        page.locator(".path >> nth=0 >> input[role=switch]").uncheck()
        expect(page.locator("#notice")).to_contain_text("all paths failed: broken: RuntimeError: out of order")
        page.locator(".path >> nth=0 >> input[role=switch]").check()
        expect(page.locator("#notice")).to_be_hidden()
        assert fused(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes(address: str, visit: Open, scheme: str) -> None:
    page = visit(address, color_scheme=scheme)
    assert fused(page)

    def lightness() -> int:
        red: int = page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
        return red

    assert (lightness() > 128) == (scheme == "light")
    page.click("#theme")
    assert (lightness() > 128) == (scheme == "dark")
    page.reload()
    assert fused(page)
    assert (lightness() > 128) == (scheme == "dark")


def test_a_phone_needs_no_sideways_scrolling(address: str, visit: Open) -> None:
    page = visit(address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert fused(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="content", exact=True).click()
    expect(page.locator(".path >> nth=2 >> .row:not(.gap)").first).to_be_in_viewport()
    page.locator(".path >> nth=2 >> .row:not(.gap)").first.click()
    page.locator(".why table").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("#panel")).to_be_hidden()


def test_the_keyboard_reaches_everything(engine: Engine, address: str, visit: Open) -> None:
    page = visit(address)
    assert fused(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#user")
    page.keyboard.press("Control+a")
    page.keyboard.type("7")
    with page.expect_response("**/explore/api/ask"):
        page.keyboard.press("Enter")
    expect(page.locator(".fused .row").first).to_have_attribute("data-id", str(engine.retrieve(7, 1).ids[0]))
    page.focus("#why-search")
    reached: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.closest('.col.fused .row') ? 'row' : document.activeElement.type")
        )
    assert {"row", "range", "number", "checkbox"} <= reached
    page.locator(".fused .row").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('.path') !== null")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator(".why .sentence")).to_contain_text("At rank 2")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('.fused .row') !== null")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter((one) => !one.hidden && !one.labels?.length"
        " && !one.ariaLabel && !one.textContent.trim()).map((one) => one.outerHTML)"
    )
    assert unnamed == []


def test_health_at_a_glance(engine: Engine, address: str, visit: Open) -> None:
    page = visit(address)
    assert fused(page)
    engine.retrieve(1, 10)
    page.locator("#pulse").scroll_into_view_if_needed()
    page.reload()
    page.locator("#pulse").scroll_into_view_if_needed()
    page.locator("#pulse tbody tr").first.wait_for()
    assert page.locator("#pulse tbody tr").count() == 4
    expect(page.locator(".facts")).to_contain_text("newest event")


def test_nine_paths_of_five_hundred_are_made_as_they_come_into_view(visit: Open) -> None:
    log = generate(300, 2_000, 12_000)
    paths = [
        {"retriever": name, "name": f"p{number}"}
        for number, name in enumerate(["popularity", "content", "item_cf"] * 3)
    ]
    config = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    with Engine(config).fit(data) as engine, hosting(engine) as url:
        page = visit(url)
        page.fill("#k", "500")
        with page.expect_response("**/explore/api/ask"):
            page.click("#go")
        expect(page.locator(".fused footer")).to_have_text("500 items")
        assert page.locator(".row").count() <= 10 * 50
        assert page.locator(".path").count() == 9
        page.locator("#desk").evaluate("(desk) => desk.scrollTo(0, 1e6)")
        until(page, "document.querySelectorAll('.fused .row').length >= 100")
        page.locator(".fused .row").last.focus()
        page.keyboard.press("End")
        assert page.locator(".row").count() < 9 * 500
