"""The settings of the request log, the table `[log]` of `serve.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from multirecall.online import Exploration
from multirecall.validation import Count, Positive, StrictModel


class LogSettings(StrictModel):
    """What of an engine's answers is kept, where, and for how long."""

    kind: Literal["parquet"] = "parquet"
    """`parquet`: files in a folder for each day."""

    folder: Path
    """The folder of the log. Several processes may write into one."""

    share: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.1
    """The share of the requests that is kept, above 0 and at most 1. The id of a request decides, in all processes
    alike."""

    explore: Exploration | None = None
    """Slots of some answers that are drawn by chance, so that the log can judge other fusions; None: none."""

    retention_days: Count | None = None
    """Whole days, beside today, after which a day of the log is removed; None: never."""

    hash_users: bool = False
    """Whether a user's id is kept as its keyed hash (BLAKE2b) instead of as it is."""

    salt_env: str = "MULTIRECALL_LOG_SALT"
    """The environment variable that holds the key of these hashes, at least 16 characters."""

    part_mib: Positive = 16.0
    """MiB of answers that make a file full."""

    part_s: Positive = 60.0
    """Seconds after which a file is written that is not full. A process that is killed loses as much."""

    waiting_mib: Positive = 64.0
    """MiB of answers that may wait for the disk. What comes beyond them is dropped, and counted."""
