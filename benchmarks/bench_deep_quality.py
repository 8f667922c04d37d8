"""Learned paths on real logs: what they find alone and fused, and what a request with one takes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
import typer
from _cases import CASES, CONFIGS, PUBLISHED, choose_cases
from _harness import fit_times, percentiles, write
from _rechub import Examples, Sizes, vectors
from _rechub import train as train_peer

from multirecall import Dataset, Engine, EngineConfig
from multirecall.config import FusionConfig
from multirecall.evaluation import METRICS, evaluate, leave_last_out, user_metrics
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import terminal_progress
from multirecall.topk import ALL_ALLOWED, top_eligible

KS = (10, 20, 100, 500)
COUNTING = ("item_cf", "content", "popularity")
"""The paths beside the one whose request is timed."""

app = typer.Typer(help=__doc__)


@app.command()
def quality(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    config: Annotated[list[str], typer.Option(help="Names of files in benchmarks/configs/deep; repeat for several.")],
) -> None:
    """Figures of every path of a config and of the fused list, on the case that the file is named after."""
    with terminal_progress() as progress:
        for name in config:
            case = next(one for one in (name, name.rsplit("-", 1)[0]) if one in CASES | PUBLISHED)
            (chosen,) = choose_cases([case], CASES | PUBLISHED)
            settings = EngineConfig.from_toml(CONFIGS / "deep" / f"{name}.toml")
            split = chosen.split(data)
            engine = Engine(settings)
            seconds = fit_times(engine, split.train, progress)
            report = evaluate(engine, split, KS, progress=progress)
            figures = {"case": case, "config": name, "statement": split.describe(), "ks": KS, "fit_cpu_s": seconds}
            learned = engine.fusion_report()
            more = {"report": report.to_dict(), "fusion": None if learned is None else learned.to_dict()}
            typer.echo(write(f"deep-{name}", {**figures, **more, "threads": 1, "torch": version("torch")}))
            for path, own in report.figures.items():
                typer.echo(f"{path:16} HR@10 {own['hit_rate'][0]:.4f}  NDCG@10 {own['ndcg'][0]:.4f}")


@app.command()
def peer(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    epochs: Annotated[int, typer.Option(help="Passes of the peer over all events.")] = 3,
) -> None:
    """Hit rate of `youtube_dnn` and `two_tower` on ml-1m-last, beside torch-rechub's YoutubeDNN in the same run."""
    torch.set_num_threads(1)
    split, sizes = CASES["ml-1m-last"].split(data), Sizes()
    train, log = split.train, split.train.interactions
    start = process_time()
    model = train_peer("YoutubeDNN", train, Examples(epochs * len(log)), sizes, len(log))
    seconds = {"torch-rechub YoutubeDNN": process_time() - start}
    users = train.users.ids.rows(split.users)
    own, items = vectors(model, train, users, sizes.history)
    rows = np.arange(len(items), dtype=np.int32)
    lists = [
        RankedList(*top_eligible(rows, items @ vector, KS[-1], np.unique(log.items[log.of_user(user)]), ALL_ALLOWED))
        for user, vector in zip(users.tolist(), own, strict=True)
    ]
    batch = RankedBatch.from_lists(lists)
    values = user_metrics(batch.offsets, batch.items, split.offsets, split.targets, KS)
    hits = {"torch-rechub YoutubeDNN": values[METRICS.index("hit_rate")].mean(axis=0).tolist()}
    paths = [{"retriever": name} for name in ("two_tower", "youtube_dnn")]
    engine = Engine(EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}}))
    with terminal_progress() as progress:
        seconds |= fit_times(engine, train, progress)
        figures = evaluate(engine, split, KS, progress=progress).figures
    hits |= {name: figures[name]["hit_rate"] for name in ("two_tower", "youtube_dnn")}
    for name, rates in hits.items():
        typer.echo(f"{name:24} Hit@100 {rates[KS.index(100)]:.4f} in {seconds[name]:.0f} CPU s")
    versions = {name: version(name) for name in ("torch", "torch-rechub")}
    typer.echo(write("deep_peer", {"ks": KS, "epochs": epochs, "hit_rate": hits, "fit_cpu_s": seconds, **versions}))


@app.command()
def default(data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")]) -> None:
    """Whether `sasrec` earns a place in the default engine: a slice of the training part of ml-latest-small.

    The slice holds out each user's second-last event, so the test part of the log is not read. `sasrec` stands in for
    the dearest path, so that the default fit takes no longer.
    """
    log = pl.read_parquet(data / "ml-latest-small" / "interactions.parquet")
    split = leave_last_out(leave_last_out(Dataset.from_frames(log)).train)
    rows = []
    with terminal_progress() as progress:
        for instead in ("", "next_item"):
            paths = tuple(
                one.model_copy(update={"retriever": "sasrec", "name": "sasrec", "params": {}})
                if one.retriever == instead
                else one
                for one in EngineConfig().paths
            )
            engine = Engine(EngineConfig(paths=paths, fusion=FusionConfig(goal="next")))
            seconds = fit_times(engine, split.train, progress)
            fused = evaluate(engine, split, KS, progress=progress).figures["fused"]
            rows.append({"instead_of": instead, "fit_cpu_s": seconds, "fused": fused})
            took = f"{seconds['fused']:.0f} CPU s, NDCG@10 {fused['ndcg'][0]:.4f}"
            typer.echo(f"sasrec instead of {instead or 'nothing'}: {took}")
    typer.echo(write("deep_default", {"statement": split.describe(), "ks": KS, "rows": rows}))


@app.command()
def request(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")],
    requests: Annotated[int, typer.Option(help="Requests of each engine, taken in turn.")] = 3_000,
) -> None:
    """The time of a request with each learned path beside three that count, on ml-1m; two passes of training each."""
    folder = data / "ml-1m"
    log = Dataset.load(*(folder / f"{table}.parquet" for table in ("interactions", "items", "users")))
    engines = {name: Engine(with_path(name)) for name in ("two_tower", "sasrec", "gru4rec")}
    with terminal_progress() as progress:
        for engine in engines.values():
            engine.fit(log, progress=progress)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for user in np.random.default_rng(0).choice(log.users.ids.ids(), requests).tolist():
        for name, engine in engines.items():
            start = perf_counter()
            engine.retrieve(user, 100)
            times[name].append(perf_counter() - start)
    rows = {name: percentiles(found[requests // 10 :]) for name, found in times.items()}
    for name, row in rows.items():
        typer.echo(
            f"{name:12} p50 {row['p50_us']:6.0f} µs, {row['p50_us'] / rows['two_tower']['p50_us']:.2f} × two_tower"
        )
    typer.echo(write("deep_request", {"paths": COUNTING, "requests": requests, "history": 50, "rows": rows}))


def with_path(name: str) -> EngineConfig:
    """A learned path that reads 50 events, beside those that count."""
    params: dict[str, Any] = {"epochs": 1, "history": 50}
    paths = [{"retriever": name, "params": params}, *({"retriever": other} for other in COUNTING)]
    return EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})


if __name__ == "__main__":
    app()
