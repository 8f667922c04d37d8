"""Learned paths beside models of other libraries: how fast they train."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from _harness import RESULTS, write
from _rechub import Sizes, train
from _rectools import train_sasrec
from _stopwatch import Stopwatch

from multirecall import Dataset
from multirecall.datasets import generate
from multirecall.registry import RETRIEVERS
from multirecall.retrievers._towers.batches import ExampleBatches, SequenceBatches
from multirecall.retrievers._towers.config import learning_rate_of
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.model import TowerModel
from multirecall.retrievers._towers.training import training_dtype

GENERATED = {"n_users": 20_000, "n_items": 50_000, "n_interactions": 1_000_000}
SIZES = Sizes()
DIM, BLOCKS, HEADS, DROPOUT = 64, 2, 2, 0.2
SESSIONS = 64
"""Sequences of a step of RecTools; a step of ours has about as many targets."""

app = typer.Typer(help=__doc__)


@dataclass(frozen=True)
class Contest:
    """One of our retrievers beside a model of another library, at the same sizes.

    Attributes:
        log: the name of the log.
        retriever, params: ours and its settings.
        peer: the name of the other.
        train: trains the other until a stopwatch ends.
    """

    log: str
    retriever: str
    params: dict[str, Any]
    peer: str
    train: Callable[[Dataset, Stopwatch], None]


@app.callback()
def commands() -> None:
    """Learned paths beside models of other libraries."""


@app.command()
def speed(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    seconds: Annotated[float, typer.Option(help="CPU seconds of each model in a run.")] = 8.0,
    runs: Annotated[int, typer.Option(help="Runs of each model, in turn; the median counts.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Retrievers; by default all.")] = None,
    log: Annotated[list[str] | None, typer.Option(help="Logs, ml-1m or generated; by default both.")] = None,
) -> None:
    """Samples, that is predicted targets, per CPU second of training, with one thread.

    The result is written after each pair of models; it keeps the rows of pairs that this run leaves out.
    """
    torch.set_num_threads(1)
    logs: dict[str, Callable[[], Dataset]] = {
        "ml-1m": lambda: Dataset.load(data / "ml-1m" / "interactions.parquet"),
        "generated": lambda: Dataset.from_frames(generate(**GENERATED).interactions),
    }
    for name, load in logs.items():
        chosen = [one for one in contests() if one.log == name and (not only or one.retriever in only)]
        if chosen and (not log or name in log):
            events = load()
            for contest in chosen:
                record(measure(contest, events, seconds, runs), seconds, runs)


def measure(contest: Contest, data: Dataset, seconds: float, runs: int) -> dict[str, Any]:
    """Train both models of a pair in turn; the medians of their samples a CPU second."""
    pairs: list[tuple[float, float]] = []
    for _ in range(runs):
        mine, other = Stopwatch(seconds), Stopwatch(seconds)
        train_ours(contest.retriever, contest.params, data, mine)
        contest.train(data, other)
        pairs.append((mine.rate, other.rate))
    own, theirs = (median(rates) for rates in zip(*pairs, strict=True))
    typer.echo(
        f"{contest.log:10} {contest.retriever:15} {own:9,.0f} samples/s, {contest.peer:22} {theirs:9,.0f}"
        f" samples/s: {own / theirs:.1f} times"
    )
    same = {"data": contest.log, "retriever": contest.retriever, "peer": contest.peer, "params": contest.params}
    return {**same, "samples_per_cpu_s": own, "peer_samples_per_cpu_s": theirs}


def record(row: dict[str, Any], seconds: float, runs: int) -> None:
    """Write a row to the result file, in place of one of the same log, retriever and peer."""
    file = RESULTS / "deep_speed.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    keys = ("data", "retriever", "peer")
    rows = [one for one in rows if any(one[key] != row[key] for key in keys)]
    sizes = {"sizes": asdict(SIZES), "sessions": SESSIONS, "generated": GENERATED, "seconds": seconds, "runs": runs}
    versions = {name: version(name) for name in ("torch", "rectools", "torch-rechub", "pytorch-lightning")}
    order = [(one.log, one.retriever, one.peer) for one in contests()]
    rows = sorted([*rows, row], key=lambda one: order.index(tuple(one[key] for key in keys)))
    write("deep_speed", {**sizes, "threads": 1, "peers": versions, "rows": rows})


def contests() -> list[Contest]:
    """All pairs of models; those that learn from whole sequences first."""
    found = []
    same = {"n_factors": DIM, "n_blocks": BLOCKS, "n_heads": HEADS, "dropout_rate": DROPOUT, "batch_size": SESSIONS}
    logs: list[tuple[str, int, dict[str, Any], dict[str, Any]]] = [
        ("ml-1m", 200, {"loss": "softmax"}, {"in_batch": False, "uniform": 1, "all_up_to": 8_000}),
        ("generated", 50, {"loss": "sampled_softmax", "n_negatives": 256}, {"in_batch": False, "uniform": 256}),
    ]
    for data, history, theirs, negatives in logs:
        for gated in (False, True):
            params: dict[str, Any] = {"dim": DIM, "blocks": BLOCKS, "heads": HEADS, "dropout": DROPOUT}
            params |= {"gate": "ligr", "widening": 4} if gated else {"gate": "none", "widening": 1}
            settings: dict[str, Any] = {**same, **theirs, "session_max_len": history}
            peer = partial(train_sasrec, gated=gated, settings=settings)
            name = "RecTools eSASRec" if gated else "RecTools SASRec"
            found.append(Contest(data, "sasrec", {**params, "history": history, "negatives": negatives}, name, peer))
    given: dict[str, Any] = {"negatives": {"in_batch": False, "uniform": SIZES.negatives}}
    tower: dict[str, Any] = {"dim": SIZES.dim, "history": SIZES.history, "batch": SIZES.batch, "horizon": 1}
    wide = {**tower, "user_widths": [SIZES.width]}
    pairs: list[tuple[str, dict[str, Any], str]] = [
        ("two_tower", {**wide, "half_lives": [10.0], "negatives": {"in_batch": True, "uniform": 0}}, "DSSM"),
        ("youtube_dnn", {**wide, **given}, "YoutubeDNN"),
        ("multi_interest", {**tower, **given, "kind": "comirec_sa"}, "ComirecSA"),
        ("multi_interest", {**tower, **given, "kind": "comirec_dr"}, "ComirecDR"),
        ("multi_interest", {**tower, **given, "kind": "mind"}, "MIND"),
        ("gru4rec", {"dim": SIZES.dim, "width": SIZES.dim, "layers": 2, "history": SIZES.history, **given}, "GRU4Rec"),
    ]
    for data in ("ml-1m", "generated"):
        for retriever, params, name in pairs:
            found.append(Contest(data, retriever, params, f"torch-rechub {name}", partial(train_rechub, name)))
    return found


def train_ours(name: str, params: dict[str, Any], data: Dataset, watch: Stopwatch) -> None:
    """Train a retriever until the stopwatch ends; a sample is a target, the preparation of its batch included."""
    retriever: Any = RETRIEVERS.load(name)
    config = retriever.Config.model_validate({"held_out": 0, **params})
    rng, device, number = np.random.default_rng(0), torch.device("cpu"), 0
    training = TrainingData.of(data, config, name, rng, tied=retriever.tied, causal=retriever.causal)
    model = TowerModel(training, config, retriever.new_encoders, device, training_dtype(config, device))
    batches = (SequenceBatches if retriever.causal else ExampleBatches)(training, config)
    rate = learning_rate_of(config.learning_rate, batches.steps)
    while True:
        for batch in batches.draw(rng):
            number += 1
            model.step(model.loss(batch, rng, None), rate, number)
            if not watch.goes_on(batch.targets.size):
                return


def train_rechub(name: str, data: Dataset, watch: Stopwatch) -> None:
    """Train a model of torch-rechub until the stopwatch ends."""
    train(name, data, watch, SIZES)


if __name__ == "__main__":
    app()
