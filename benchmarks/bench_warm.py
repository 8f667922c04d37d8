"""The first answer of a process that cannot keep compiled kernels, beside one that finds them compiled ahead."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from _harness import in_process, write

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.datasets import generate
from multirecall.kernel_cache import FOLDER_VARIABLE

PATHS = ("item_cf", "ease", "user_cf", "content", "popularity")

FIRST_ANSWER = """
import json, sys
from time import perf_counter
start = perf_counter()
from multirecall import Engine
Engine.load(sys.argv[1]).retrieve("u00042")
print(json.dumps({"s": perf_counter() - start}))
"""

NOWHERE = {
    "NUMBA_CACHE_LOCATOR_CLASSES": "numba.core.caching.UserProvidedCacheLocator",
    "NUMBA_CACHE_DIR": "/proc/nowhere",
}
"""As in a container whose user has no home and cannot write to the package."""


def main(
    users: Annotated[int, typer.Option(help="Users of the log.")] = 1_000,
    items: Annotated[int, typer.Option(help="Items of the log.")] = 1_000,
    runs: Annotated[int, typer.Option(help="Processes of each kind, of which the median counts.")] = 3,
) -> None:
    """Start processes that load a bundle and answer once."""
    with tempfile.TemporaryDirectory() as place:
        bundle, kernels = f"{place}/bundle", f"{place}/kernels"
        log = generate(users, items, 20 * users)
        config = EngineConfig(paths=tuple(PathConfig(retriever=name) for name in PATHS))
        with Engine(config).fit(Dataset.from_frames(log.interactions, log.items, log.users)) as engine:
            engine.save(bundle)
        subprocess.run([sys.executable, "-m", "multirecall", "warm", kernels, bundle], check=True)
        compiling = [in_process(FIRST_ANSWER, bundle, **NOWHERE)["s"] for _ in range(runs)]
        ahead = [in_process(FIRST_ANSWER, bundle, **{FOLDER_VARIABLE: kernels})["s"] for _ in range(runs)]
        size = sum(file.stat().st_size for file in Path(kernels).rglob("*.nbc"))
    figures = {"compiling_s": median(compiling), "compiled_ahead_s": median(ahead), "kernels_bytes": size}
    typer.echo(f"compiling {figures['compiling_s']:.1f} s, compiled ahead {figures['compiled_ahead_s']:.2f} s")
    write("warm", {"items": items, "paths": PATHS, **figures})


if __name__ == "__main__":
    typer.run(main)
