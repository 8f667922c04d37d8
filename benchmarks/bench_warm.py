"""The first answer of a process that cannot keep compiled kernels, beside one that finds them compiled ahead."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from _generated import PATHS as VECTOR_PATHS
from _generated import fit_or_load, item_vectors
from _harness import in_process, write

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.datasets import generate
from multirecall.kernel_cache import FOLDER_VARIABLE
from multirecall.progress import terminal_progress

PATHS = ("item_cf", "ease", "user_cf", "content", "popularity")

FIRST_ANSWER = """
import json, sys
from time import perf_counter, process_time
start = perf_counter()
from multirecall import Engine
Engine.load(sys.argv[1]).retrieve("u00042")
print(json.dumps({"s": perf_counter() - start, "cpu_s": process_time()}))
"""

NOWHERE = {
    "NUMBA_CACHE_LOCATOR_CLASSES": "numba.core.caching.UserProvidedCacheLocator",
    "NUMBA_CACHE_DIR": "/proc/nowhere",
}
"""As in a container whose user has no home and cannot write to the package."""


LARGE = 100_000
"""Items of the large bundle; its log has half as many users and ten events for each item."""


def main(
    users: Annotated[int, typer.Option(help="Users of the log.")] = 1_000,
    items: Annotated[int, typer.Option(help="Items of the log.")] = 1_000,
    runs: Annotated[int, typer.Option(help="Processes of each kind, of which the median counts.")] = 3,
) -> None:
    """Start processes that load a bundle and answer once; also one of 100,000 items, with generated vectors."""
    with tempfile.TemporaryDirectory() as place:
        bundle, kernels = Path(place, "bundle"), Path(place, "kernels")
        log = generate(users, items, 20 * users)
        config = EngineConfig(paths=tuple(PathConfig(retriever=name) for name in PATHS))
        with Engine(config).fit(Dataset.from_frames(log.interactions, log.items, log.users)) as engine:
            engine.save(bundle)
        ahead = compiled_ahead(bundle, kernels, runs)
        compiling = [in_process(FIRST_ANSWER, str(bundle), **NOWHERE)["s"] for _ in range(runs)]
        size = sum(file.stat().st_size for file in kernels.rglob("*.nbc"))
    figures = {"compiling_s": median(compiling), "compiled_ahead_s": ahead["s"], "kernels_bytes": size}
    typer.echo(f"compiling {figures['compiling_s']:.1f} s, compiled ahead {ahead['s']:.2f} s")
    with tempfile.TemporaryDirectory() as place, terminal_progress() as progress:
        bundle, kernels = Path(place, "bundle"), Path(place, "kernels")
        log = generate(LARGE // 2, LARGE, 10 * LARGE)
        data = Dataset.from_frames(log.interactions, log.items, log.users)
        fit_or_load(data, item_vectors(data, 1), 1, bundle, progress).close()
        ahead = compiled_ahead(bundle, kernels, runs)
    large = {"items": LARGE, "paths": VECTOR_PATHS, "compiled_ahead_s": ahead["s"], "cpu_s": ahead["cpu_s"]}
    typer.echo(f"{LARGE:,} items, compiled ahead {ahead['s']:.2f} s, of which {ahead['cpu_s']:.2f} s of the processor")
    write("warm", {"items": items, "paths": PATHS, **figures, "large": large})


def compiled_ahead(bundle: Path, kernels: Path, runs: int) -> dict[str, float]:
    """Wall and CPU seconds, medians, of processes that find the kernels of this bundle in a folder."""
    subprocess.run([sys.executable, "-m", "multirecall", "warm", kernels, bundle], check=True)
    told = [in_process(FIRST_ANSWER, str(bundle), **{FOLDER_VARIABLE: str(kernels)}) for _ in range(runs)]
    return {key: median(one[key] for one in told) for key in told[0]}


if __name__ == "__main__":
    typer.run(main)
