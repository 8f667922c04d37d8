"""Several vectors for a user against one: what `multi_interest` finds with each, and how alike its interests are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from time import process_time
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from _cases import CASES, choose_cases
from _harness import RESULTS, write
from numpy.typing import NDArray

from multirecall import Engine, EngineConfig
from multirecall.evaluation import METRICS, Split, time_split, user_metrics
from multirecall.evaluation.answers import retrieve_lists
from multirecall.learning.bootstrap import Interval, interval
from multirecall.progress import terminal_progress
from multirecall.retrievers.multi_interest import MultiInterest

KS = (20, 100, 500)
AT = KS.index(100)
KINDS = ("comirec_sa", "comirec_dr", "mind")
LOGS = ("online-retail-new", "ml-1m-time")

app = typer.Typer(help=__doc__)
Data = Annotated[Path, typer.Option(help="Folder that holds the data sets, one folder each.")]


class Fit(NamedTuple):
    """What one fit finds.

    Attributes:
        recalls: float64 (n_users, n_ks), the recall of each test user at each of `KS`.
        figures: the means, with CPU seconds of the fit, cosine of two interests and recalls on held-out events.
    """

    recalls: NDArray[np.float64]
    figures: dict[str, Any]


@app.command()
def choose(
    data: Data,
    case: Annotated[str, typer.Option(help="A case that is split by time.")],
    params: Annotated[list[str], typer.Option(help="Settings as JSON; the others are compared with the first ones.")],
    retriever: Annotated[str, typer.Option(help="The retriever.")] = "multi_interest",
) -> None:
    """Compare settings on the last tenth of the training part; the test part is not read."""
    torch.set_num_threads(1)
    split = time_split(CASES[case].split(data).train)
    fits: list[Fit] = []
    for one in params:
        fits.append(measure(split, retriever, json.loads(one), 0))
        typer.echo(f"{one}: {fits[-1].figures}, gain over the first {difference(fits[-1:], fits[:1])}")


@app.command()
def gain(
    data: Data,
    case: Annotated[list[str] | None, typer.Option(help="Which of the logs.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Which kinds.")] = None,
    seeds: Annotated[int, typer.Option(help="Fits of each, whose recall by user is averaged.")] = 1,
    interests: Annotated[int, typer.Option(help="The number of interests to compare with one.")] = 4,
) -> None:
    """Recall on the test part with several interests against one, all other settings the default ones.

    The result is written after each pair; it keeps the rows of pairs that this run leaves out.
    """
    torch.set_num_threads(1)
    for one in choose_cases(case or list(LOGS), CASES):
        split = one.split(data)
        for name in kind or KINDS:
            counts = (1, interests)
            params = [{"kind": name, "interests": count} for count in counts]
            fits = [[measure(split, "multi_interest", one, seed) for seed in range(seeds)] for one in params]
            gained = difference(fits[1], fits[0])
            typer.echo(f"{one.name}, {name}: recall@100 of {interests} interests less that of one {gained}")
            figures = {str(n): [fit.figures for fit in own] for n, own in zip(counts, fits, strict=True)}
            users = {"n_users": int(split.users.size), "split": split.name}
            row = {"data": one.name, "kind": name, **users, "fits": figures, "gain": asdict(gained)}
            keep([row])


def keep(rows: list[dict[str, Any]]) -> None:
    """Write rows into the result file, each in place of an earlier one of its log and kind."""
    file = RESULTS / "interests.json"
    kept = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    by_pair = {(row["data"], row["kind"]): row for row in [*kept, *rows]}
    typer.echo(write("interests", {"ks": KS, "rows": [by_pair[pair] for pair in sorted(by_pair)]}))


def measure(split: Split, retriever: str, params: dict[str, Any], seed: int) -> Fit:
    """Fit a retriever with these settings on the training part, and ask it for the test users."""
    path = {"retriever": retriever, "params": params, "quota": KS[-1]}
    config = {"paths": [path], "fusion": {"strategy": "rrf"}, "seed": seed}
    engine = Engine(EngineConfig.model_validate(config))
    start = process_time()
    with terminal_progress() as progress:
        engine.fit(split.train, progress=progress)
    seconds = process_time() - start
    batch = retrieve_lists(engine, split, None).paths[retriever]
    recalls = user_metrics(batch.offsets, batch.items, split.offsets, split.targets, KS)[METRICS.index("recall")]
    fitted: Any = engine._current().paths[0].retriever
    figures = {"recall": recalls.mean(axis=0).tolist(), "fit_cpu_s": seconds, "held_out": fitted.recalls}
    if isinstance(fitted, MultiInterest):
        figures["cosine"] = None if np.isnan(fitted.cosine) else fitted.cosine
    return Fit(recalls, figures)


def difference(fits: list[Fit], others: list[Fit]) -> Interval:
    """The mean gain in recall@100 over other fits, user by user, with its interval; seeds are averaged."""
    own, beside = (np.mean([fit.recalls[:, AT] for fit in some], axis=0) for some in (fits, others))
    return interval(own - beside)


if __name__ == "__main__":
    app()
