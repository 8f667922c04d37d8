"""Requests by the thousand that no client should send: from the service's own document by schemathesis, and by hand."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

import requests
import schemathesis
import typer
from _harness import write
from _malformed import Got, Sent, ask, fault_of, malformed, post
from _served import serving
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from rich.progress import track
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from multirecall import Engine, EngineConfig
from multirecall.testing import small_shop

PATHS = ("item_cf", "user_cf", "content", "popularity")
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
SHOWN_FAULTS = 20
FITS = 20
"""The most requests of each kind for a refit, each of which may begin a fit."""


def main(
    by_document: Annotated[int, typer.Option(help="Requests that schemathesis makes, about.")] = 10_000,
    by_hand: Annotated[int, typer.Option(help="Requests as bytes.")] = 5_000,
    seed: Annotated[int, typer.Option(help="Of both.")] = 1,
) -> None:
    """Send them to a writable service of a small engine, and judge every answer."""
    config = EngineConfig.model_validate({"paths": [{"retriever": name} for name in PATHS]})
    faults: list[str] = []
    with TemporaryDirectory() as name:
        with Engine(config).fit(small_shop()) as engine:
            engine.save(Path(name) / "bundle")
        with serving(Path(name) / "bundle", "--writable") as served:
            figures: dict[str, Any] = {"seed": seed}
            figures["by_hand"] = send_by_hand(served.port, seed, by_hand, faults)
            figures["by_document"] = send_by_document(served.port, seed, by_document, faults)
            [alive] = ask(served.port, Sent("health", post("GET", "/health/ready", b"")))
        log = served.log.read_text()
    figures["ready_afterwards"] = alive.status == 200
    figures["tracebacks_in_the_log"] = log.count("Traceback")
    figures["faults"] = len(faults)
    for fault in faults[:SHOWN_FAULTS]:
        typer.echo(fault, err=True)
    typer.echo(json.dumps(figures, indent=2))
    write("serve-malformed", figures)
    raise typer.Exit(bool(faults or not figures["ready_afterwards"]))


def send_by_hand(port: int, seed: int, n: int, faults: list[str]) -> dict[str, Any]:
    """The requests of `_malformed`, each over a connection of its own."""
    statuses: Counter[int] = Counter()
    slowest_s = 0.0
    for sent in track(malformed(seed, n), "by hand", n):
        start = perf_counter()
        for got in ask(port, sent):
            statuses[got.status] += 1
            if (fault := fault_of(got)) is not None:
                faults.append(f"{sent.name}: {fault}")
        slowest_s = max(slowest_s, perf_counter() - start)
    return {"requests": n, "answers": _sorted(statuses), "slowest_s": slowest_s}


def send_by_document(port: int, seed: int, n: int, faults: list[str]) -> dict[str, Any]:
    """What schemathesis makes of the document, as it says and against it, the same number for each route."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    statuses: dict[str, Counter[int]] = {mode.value: Counter() for mode in GenerationMode}
    with requests.Session() as session:
        for operation in track(operations, "by the document"):
            for mode in GenerationMode:
                # A route without parameters has one right request and no wrong one.
                most = FITS if operation.path == "/v1/refresh" else n // (2 * (len(operations) - 3))
                _send(operation.as_strategy(mode), most, seed, session, statuses[mode.value], faults)
    return {
        "requests": sum(sum(own.values()) for own in statuses.values()),
        "operations": len(operations),
        "answers": {mode: _sorted(own) for mode, own in statuses.items()},
    }


def _send(
    cases: SearchStrategy[Case],
    n: int,
    seed: int,
    session: requests.Session,
    statuses: Counter[int],
    faults: list[str],
) -> None:
    @seeded(seed)
    @settings(
        max_examples=n,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def send(case: Case) -> None:
        answer = case.call(session=session)
        statuses[answer.status_code] += 1
        if (fault := _fault(case, answer)) is not None:
            faults.append(f"{case.as_curl_command()}: {fault}")

    with suppress(Unsatisfiable):
        send()


def _fault(case: Case, answer: Any) -> str | None:
    headers = {name: values[0] for name, values in answer.headers.items()}
    if (fault := fault_of(Got(answer.status_code, headers, answer.content))) is not None:
        return fault
    if answer.status_code == 405:
        return None
    try:
        case.validate_response(answer, checks=CHECKS)
    except BaseExceptionGroup as faults:
        return str(faults)
    return None


def _sorted(statuses: Counter[int]) -> dict[str, int]:
    return {str(status): statuses[status] for status in sorted(statuses)}


if __name__ == "__main__":
    typer.run(main)
