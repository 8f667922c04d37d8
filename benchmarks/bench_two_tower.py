"""The two-tower retriever beside its peers: how fast it trains, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import numpy as np
import torch
import typer
from _dssm import Dssm
from _harness import fit_times, write
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.data import EventLog, Interactions
from multirecall.data.config import DataConfig
from multirecall.data.table import Table
from multirecall.evaluation import METRICS, Split, evaluate, leave_last_out, time_split, user_metrics
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import Progress, terminal_progress
from multirecall.retrievers._towers.batches import Batch
from multirecall.retrievers._towers.data import TrainingData
from multirecall.retrievers._towers.model import TowerModel
from multirecall.retrievers._towers.training import training_dtype
from multirecall.retrievers.two_tower import TwoTower
from multirecall.topk import ALL_ALLOWED, top_eligible
from multirecall.vocabulary import Vocabulary

KS = (20, 100, 500)
PEER: dict[str, Any] = {"batch": 4096, "epochs": 3, "negatives": 20}
"""The settings of torch-rechub's DSSM; its optimiser, learning rate and loss are the library's defaults."""

SIX = (
    PathConfig(retriever="two_tower", weight=2.0),
    *(PathConfig(retriever=name) for name in ("item2vec", "node2vec", "item_cf", "content", "popularity")),
)
"""The paths that are compared; weights as the default engine has them."""

DIM, WIDTH, HISTORY, TEMPERATURE = 64, 128, 50, 0.05

app = typer.Typer(help=__doc__)


@app.command()
def speed(
    items: Annotated[int, typer.Option(help="Items, and users.")] = 100_000,
    batch: Annotated[int, typer.Option(help="Examples of a step.")] = 4096,
    steps: Annotated[int, typer.Option(help="Steps of each model in a run.")] = 15,
    runs: Annotated[int, typer.Option(help="Runs of each model, in turn; the median counts.")] = 3,
) -> None:
    """Samples per CPU second: user id and a history of 50 items against the item's id, one thread."""
    torch.set_num_threads(1)
    data = log_of(items, batch * steps)
    events = np.random.default_rng(1).permutation(len(data.interactions))[: batch * steps]
    models: dict[str, Callable[[], Callable[[NDArray[np.int64]], None]]] = {
        "multirecall": lambda: ours(data, batch, "auto"),
        "multirecall in float32": lambda: ours(data, batch, "float32"),
        "minimal torch": lambda: minimal(data, batch),
    }
    if find_spec("torch_rechub"):
        models["torch-rechub DSSM"] = lambda: peer(data, batch)
    rates: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(runs):
        for name, made in models.items():
            train = made()
            train(events[:batch])
            start = process_time()
            train(events)
            rates[name].append(events.size / (process_time() - start))
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    for name, rate in medians.items():
        typer.echo(f"{name:24} {rate:9,.0f} samples/s, {rate / medians['minimal torch']:.2f} × minimal torch")
    sizes = {"items": items, "users": items, "dim": DIM, "width": WIDTH, "history": HISTORY, "batch": batch}
    more = {"steps": steps, "runs": runs, "threads": 1, "torch": torch.__version__, "peer": PEER}
    typer.echo(write("two_tower", {**sizes, **more, "samples_per_cpu_s": medians}))


@app.command()
def quality(data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")]) -> None:
    """Recall of six paths and of the fused list, beside torch-rechub's DSSM on the same split."""
    results = []
    with terminal_progress() as progress:
        for name, split in cases(data):
            lists = measure_ours(split, progress)
            if find_spec("torch_rechub"):
                lists["torch-rechub DSSM"] = measure_peer(split)
            results.append({"data": name, "split": split.name, "n_users": split.users.size, "lists": lists})
            typer.echo(f"{name}, {split.name}")
            for row, figures in lists.items():
                recalls = "  ".join(f"R@{k} {value:.4f}" for k, value in zip(KS, figures["recall"], strict=True))
                typer.echo(f"  {row:20} {recalls}  fitted in {figures['fit_cpu_s']:.0f} CPU s")
    typer.echo(write("six_paths", {"ks": KS, "peer": {**PEER, "dim": DIM, "history": HISTORY}, "cases": results}))


def cases(folder: Path) -> Iterator[tuple[str, Split]]:
    """The splits: ml-1m by last event and by time, online-retail by time with and without repeats."""
    for name in ("ml-1m", "online-retail"):
        data = Dataset.load(*(folder / name / f"{table}.parquet" for table in ("interactions", "items", "users")))
        if name == "ml-1m":
            yield name, leave_last_out(data)
            yield name, time_split(data)
        else:
            yield name, time_split(data, seen=True)
            yield name, time_split(data)


def measure_ours(split: Split, progress: Progress) -> dict[str, Any]:
    """Recall of each path and of the fused list, with the CPU seconds that fitting took."""
    engine = Engine(EngineConfig(paths=SIX))
    seconds = fit_times(engine, split.train, progress)
    figures = evaluate(engine, split, KS, progress=progress).figures
    return {name: {"recall": one["recall"], "fit_cpu_s": seconds[name]} for name, one in figures.items()}


def measure_peer(split: Split) -> dict[str, Any]:
    """Recall of DSSM by exact search over its vectors, without what the user has seen where that does not count."""
    start = process_time()
    model = Dssm(split.train, DIM, WIDTH, HISTORY)
    log = split.train.interactions
    model.train(np.arange(len(log)), PEER["batch"], PEER["epochs"], PEER["negatives"])
    fit_cpu_s = process_time() - start
    users = split.train.users.ids.rows(split.users)
    vectors, items = model.user_vectors(users), model.item_vectors()
    rows = np.arange(len(items), dtype=np.int32)
    lists = []
    for user, vector in zip(users.tolist(), vectors, strict=True):
        seen = np.unique(log.items[log.of_user(user)]) if not split.seen else log.items[:0]
        lists.append(RankedList(*top_eligible(rows, items @ vector, KS[-1], seen, ALL_ALLOWED)))
    batch = RankedBatch.from_lists(lists)
    values = user_metrics(batch.offsets, batch.items, split.offsets, split.targets, KS)
    return {"recall": values[METRICS.index("recall")].mean(axis=0).tolist(), "fit_cpu_s": fit_cpu_s}


def ours(data: Dataset, batch: int, precision: str) -> Callable[[NDArray[np.int64]], None]:
    """Training steps of the retriever's own model, at the peers' sizes and with the batch's items as negatives."""
    config = TwoTower.Config.model_validate(
        {
            "user_id": True,
            "user_widths": (WIDTH,),
            "half_lives": (10.0,),
            "history": HISTORY,
            "temperature": TEMPERATURE,
            "horizon": 1,
            "held_out": 0,
            "id_dropout": 0.0,
            "negatives": {"in_batch": True, "uniform": 0},
            "batch": batch,
            "precision": precision,
        }
    )
    rng = np.random.default_rng(0)
    device = torch.device("cpu")
    training = TrainingData.of(data, config, "two_tower", rng)
    model = TowerModel(training, config, TwoTower.new_encoders, device, training_dtype(config, device))
    log = training.log
    number = 0

    def train(events: NDArray[np.int64]) -> None:
        nonlocal number
        for part in np.split(events, range(batch, events.size, batch)):
            histories = training.histories(part, 1, HISTORY, rng)
            ages = training.example_ages(part)
            examples = Batch(log.users[part], histories, log.items[part], log.weights[part], ages)
            loss = model.loss(examples, rng, None)
            number += 1
            model.step(loss, 1e-3, number)

    return train


def minimal(data: Dataset, batch: int) -> Callable[[NDArray[np.int64]], None]:
    """What one writes first: embeddings, an embedding bag, two layers, cross entropy over the batch, dense AdamW."""
    log = data.interactions
    model = Minimal(data.n_users, data.n_items)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    items = torch.from_numpy(log.items.astype(np.int64))
    users = torch.from_numpy(log.users.astype(np.int64))
    firsts = log.offsets[log.users]

    def train(events: NDArray[np.int64]) -> None:
        for part in np.split(events, range(batch, events.size, batch)):
            starts = np.maximum(part - HISTORY, firsts[part])
            lengths = part - starts
            offsets = np.append(0, np.cumsum(lengths))
            places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
            scores = model(users[part], items[places], torch.from_numpy(offsets), items[part])
            loss = functional.cross_entropy(scores, torch.arange(part.size))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return train


class Minimal(nn.Module):
    """Two towers without anything that is not needed."""

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users, DIM)
        self.history = nn.EmbeddingBag(n_items, DIM, mode="mean", include_last_offset=True)
        self.items = nn.Embedding(n_items, DIM)
        self.user_net = nn.Sequential(nn.Linear(2 * DIM, WIDTH), nn.GELU(), nn.Linear(WIDTH, DIM))
        self.item_net = nn.Linear(DIM, DIM)

    def forward(self, users: Tensor, history: Tensor, offsets: Tensor, items: Tensor) -> Tensor:
        """Scores of each user of the batch with each item of it, (B, B)."""
        inputs = torch.cat([self.users(users), self.history(history, offsets)], dim=1)
        left = functional.normalize(self.user_net(inputs), dim=1)
        right = functional.normalize(self.item_net(self.items(items)), dim=1)
        return left @ right.T / TEMPERATURE


def peer(data: Dataset, batch: int) -> Callable[[NDArray[np.int64]], None]:
    """An epoch of torch-rechub's DSSM over some events."""
    model = Dssm(data, DIM, WIDTH, HISTORY)
    return lambda events: model.train(events, batch, 1, PEER["negatives"])


def log_of(n_items: int, n_events: int) -> Dataset:
    """A log of `n_events` and more by as many users as items; what is chosen follows Zipf's law."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(10, n_items + 10)
    n_events = max(n_events, 20 * n_items)
    users = np.sort(rng.integers(0, n_items, n_events)).astype(np.int32)
    items = rng.choice(n_items, n_events, p=weights / weights.sum()).astype(np.int32)
    log = Interactions(users, items, None, np.ones(n_events, np.float32), n_items, n_items, True)
    item_table, user_table = (
        Table(Vocabulary(np.arange(n_items), what), {}, np.zeros(n_items, np.bool_)) for what in ("item", "user")
    )
    return Dataset(EventLog(log), item_table, user_table, DataConfig())


if __name__ == "__main__":
    app()
