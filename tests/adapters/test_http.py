"""A remote service as a path: what it is asked, what of its answers is believed, and how its trouble ends."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from forking import forked
from patience import eventually
from services import Answer, Call, Service, serving

from multirecall import Engine, EngineConfig, User
from multirecall.engine.breaker import FAILURES_TO_OPEN
from multirecall.engine.deadline import Deadline
from multirecall.errors import NotDeployed, RequestError, ServiceError
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.adapters.http import HTTPConfig, HTTPService
from multirecall.testing import RetrieverContract, small_shop

URL = "MULTIRECALL_ENDPOINT_TRENDS"
TOKEN = "t0ken-of-the-test"
Deployed = Callable[[Answer], Service]


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """Start a service with an answer, and give its address to endpoint `trends`."""
    with ExitStack() as stack:

        def start(answer: Answer) -> Service:
            service = stack.enter_context(serving(answer))
            monkeypatch.setenv(URL, service.url)
            return service

        yield start


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What an answer waits for; at the end whatever still waits is let go."""
    event = threading.Event()
    yield event
    event.set()


def path(**params: Any) -> HTTPService:
    made = HTTPService(HTTPConfig.model_validate({"endpoint": "trends", **params}))
    made.fit(small_shop(), rng=np.random.default_rng(0), progress=SILENT)
    return made


def query(left_s: float | None = 60.0, **changed: Any) -> Query:
    deadline = None if left_s is None else time.monotonic() + left_s
    values = {"user": -1, "history": np.empty(0, np.int32), "weights": np.empty(0, np.float32), "deadline": deadline}
    return Query(**{**values, **changed})


def engine(**params: Any) -> Engine:
    paths = [{"retriever": "http", "params": {"endpoint": "trends", **params}}, {"retriever": "popularity"}]
    config = {"k": 5, "paths": paths, "fusion": {"strategy": "rrf"}}
    return Engine(EngineConfig.model_validate(config)).fit(small_shop())


def ask(left_s: float | None = 60.0, k: int = 5, **params: Any) -> tuple[list[int], list[float]]:
    asked = path(**params)
    try:
        found = asked.retrieve(query(left_s), k)
    finally:
        asked.close()
    return found.items.tolist(), found.scores.tolist()


def by_hash(call: Call) -> None:
    """Items by a score that depends on the user and the item alone, best first, with ties."""
    seed = json.dumps([call.question.get("user"), call.question["history"]["items"]])
    texts = call.server.texts  # type: ignore[attr-defined]
    ids = sorted(f"i{number}" if texts else number for number in range(65))
    scores = np.random.default_rng(list(seed.encode())).integers(0, 40, 65) / 8
    order = np.argsort(-scores, kind="stable")[: call.question["k"]].tolist()
    if call.headers["Accept"] == "application/json":
        call.send_items([ids[place] for place in order], scores[order].tolist())
    else:
        frame = pl.DataFrame({"item_id": [ids[place] for place in order], "score": scores[order]})
        call.send(arrow(frame), "application/vnd.apache.arrow.stream")


def arrow(frame: pl.DataFrame, **options: Any) -> bytes:
    stream = BytesIO()
    frame.write_ipc_stream(stream, **options)
    return stream.getvalue()


class Contract(RetrieverContract):
    retriever = HTTPService

    @pytest.fixture(autouse=True)
    def _service(self, deployed: Deployed, request: pytest.FixtureRequest) -> None:
        service = deployed(by_hash)
        kind = getattr(getattr(request.node, "callspec", None), "params", {}).get("data")
        service.texts = kind == "str"  # type: ignore[attr-defined]


class TestInJSON(Contract):
    params: ClassVar[dict[str, Any]] = {"endpoint": "trends", "timeout_ms": 60_000}


class TestInArrow(Contract):
    params: ClassVar[dict[str, Any]] = {"endpoint": "trends", "timeout_ms": 60_000, "format": "arrow"}


def test_request_is_what_the_page_says(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    service = deployed(lambda call: call.send_items([5, 99, 3], [1, 3.0, 2.0]))
    monkeypatch.setenv(f"{URL}_TOKEN", TOKEN)
    with engine(history=3) as served:
        service.questions.clear()
        answer = served.retrieve(
            User(7, features={"country": "b"}),
            where={"group": ["odd"]},
            exclude=[11],
            context={"device": "phone"},
            k=60,
        )
        stored = served._state.data  # type: ignore[union-attr]
    [asked] = service.questions[-1:]
    shop = small_shop()
    part = shop.interactions.of_user(7)
    newest = shop.items.ids.ids(shop.interactions.items[part]).tolist()[-3:]
    assert stored.n_items == 65
    assert asked.keys() == {"user", "history", "features", "terms", "where", "exclude", "context", "k"}
    assert asked["user"] == 7
    assert asked["history"]["items"] == newest
    assert asked["history"]["weights"] == shop.interactions.weights[part].tolist()[-3:]
    assert asked["history"]["times"] == shop.interactions.times[part].tolist()[-3:]  # type: ignore[index]
    assert asked["history"]["ordered"] is True
    assert asked["features"] == {"country": "b"}
    assert asked["where"] == {"group": ["odd"]}
    assert 11 in asked["exclude"]
    assert asked["context"] == {"device": "phone"}
    assert asked["k"] == 65
    headers = service.headers[-1]
    assert headers["Content-Type"] == "application/json"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert answer.status["http"].state == "ok"


def test_visitor_and_what_is_not_to_be_sent(deployed: Deployed) -> None:
    service = deployed(lambda call: call.send_items([], []))
    ask(send=["user", "terms"])
    assert service.questions == [{"user": None, "terms": {}, "k": 5}]
    assert "Authorization" not in service.headers[0]


def test_context_that_is_no_json_is_the_callers_fault(deployed: Deployed) -> None:
    service = deployed(lambda call: call.send_items([], []))
    for odd in (object(), float("nan")):
        with pytest.raises(RequestError, match="cannot be sent as JSON"):
            path().retrieve(query(context={"odd": odd}), 5)
    assert not service.questions


def test_engine_filters_what_the_service_does_not(deployed: Deployed) -> None:
    deployed(lambda call: call.send_items(list(range(call.question["k"])), [-n for n in range(call.question["k"])]))
    with engine() as served:
        answer = served.retrieve(User(), where={"group": "even"}, exclude=[2])
    assert answer.status["http"].state == "ok"
    assert not set(answer.ids.tolist()) & {1, 2, 3, 5}


def test_answer_is_ordered_unknown_items_are_counted_and_repeats_have_their_best_score(
    deployed: Deployed, caplog: pytest.LogCaptureFixture
) -> None:
    deployed(lambda call: call.send_items([5, 99, 3, 4, 5, 8], [1, 3, 2, 2, 7, -0.0]))
    asked = path()
    for _ in range(2):
        found = asked.retrieve(query(), 6)
        assert found.items.tolist() == [5, 3, 4, 8]
        assert found.scores.tolist() == [7, 2, 2, 0]
        assert found.items.dtype == np.int32
        assert found.scores.dtype == np.float32
    assert asked.n_unknown == 2
    assert caplog.messages == ["endpoint 'trends' proposes items that the catalogue lacks; 1 are passed over"]
    asked.close()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "JSON that is no object"),
        (b'{"items": [1]}', "out two lists of one length"),
        (b'{"items": [1], "scores": [1, 2]}', "out two lists of one length"),
        (b'{"items": {"1": 2}, "scores": [1]}', "out two lists of one length"),
        (b'{"items": [1], "scores": [NaN]}', "NaN is no number of JSON"),
        (b'{"items": [1], "scores": [-Infinity]}', "no number of JSON"),
        (b'{"items": [1], "scores": [1e39]}', "not finite in float32"),
        (b'{"items": [1], "scores": [1' + b"0" * 400 + b"]}", "not finite in float32"),
        (b'{"items": [1], "scores": ["1"]}', "score that is no number"),
        (b'{"items": [1], "scores": [true]}', "score that is no number"),
        (b'{"items": [1], "scores": [null]}', "score that is no number"),
        (b'{"items": ["1"], "scores": [1]}', "item '1' of type str; send int"),
        (b'{"items": [1.0], "scores": [1]}', "of type float; send int"),
        (b'{"items": [true], "scores": [1]}', "of type bool; send int"),
        (b'{"items": [null], "scores": [1]}', "of type NoneType; send int"),
        (b'{"items": [[1]], "scores": [1]}', "of type list; send int"),
        (b'{"items": [1,2,3,4,5,6], "scores": [1,2,3,4,5,6]}', "6 items to a request for 5; send at most k"),
    ],
)
def test_lies_in_json_are_refused(deployed: Deployed, body: bytes, fault: str) -> None:
    deployed(lambda call: call.send(body))
    with pytest.raises(ServiceError, match=rf"^endpoint 'trends': answers with.*{fault}"):
        ask()


def test_id_beyond_every_integer_type_is_unknown_or_refused(deployed: Deployed) -> None:
    deployed(lambda call: call.send_items([10**30, 5], [1, 2]))
    with pytest.raises(ServiceError, match="answers with an unusable id"):
        ask()


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        ({"item_id": [1]}, "no Arrow stream of item_id and score"),
        ({"item_id": [1.5], "score": [1.0]}, "item_id of type Float64"),
        ({"item_id": [1], "score": ["a"]}, "score of type String"),
        ({"item_id": [1, None], "score": [1.0, 2.0]}, "a null"),
        ({"item_id": [1], "score": [float("nan")]}, "not finite"),
        ({"item_id": [1] * 6, "score": [1.0] * 6}, "6 items to a request for 5"),
        ({"item_id": ["a" * 2_000], "score": [1.0]}, "id of more than 1024 bytes"),
        ({"item_id": ["a"], "score": [1.0]}, "of type str; send int"),
    ],
)
def test_lies_in_arrow_are_refused(deployed: Deployed, frame: dict[str, Any], fault: str) -> None:
    body = arrow(pl.DataFrame(frame))
    deployed(lambda call: call.send(body, "application/vnd.apache.arrow.stream"))
    with pytest.raises(ServiceError, match=f"^endpoint 'trends': answers with.*{fault}"):
        ask(format="arrow")


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_arrow_is_not_unpacked(deployed: Deployed, compression: str) -> None:
    bomb = arrow(pl.DataFrame({"item_id": [5] * 5, "score": [0.0] * 5}), compression=compression)
    deployed(lambda call: call.send(bomb, "application/vnd.apache.arrow.stream"))
    with pytest.raises(ServiceError, match="compressed Arrow stream; send it without compression"):
        ask(format="arrow")


def test_arrow_with_dictionaries_is_refused(deployed: Deployed) -> None:
    frame = pl.DataFrame({"item_id": pl.Series(["a"], dtype=pl.Categorical), "score": [1.0]})
    deployed(lambda call: call.send(arrow(frame), "application/vnd.apache.arrow.stream"))
    with pytest.raises(ServiceError, match="dictionaries; send plain columns"):
        ask(format="arrow")


def test_arrow_that_pyarrow_writes_is_read(deployed: Deployed) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"other": [True, False], "score": pa.array([1, 2], pa.float32()), "item_id": pa.array([5, 3])})
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    deployed(lambda call: call.send(sink.getvalue(), "application/vnd.apache.arrow.stream"))
    assert ask(format="arrow") == ([3, 5], [2, 1])


def test_no_part_of_an_arrow_stream_is_trusted(deployed: Deployed) -> None:
    """Cut off anywhere, or with any byte of its headers changed, an answer is refused or read, and no more."""
    whole = arrow(pl.DataFrame({"item_id": [5, 3], "score": [1.0, 2.0]}))
    bodies = [whole[:size] for size in range(0, len(whole), 7)]
    bodies += [whole[:place] + b"\xff" + whole[place + 1 :] for place in range(0, len(whole), 3)]
    body = iter(bodies)
    deployed(lambda call: call.send(next(body), "application/vnd.apache.arrow.stream"))
    asked = path(format="arrow")
    endings = set()
    for _ in bodies:
        try:
            asked.retrieve(query(), 5)
            endings.add("read")
        except ServiceError:
            endings.add("refused")
    asked.close()
    assert endings == {"read", "refused"}


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (
            {"status": 500, "body": b"out of \x1b[1m\n order " + b"x" * 5_000},
            r"status 500, .*says: out of \[1m order x+$",
        ),
        ({"status": 404, "body": b""}, "status 404, 200 is expected; it says: nothing"),
        ({"status": 204, "body": b""}, "status 204"),
        ({"media": "text/html; charset=utf-8"}, "answers with media type 'text/html'; let it send application/json"),
        ({"Content_Encoding": "gzip"}, "answers compressed"),
    ],
)
def test_other_answers_are_refused(deployed: Deployed, sent: dict[str, Any], fault: str) -> None:
    deployed(lambda call: call.send(**{"body": b'{"items": [], "scores": []}', **sent}))
    with pytest.raises(ServiceError, match=f"^endpoint 'trends': {fault}") as raised:
        ask()
    assert len(str(raised.value)) < 300
    assert str(raised.value).isprintable()


def test_media_type_may_have_parameters(deployed: Deployed) -> None:
    deployed(lambda call: call.send(b'{"items": [5], "scores": [1]}', "Application/JSON; charset=utf-8"))
    assert ask() == ([5], [1])


def test_redirects_are_not_followed(deployed: Deployed) -> None:
    elsewhere = deployed(lambda call: call.send_items([5], [1]))
    service = deployed(lambda call: call.send(b"", status=307, Location=elsewhere.url))
    with pytest.raises(ServiceError, match="status 307: redirects are not followed"):
        ask()
    assert (len(service.questions), elsewhere.questions) == (1, [])


def test_proxies_of_the_environment_are_not_used(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    deployed(lambda call: call.send_items([5], [1]))
    assert ask() == ([5], [1])


def test_body_is_bounded_by_what_is_announced_and_by_what_comes(deployed: Deployed, gate: threading.Event) -> None:
    def announces(call: Call) -> None:
        call.send(b"{", Content_Length="1000001")
        gate.wait()

    deployed(announces)
    with pytest.raises(ServiceError, match="more than 1,000,000 bytes; send fewer items, or raise max_bytes"):
        ask(max_bytes=1_000_000)

    def goes_on(call: Call) -> None:
        call.send_response(200)
        call.send_header("Content-Type", "application/json")
        call.send_header("Transfer-Encoding", "chunked")
        call.end_headers()
        while not gate.is_set():  # for ever, unless the client hangs up
            call.wfile.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")

    deployed(goes_on)
    with pytest.raises(ServiceError, match="more than 1,000,000 bytes"):
        ask(max_bytes=1_000_000)


def refuses_to_answer(call: Call) -> None:
    call.hang_up()


def stops_in_the_middle(call: Call) -> None:
    call.send(b'{"items": [', Content_Length="1000")
    call.hang_up()


@pytest.mark.parametrize("answer", [refuses_to_answer, stops_in_the_middle])
def test_service_that_breaks_off_is_a_connection_error(deployed: Deployed, answer: Answer) -> None:
    service = deployed(answer)
    with pytest.raises(ConnectionError, match=r"^endpoint 'trends': "):
        ask()
    assert len(service.questions) == 1, "no call is repeated"


def test_service_that_is_down_is_a_connection_error(monkeypatch: pytest.MonkeyPatch, deployed: Deployed) -> None:
    with serving(lambda call: None) as gone:
        url = gone.url
    monkeypatch.setenv(URL, url)
    with pytest.raises(ConnectionError, match=r"^endpoint 'trends': .*refused"):
        ask()


def silent(call: Call, gate: threading.Event) -> None:
    gate.wait()


def trickles_headers(call: Call, gate: threading.Event) -> None:
    call.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not gate.wait(0.01):
        call.wfile.write(b"x")


def trickles_a_body(call: Call, gate: threading.Event) -> None:
    call.send(b"", Content_Length="1000000")
    while not gate.wait(0.01):
        call.wfile.write(b" ")


@pytest.mark.parametrize("answer", [silent, trickles_headers, trickles_a_body])
@pytest.mark.parametrize("left_s", [0.3, None], ids=["deadline", "timeout_ms"])
def test_time_limit_is_for_the_whole_call(
    deployed: Deployed, gate: threading.Event, answer: Callable[..., None], left_s: float | None
) -> None:
    """What comes a little at a time would last for ever under a limit for each read."""
    deployed(lambda call: answer(call, gate))
    with pytest.raises(TimeoutError, match="endpoint 'trends': the time was up before its answer was complete"):
        ask(left_s, timeout_ms=300)


def test_call_after_the_deadline_asks_nobody(deployed: Deployed) -> None:
    service = deployed(lambda call: call.send_items([5], [1]))
    with pytest.raises(TimeoutError):
        ask(-1.0)
    assert not service.questions


def test_late_service_is_late_and_the_breaker_counts_it(deployed: Deployed, gate: threading.Event) -> None:
    slow = threading.Event()

    def answer(call: Call) -> None:
        if slow.is_set():
            gate.wait()
        else:
            call.send_items([5], [1])

    deployed(answer)
    with engine() as served:
        slow.set()
        state = served._state
        [asked] = [one for one in state.paths if one.name == "http"]  # type: ignore[union-attr]
        limit = Deadline(50)
        outcome = asked.answer(query(deadline=limit.moment), 5, limit)
        assert (outcome.state, outcome.callers) == ("late", False)
        assert "TimeoutError: endpoint 'trends': the time was up" in str(outcome.detail)
        for _ in range(FAILURES_TO_OPEN):
            found = served.retrieve(1, deadline_ms=50)
            assert found.status["http"].state == "late"
            assert len(found) == 5


def test_failing_service_opens_the_breaker(deployed: Deployed) -> None:
    service = deployed(lambda call: call.send(b"broken", status=503))
    with engine() as served:
        n_warm = len(service.questions)
        states = [served.retrieve(1).status["http"].state for _ in range(FAILURES_TO_OPEN + 2)]
    assert states == ["failed"] * FAILURES_TO_OPEN + ["skipped"] * 2
    assert len(service.questions) == n_warm + FAILURES_TO_OPEN
    assert n_warm == 1, "a failed path is not asked again while the engine warms up"


def test_bundle_opens_no_connection_by_itself(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = deployed(lambda call: call.send_items([5], [1]))
    with engine() as served:
        served.save(tmp_path)
    text = "".join(file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file())
    assert str(service.server_port) not in text
    monkeypatch.delenv(URL)
    service.questions.clear()
    with Engine.load(tmp_path) as served:
        note = f"endpoint 'trends' has no address here: set the environment variable {URL} to its URL"
        assert f"path 'http' skipped when it was first asked: NotDeployed: {note}" in caplog.messages
        answer = served.retrieve(1)
        assert (answer.status["http"].state, len(answer)) == ("skipped", 5)
        assert str(answer.status["http"].detail).endswith(note)
        assert not service.questions
        monkeypatch.setenv(URL, service.url)
        assert served.retrieve(1).status["http"].state == "ok"
    monkeypatch.delenv(URL)
    with pytest.raises(NotDeployed):
        ask()


def test_load_does_not_fail_while_the_service_is_down(deployed: Deployed, tmp_path: Path) -> None:
    service = deployed(lambda call: call.send_items([5], [1]))
    with engine() as served:
        served.save(tmp_path)
    service.answer = refuses_to_answer
    with Engine.load(tmp_path) as served:
        assert served.retrieve(1).status["http"].state == "failed"
        assert served.health().paths["http"].failed == 1, "the warm-up counts for nothing"


def test_address_that_is_not_allowed_fails_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "http://recall.example.com/")
    with engine() as served:
        status = served.retrieve(1).status["http"]
    assert status.state == "failed"
    assert "plain http to another machine" in str(status.detail)


@pytest.mark.parametrize("echo", ["body", "header"])
def test_token_is_in_no_error_log_or_health(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, echo: str
) -> None:
    def echoes(call: Call) -> None:
        if echo == "body":
            call.send(f"bad token {call.headers['Authorization']}".encode(), status=401)
        else:
            call.wfile.write(f"HTTP/1.1 {TOKEN}\r\n\r\n".encode())

    deployed(echoes)
    monkeypatch.setenv(f"{URL}_TOKEN", TOKEN)
    with caplog.at_level("DEBUG", "multirecall"), engine() as served:
        status = served.retrieve(1).status["http"]
        health = json.dumps(served.health().to_dict())
    assert status.state == "failed"
    assert TOKEN not in str(status.detail) + health + caplog.text


def test_connections_are_kept_shared_by_copies_and_closed(deployed: Deployed) -> None:
    service = deployed(lambda call: call.send_items([5], [1]))
    with engine() as served:
        served.retrieve(1)
        served.add_items([{"item_id": 900, "group": "odd"}])
        served.retrieve(1)
        assert len(set(service.ports)) == 1
        http: Any
        [http] = [one.retriever for one in served._state.paths if one.name == "http"]  # type: ignore[union-attr]
        pool = http._shared.service()._pool()
        assert len(pool.connections) == 1
        served.retrieve(1)
    del served
    eventually(lambda: not pool.connections)


def test_items_that_join_later_are_understood_at_once(deployed: Deployed) -> None:
    service = deployed(lambda call: call.send_items([900], [1]))
    with engine() as served:
        served.add_items([{"item_id": 900, "group": "odd"}])
        answer = served.retrieve(User(history=[900]), seen=True)
    assert answer[0].item_id == 900
    assert "http" in answer[0].provenance
    assert service.questions[-1]["history"]["items"] == [900]


def test_batch_asks_for_several_users_at_once_and_no_more_than_it_may(deployed: Deployed) -> None:
    together, lock = threading.Barrier(3), threading.Lock()
    running, most = [0], [0]

    def answer(call: Call) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(60)
        with lock:
            running[0] -= 1
        call.send_items([call.question["user"]], [1])

    service = deployed(answer)
    asked = path(connections=3, timeout_ms=60_000)
    found = asked.retrieve_batch([query(None, user=user) for user in range(6)], 5)
    asked.close()
    ids = small_shop().items.ids
    users = small_shop().users.ids.ids(np.arange(6))
    assert [found[place].items.tolist() for place in range(6)] == [[ids.row(user)] for user in users.tolist()]
    assert most == [3]
    assert len(set(service.ports)) <= 3


def test_first_fault_ends_a_batch(deployed: Deployed) -> None:
    service = deployed(lambda call: call.send(b"", status=503))
    asked = path(connections=1)
    with pytest.raises(ServiceError, match="status 503"):
        asked.retrieve_batch([query(None)] * 50, 5)
    asked.close()
    assert len(service.questions) < 50


def test_forked_child_has_connections_of_its_own(deployed: Deployed) -> None:
    service = deployed(lambda call: call.send_items([5], [1]))
    asked = path()
    asked.retrieve(query(), 5)

    def work() -> None:
        assert asked.retrieve(query(), 5).items.tolist() == [small_shop().items.ids.row(5)]

    assert os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == 0
    asked.retrieve(query(), 5)
    asked.close()
    first, childs, last = service.ports
    assert first == last != childs


def test_certificates_are_verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout {key} -out {certificate}"
    try:
        subprocess.run(
            [*command.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True, timeout=60
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("openssl cannot make a certificate here")
    with serving(lambda call: call.send_items([5], [1])) as service:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        service.socket = context.wrap_socket(service.socket, server_side=True)
        monkeypatch.setenv(URL, f"https://localhost:{service.server_port}/")
        with pytest.raises(ConnectionError, match="certificate verify failed"):
            ask()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ask() == ([5], [1]), "the certificate of a private authority can be given"
        monkeypatch.setenv(URL, f"https://127.0.0.1:{service.server_port}/")
        with pytest.raises(ConnectionError, match="certificate verify failed"):
            ask()


@pytest.mark.parametrize("name", ["Trends", "a-b", "../x", "trends\n", "", "trends_token"])
def test_endpoint_is_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        HTTPConfig(endpoint=name)
