"""Adaptive width under more load than a machine can take: answers in time, and recall, with it and without it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter, sleep
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from _generated import PATHS, RECALL, TRAINED_NOTE, train_or_load
from _harness import percentiles, write
from numpy.typing import NDArray

from multirecall import Dataset, Engine
from multirecall.datasets import generate
from multirecall.engine.width import AdaptiveWidth, WidthControl
from multirecall.evaluation import time_split
from multirecall.evaluation.splits import Split
from multirecall.learning.bootstrap import interval
from multirecall.metrics import user_metrics
from multirecall.progress import terminal_progress

SEED = 7
USERS = 1_000
"""The most users that are asked one by one."""

WARM_S = 3.0
"""Seconds at the beginning of a run that are left out: the queue fills, and the width finds its level."""


class Answered(NamedTuple):
    """One request of a run: when it came, by the start of the run, how long it took, and what it was answered with."""

    came_s: float
    ms: float
    level: int
    recall: float


def main(
    items: Annotated[int, typer.Option(help="Items of the generated log.")] = 100_000,
    k: Annotated[int, typer.Option(help="Candidates of a request.")] = 500,
    load: Annotated[float, typer.Option(help="Requests a second, as a multiple of the capacity.")] = 1.5,
    seconds: Annotated[float, typer.Option(help="Seconds of each run.")] = 20.0,
    target_ms: Annotated[float, typer.Option(help="Milliseconds in which an answer is in time.")] = 50.0,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps the fitted engine from run to run.")] = None,
) -> None:
    """Ask an engine, on one thread with a queue in front of it, more than it can answer.

    Requests come at random (a Poisson process), whether or not the ones before are answered. A run without adaptive
    width, whose queue is not bounded, comes first; then one whose queue refuses what it has no room for; then two
    with it, the second with two spare paths. Recall is that of the events after a split by time. The spare paths are
    those whose absence costs the least recall for the time that it saves, by users whom no other figure is about.
    """
    with terminal_progress() as progress:
        log = generate(items // 2, items, min(20 * items, 2_000_000), seed=SEED)
        split = time_split(Dataset.from_frames(log.interactions, log.items, log.users))
        engine = train_or_load(split.train, cache and cache / f"width-{items}", progress)
    asked = np.arange(1, split.users.size, 2)
    with engine:
        worth = worth_of_paths(engine, split, np.arange(0, split.users.size, 2), k)
        spare = tuple(sorted(worth, key=lambda name: worth[name]["lost"] / worth[name]["saved_ms"])[:2])
        plain, sparing = AdaptiveWidth(target_ms=target_ms), AdaptiveWidth(target_ms=target_ms, spare=spare)
        levels = {name: by_level(engine, split, asked, k, own) for name, own in (("", plain), ("sparing", sparing))}
        capacity = 1e3 / levels[""][0]["mean_ms"]
        kinds: dict[str, tuple[AdaptiveWidth | None, int | None]] = {
            "without": (None, None),
            "without, 64 may wait": (None, 64),
            "with": (plain, None),
            "with, two paths spare": (sparing, None),
        }
        runs = {name: run(engine, split, asked, k, load * capacity, seconds, *own) for name, own in kinds.items()}
    figures = {name: told(one, target_ms, levels[""][0]["recall"]) for name, one in runs.items()}
    for name, rows in levels.items():
        for level in rows:
            typer.echo(f"{name:8} " + "  ".join(f"{key} {value:.4g}" for key, value in level.items()))
    for name, own in figures.items():
        typer.echo(f"{name:22} " + "  ".join(f"{key} {value:.4g}" for key, value in own.items() if key != "levels"))
    settings = {"items": items, "k": k, "paths": PATHS, "quota": 500, "index_recall": RECALL, "vectors": TRAINED_NOTE}
    typer.echo(
        write(
            "width",
            {
                **settings,
                "users": asked.size,
                "worth": worth,
                "spare": spare,
                "capacity": capacity,
                "load": load,
                "seconds": seconds,
                "warm_s": WARM_S,
                "target_ms": target_ms,
                "levels": levels,
                "runs": figures,
            },
        )
    )


def worth_of_paths(engine: Engine, split: Split, places: NDArray[np.int64], k: int) -> dict[str, dict[str, float]]:
    """What the absence of each path costs in recall, and what it saves in milliseconds."""
    whole, names = engine._current(), engine.paths
    full = ask_all(engine, split, places, k)
    worth = {}
    for name in names:
        paths = tuple(replace(path, dropped="left out" if path.name == name else None) for path in whole.paths)
        engine._state = replace(whole, paths=paths)
        less = ask_all(engine, split, places, k)
        worth[name] = {
            "lost": max(0.0, float(full.recalls.mean() - less.recalls.mean())),
            "saved_ms": max(1e-3, float(full.ms.mean() - less.ms.mean())),
        }
    engine._state = whole
    return worth


def by_level(
    engine: Engine, split: Split, places: NDArray[np.int64], k: int, settings: AdaptiveWidth
) -> list[dict[str, float]]:
    """What each level takes and finds, asked of the same users one by one."""
    levels = []
    for level, width in enumerate((1.0, *settings.widths)):
        with pinned(engine, level, settings):
            asked = ask_all(engine, split, places, k)
        found = interval(asked.recalls)
        levels.append(
            {
                "level": level,
                "width": width,
                "mean_ms": float(asked.ms.mean()),
                "p50_us": percentiles(asked.ms / 1e3)["p50_us"],
                "recall": found.mean,
                "recall_low": found.low,
                "recall_high": found.high,
            }
        )
    return levels


class Asked(NamedTuple):
    """What users were answered one by one: milliseconds and recall of each, float64 (n,)."""

    ms: NDArray[np.float64]
    recalls: NDArray[np.float64]


def ask_all(engine: Engine, split: Split, places: NDArray[np.int64], k: int) -> Asked:
    """Ask for some of the users, at most `USERS`, whose positions in the split are given."""
    chosen = places[:: max(1, places.size // USERS)].tolist()
    users = split.users.tolist()
    for place in chosen[:50]:
        engine.retrieve(users[place], k)
    ms, recalls = [], []
    for place in chosen:
        start = perf_counter()
        answer = engine.retrieve(users[place], k)
        ms.append((perf_counter() - start) * 1e3)
        recalls.append(recall_of(answer.ids, split, place, k))
    return Asked(np.array(ms), np.array(recalls))


@contextmanager
def pinned(engine: Engine, level: int, settings: AdaptiveWidth) -> Iterator[None]:
    """Hold the width at a level: no answer is ever late, and none is at ease."""
    engine._width = WidthControl(settings, engine.config.k, lambda: 0.0)
    engine._width.level = level
    try:
        yield
    finally:
        engine.use_adaptive_width(None)


def recall_of(ids: NDArray[Any], split: Split, place: int, k: int) -> float:
    """The recall of one answer."""
    own = split.targets[split.offsets[place] : split.offsets[place + 1]]
    rows = split.train.items.ids.rows(ids)
    bounds = np.array([0, rows.size]), np.array([0, own.size])
    return float(user_metrics(bounds[0], rows, bounds[1], own, [k])[0, 0, 0])


def run(
    engine: Engine,
    split: Split,
    asked: NDArray[np.int64],
    k: int,
    rate: float,
    seconds: float,
    width: AdaptiveWidth | None,
    room: int | None = None,
) -> list[Answered]:
    """What came of the requests of a run; one that was refused took for ever."""
    engine.use_adaptive_width(width)
    rng = np.random.default_rng(SEED)
    moments = np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.5)))
    moments = moments[moments < seconds]
    places = rng.choice(asked, moments.size)
    users = split.users.tolist()
    queue: SimpleQueue[tuple[float, int] | None] = SimpleQueue()
    answered: list[tuple[float, float, int, int, NDArray[Any] | None]] = []
    begin = perf_counter() + 0.1

    def work() -> None:
        while (request := queue.get()) is not None:
            came, place = request
            waited = perf_counter() - begin - came
            answer = engine.retrieve(users[place], k, waited_ms=max(waited, 0.0) * 1e3)
            answered.append((came, perf_counter() - begin - came, answer.level, place, answer.ids))

    worker = threading.Thread(target=work)
    worker.start()
    for came, place in zip(moments.tolist(), places.tolist(), strict=True):
        ahead = begin + came - perf_counter()
        if ahead > 0:
            sleep(ahead)
        if room is not None and queue.qsize() >= room:
            answered.append((came, np.inf, 0, place, None))
        else:
            queue.put((came, place))
    queue.put(None)
    worker.join()
    engine.use_adaptive_width(None)
    return [
        Answered(came, took * 1e3, level, 0.0 if ids is None else recall_of(ids, split, place, k))
        for came, took, level, place, ids in answered
    ]


def told(answers: Sequence[Answered], target_ms: float, full: float) -> dict[str, Any]:
    """The figures of a run, once it has warmed up; recall is that of the answers that came in time."""
    kept = [one for one in answers if one.came_s >= WARM_S]
    in_time = [one for one in kept if one.ms <= target_ms]
    levels = np.bincount([one.level for one in in_time], minlength=1) / max(1, len(in_time))
    ms = np.array([one.ms for one in kept])
    found = float(np.mean([one.recall for one in in_time])) if in_time else 0.0
    return {
        "requests": len(kept),
        "in_time": len(in_time) / len(kept),
        "refused": float(np.isinf(ms).mean()),
        "p50_ms": float(np.quantile(ms[np.isfinite(ms)], 0.5)),
        "p99_ms": float(np.quantile(ms[np.isfinite(ms)], 0.99)),
        "recall": found,
        "of_full": found / full,
        "recall_of_all": float(np.sum([one.recall for one in in_time])) / len(kept),
        "levels": levels.tolist(),
    }


if __name__ == "__main__":
    typer.run(main)
