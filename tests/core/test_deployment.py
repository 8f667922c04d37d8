"""The environment says where an endpoint is; what it says is checked, and its secrets stay where they are."""

from __future__ import annotations

import pytest

from multirecall.deployment import find_endpoint
from multirecall.errors import ConfigError, NotDeployed

URL = "MULTIRECALL_ENDPOINT_TRENDS"
SECRET = "s3cret-value"


def test_endpoint_is_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "https://recall.example.com/v1")
    found = find_endpoint("trends")
    assert (found.url, found.token) == ("https://recall.example.com/v1", None)
    monkeypatch.setenv(f"{URL}_TOKEN", SECRET)
    found = find_endpoint("trends")
    assert found.token == SECRET
    assert SECRET not in repr(found)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_endpoint_without_an_address_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(URL, raising=False)
    if value is not None:
        monkeypatch.setenv(URL, value)
    with pytest.raises(NotDeployed, match="set the environment variable MULTIRECALL_ENDPOINT_TRENDS to its URL"):
        find_endpoint("trends")


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8080/x", "http://127.0.0.1/x", "http://127.9.9.9/x", "http://[::1]:80/x", "https://example.com"],
)
def test_https_and_this_machine_are_allowed(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(URL, url)
    assert find_endpoint("trends").url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "http://10.0.0.1",
        "http://localhost.example.com/",
        "http://0.0.0.0/",
        "http://2130706433/",
    ],
)
def test_plain_http_to_elsewhere_needs_an_allowance(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(URL, url)
    with pytest.raises(ConfigError, match=f"plain http to another machine; use https, or set {URL}_INSECURE=1"):
        find_endpoint("trends")
    monkeypatch.setenv(f"{URL}_INSECURE", "true")
    with pytest.raises(ConfigError, match="plain http"):
        find_endpoint("trends")
    monkeypatch.setenv(f"{URL}_INSECURE", "1")
    assert find_endpoint("trends").url == url


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://{SECRET}.example.com",
        f"file:///{SECRET}",
        f"https:///{SECRET}",
        f"https://example.com:{SECRET}/",
        f"https://example.com/{SECRET} x",
        f"https://example.com/{SECRET}\r\nX: y",
        f"https://[{SECRET}/",
        SECRET,
    ],
)
def test_unusable_addresses_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(URL, url)
    with pytest.raises(ConfigError, match=f"^environment variable {URL}: holds no valid URL") as fault:
        find_endpoint("trends")
    assert SECRET not in str(fault.value)


def test_password_in_the_address_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, f"https://me:{SECRET}@example.com/")
    with pytest.raises(ConfigError, match=f"put a token into {URL}_TOKEN") as fault:
        find_endpoint("trends")
    assert SECRET not in str(fault.value)


def test_token_that_no_header_can_hold_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "https://example.com/")
    monkeypatch.setenv(f"{URL}_TOKEN", f"{SECRET}\r\nHost: elsewhere")
    with pytest.raises(ConfigError, match=f"{URL}_TOKEN: holds what a header cannot") as fault:
        find_endpoint("trends")
    assert SECRET not in str(fault.value)


@pytest.mark.parametrize(
    "name", ["", "Trends", "a-b", "a.b", "a/b", "a" * 65, "trends\n", "é", "trends_token", "trends_insecure"]
)
def test_names_are_restricted(name: str) -> None:
    with pytest.raises(ConfigError, match="use only a-z, 0-9 and _"):
        find_endpoint(name)
