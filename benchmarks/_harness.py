"""What the benchmarks share: how they time, and what they write."""

from __future__ import annotations

import json
import logging
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multirecall import Dataset, Engine
from multirecall.progress import Progress

RESULTS = Path(__file__).resolve().parent / "results"
LIBRARIES = ("multirecall", "numba", "numpy", "polars", "scipy")


class Cost(NamedTuple):
    """Medians over several runs, in seconds."""

    wall_s: float
    cpu_s: float


def cost(work: Callable[[], object], runs: int) -> Cost:
    """Wall and CPU time of `work`, median of `runs`."""
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = perf_counter(), process_time()
        work()
        walls.append(perf_counter() - wall)
        cpus.append(process_time() - cpu)
    return Cost(median(walls), median(cpus))


def percentiles(seconds: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """The 50th, 95th and 99th percentile in microseconds."""
    return {f"p{one}_us": float(np.percentile(seconds, one)) * 1e6 for one in (50, 95, 99)}


def peak_rss_mib() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rss_mib() -> float:
    """The memory that this process has now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def in_process(program: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """What `program`, Python code, prints as JSON when a process of its own runs it, with these variables besides."""
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(found.stdout)
    return figures


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write figures, with the machine, to `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n", encoding="utf-8")
    return file


def fit_times(engine: Engine, data: Dataset, progress: Progress) -> dict[str, float]:
    """Fit the engine; the CPU seconds of each path, and under `fused` of all of them with the rest."""
    times, log = _FitTimes(), logging.getLogger("multirecall.engine")
    level = log.level
    log.addHandler(times)
    log.setLevel(logging.INFO)
    start = process_time()
    try:
        engine.fit(data, progress=progress)
    finally:
        log.removeHandler(times)
        log.setLevel(level)
    return {**times.by_path, "fused": process_time() - start}


class _FitTimes(logging.Handler):
    """The CPU time between the engine's message that a path is fitted and the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.by_path: dict[str, float] = {}
        self.last = process_time()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO and isinstance(record.args, tuple) and isinstance(record.args[0], str):
            now = process_time()
            self.by_path[record.args[0]], self.last = now - self.last, now


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
