"""Requests that no client should send, as bytes, and what must hold of every answer to them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

WAIT_S = 20.0
"""Seconds in which an answer, or the end of the connection, must come."""

ERRORS = {400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 431, 503}

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/retrieve"): {
        "user_id": 3,
        "k": 5,
        "exclude": [4, 6],
        "where": {"price": {"max": 20}},
        "seen": False,
        "deadline_ms": 500.0,
        "fields": ["title", "price"],
        "history": [1, 2],
        "features": {"country": "FR"},
        "terms": {"title": "red"},
        "context": {"page": 1},
    },
    ("POST", "/v1/retrieve/batch"): {"users": [3, {"user_id": 4, "history": [1]}], "k": 4, "fields": ["tags"]},
    ("POST", "/v1/similar"): {"item_id": 4, "k": 4, "where": {"group": ["odd"]}, "fields": ["title"]},
    ("POST", "/v1/explain"): {"user_id": 3, "item_id": 7, "k": 9},
    ("POST", "/v1/interactions"): {"interactions": [{"user_id": 3, "item_id": 5, "timestamp": 1_720_000_000}]},
    ("POST", "/v1/items"): {"items": [{"item_id": 900, "title": "new", "price": 2.5, "tags": ["a"]}]},
    ("PATCH", "/v1/items"): {"items": [{"item_id": 9, "price": 3.5}]},
    ("DELETE", "/v1/items"): {"item_ids": [900]},
}
"""A right body for each route that has one, over the ids and features of `small_shop`."""

ODD_VALUES: tuple[str, ...] = (
    *("null", "true", "-1", "0", "1.5", "NaN", "Infinity", "-Infinity", "1e999", "-1e-999", "1e308"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" * 400),
    *('""', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"%s%n"', '"../../etc/passwd"', '"<script>"', '"17"'),
    *('"' + "x" * 300 + '"', '"' + "é" * 5_000 + '"', "[]", "{}", "[[]]", '{"": 0}', '{"a": {"b": []}}'),
    *("[" * 50 + "]" * 50, "[" * 2_000 + "]" * 2_000, '{"x":' * 900 + "1" + "}" * 900, "[1,2", "}", "'x'", "01", "+1"),
    *('{"min": 9, "max": 1}', '{"max": "x"}', '{"min": NaN}', '[null, true, 1.5, "x", {}]', "[" + "1," * 9_999 + "1]"),
    *(
        '"2024-13-45"',
        '"1e5"',
        '{"not": ["x"]}',
        '[{"a":1},{"a":1}]',
        '"\\u202e"',
        '"\x01"',
        "// comment\n1",
        "\ufeff1",
    ),
)
"""JSON and what is none, to stand where a value stands."""

PATHS: tuple[str, ...] = (
    *("/v1/items/%", "/v1/items/%zz", "/v1/items/%ff", "/v1/items/%00", "/v1/items/%2F", "/v1/items/..%2f..%2fx"),
    *("/v1/items/", "/v1/items//", "/v1/items/9223372036854775808", "/v1/items/" + "9" * 5_000, "/v1/items/-0"),
    *("/v1/users/%E2%80/history", "/v1/users//history", "/v1/users/3/history?newest=", "/v1/users/%00/history"),
    *("/v1/users/3/history?newest=%FF", "/v1/users/3/history?newest=1e9", "/v1/users/3/history?newest=9999999999"),
    *("/v1/similar", "/v1/similar?item_id", "/v1/similar?item_id=%00&k=0", "/v1/similar?item_id=4&k=4&k=x"),
    *("/v1/similar?item_id=4&" + "&".join(f"fields=f{n}" for n in range(300)), "/v1/similar?item_id=" + "é" * 9),
    *("/v1/similar?item_id=4&fields=%ED%A0%80", "/v1/similar?;;;===&&&", "/%", "/..", "//", "/?", "/v1/%72etrieve"),
    *("/health/../v1/items/4", "/health/%2e%2e/v1", "/v1/retrieve#x", "/docs/../docs", "/openapi.json?x=%%%", "*"),
    *("http://evil.example/v1/items/4", "/v1/items/" + "%41" * 4_000, "/v1/items/4\tx", "/v1/items/4 x", "\\v1"),
)
"""Addresses."""

HEADERS: tuple[bytes, ...] = (
    *(b"X-Deadline-Ms: nan", b"X-Deadline-Ms: inf", b"X-Deadline-Ms: -1", b"X-Deadline-Ms: 1e400", b"X-Deadline-Ms: "),
    *(b"X-Deadline-Ms: 0x10", b"X-Deadline-Ms: 1_000", b"X-Deadline-Ms: \xd9\xa1", b"Accept: \xff\xfe", b"Accept: ,;,"),
    *(b"Content-Type: text/plain", b"Content-Type: multipart/form-data", b"Content-Type: \xff", b"Content-Type:"),
    *(b"Content-Encoding: gzip", b"Content-Encoding: br", b"Expect: 100-continue", b"Expect: x", b"Upgrade: websocket"),
    *(b"Upgrade: h2c\r\nConnection: Upgrade", b"Connection: Upgrade\r\nUpgrade: websocket", b"X-Request-Id: \x80\xff"),
    *(b"X-Request-Id: " + b"a" * 10_000, b"Authorization: Bearer \xff", b"Authorization: " + b"B" * 20_000),
    *(b"Host: evil.example", b"Host: [::1", b"Host: localhost:99999999", b"Host: \xff", b"Cookie: " + b"a=b;" * 5_000),
    *(b"X: " + b"y" * 40_000, b"\r\n".join(b"H%d: v" % n for n in range(5_000)), b"Bad Header: x", b": x", b"X : y"),
    *(b"Range: bytes=0-", b"Accept: application/vnd.apache.arrow.stream", b"X-Forwarded-For: \x00", b"X: a\r\n folded"),
    *(b"X-Min-Version: x", b"X-Min-Version: -1", b"X-Min-Version: " + b"9" * 500, b"X-Min-Version: 1.5"),
)
"""Header lines beside right ones."""


class Sent(NamedTuple):
    """A request as bytes; `waits` says whether it ends by itself, so that an answer must come."""

    name: str
    content: bytes
    waits: bool = True


class Got(NamedTuple):
    """An answer: its status, its headers by lower-case name, and its body, None after HEAD."""

    status: int
    headers: dict[str, str]
    body: bytes | None


def malformed(seed: int, n: int) -> Iterator[Sent]:
    """The fixed ones first, then as many more as make `n`, drawn with `seed`."""
    fixed = list(_fixed())
    yield from fixed[:n]
    random = Random(seed)
    kinds = (_odd_value, _odd_value, _odd_value, _odd_bytes, _odd_path, _odd_header, _odd_name)
    for _ in range(n - len(fixed)):
        yield random.choice(kinds)(random)


def ask(port: int, sent: Sent) -> list[Got]:
    """All answers to a request, until the service ends the connection or nothing more can come."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as line:
        with suppress(ConnectionError):  # the service may answer and hang up before all is sent
            line.sendall(sent.content)
            if not sent.waits:
                line.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionError):
            while part := line.recv(1 << 16):
                received += part
    return list(_answers(received, with_body=not sent.content.startswith(b"HEAD ")))


def fault_of(got: Got) -> str | None:
    """What is wrong with an answer; None: nothing."""
    if got.status == 100 or 200 <= got.status < 300:
        return None
    if got.status not in ERRORS:
        return f"status {got.status}: {got.body!r}"
    if got.headers.get("content-type") != "application/problem+json":
        return f"status {got.status} as {got.headers.get('content-type')}: {got.body!r}"
    if got.body is None:
        return None
    problem = json.loads(got.body)
    if problem.keys() != {"type", "title", "status", "detail", "request_id"} or problem["status"] != got.status:
        return f"no problem detail: {problem}"
    if len(problem["detail"]) < 10 or "Traceback" in problem["detail"]:
        return f"no sentence: {problem['detail']!r}"
    return None


def post(method: str, path: str, body: bytes, *headers: bytes) -> bytes:
    """A request with a body and a right length, whose connection ends with the answer."""
    own = b"".join(one + b"\r\n" for one in headers)
    if not any(one.lower().startswith(b"host:") for one in headers):
        own = b"Host: localhost\r\n" + own
    length = b"Content-Length: %d\r\nConnection: close\r\n" % len(body)
    return f"{method} {path} HTTP/1.1\r\n".encode("utf-8", "surrogatepass") + own + length + b"\r\n" + body


def _fixed() -> Iterator[Sent]:
    """One of each kind, and what is wrong below HTTP."""
    for path in PATHS:
        yield Sent(f"path {path[:40]}", post("GET", path, b""))
        yield Sent(f"path {path[:40]}", post("DELETE", path, b""))
    right = json.dumps(BODIES["POST", "/v1/retrieve"]).encode()
    for header in HEADERS:
        yield Sent(f"header {header[:40]!r}", post("POST", "/v1/retrieve", right, header))
    for method, path in BODIES:
        for body in (b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"\xff\xfe", b"\x00", b"{}" * 2, b"\x1f\x8b\x08"):
            yield Sent(f"body {body!r}", post(method, path, body))
    for value in ODD_VALUES:
        yield Sent(f"value {value[:40]}", post("POST", "/v1/retrieve", f'{{"user_id":{value}}}'.encode()))
        yield Sent(f"value {value[:40]}", post("POST", "/v1/retrieve", f'{{"where":{{"price":{value}}}}}'.encode()))
    head = b"POST /v1/retrieve HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    ends = (
        head + b"Content-Length: 50\r\n\r\n{",
        head + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"use',
        head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        head[:30],
        b"G",
    )
    yield from (Sent("ends early", one, waits=False) for one in ends)
    wrong = (
        head + b"Content-Length: x\r\n\r\n",
        head + b"Content-Length: -1\r\n\r\n{}",
        head + b"Content-Length: 1e2\r\n\r\n{}",
        head + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}",
        head + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        head + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n2;ext=1\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
        head + b"Transfer-Encoding: gzip\r\n\r\n{}",
        b"GET /health/live HTTP/1.0\r\n\r\n",
        b"GET /v1/items/4 HTTP/1.0\r\n\r\n",
        b"GET /health/live HTTP/2.0\r\n\r\n",
        b"GET /health/live\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"BREW /v1/items/4 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"HEAD /v1/items/4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"\r\n\r\n\r\n" + post("GET", "/v1/items/4", b""),
        b"GET / HTTP/1.1\r\n" + b"A" * 100_000,
        b"GET /" + b"a" * 100_000,
        b"\x00" * 1_000,
        b"\n" * 5 + b"GET / HTTP/1.1\n\n",
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50 + post("GET", "/health/live", b""),
        b"GET /v1/items/4 HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"garbage\r\n\r\n",
        post("POST", "/v1/retrieve", b"{}") + b"more behind it",
        post("POST", "/v1/retrieve", b'{"user_id":' + b" " * 900_000 + b"1}"),
        post("POST", "/v1/retrieve", b"x" * 2_000_000),
        post("POST", "/v1/retrieve", b'{"user_id":1,"user_id":2,"k":1,"k":"x"}'),
    )
    yield from (Sent("below HTTP", one) for one in wrong)


def _odd_value(random: Random) -> Sent:
    """A right body with another value at some place."""
    (method, path), body = random.choice(list(BODIES.items()))
    content = json.loads(json.dumps(body))
    holder: Any = content
    while True:
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
        if not isinstance(holder[key], dict | list) or not holder[key] or random.random() < 0.3:
            break
        holder = holder[key]
    holder[key] = "HERE"
    odd = random.choice(ODD_VALUES)
    text = json.dumps(content).replace('"HERE"', odd, 1)
    return Sent(f"value {odd[:40]} at {key}", post(method, path, text.encode("utf-8", "surrogatepass")))


def _odd_name(random: Random) -> Sent:
    """A right body with a field of another name, or the same twice."""
    (method, path), body = random.choice(list(BODIES.items()))
    name = random.choice([*body, "__class__", "", "\\u0000", "k" * 300, "user_id", "$ref", "where"])
    text = json.dumps(body)[:-1] + f', "{name}": {random.choice(ODD_VALUES)}}}'
    return Sent(f"field {name[:40]}", post(method, path, text.encode("utf-8", "surrogatepass")))


def _odd_bytes(random: Random) -> Sent:
    """A right body with some bytes changed, removed or repeated."""
    (method, path), body = random.choice(list(BODIES.items()))
    content = bytearray(json.dumps(body).encode())
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(content))
        content[place : place + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
    return Sent("bytes", post(method, path, bytes(content)))


def _odd_path(random: Random) -> Sent:
    """A right address with some characters changed."""
    start = random.choice(["/v1/items/4", "/v1/users/3/history?newest=5", "/v1/similar?item_id=4&k=3&fields=title"])
    odd = [
        "%",
        "%00",
        "%2f",
        "/",
        "?",
        "&",
        "=",
        "\u00e9",
        "%F0%9F",
        "..",
        ";",
        "#",
        "+",
        "-",
        "9" * 20,
        "%C3%A9",
        "\x7f",
    ]
    text = list(start)
    for _ in range(random.randint(1, 3)):
        text.insert(random.randrange(4, len(text) + 1), random.choice(odd))
    method = random.choice(["GET", "GET", "DELETE", "PUT", "OPTIONS", "PATCH"])
    return Sent(f"path {''.join(text)[:60]}", post(method, "".join(text), b""))


def _odd_header(random: Random) -> Sent:
    """A right request with odd header lines."""
    (method, path), body = random.choice(list(BODIES.items()))
    chosen = random.sample(HEADERS, random.randint(1, 3))
    return Sent(f"headers {[one[:30] for one in chosen]}", post(method, path, json.dumps(body).encode(), *chosen))


def _answers(received: bytes, *, with_body: bool) -> Iterator[Got]:
    """The answers in what came, one behind the other."""
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        length = int(headers.get("content-length", "0")) if with_body else 0
        yield Got(status, headers, rest[:length] if with_body else None)
        received = rest[length:]
