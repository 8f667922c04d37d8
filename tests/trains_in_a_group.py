"""One process of a training by several: `python trains_in_a_group.py OUT CASE…`, with the environment of torchrun.

It writes what came of each case to OUT-RANK.npz, or ends with the error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from toy_towers import AskingTower, InterestsTower

from multirecall import Dataset
from multirecall.errors import MultirecallError
from multirecall.progress import SILENT
from multirecall.registry import retriever_class
from multirecall.retrievers._towers.group import Group
from multirecall.retrievers._towers.model import TowerModel
from multirecall.testing import small_shop

SMALL: dict[str, Any] = {"dim": 8, "epochs": 2, "batch": 100, "precision": "float32"}
ALONE: dict[str, Any] = {"negatives": {"uniform": 2, "in_batch": False}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "profiles": ("two_tower", {"negatives": {"uniform": 8, "frequency": 8, "hard": 16}, "item_widths": (8,)}),
    "triplet": ("two_tower", {"loss": "triplet", "batch": 50}),
    "gbce": ("two_tower", {"loss": "gbce", "learn_temperature": True}),
    "sequences": ("sasrec", {"dropout": 0.0, "negatives": {"hard": 16, "uniform": 32}}),
    "penalty": ("multi_interest", {"kind": "comirec_sa", "routing_penalty": 1.0}),
    "texts": ("cdssm", {"batch": 64, "examples": 1_000}),
    "several": ("interests", {}),
    "asking": ("asking", {}),
    "held_out": ("two_tower", {"batch": 500, "epochs": 3, "held_out": 2_000}),
    "bfloat16": ("two_tower", {"precision": "bfloat16"}),
    "dropped": ("sasrec", {"dropout": 0.2, "epochs": 8, "learning_rate": 0.05}),
    "dropped_again": ("sasrec", {"dropout": 0.2, "epochs": 8, "learning_rate": 0.05}),
    "resumed": ("sasrec", {"dropout": 0.2, "epochs": 8, "learning_rate": 0.05}),
    "few": ("two_tower", {"batch": 2, "epochs": 1}),
    "few_texts": ("cdssm", {"batch": 2, "examples": 60}),
    "few_events": ("sasrec", {"dropout": 0.0, "batch": 5, "epochs": 1, **ALONE}),
    "normed": ("two_tower", {"norm": "batch", "user_widths": (8,)}),
    "fails": ("two_tower", {}),
    "differs": ("two_tower", {}),
}
TOYS = {"interests": InterestsTower, "asking": AskingTower}
Arrays = dict[str, NDArray[Any]]


class Interruption(Exception):  # noqa: N818
    """What ends a training early."""


def many_users() -> Dataset:
    """A log with enough users to hold some of them out: pairs of items that follow each other."""
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(300), 6)
    items = (rng.integers(0, 20, 300)[:, None] * 3 + np.arange(6)) % 60
    times = np.tile(np.arange(6), 300) * 3_600
    return Dataset.from_frames(pl.DataFrame({"user_id": users, "item_id": items.ravel(), "timestamp": times}))


@contextmanager
def watched(see: Callable[[int, float], None]) -> Iterator[None]:
    """Call `see` with the number and the loss of each step of a model."""
    step = TowerModel.step

    def seen(model: TowerModel, loss: Tensor, rate: float, number: int) -> tuple[float, float]:
        done: tuple[float, float] = step(model, loss, rate, number)
        see(number, done[0])
        return done

    TowerModel.step = seen
    try:
        yield
    finally:
        TowerModel.step = step


def outcome_of(case: str, **params: Any) -> Arrays:
    """What comes of a case: losses, recalls and item vectors."""
    name, own = CASES[case]
    kind: Any = TOYS.get(name) or retriever_class(name)
    path = kind(kind.Config.model_validate({**SMALL, **own, **params}))
    data = many_users() if case == "held_out" else small_shop()
    losses: list[float] = []
    with watched(lambda _, loss: losses.append(loss)):
        path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    _, vectors = path.item_vectors()
    return {f"{case}-losses": np.array(losses), f"{case}-recalls": np.array(path.recalls), f"{case}-vectors": vectors}


def rows_of(rank: int, size: int) -> Arrays:
    """Sums of sparse gradients of two parts, of which a process may have none, and the same sums of whole tables."""
    rng = np.random.default_rng(rank)
    parts, tables = [], []
    for part in range(2):
        rows = np.sort(rng.choice(40, 12 * (rank + part) % 24, replace=False))
        gradients = torch.from_numpy(rng.normal(size=(rows.size, 3)).astype(np.float32))
        table = torch.zeros(40, 3)
        table[torch.from_numpy(rows)] = gradients
        distributed.all_reduce(table)
        parts.append((torch.from_numpy(rows), gradients))
        tables.append(table)
    summed = Group(rank, size, torch.device("cpu")).add_up_rows(parts)
    return {
        f"rows-{name}{part}": own.numpy()
        for part, (rows, gradients) in enumerate(summed)
        for name, own in (("rows", rows), ("sums", gradients), ("table", tables[part]))
    }


def fail(number: int, loss: float) -> None:
    if number == 3 and distributed.get_rank() == 1:
        raise Interruption("the disk of this process is full")


def stop(number: int, loss: float) -> None:
    if number == 20:
        raise Interruption("all processes stop here")


def main(out: str, *cases: str) -> None:
    """Train every case in a group of processes."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, size = distributed.get_rank(), distributed.get_world_size()
    found: Arrays = {}
    for case in cases:
        if case == "rows":
            found |= rows_of(rank, size)
        elif case == "fails":
            with watched(fail):
                outcome_of(case)
        elif case == "differs":
            outcome_of(case, learning_rate=0.01 * (rank + 1))
        elif case == "resumed":
            try:
                with watched(stop):
                    outcome_of(case, checkpoint=f"{out}-checkpoints")
            except Interruption:
                found |= outcome_of(case, checkpoint=f"{out}-checkpoints")
        else:
            found |= outcome_of(case)
    np.savez(Path(f"{out}-{rank}.npz"), allow_pickle=False, **found)
    distributed.destroy_process_group()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except MultirecallError as fault:
        print(f"{type(fault).__name__}: {fault}", file=sys.stderr, flush=True)
        os._exit(1)
