"""How long a saved engine takes to load with all its checks, and `import multirecall`, each in a fresh process."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from _generated import NOTE, RECALL, fit_or_load, folder_of, item_vectors
from _harness import in_process, write

from multirecall import Dataset
from multirecall.datasets import generate
from multirecall.progress import terminal_progress

SEED = 7

LOAD = """
import json, sys
from time import perf_counter, process_time
start = perf_counter(), process_time()
import multirecall
imported = perf_counter()
from multirecall import Engine
from multirecall.engine.bundle import bundle
ready = perf_counter(), process_time()
from pathlib import Path
bundle.verify(Path(sys.argv[1]))
verified = perf_counter(), process_time()
engine = Engine.load(sys.argv[1])
loaded = perf_counter(), process_time()
found = engine.retrieve(sys.argv[2], 500)
answered = perf_counter()
print(json.dumps({
    "import_s": imported - start[0],
    "import_engine_s": ready[0] - imported,
    "verify_s": verified[0] - ready[0],
    "verify_cpu_s": verified[1] - ready[1],
    "load_s": loaded[0] - verified[0],
    "load_cpu_s": loaded[1] - verified[1],
    "first_request_s": answered - loaded[0],
    "torch": "torch" in sys.modules,
    "states": sorted({one.state for one in found.status.values()}),
}))
"""


def main(
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 1_000_000,
    runs: Annotated[int, typer.Option(help="Processes that load the bundle, of which the median counts.")] = 5,
    cache: Annotated[Path, typer.Option(help="Folder of built engines, shared with bench_latency.")] = Path("bundles"),
) -> None:
    """Load a bundle from a warm page cache; compiled kernels are in their cache, too."""
    events = min(20 * items, 2_000_000)
    log = generate(items // 2, items, events)
    folder = folder_of(cache, items, items // 2, events) / f"engine-{RECALL}"
    with terminal_progress() as progress:
        if not (folder / "CURRENT").is_file():
            data = Dataset.from_frames(log.interactions, log.items, log.users)
            fit_or_load(data, item_vectors(data, SEED), SEED, folder, progress).close()
        user = str(log.interactions["user_id"][0])
        in_process(LOAD, str(folder), user)
        with progress.task("processes", runs) as advance:
            found = []
            for _ in range(runs):
                found.append(in_process(LOAD, str(folder), user))
                advance(1)
    figures = {name: median(one[name] for one in found) for name in found[0] if name.endswith("_s")}
    n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    for name, value in figures.items():
        typer.echo(f"{name:18} {value:7.3f}")
    typer.echo(f"torch imported: {found[0]['torch']}; {n_bytes / 1e9:.2f} GB")
    typer.echo(
        write(
            "bundle",
            {
                "items": items,
                "interactions": events,
                "bundle_bytes": n_bytes,
                "runs": runs,
                "seed": SEED,
                "generated": NOTE,
                "torch_imported": any(one["torch"] for one in found),
                **figures,
            },
        )
    )


if __name__ == "__main__":
    typer.run(main)
