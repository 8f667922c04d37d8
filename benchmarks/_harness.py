"""What the benchmarks share: how they time, and what they write."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

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


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
