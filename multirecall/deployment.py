"""What the deployment says, in environment variables: where services and files are, and what lets the engine in.

Neither a bundle nor a configuration holds an address or a secret. They name an endpoint, and the environment of the
process says what the name stands for. So it is with a file that is read again while a loaded bundle serves.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from multirecall.errors import ConfigError, NotDeployed

PREFIX = "MULTIRECALL_ENDPOINT_"
"""Endpoint `trends` has its URL in `MULTIRECALL_ENDPOINT_TRENDS`, an optional bearer token in the variable with
`_TOKEN` behind, and `1` in the one with `_INSECURE` behind where its http may leave the machine."""

FILES = "MULTIRECALL_FILE_"
"""The file `evening` has its path in `MULTIRECALL_FILE_EVENING`."""

NAME = "[a-z0-9_]{1,64}"
"""The pattern of the name of an endpoint or a file."""

RESERVED = ("_token", "_insecure")
"""Ends that a name must not have, since its variable would be that of another endpoint."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A remote service as the deployment knows it.

    Attributes:
        name: the name that configurations have for it.
        url: its address; `https`, or `http` on this machine or where the deployment allows it.
        token: the bearer token, or None. It stands in no text of this object.
    """

    name: str
    url: str
    token: str | None = field(default=None, repr=False)


def find_endpoint(name: str) -> Endpoint:
    """The endpoint `name` of this deployment. Nothing is connected to.

    Raises:
        NotDeployed: the deployment has no address for it.
        ConfigError: the name, the address or the token cannot be used, or the address needs an allowance. The message
            holds neither the address nor the token.
    """
    if not re.fullmatch(NAME, name) or name.endswith(RESERVED):
        raise ConfigError(
            f"endpoint {name!r}: use only a-z, 0-9 and _, at most 64 of them, with none of {', '.join(RESERVED)} "
            "at the end"
        )
    variable = PREFIX + name.upper()
    url = os.environ.get(variable, "").strip()
    if not url:
        raise NotDeployed(f"endpoint {name!r} has no address here: set the environment variable {variable} to its URL")
    fault = _fault_of(url, os.environ.get(f"{variable}_INSECURE") == "1", variable)
    if fault:
        raise ConfigError(f"environment variable {variable}: {fault}")
    token = os.environ.get(f"{variable}_TOKEN", "").strip() or None
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise ConfigError(f"environment variable {variable}_TOKEN: holds what a header cannot; use printable ASCII")
    return Endpoint(name, url, token)


def file_of(name: str) -> str | None:
    """The path of the file `name` in this deployment, or None where it has none. Nothing is opened."""
    return os.environ.get(FILES + name.upper(), "").strip() or None


def _fault_of(url: str, insecure: bool, variable: str) -> str | None:
    """What is wrong with an address, without repeating it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "holds no valid URL; write such as https://recall.example.com/v1/items"
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", url):
        return "holds no valid URL; write such as https://recall.example.com/v1/items"
    if "@" in parts.netloc:
        return f"its URL holds a user or a password; put a token into {variable}_TOKEN"
    if parts.scheme == "http" and not insecure and not _is_loopback(host):
        return f"its URL is plain http to another machine; use https, or set {variable}_INSECURE=1"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
