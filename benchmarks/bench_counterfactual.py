"""How often the intervals of counterfactual estimates cover the truth, over simulated logs of users who are known."""

from __future__ import annotations

from collections import defaultdict
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from _harness import write
from _simulated_log import LOGGED, TRIED, People, simulate

from multirecall.monitoring.replay import Estimates, replay
from multirecall.online import Exploration
from multirecall.progress import terminal_progress

CASES = {
    "all requests, 5 of 10 slots": (Exploration(slots=5, share=1.0), 0.05),
    "three in ten, 5 slots": (Exploration(slots=5, share=0.3), 0.05),
    "one in ten, 5 slots": (Exploration(slots=5, share=0.1), 0.05),
    "three in ten, 3 slots, choices rare": (Exploration(slots=3, share=0.3), 0.02),
}
NAMES = ("ips", "snips", "dr", "gain")


def main(
    logs: Annotated[int, typer.Option(help="Simulated logs of each case.")] = 150,
    users: Annotated[int, typer.Option(help="Users of a log, with one to three requests each.")] = 600,
    population: Annotated[int, typer.Option(help="Users from whom those of a log are drawn.")] = 4_000,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 7,
) -> None:
    """Simulate logs with exploration, replay them under another config, and compare with what it is truly worth."""
    found = {}
    with terminal_progress() as progress, progress.task("logs", logs * len(CASES)) as advance:
        for number, (name, (exploration, rate)) in enumerate(CASES.items()):
            people = People.of(population, rate, seed + number)
            found[name] = run(people, exploration, logs, users, seed + 1_000_000 * (number + 1), advance)
            typer.echo(f"{name}: {found[name]}")
    together = {one: float(np.mean([case["estimates"][one]["covered"] for case in found.values()])) for one in NAMES}
    typer.echo(f"all: {together}")
    figures = {"logs": logs, "users": users, "population": population, "seed": seed, "cases": found, "all": together}
    typer.echo(write("counterfactual", figures))


def run(people: People, exploration: Exploration, logs: int, users: int, seed: int, advance: Any) -> dict[str, Any]:
    """Coverage, bias and width of each estimate over the logs of a case."""
    worth = people.worth(TRIED)
    truth = dict.fromkeys(NAMES, worth) | {"gain": None}
    estimates: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    logged: list[float] = []
    refused = 0
    for number in range(logs):
        with TemporaryDirectory() as folder:
            later = simulate(people, exploration, users, Path(folder), seed + number)
            one = replay(Path(folder), TRIED, later).estimates
        if isinstance(one, Estimates):
            logged.append(one.logged.mean)
            for name in NAMES:
                value = getattr(one, name)
                estimates[name].append((value.mean, value.low, value.high))
        else:
            refused += 1
        advance(1)
    return {
        "exploration": exploration.model_dump(),
        "truth": worth,
        "logged_without_exploration": people.worth(LOGGED),
        "logged": float(np.mean(logged)),
        "refused": refused,
        "estimates": {
            name: coverage(np.array(own), worth if truth[name] is not None else worth - logged_worth(logged))
            for name, own in estimates.items()
        },
    }


def logged_worth(logged: list[float]) -> float:
    """What the logged answers are worth: the mean over all logs, whose error is far below that of one log."""
    return float(np.mean(logged))


def coverage(found: np.ndarray[Any, np.dtype[np.float64]], truth: float) -> dict[str, float]:
    """The share of the intervals that cover the truth, its standard error, and the mean error and width."""
    value, low, high = found.T
    covered = float(((low <= truth) & (truth <= high)).mean())
    return {
        "covered": covered,
        "standard_error": sqrt(covered * (1 - covered) / value.size),
        "bias": float(value.mean() - truth),
        "width": float((high - low).mean()),
    }


if __name__ == "__main__":
    typer.run(main)
