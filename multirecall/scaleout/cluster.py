"""Joining a cluster of Ray, or starting Ray on this machine alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from multirecall.errors import RequestError
from multirecall.extras import import_extra

CONNECTING_S = 5.0
"""Seconds that a cluster has to take a connection. Ray itself would try for many minutes."""

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0 before Ray is imported, this variable keeps Ray's ports, which execute what reaches them, off the network:
it then listens on the loopback interface alone, on every system."""


@contextmanager
def joined_cluster(address: str | None, purpose: str, *, show: bool = False, cpus: int | None = None) -> Iterator[Any]:
    """Join a cluster for the block, and give the module `ray`.

    Args:
        address: of the cluster, as `ray.init` takes it; None: Ray is started on this machine, for this process alone.
            A Ray that this process has begun already is used as it is.
        purpose: what needs Ray; the error begins with this where Ray is not installed.
        show: whether what the actors print is shown here.
        cpus: the CPUs of a Ray that is started here; None: those of the machine.

    Raises:
        MissingExtra: Ray is not installed.
        RequestError: no cluster answers there.
    """
    if address is None:
        os.environ.setdefault(LOOPBACK, "0")
    ray = import_extra("ray", purpose)
    if ray.is_initialized():
        yield ray
        return
    if address is not None:
        _require_listener(address)
    here = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    try:
        ray.init(**(here if address is None else {"address": address}), log_to_driver=show)
    except (OSError, RuntimeError, ValueError) as fault:
        raise _unreachable(address, fault) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Refuse an address of a host and a port at which nobody listens; raises `RequestError`."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" and names of namespaces are for Ray to find
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECTING_S).close()
    except (OSError, OverflowError) as fault:
        raise _unreachable(address, fault) from None


def _unreachable(address: str | None, fault: Exception) -> RequestError:
    return RequestError(f"ray {address!r}: {fault}; start a cluster with ray start --head")
