"""The training of towers by two processes of a thread each, beside one: targets a second of wall time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Annotated, Any

import numpy as np
import torch
import typer
from _harness import write
from bench_two_tower import log_of
from torch import distributed

from multirecall.progress import terminal_progress
from multirecall.registry import RETRIEVERS
from multirecall.retrievers._towers.batches import ExampleBatches, SequenceBatches
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.model import TowerModel
from multirecall.retrievers._towers.training import training_dtype

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "two_tower, batch 1,024": ("two_tower", {}),
    "two_tower, batch 8,192": ("two_tower", {"batch": 8_192}),
    "two_tower, batch 8,192, two layers": (
        "two_tower",
        {"batch": 8_192, "user_widths": (512, 256), "item_widths": (256,)},
    ),
    "sasrec, batch 6,400": ("sasrec", {"history": 50}),
}
"""The cases; what they do not say is the default."""

WARM_UP = 3

app = typer.Typer(help=__doc__)


@app.command()
def measure(
    items: Annotated[int, typer.Option(help="Items, and users, of the generated log.")] = 20_000,
    targets: Annotated[int, typer.Option(help="Targets of each case in a run, about.")] = 60_000,
    runs: Annotated[int, typer.Option(help="Runs of one process and of two, in turn.")] = 5,
) -> None:
    """Run one process and two in turn, and write the medians and the spread."""
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    loads = []
    with terminal_progress() as progress, progress.task("runs", 2 * runs) as advance:
        for _ in range(runs):
            for size in found:
                loads.append(os.getloadavg()[0])
                found[size].append(run_group(size, items, targets))
                advance(1)
    cases = {
        case: {
            "sent_bytes_a_target": found[2][0][case]["sent_bytes"] / found[2][0][case]["targets"],
            **{
                str(size): {
                    name: spread([one[case]["targets"] / one[case][name] for one in own])
                    for name in ("wall_s", "cpu_s")
                }
                for size, own in found.items()
            },
            "speed_up": spread([b[case]["rate"] / a[case]["rate"] for a, b in zip(found[1], found[2], strict=True)]),
        }
        for case in CASES
    }
    sizes = {"items": items, "runs": runs, "threads": 1, "backend": "gloo", "torch": torch.__version__}
    typer.echo(write("distributed", {**sizes, "load_average": [min(loads), median(loads), max(loads)], "cases": cases}))


def spread(values: list[float]) -> dict[str, float]:
    """The median with the least and the greatest."""
    return {"median": median(values), "least": min(values), "greatest": max(values)}


def run_group(size: int, items: int, targets: int) -> dict[str, Any]:
    """What the first of some processes measures; all are of one thread and meet on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(Path(__file__)), "worker", "--items", str(items), "--targets", str(targets)]
    started = [
        subprocess.Popen(
            command, env={**os.environ, **shared, "RANK": str(rank), "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE
        )
        for rank in range(size)
    ]
    said = [one.communicate()[0] for one in started]
    if any(one.returncode for one in started):
        raise RuntimeError("a process has failed; its output says why")
    figures: dict[str, Any] = json.loads(said[0])
    return figures


@app.command()
def worker(items: int = 20_000, targets: int = 60_000) -> None:
    """Train as one process of a group, and print what each case took; `measure` starts it."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=timedelta(minutes=5))
    data = log_of(items, 20 * items)
    sent = count_bytes()
    found = {}
    for case, (name, params) in CASES.items():
        retriever: Any = RETRIEVERS.load(name)
        config = retriever.Config.model_validate({"held_out": 0, **params})
        rng, device = np.random.default_rng(0), torch.device("cpu")
        torch.manual_seed(0)
        training = TrainingData.of(data, config, name, rng, tied=retriever.tied, causal=retriever.causal)
        model = TowerModel(training, config, retriever.new_encoders, device, training_dtype(config, device))
        batches = (SequenceBatches if retriever.causal else ExampleBatches)(training, config)
        steps = WARM_UP + max(targets // config.batch, 3)
        done = 0
        for number, batch in enumerate(islice(batches.draw(rng), steps), 1):
            if number == WARM_UP + 1:
                distributed.barrier()
                start, cpu, before = perf_counter(), process_time(), sent[0]
            model.step(model.loss(batch, rng, None), 1e-3, number)
            done += batch.targets.size if number > WARM_UP else 0
        distributed.barrier()
        wall_s = perf_counter() - start
        found[case] = {
            "targets": done,
            "wall_s": wall_s,
            "cpu_s": process_time() - cpu,
            "rate": done / wall_s,
            "sent_bytes": sent[0] - before,
        }
    if distributed.get_rank() == 0:
        typer.echo(json.dumps(found))
    distributed.destroy_process_group()


def count_bytes() -> list[int]:
    """A counter, of one number, of the bytes of the tensors that this process gives to the exchange from now on."""
    counter = [0]
    reduce, gather = distributed.all_reduce, distributed.all_gather

    def reduced(tensor: torch.Tensor) -> None:
        counter[0] += tensor.nbytes
        reduce(tensor)

    def gathered(parts: list[torch.Tensor], tensor: torch.Tensor) -> None:
        counter[0] += tensor.nbytes
        gather(parts, tensor)

    setattr(distributed, "all_reduce", reduced)  # noqa: B010 - of another signature
    setattr(distributed, "all_gather", gathered)  # noqa: B010
    return counter


if __name__ == "__main__":
    app()
