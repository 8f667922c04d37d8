"""Services to be measured or looked at: `multirecall serve` in a process of its own, or an engine of this process."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

import uvicorn

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.serving import ServeSettings, create_app
from multirecall.serving.server import bind

SEED = 7
PATHS = ("item_cf", "user_cf", "content", "sequence", "popularity")


class Served(NamedTuple):
    """Where a service listens, its process, and the file of its log."""

    port: int
    pid: int
    log: Path


def five_paths(users: int, items: int, interactions: int) -> tuple[Dataset, EngineConfig]:
    """A generated log of this size, and the config of an engine of `PATHS`."""
    log = generate(users, items, interactions, seed=SEED)
    paths = [{"retriever": name} for name in PATHS]
    config = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}, "seed": SEED})
    return Dataset.from_frames(log.interactions, log.items, log.users), config


@contextmanager
def hosting(engine: Engine, **settings: Any) -> Iterator[str]:
    """The address of a service of this engine, in a thread of this process, until the block ends."""
    chosen = ServeSettings.model_validate({"port": 0, **settings})
    app = create_app(engine, chosen)
    with bind(chosen) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


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
