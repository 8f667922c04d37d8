"""`multirecall experiment`: how many users an experiment needs, and what it has found."""

from __future__ import annotations

import json
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import typer

from multirecall.cli.experiment_tables import show_plan, show_report
from multirecall.cli.options import AsJson, Columns, read_config
from multirecall.cli.screen import console
from multirecall.data import Dataset
from multirecall.errors import ConfigError, DataError, RequestError
from multirecall.monitoring.experiments import (
    Design,
    ExperimentReport,
    Plan,
    noise_of_means,
    noise_of_preferences,
    noise_of_rates,
    plan_effect,
    plan_users,
    read_experiments,
    report_experiment,
    users_for_mismatch,
)
from multirecall.monitoring.experiments.outcomes import DAY, join_events
from multirecall.monitoring.experiments.plan import LOOKS, Noise
from multirecall.monitoring.experiments.read_log import events_of, read_answers
from multirecall.monitoring.experiments.sequential import FEWEST
from multirecall.monitoring.experiments.settings import ExperimentSettings
from multirecall.monitoring.request_log import UserNames, ids_of
from multirecall.validation import nearest

experiment = typer.Typer(no_args_is_help=True, help="Experiments: some users get other fusions or paths.")

Events = Annotated[list[str], typer.Option(help="What users did later: a log of interactions; may be repeated.")]
Settings = Annotated[Path | None, typer.Option(help="Settings of the experiment (TOML), with a table `experiment`.")]
Named = Annotated[str | None, typer.Option("--experiment", help="Its name; default: the only one.")]
ListLength = Annotated[
    int | None, typer.Option("-k", "--k", min=1, help="Items of an answer that count; default: all.")
]
Horizon = Annotated[float, typer.Option(help="Days after an answer in which an event counts for it.")]
Salts = Annotated[
    list[str] | None,
    typer.Option(help="Environment variable with a salt that users were hashed under; repeat for each."),
]
Once = Annotated[bool, typer.Option("--once", help="For one look, at a size that was fixed before.")]
Alpha = Annotated[float, typer.Option(help="Probability of a false alarm.")]


@experiment.callback()
def root() -> None:
    """Experiments: some users get other fusions or paths."""


@experiment.command()
def report(
    log: Annotated[Path, typer.Argument(help="Folder of the request log.")],
    events: Events,
    columns: Columns = None,
    settings: Settings = None,
    name: Named = None,
    control: Annotated[
        str | None, typer.Option(help="Without --settings: the arm that the others are compared with.")
    ] = None,
    k: ListLength = None,
    horizon_days: Horizon = 1.0,
    alpha: Alpha = 0.05,
    once: Once = False,
    salt_env: Salts = None,
    as_json: AsJson = False,
) -> None:
    """Say what an experiment has found: metrics by arm, differences, preferences, and whether users are split right.

    Unless --once is given, intervals and p values hold however often one looks.
    """
    if settings is not None and control is not None:
        raise RequestError("--control: the settings name the control; leave --control or --settings out")
    found = _measure(log, events, columns, settings, name, control, k, horizon_days, alpha, once, salt_env)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    show_report(console(), found, assumed=settings is None)


@experiment.command()
def plan(
    baseline: Annotated[
        float | None, typer.Option(help="The control's metric: a rate, or a mean if --sd is given.")
    ] = None,
    effect: Annotated[float, typer.Option(help="Difference to find, relative to the baseline.")] = 0.05,
    sd: Annotated[float | None, typer.Option(help="Standard deviation of the metric over users.")] = None,
    preference: Annotated[
        float | None, typer.Option(help="Plan an interleaving, to find this mean preference of users, 0 to 1.")
    ] = None,
    credited: Annotated[
        float, typer.Option(help="Of an interleaving: the share of users who take an item of either side.")
    ] = 0.5,
    share: Annotated[
        list[float] | None, typer.Option(help="Share of an arm, the control's first; repeat. Default: .5 and .5.")
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="Say what so many users find, in place of how many are needed.")
    ] = None,
    power: Annotated[float, typer.Option(help="Probability that the effect is found.")] = 0.8,
    alpha: Alpha = 0.05,
    looks: Annotated[int, typer.Option(help="How often one looks before it ends.")] = LOOKS,
    once: Once = False,
    log: Annotated[Path | None, typer.Option(help="Measure the baseline in a request log; needs --events.")] = None,
    events: Annotated[list[str] | None, typer.Option(help="With --log: what users did later.")] = None,
    metric: Annotated[
        Literal["hit_rate", "recall", "events_per_day"], typer.Option(help="With --log: the metric.")
    ] = "hit_rate",
    settings: Settings = None,
    name: Named = None,
    k: ListLength = None,
    horizon_days: Horizon = 1.0,
    salt_env: Salts = None,
    as_json: AsJson = False,
) -> None:
    """Say how many users an experiment needs, or what it can find with so many."""
    shares = share or ([1.0] if preference is not None else [0.5, 0.5])
    if not all(0 < one <= 1 for one in shares) or sum(shares) > 1 + 1e-9:
        raise RequestError(f"--share: {shares} must be above 0 and sum to at most 1")
    if preference is not None:
        if not 0 < preference < 1 or not 0 < credited <= 1:
            raise RequestError("--preference must be between 0 and 1, --credited above 0 and at most 1")
        design = Design(alpha, power, 1, None if once else looks)
        noise, absolute, most = noise_of_preferences(credited, shares[0]), preference, 1.0
        rarest = credited * shares[0]
    else:
        if len(shares) < 2:
            raise RequestError("--share: give it for the control and for each other arm")
        if log is not None:
            found = _measure(log, events, None, settings, name, None, k, horizon_days, alpha, once, salt_env)
            baseline, sd = _control_of(found, metric)
        if baseline is None:
            raise RequestError("--baseline: say what the control's metric is, or measure it with --log and --events")
        design = Design(alpha, power, len(shares) - 1, None if once else looks)
        noise, most = _noise(baseline, sd, (shares[0], min(shares[1:])))
        absolute = effect * baseline
        rarest = min(shares)
    if absolute <= 0 or absolute >= most:
        raise RequestError(f"--effect: {effect:g} of {baseline:g} is no difference that can be; give another")
    planned: Plan = plan_users(absolute, noise, design) if users is None else plan_effect(users, noise, design, most)
    if users is None:
        fewest = ceil(FEWEST / rarest)
        planned = replace(planned, users=max(planned.users, fewest), mean_users=max(planned.mean_users, fewest))
    split = users_for_mismatch([0.5, 0.5], [0.505, 0.495], power)
    if as_json:
        typer.echo(json.dumps(planned.to_dict() | {"baseline": baseline, "users_for_mismatch": split}))
        return
    show_plan(console(), planned, design, baseline if preference is None else None, split)


def _noise(baseline: float, sd: float | None, shares: tuple[float, float]) -> tuple[Noise, float]:
    if sd is not None:
        if sd <= 0 or baseline <= 0:
            raise RequestError("--sd and --baseline must be above 0")
        return noise_of_means(sd, shares), max(1e6 * sd, 100 * baseline)
    if not 0 < baseline < 1:
        raise RequestError(f"--baseline: {baseline:g} is no rate between 0 and 1; for a mean, give --sd too")
    return noise_of_rates(baseline, shares), 1 - baseline


def _control_of(found: ExperimentReport, metric: str) -> tuple[float, float]:
    """The control's metric, and its standard deviation over users."""
    arm = next(one for one in found.arms if one.name == found.control)
    measured = arm.metrics[metric]
    if not measured.error > 0:
        raise DataError(f"--log: the {arm.users:,} users of {arm.name!r} do not tell {metric}; give --baseline")
    return measured.value, measured.error * arm.users**0.5


def _measure(
    log: Path,
    events: list[str] | None,
    columns: list[str] | None,
    settings: Path | None,
    name: str | None,
    control: str | None,
    k: int | None,
    horizon_days: float,
    alpha: float,
    once: bool,
    salt_env: list[str] | None,
) -> ExperimentReport:
    if not events:
        raise RequestError("--events: say what users did later")
    if not horizon_days > 0:
        raise RequestError(f"--horizon-days: must be above 0, got {horizon_days:g}")
    salts = [UserNames.of_environment(one) for one in salt_env or []]
    chosen = None if settings is None else _choose(read_experiments(settings), name, settings)
    try:
        logged = read_answers(log, name if chosen is None else chosen.name, k, salts)
    except ConfigError as fault:
        raise ConfigError(str(fault).replace("pass that salt as well", "name its variable with --salt-env")) from None
    later = Dataset.load(events, config=read_config(None, columns=columns, ids=ids_of(log)).data)
    joined = join_events(logged.answers, events_of(later, salts), k, horizon_days * DAY)
    return report_experiment(joined, chosen or logged.settings(control), alpha=alpha, sequential=not once)


def _choose(found: tuple[ExperimentSettings, ...], name: str | None, file: Path) -> ExperimentSettings:
    names = [one.name for one in found]
    if name is None and len(found) > 1:
        raise RequestError(f"{file}: has the experiments {', '.join(names)}; choose one with --experiment")
    if name is not None and name not in names:
        raise RequestError(f"--experiment: {file} has none named {name!r}; {nearest(name, names)}")
    return found[0] if name is None else found[names.index(name)]
