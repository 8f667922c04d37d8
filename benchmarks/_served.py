"""A process of `multirecall serve` to be measured."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import NamedTuple


class Served(NamedTuple):
    """Where a service listens, its process, and the file of its log."""

    port: int
    pid: int
    log: Path


@contextmanager
def serving(bundle: Path, *options: str) -> Iterator[Served]:
    """`multirecall serve` of a bundle on a free port, in a process of its own, whose log goes to a file beside it.

    Raises:
        SystemExit: it does not start; the message is its log.
    """
    command = [sys.executable, "-m", "multirecall", "serve", str(bundle), "--port", "0", *options]
    log = bundle.with_suffix(".log")
    with log.open("w") as lines, subprocess.Popen(command, stderr=lines) as process:
        try:
            while (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())) is None:
                if process.poll() is not None:
                    raise SystemExit(log.read_text())
                sleep(0.02)
            yield Served(int(found[1]), process.pid, log)
        finally:
            process.terminate()
