"""The figures for Prometheus: what is counted, how workers are merged, and that dashboards name only what exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import faulty
import pytest
import yaml
from patience import eventually
from prometheus_client.parser import text_string_to_metric_families

from multirecall import Engine, EngineConfig, User
from multirecall.serving.metrics import Metrics
from multirecall.testing import small_shop

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NAME = re.compile(r"\bmultirecall_\w+")
PATHS = [{"retriever": "item_cf"}, {"retriever": "popularity"}]


def shop(**config: Any) -> Engine:
    return Engine(EngineConfig.model_validate({"k": 8, "paths": PATHS, **config})).fit(small_shop())


def samples(text: bytes) -> dict[str, float]:
    """Every sample by its name and the values of its labels."""
    return {
        " ".join([one.name, *(one.labels[key] for key in sorted(one.labels))]): one.value
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
    }


def names(text: bytes) -> set[str]:
    """The names that an expression may use."""
    found = {one.name for family in text_string_to_metric_families(text.decode()) for one in family.samples}
    for family in text_string_to_metric_families(text.decode()):
        if family.type == "counter":
            found.add(f"{family.name}_total")
        if family.type == "histogram":
            found |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    return found


def watched(engine: Engine) -> Metrics:
    metrics = Metrics(engine)
    engine.observe(metrics)
    return metrics


def counted(metrics: Metrics, answers: int) -> dict[str, float]:
    """The samples once this number of answers is counted."""

    def total() -> float:
        return sum(
            value for name, value in samples(metrics.text()).items() if name.startswith("multirecall_answers_total")
        )

    eventually(lambda: total() == answers)
    return samples(metrics.text())


def test_answers_are_counted_by_path() -> None:
    engine = shop(cache_size=10)
    metrics = watched(engine)
    answers = [engine.retrieve(1), engine.retrieve(1), engine.retrieve(User(), k=100)]
    batch = engine.retrieve_batch([1, 2])
    found = counted(metrics, 4)
    assert found["multirecall_answers_total retrieve"] == 3
    assert found["multirecall_answers_total retrieve_batch"] == 1
    assert found["multirecall_cache_hits_total"] == 1
    assert found["multirecall_candidates_total"] == sum(map(len, answers)) + batch.items.size
    assert found["multirecall_backfilled_candidates_total"] == sum(one.n_backfilled for one in answers)
    assert found["multirecall_shortfall_candidates_total"] == answers[2].shortfall > 0
    assert found["multirecall_path_answers_total item_cf ok"] == 3, "a cache hit calls no path"
    assert found["multirecall_path_seconds_count item_cf"] == 3
    assert found["multirecall_path_empty_total item_cf"] == 1, "a visitor has no history"
    assert found["multirecall_path_empty_total popularity"] == 0
    proposed = sum(int((one.ranks[:, 0] >= 0).sum()) for one in [*answers, *batch])
    assert found["multirecall_path_candidates_total item_cf"] == proposed
    newest = found["multirecall_data_newest_event_timestamp_seconds"]
    assert newest == engine.data.now


def test_a_failing_path_shows_in_states_and_breaker(plugins: Any) -> None:
    plugins(raises=f"{faulty.__name__}:Raises")
    engine = shop(paths=[*PATHS, {"retriever": "raises"}])
    metrics = watched(engine)
    for user in range(7):
        engine.retrieve(user)
    found = counted(metrics, 7)
    assert found["multirecall_path_answers_total raises failed"] == 5
    assert found["multirecall_path_answers_total raises skipped"] == 2
    assert found["multirecall_path_breaker raises"] == 1
    assert found["multirecall_path_breaker item_cf"] == 0


def test_the_journal_shows(tmp_path: Path) -> None:
    engine = shop()
    engine.save(tmp_path / "bundle")
    engine.add_interactions([{"user_id": 1, "item_id": 2, "timestamp": 1_800_000_000}])
    found = samples(Metrics(engine).text())
    assert found["multirecall_journal_unsaved_changes"] == 1
    assert found["multirecall_journal_newest"] == found["multirecall_journal_oldest"] == 1
    engine.close()


def test_requests_are_counted_by_route() -> None:
    metrics = Metrics(shop())
    metrics.note_request("/v1/retrieve", "POST", 200, 0.003)
    metrics.note_request("/v1/retrieve", "POST", 429, 0.0001)
    metrics.note_request("", "BREW", 404, 0.0001)
    found = samples(metrics.text())
    assert found["multirecall_requests_total POST /v1/retrieve 200"] == 1
    assert found["multirecall_requests_total POST /v1/retrieve 429"] == 1
    assert found["multirecall_requests_total other none 404"] == 1
    assert found["multirecall_request_seconds_bucket 0.005 /v1/retrieve"] == 2
    assert found["multirecall_request_seconds_bucket 0.002 /v1/retrieve"] == 1


def test_workers_are_merged(tmp_path: Path) -> None:
    """Two processes count; either of them shows the sums, and the worst of the gauges."""
    program = (
        "import sys; from multirecall import Engine; from multirecall.serving.metrics import Metrics\n"
        "engine = Engine.load(sys.argv[1]); metrics = Metrics(engine); metrics._missed.set(2)\n"
        "metrics.note_request('/v1/retrieve', 'POST', 200, 0.003)\n"
        "metrics._newest.set(int(sys.argv[2])); metrics._oldest.set(int(sys.argv[2]))\n"
        "from prometheus_client import CollectorRegistry, generate_latest\n"
        "from prometheus_client.multiprocess import MultiProcessCollector\n"
        "merged = CollectorRegistry(); MultiProcessCollector(merged)\n"
        "print(generate_latest(merged).decode())"
    )
    shop().save(tmp_path / "bundle")
    (tmp_path / "shared").mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "shared")}
    for sequence in ("7", "9"):
        shown = run(program, tmp_path / "bundle", sequence, **environment)
    found = samples(shown.encode())
    assert found["multirecall_requests_total POST /v1/retrieve 200"] == 2
    assert found["multirecall_missed_observations"] == 4
    assert (found["multirecall_journal_oldest"], found["multirecall_journal_newest"]) == (7, 9)


def run(program: str, *arguments: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("file", ["alerts.yml", "grafana-dashboard.json"])
def test_every_metric_that_a_file_names_exists(file: str) -> None:
    text = (DEPLOY / file).read_text(encoding="utf-8")
    loaded = json.loads(text) if file.endswith("json") else yaml.safe_load(text)
    expressions = list(values_of(loaded, "expr"))
    assert len(expressions) > 8
    named = {name for expression in expressions for name in NAME.findall(expression)}
    assert named - names(Metrics(shop()).text()) == set()


def test_every_metric_is_shown() -> None:
    """The dashboard leaves nothing out."""
    shown = (DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8")
    families = [one.name for one in text_string_to_metric_families(Metrics(shop()).text().decode())]
    assert [one for one in families if one not in shown and not one.endswith("_created")] == []


def values_of(tree: Any, key: str) -> Any:
    """All values under a key, wherever it stands."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from values_of(value, key)
    if isinstance(tree, list):
        for one in tree:
            yield from values_of(one, key)
