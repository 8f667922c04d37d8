"""The settings of a deployment, from `serve.toml`. They never enter a bundle or the configuration of an engine."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from multirecall.engine.width import AdaptiveWidth
from multirecall.errors import ConfigError
from multirecall.monitoring.drift import DriftSettings
from multirecall.monitoring.experiments import Experiments
from multirecall.monitoring.experiments.settings import check_together
from multirecall.monitoring.request_log import LogSettings
from multirecall.serving.explorer.settings import ExplorerSettings
from multirecall.serving.store.settings import StoreSettings
from multirecall.validation import Count, Positive, StrictModel, validate

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
"""The names of this machine in a `Host` header."""


class KeySettings(StrictModel):
    """Where the API keys are. With none of the two, only this machine is served."""

    file: Path | None = None
    """A file with the SHA-256 of each key, as `multirecall serve-key` prints them. It is read again when it changes."""

    keys_env: str | None = None
    """The environment variable with keys, separated by spaces: `read:KEY` or `read+write:KEY`."""

    @property
    def given(self) -> bool:
        """Whether keys are asked for."""
        return self.file is not None or self.keys_env is not None


class LimitSettings(StrictModel):
    """What one request, and all requests together, may take."""

    threads: Annotated[int, Field(strict=True, ge=1, le=256)] = 2
    """Requests that are computed at the same time. Threads of a process take turns in Python, so more of them pay only
    where paths wait for another service. To use more cores, start more workers."""

    queue: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 64
    """Requests that wait for a thread. One more gets 429."""

    connections: Count = 1_000
    """Open connections. One more gets 503."""

    body_bytes: Count = 1 << 20
    """The largest body, in bytes. A larger one gets 413."""

    body_s: Positive = 5.0
    """Seconds in which a client sends its body. Later it gets 408."""

    head_bytes: Count = 32_768
    """The largest head of a request, its address and headers, in bytes. A larger one gets 431."""

    header_s: Positive = 10.0
    """Seconds in which a client sends the head of a request. Later it is disconnected."""

    send_s: Positive = 30.0
    """Seconds in which a client takes its answer. Later it is disconnected."""

    idle_s: Count = 5
    """Seconds that a connection stays open between requests."""

    shutdown_s: Count = 10
    """Seconds that running requests have when the service is told to stop."""

    k: Count = 1_000
    """The largest `k`."""

    users: Count = 1_000
    """The most users of a batch."""

    batch_candidates: Count = 200_000
    """The largest product of `k` and users of a batch."""

    rows: Count = 10_000
    """The most rows of one write, and the most ids of one list."""

    deadline_ms: Positive | None = None
    """The deadline of a request that names none, in milliseconds; `None`: that of the engine's config."""


class ServeSettings(StrictModel):
    """The settings of a service, as `serve.toml` has them."""

    host: str = "127.0.0.1"
    """The address to listen on. One that other machines reach needs API keys."""

    port: Annotated[int, Field(strict=True, ge=0, lt=65_536)] = 8000
    """The port to listen on; 0: any free one."""

    workers: Annotated[int, Field(strict=True, ge=1, le=256)] = 1
    """Processes that serve, each with the limits below. Where data may be changed, one of them writes."""

    large_pages: bool = False
    """Whether each process copies the bundle into large pages, as `Engine.load` may. Changes speed only."""

    writable: bool = False
    """Whether the routes that change data, or forget people, are there."""

    allowed_hosts: tuple[str, ...] = ()
    """Names in the `Host` header that are served beside those of this machine and `host`; `*`: any."""

    cors_origins: tuple[str, ...] = ()
    """Origins whose pages a browser lets read answers, such as `https://shop.example.com`."""

    log_bodies: bool = False
    """Whether log lines hold the bodies of requests, and so histories and features."""

    keys: KeySettings = KeySettings()
    """API keys."""

    limits: LimitSettings = LimitSettings()
    """Limits."""

    store: StoreSettings = StoreSettings()
    """Where users' newest events are."""

    explorer: ExplorerSettings = ExplorerSettings()
    """The page `/explore`."""

    experiment: Experiments = ()
    """Experiments: arms of users who get other fusions or paths. One table, or several `[[experiment]]`."""

    log: LogSettings | None = None
    """The request log; None: none is kept."""

    drift: DriftSettings | None = None
    """How drift is watched; None: it is not."""

    width: AdaptiveWidth | None = None
    """How the width of answers follows the load; None: full width always."""

    @model_validator(mode="after")
    def _experiments_go_together(self) -> Self:
        check_together(self.experiment)
        return self

    @model_validator(mode="after")
    def _others_need_a_key(self) -> Self:
        if not is_loopback(self.host) and not self.keys.given:
            raise ValueError(
                f"host {self.host!r} is reached by other machines, which needs API keys; set keys.file or "
                "keys.keys_env, or listen on 127.0.0.1"
            )
        return self

    @classmethod
    def from_toml(cls, file: str | Path) -> Self:
        """The settings of a file.

        Raises:
            ConfigError: it cannot be read, is no TOML, or a setting is wrong.
        """
        try:
            values = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as fault:
            raise ConfigError(f"{file}: cannot be read ({fault.strerror}); check the path") from None
        except ValueError as fault:
            raise ConfigError(f"{file}: is not TOML ({fault})") from None
        return validate(cls, values, str(file))

    def override(self, **given: Any) -> Self:
        """A copy in which each option that is not None replaces the setting; raises `ConfigError`."""
        values = self.model_dump(exclude_unset=True)
        return validate(
            type(self), values | {key: one for key, one in given.items() if one is not None}, "command line"
        )


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Whether an address or `localhost` is reached from this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
