"""What the explorer's page asks: lists, another fusion of them, reasons, similar items, search and health."""

from __future__ import annotations

from typing import Any, get_args

import faulty
import numpy as np
import orjson
import polars as pl
import pytest
from explorer_page import OWN, Explorer, exploring, meta
from fastapi import FastAPI
from patience import eventually
from service_client import detail, fitted, shop_engine

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.fusion.weighted_sum import Normaliser
from multirecall.serving import ServeSettings, create_app
from multirecall.serving.explorer import traces
from multirecall.serving.explorer.catalogue import Catalogue
from multirecall.serving.explorer.labels import Labels, may_be_shown
from multirecall.serving.explorer.recent import SLOT_S, SLOTS, Recent
from multirecall.serving.explorer.settings import ExplorerSettings

Column = list[Any]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return shop_engine()


@pytest.fixture
def page(engine: Engine) -> Explorer:
    return exploring(engine)


def test_the_page_and_its_files_have_their_headers(page: Explorer) -> None:
    answer = page("GET", "/explore")
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "<script>" not in answer.text
    assert " style=" not in answer.text
    file = next(part for part in answer.text.split('"') if part.endswith("main.js"))
    script = page("GET", file)
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert page("GET", "/explore/static/other/explorer.css").headers["cache-control"] == "no-cache"
    for name in ("../page.py", "nothing.js", "%2e%2e%2fpage.py"):
        detail(page("GET", f"/explore/static/x/{name}"), 404)
    assert page("GET", "/explore/").status_code == 404


def test_pictures_come_from_the_hosts_that_are_allowed(engine: Engine) -> None:
    page = exploring(engine, explorer={"image_hosts": ["img.example.com", "cdn.example.com:8443"]})
    assert (
        "img-src 'self' https://img.example.com http://img.example.com https://cdn.example.com:8443 "
        "http://cdn.example.com:8443; " in page("GET", "/explore").headers["content-security-policy"]
    )
    hosts = ("img.example.com", "cdn.example.com:8443")
    assert may_be_shown("https://img.example.com/a%20b.png?x=1", hosts)
    assert may_be_shown("HTTP://IMG.example.com/a.png", hosts)
    assert may_be_shown("https://cdn.example.com:8443/a.png", hosts)
    for address in (
        "javascript:alert(1)//img.example.com",
        "data:image/png;base64,AAAA",
        "//img.example.com/a.png",
        "https://img.example.com.evil.net/a.png",
        "https://img.example.com@evil.net/a.png",
        "https://user@img.example.com/a.png",
        "https://evil.net\\@img.example.com/a.png",
        "https://img.example.com:8443/a.png",
        "https://img.example.com/a.png onerror=1",
        "https://img.example.com/\n",
        "https://[img.example.com/a.png",
        "ftp://img.example.com/a.png",
        "https://img.example.com/" + "a" * 2_000,
        "https://img.example.com/ü",
        "",
    ):
        assert not may_be_shown(address, hosts), address


@pytest.mark.parametrize("host", ["IMG.example.com; script-src *", "a b", "*", "https://x.com", "x.com/", ""])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="image_hosts"):
        ExplorerSettings.model_validate({"image_hosts": [host]})


def test_the_page_can_be_switched_off(engine: Engine) -> None:
    detail(exploring(engine, explorer={"enabled": False})("GET", "/explore"), 404)


def test_a_feature_that_is_missing_is_named(engine: Engine) -> None:
    answer = exploring(engine, explorer={"title": "titel"})("GET", "/explore")
    assert answer.status_code == 400
    assert "explorer.title: no item feature is named &#39;titel&#39;; did you mean &#39;title&#39;?" in answer.text


def test_the_page_says_why_an_engine_serves_nothing() -> None:
    answer = exploring(Engine(EngineConfig()))("GET", "/explore")
    assert answer.status_code == 503
    assert "the engine has nothing to serve" in answer.text


def test_it_offers_users_features_and_fusions(page: Explorer) -> None:
    setup = orjson.loads(meta(page.page(), "setup"))
    assert [path["name"] for path in setup["paths"]] == ["item_cf", "user_cf", "content", "popularity"]
    assert (
        setup["users"][0]["events"] == max(one["events"] for one in setup["users"]) > setup["users"][-1]["events"] > 0
    )
    fields = {one["name"]: one for one in setup["fields"]}
    assert fields.keys() == {"group", "tags", "price", "arrival"}
    assert fields["group"]["values"] == [["even", 33], ["odd", 32]]
    assert fields["price"]["min"] < fields["price"]["max"]
    fusions = {one["name"]: one for one in setup["fusions"]}
    assert fusions["weighted_sum"]["fields"]["normaliser"]["choices"] == [*get_args(Normaliser)]
    assert fusions["cascade"]["weighted"] is False
    assert fusions["rrf"]["fields"]["rank_constant"]["least"] == 0


def test_lists_history_and_fused_list_are_those_of_the_engine(engine: Engine, page: Explorer) -> None:
    said = page.post("ask", {"user": "1", "k": 20})
    lists = engine.path_lists([1])
    for path in said["paths"]:
        ranked = lists[path["name"]][0]
        assert path["ids"] == [str(one) for one in engine.data.items.ids.ids(ranked.items).tolist()]
        assert np.array(path["scores"], np.float32).tolist() == ranked.scores.tolist()
        assert (path["state"], path["detail"], path["weight"], path["quota"]) == ("ok", None, 1.0, 500)
        assert path["barred"]["reasons"] == ["seen"] * len(path["barred"]["ids"])
    events = engine.data.history(1)
    assert events.times is not None
    assert said["history"] == [str(one) for one in events.items.tolist()]
    assert (said["times"], said["n_events"]) == (events.times.tolist(), events.items.size)
    served = engine.retrieve(1, 20)
    fused = said["fused"]
    assert fused["ids"] == [str(one) for one in served.ids.tolist()]
    assert fused["scores"] == served.scores.tolist()
    assert np.array([fused["ranks"][name] for name in served.paths]).T.tolist() == served.ranks.tolist()
    shares = np.array([fused["shares"][name] for name in served.paths]).sum(0)
    assert shares == pytest.approx(served.scores)
    assert (fused["before"], fused["left"], fused["changed"], fused["fault"]) == ([*range(20)], [], False, None)
    title = engine.data.items.stored["title"]
    assert said["fused"]["items"][fused["ids"][0]] == [title.value(int(fused["ids"][0])), None]


@pytest.mark.parametrize("body", [{}, {"history": ["3", "4"]}, {"user": "999"}, {"user": "1", "history": []}])
def test_visitors_and_histories(engine: Engine, page: Explorer, body: dict[str, Any]) -> None:
    said = page.post("ask", {**body, "k": 10})
    user = int(body["user"]) if "user" in body else None
    history = [int(one) for one in body["history"]] if "history" in body else None
    assert said["fused"]["ids"] == [str(one) for one in engine.retrieve(User(user, history), 10).ids.tolist()]
    assert said["known"] is (user == 1)


def test_filters_are_told(engine: Engine, page: Explorer) -> None:
    where = {"group": ["odd"], "price": {"max": 9.0}}
    said = page.post("ask", {"user": "1", "k": 10, "where": where, "exclude": ["3"], "seen": True})
    assert said["fused"]["ids"] == [str(one) for one in engine.retrieve(1, 10, where=where, exclude=[3], seen=True).ids]
    reasons = {reason for path in said["paths"] for reason in path["barred"]["reasons"]}
    assert reasons == {"where", "excluded"}


def test_what_if_is_fused_from_the_lists_that_are_there(engine: Engine, page: Explorer) -> None:
    body = {"user": "1", "k": 10}
    before = page.post("ask", body)["fused"]["ids"]
    choices = {
        "weights": {"popularity": 5.0},
        "quotas": {"content": 3},
        "enabled": {"user_cf": False},
        "strategy": "weighted_sum",
        "params": {"normaliser": "rank"},
    }
    calls = [path.breaker.tally.counts["ok"] for path in engine._current().paths]
    said = page.post("fuse", {**body, "choices": choices})
    assert [path.breaker.tally.counts["ok"] for path in engine._current().paths] == calls, "no path was asked"
    trace = engine.trace(1, 10)
    expected = trace.fuse(trace.vary(**choices))  # type: ignore[arg-type]
    assert said["ids"] == [str(one) for one in expected.ids.tolist()]
    assert [said["ids"][place] for place, rank in enumerate(said["before"]) if rank < 0] == [
        one for one in said["ids"] if one not in before
    ]
    assert said["left"] == [one for one in before if one not in said["ids"]] != []
    assert said["changed"] is True
    assert 'strategy = "weighted_sum"' in said["toml"]
    assert "weight = 5.0" in said["toml"]
    assert "user_cf" not in said["ranks"]


def test_a_worker_that_does_not_have_the_lists_asks_for_them(engine: Engine, page: Explorer) -> None:
    body = {"user": "7", "k": 10, "choices": {"weights": {"content": 3.0}}}
    one = page.post("fuse", body)
    other = exploring(engine).post("fuse", body)
    assert one["ids"] == other["ids"]
    assert one["before"] == other["before"]


def test_the_lists_that_are_kept_are_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = traces.Traces()
    made = [traces.Kept(engine.trace(user), engine.retrieve(user)) for user in range(traces.SIZE + 3)]
    for user, one in enumerate(made):
        kept.put(str(user), one)
    assert len(kept) == traces.SIZE
    version = engine.data_version
    assert kept.get("0", version) is None
    assert kept.get("5", version) is made[5]
    assert kept.get("5", version + 1) is None
    kept.sweep()
    assert len(kept) == traces.SIZE
    monkeypatch.setattr(traces, "KEPT_S", -1.0)
    kept.sweep()
    assert len(kept) == 0


def test_choices_that_cannot_be_are_told_beside_the_lists(page: Explorer) -> None:
    body = {"user": "1", "k": 10}
    unknown = page.post("fuse", {**body, "choices": {"strategy": "os.path:join"}})
    assert "os.path:join" in unknown["fault"]
    assert "ids" not in unknown
    off = page.post(
        "fuse", {**body, "choices": {"enabled": dict.fromkeys(("item_cf", "user_cf", "content", "popularity"), False)}}
    )
    assert "no path is enabled" in off["fault"]
    assert "no path is named" in page.post("fuse", {**body, "choices": {"weights": {"other": 1.0}}})["fault"]
    headers = {**page.headers, "X-Explorer-Token": page.token()}
    for choices in (
        {"weights": {"content": 0}},
        {"weights": {"content": "1"}},
        {"quotas": {"content": 0}},
        {"more": 1},
    ):
        detail(page("POST", "/explore/api/fuse", {**body, "choices": choices}, headers=headers), 422)
    detail(page("POST", "/explore/api/ask", {"user": 1}, headers=headers), 422)
    assert "user ids are int, got 'u1'" in page.refused("ask", {"user": "u1"})
    assert "quotas: 'content' must be at most 1,000 here" in page.refused(
        "fuse", {**body, "choices": {"quotas": {"content": 1_001}}}
    )
    assert "k must be at most 1,000 here" in page.refused("ask", {"user": "1", "k": 1_001})
    detail(page("POST", "/explore/api/ask", {"history": ["1"] * 1_001}, headers=headers), 422)
    detail(page("GET", "/explore/api/ask", headers=headers), 405)


def test_a_failing_path_is_shown_with_its_sentence() -> None:
    page = exploring(fitted(paths=[{"retriever": "item_cf"}, {"retriever": faulty.Raises, "name": "broken"}]))
    said = page.post("ask", {"user": "1", "k": 10})
    broken = said["paths"][1]
    assert (broken["state"], broken["ids"], broken["barred"]) == ("failed", [], None)
    assert broken["detail"] == "RuntimeError: out of order"
    assert len(said["fused"]["ids"]) == 10
    alone = page.post("fuse", {"user": "1", "k": 10, "choices": {"enabled": {"item_cf": False}}})
    assert alone["fault"] == "all paths failed: broken: RuntimeError: out of order"


def test_an_engine_of_which_every_path_fails_is_shown() -> None:
    page = exploring(fitted(paths=[{"retriever": faulty.Raises, "name": "broken"}]))
    said = page.post("ask", {"user": "1", "k": 10})
    assert said["fused"]["fault"] == "all paths failed: broken: RuntimeError: out of order"
    assert said["history"]
    assert page.post("fuse", {"user": "1", "k": 10, "choices": {"weights": {"broken": 2.0}}})["fault"]


def test_why_and_why_not(engine: Engine, page: Explorer) -> None:
    first = engine.retrieve(1, 10).ids[0].item()
    said = page.post("why", {"user": "1", "k": 10, "item": str(first)})
    told = engine.explain(1, first, 10)
    assert (said["rank"], said["score"], said["reason"]) == (0, told.score, None)
    assert said["paths"]["item_cf"]["rank"] == told.paths["item_cf"].rank
    assert said["features"]["title"] == engine.data.items.values(first)["title"]
    seen = str(engine.data.history(1).items[0])
    assert page.post("why", {"user": "1", "item": seen})["reason"] == "the user has seen it"
    assert "no item has the id 999" in page.refused("why", {"user": "1", "item": "999"})
    assert page.post("similar", {"item": "999"})["refused"]["status"] == 404


def test_similar_items(engine: Engine, page: Explorer) -> None:
    said = page.post("similar", {"item": "3", "k": 5, "where": {"group": ["odd"]}})
    found = engine.similar(3, 5, where={"group": ["odd"]})
    assert said["ids"] == [str(one) for one in found.ids.tolist()]
    assert said["status"]["popularity"]["state"] == "skipped"


def test_a_search_finds_ids_and_titles(page: Explorer) -> None:
    assert page.post("search", {"text": " 7 "})["found"][0] == "7"
    said = page.post("search", {"text": "NUMBER 12"})
    assert said["found"] == ["12"]
    assert said["items"]["12"][0].endswith("item number 12")
    assert len(page.post("search", {"text": "item"})["found"]) == 20
    assert page.post("search", {"text": "  "})["found"] == []
    assert page.post("search", {"text": ".*"})["found"] == []


def test_a_search_knows_no_removed_items_and_soon_new_ones() -> None:
    engine = fitted()
    catalogue = Catalogue(Labels(ExplorerSettings()))
    assert catalogue.search(engine.data, "number 12") == ["12"]
    engine.remove_items([12])
    engine.add_items([{"item_id": 500, "title": "number 12 again"}])
    assert catalogue._index is not None
    catalogue._index = None
    assert catalogue.search(engine.data, "number 12") == ["500"]


def test_large_ids_stay_exact() -> None:
    big = 2**63
    log = pl.DataFrame({"user_id": [big + 1, big + 1, big + 3], "item_id": [big + 1, big + 3, big + 1]})
    engine = Engine(EngineConfig.model_validate({"paths": [{"retriever": "item_cf"}]})).fit(Dataset.from_frames(log))
    said = exploring(engine).post("ask", {"user": str(big + 3), "k": 2})
    assert said["fused"]["ids"] == [str(big + 3)]
    assert said["history"] == [str(big + 1)]


def test_health_at_a_glance(engine: Engine, page: Explorer) -> None:
    said = page.post("pulse", {})
    assert (said["n_items"], said["n_users"], said["newest"]) == (65, 42, engine.data.now)
    assert said["breakers"]["content"] == {"breaker": "closed", "trouble": None, "last_fault": None}


def test_the_last_minutes_are_a_bounded_window(engine: Engine) -> None:
    clock = [1_000.0]
    recent = Recent(lambda: clock[0])
    seen: list[Any] = []

    class Watch:
        def observe(self, observation: Any) -> None:
            seen.append(observation)
            recent.observe(observation)

    watch = Watch()
    stop = engine.observe(watch)
    answer = engine.retrieve(1, 10)
    stop()
    eventually(lambda: seen)
    shown = recent.shown()
    assert shown["answers"] == 1
    assert shown["candidates"] == 10
    assert shown["paths"]["item_cf"]["share"] == (answer.ranks[:, 0] >= 0).sum() / 10
    assert shown["paths"]["item_cf"]["states"] == [{}] * (SLOTS - 1) + [{"ok": 1}]
    for _ in range(3 * SLOTS):
        clock[0] += SLOT_S
        recent.observe(seen[0])
    assert recent.shown()["answers"] == SLOTS
    clock[0] += SLOT_S * SLOTS
    assert recent.shown()["answers"] == 0


def test_a_late_path_is_told_and_the_others_do_not_wait() -> None:
    faulty.Blocks.gate.set()  # while it warms up
    engine = fitted(paths=[{"retriever": "item_cf"}, {"retriever": faulty.Blocks, "name": "slow"}])
    faulty.Blocks.gate.clear()
    try:
        said = exploring(engine, limits={"deadline_ms": 500.0}).post("ask", {"user": "1", "k": 10})
    finally:
        faulty.Blocks.gate.set()
    slow = said["paths"][1]
    assert (slow["state"], slow["detail"]) == ("late", "no answer within 500 ms")
    assert len(said["fused"]["ids"]) == 10


def test_it_can_be_mounted_in_another_application(engine: Engine) -> None:
    outer = FastAPI()
    outer.mount("/recall", create_app(engine, ServeSettings()))
    page = Explorer(outer)
    shown = page("GET", "/recall/explore", headers=OWN).text
    assert meta(shown, "base") == "/recall/explore"
    script = next(part for part in shown.split('"') if part.endswith("main.js"))
    assert page("GET", script).status_code == 200
    headers = {**OWN, "X-Explorer-Token": meta(shown, "token")}
    answer = page("POST", "/recall/explore/api/ask", {"user": "1", "k": 3}, headers=headers)
    assert len(answer.json()["fused"]["ids"]) == 3
    assert (
        page("POST", "/recall/explore/session", headers=OWN, data={"key": "none"}).headers["location"]
        == "/recall/explore"
    )
