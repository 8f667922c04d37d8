"""A service whose settings turn on the request log, explored slots and adaptive width."""

from __future__ import annotations

import asyncio
from pathlib import Path

import polars as pl
import pytest
from patience import eventually
from prometheus_client.parser import text_string_to_metric_families
from service_client import Client, fitted

from multirecall.errors import ConfigError
from multirecall.serving import ServeSettings, create_app
from multirecall.serving.metrics import Metrics
from multirecall.serving.service import Service

NAMES = ("answers", "unknown", "path", "path_change", "scores")


def test_requests_are_logged_with_their_own_ids(tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path / "log"), "share": 1, "explore": {"slots": 2, "share": 1.0}}
    engine = fitted()
    app = create_app(engine, ServeSettings.model_validate({"log": settings}))
    ask = Client(app)
    answer = ask("POST", "/v1/retrieve", {"user_id": 1, "k": 5}, headers={"X-Request-Id": "mine"}).json()
    assert sorted(answer["draw"]) == ["place", "propensity", "team"]
    assert min(answer["draw"]["place"][3:]) >= 3  # the two last slots, drawn from behind the first three
    batch = ask("POST", "/v1/retrieve/batch", {"users": [2, 3], "k": 4}, headers={"X-Request-Id": "both"}).json()
    assert len(batch["draw"]["propensity"]) == 8
    service: Service = app.state.service
    service.monitors.close()
    rows = pl.read_parquet(f"{tmp_path}/log/day=*/*.parquet").sort("id")
    assert rows["id"].to_list() == ["both/0", "both/1", "mine"]
    logged = rows.row(2, named=True)
    assert logged["place"] == answer["draw"]["place"]
    assert logged["scores"] == answer["scores"]
    figures = ask("GET", "/metrics").text
    found = {
        sample.labels["state"]: sample.value
        for family in text_string_to_metric_families(figures)
        for sample in family.samples
        if sample.name == "multirecall_request_log_rows"
    }
    assert found == {"written": 3.0, "waiting": 0.0, "dropped": 0.0, "lost": 0.0}
    assert "multirecall_width_level 0.0" in figures
    assert engine.retrieve(1).draw is None, "what a service attached is taken off again"


def test_a_service_that_ends_writes_what_its_log_holds(tmp_path: Path) -> None:
    app = create_app(fitted(), ServeSettings.model_validate({"log": {"folder": str(tmp_path), "share": 1}}))

    async def live() -> None:
        async with app.router.lifespan_context(app):
            answer = await Client(app).ask("POST", "/v1/retrieve", {"user_id": 1})
            assert answer.status_code == 200

    asyncio.run(live())
    assert pl.read_parquet(f"{tmp_path}/day=*/*.parquet").height == 1


def test_a_log_without_its_salt_keeps_the_service_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MULTIRECALL_LOG_SALT", raising=False)
    settings = ServeSettings.model_validate({"log": {"folder": str(tmp_path), "hash_users": True}})
    with pytest.raises(ConfigError, match="MULTIRECALL_LOG_SALT is not set"):
        create_app(fitted(), settings)


def test_requests_that_find_no_place_in_the_queue_lower_the_width() -> None:
    """They were not answered in time either."""
    engine = fitted()
    noted: list[float] = []
    ask = Client(create_app(engine, ServeSettings.model_validate({"limits": {"threads": 1, "queue": 0}})))
    ask.app.state.service.engine.note_refused = noted.append

    async def crowd() -> list[int]:
        answers = await asyncio.gather(*(ask.ask("POST", "/v1/retrieve", {"user_id": 1}) for _ in range(5)))
        return [one.status_code for one in answers]

    refused = asyncio.run(crowd()).count(429)
    assert refused
    assert noted == [float("inf")] * refused


def test_drift_is_shown_where_it_is_watched() -> None:
    app = create_app(fitted(), ServeSettings.model_validate({"drift": {"share": 1, "answers": 2}}))
    ask, service = Client(app), app.state.service
    assert "multirecall_drift_path{" not in ask("GET", "/metrics").text, "no answer, no figure"
    for user in (1, 2, 3, 99_999):
        ask("POST", "/v1/retrieve", {"user_id": user, "k": 5})
    eventually(lambda: service.monitors.drift.figures().unknown_users == 0.5)
    figures = Metrics(service.engine, drift=service.monitors.drift).text().decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(figures)
        for sample in family.samples
        if sample.name.startswith("multirecall_drift_")
    }
    assert found["multirecall_drift_answers",] == 2
    assert found["multirecall_drift_unknown", "users"] == 0.5
    assert ("multirecall_drift_unknown", "events") not in found, "none came since the fit"
    assert {key[0] for key in found} == {f"multirecall_drift_{name}" for name in NAMES}
    service.monitors.close()


def test_without_the_table_there_is_no_drift() -> None:
    assert "multirecall_drift" not in Client(create_app(fitted()))("GET", "/metrics").text


EXPERIMENT = {
    "name": "fusion",
    "visitors": "session",
    "arms": [
        {"name": "control", "share": 0.5},
        {"name": "sum", "share": 0.5, "fusion": {"strategy": "weighted_sum"}},
    ],
}


def test_users_of_a_service_get_the_arms_of_its_experiment(tmp_path: Path) -> None:
    engine = fitted(fusion={"strategy": "rrf"})
    log = {"folder": str(tmp_path), "share": 1}
    app = create_app(engine, ServeSettings.model_validate({"experiment": EXPERIMENT, "log": log}))
    ask = Client(app)
    arms = {user: ask("POST", "/v1/retrieve", {"user_id": user}).json()["variant"] for user in range(1, 21)}
    assert set(arms.values()) == {"fusion:control", "fusion:sum"}
    batch = ask("POST", "/v1/retrieve/batch", {"users": list(arms)}).json()
    assert batch["variants"] == list(arms.values())
    visitors = {
        ask("POST", "/v1/retrieve", {"history": [2], "context": {"session": "a"}}).json()["variant"] for _ in range(5)
    }
    assert len(visitors) == 1
    service: Service = app.state.service
    service.monitors.close()
    rows = pl.read_parquet(f"{tmp_path}/day=*/*.parquet").filter(pl.col("user").is_not_null())
    assert {(int(user), arm) for user, arm in rows.select("user", "variant").rows()} == set(arms.items())
    assert engine.retrieve(1).variant is None
