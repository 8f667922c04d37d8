"""Joining a cluster of Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from multirecall.errors import RequestError
from multirecall.extras import import_extra


@contextmanager
def joined_cluster(address: str, purpose: str, *, show: bool = False) -> Iterator[Any]:
    """Join a cluster for the block, and give the module `ray`.

    Args:
        address: of the cluster, as `ray.init` takes it. A Ray that this process has begun already is used as it is.
        purpose: what needs Ray; the error begins with this where Ray is not installed.
        show: whether what the actors print is shown here.

    Raises:
        MissingExtra: Ray is not installed.
        RequestError: no cluster answers there.
    """
    ray = import_extra("ray", purpose)
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, log_to_driver=show)
    except (OSError, RuntimeError, ValueError) as fault:
        raise RequestError(f"ray {address!r}: {fault}; start a cluster with ray start --head") from None
    try:
        yield ray
    finally:
        ray.shutdown()
