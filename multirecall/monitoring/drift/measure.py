"""Measuring drift: the newest window after a fit against the last one before it, judged by all windows before that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from multirecall.data import Dataset
from multirecall.data.interactions import SECONDS_PER_DAY
from multirecall.engine import Engine
from multirecall.errors import DataError, RequestError
from multirecall.monitoring.drift.asking import Asked, ask
from multirecall.monitoring.drift.distances import Values, distance
from multirecall.monitoring.drift.embeddings import LEAST_OVERLAP, VectorDrift, vector_drift
from multirecall.monitoring.drift.limits import FEWEST_PAIRS, Kind, drop_limit, limit_of
from multirecall.monitoring.drift.populations import LENGTH, POPULARITY, Population, Populations
from multirecall.monitoring.drift.recall import Recall, recall_in
from multirecall.monitoring.drift.report import DriftReport, Figure, Group, Histograms, advise
from multirecall.monitoring.drift.timeline import Timeline, Window
from multirecall.progress import SILENT, Progress

SCORE_BINS = 30

RECALL_USERS = 1_000
"""Most users whose recall is measured, in two windows only: a mean of fewer shows large drops alone."""


@dataclass(frozen=True, slots=True)
class DriftOptions:
    """How drift is measured.

    Attributes:
        window_days: the days of a window; None: as long as the new events last, at most 28.
        k: the number of candidates of a request.
        n_users: the most users of a window who are asked for; for recall it is 1,000.
        false_alarms: the probability that a quiet period raises any alarm; it is divided by the number of figures.
        refit: whether the recall at fit is measured by another fit, which does not know the last window before the fit.
        seed: the seed of samples and shuffles.

    Raises:
        RequestError: a value is out of range.
    """

    window_days: float | None = None
    k: int = 100
    n_users: int = 300
    false_alarms: float = 0.001
    refit: bool = False
    seed: int = 7

    def __post_init__(self) -> None:
        if self.window_days is not None and not self.window_days > 0:
            raise RequestError(f"drift: a window must last longer than 0 days, got {self.window_days}; pass e.g. 28")
        if self.k < 1 or self.n_users < 1:
            raise RequestError(f"drift: k and users must be > 0, got {self.k} and {self.n_users}; pass e.g. 100")
        if not 0 < self.false_alarms < 1:
            raise RequestError(
                f"drift: the rate of false alarms must be between 0 and 1, got {self.false_alarms}; pass e.g. 0.001"
            )


DEFAULTS = DriftOptions()


@dataclass(frozen=True, slots=True)
class _Draft:
    """A figure whose limit is not known yet."""

    name: str
    group: Group
    kind: Kind
    value: float
    past: tuple[float, ...]
    before: float | None = None
    now: float | None = None
    js: float | None = None


class _Recalls(NamedTuple):
    """The recall on the newest window, and the one that it is compared with, where there is one."""

    before: Recall | None = None
    now: Recall | None = None


def measure_drift(
    engine: Engine,
    events: Dataset,
    options: DriftOptions = DEFAULTS,
    *,
    other: Engine | None = None,
    progress: Progress = SILENT,
) -> DriftReport:
    """Measure what drifted since a fit.

    Args:
        engine: the engine as it was fitted, without later live changes.
        events: new events, read by `read_events`; those that are not newer than the fit are left out.
        options: how to measure.
        other: an earlier fit, whose item vectors are compared with those of `engine`.
        progress: shows how far it is.

    Raises:
        DataError: the logs have no times, or are too short for a window.
    """
    timeline = Timeline.of(engine.data, events)
    length = timeline.length(options.window_days)
    past, newest = timeline.past(length), timeline.newest(length)
    windows = [*past, newest]
    populations = Populations(timeline)
    with progress.task("drift: windows", len(windows)) as advance:
        people, asked = [], []
        for window in windows:
            people.append(populations.of(window))
            asked.append(ask(engine, timeline, window, options.k, options.n_users, options.seed))
            advance(1)
    notes = _notes(timeline, past, newest, length)
    drafts = [*_data_drafts(people, options.seed), *_path_drafts(asked, options.seed)]
    recalls = _recalls(engine, timeline, past[-1], newest, options, notes, progress)
    n_judged = len(drafts) + (recalls.before is not None)
    rate = options.false_alarms / n_judged
    figures = [_judge(draft, rate) for draft in drafts]
    if recalls.before is not None and recalls.now is not None:
        figures.append(_recall_figure(recalls.before, recalls.now, rate))
    vectors = () if other is None else tuple(vector_drift(other, engine, seed=options.seed))
    figures += [_vector_figure(one) for one in vectors]
    return DriftReport(
        tuple(figures),
        advise(figures),
        _facts(timeline, past, newest, people, recalls, options, n_judged),
        tuple(notes),
        {path: _histograms(asked[-2].scores[path], asked[-1].scores[path]) for path in asked[-1].scores},
        vectors,
    )


def _data_drafts(people: list[Population], seed: int) -> list[_Draft]:
    now, before = people[-1], people[-2]
    items, users = [one.unknown_items for one in people], [one.unknown_users for one in people]
    drafts = [_share_draft("unknown items", "catalogue", items), _share_draft("unknown users", "users", users)]
    groups: dict[str, Group] = {POPULARITY: "catalogue", LENGTH: "users"}
    for name in before.values:
        if name in now.values:
            group = groups.get(name, "features")
            drafts.append(_psi_draft(name, group, [one.values[name] for one in people], seed))
    return drafts


def _share_draft(name: Literal["unknown items", "unknown users"], group: Group, levels: list[float]) -> _Draft:
    return _Draft(name, group, name, levels[-1], tuple(levels[1:-1]), levels[-2], levels[-1])


def _path_drafts(asked: list[Asked], seed: int) -> list[_Draft]:
    drafts = []
    for path in asked[-1].paths:
        shares = [one.paths[path] for one in asked]
        for what in ("empty", "contribution", "overlap"):
            levels = [getattr(one, what) for one in shares]
            changes = tuple(float(second - first) for first, second in pairwise(levels))
            drafts.append(
                _Draft(f"{path} {what}", "paths", "change", changes[-1], changes[:-1], levels[-2], levels[-1])
            )
        drafts.append(_psi_draft(f"{path} scores", "paths", [one.scores[path] for one in asked], seed))
    return drafts


def _psi_draft(name: str, group: Group, values: list[Values], seed: int) -> _Draft:
    found = [distance(first, second, seed) for first, second in pairwise(values)]
    past = tuple(one.psi for one in found[:-1])
    return _Draft(name, group, "psi", found[-1].psi, past, js=found[-1].js)


def _judge(draft: _Draft, rate: float) -> Figure:
    limit = limit_of(draft.kind, draft.past, rate)
    unit: Mapping[Kind, str] = {"psi": "PSI", "change": "change"}
    return Figure(
        draft.name,
        draft.group,
        draft.value,
        unit.get(draft.kind, "share"),  # type: ignore[arg-type]
        limit.value,
        limit.source,
        draft.before,
        draft.now,
        draft.js,
        draft.past,
    )


def _recalls(
    engine: Engine,
    timeline: Timeline,
    last: Window,
    newest: Window,
    options: DriftOptions,
    notes: list[str],
    progress: Progress,
) -> _Recalls:
    """The recall on the newest window, and one that it can be compared with; adds to `notes` where there is none."""
    length = last.end - last.start
    first = Window(timeline.fit, min(timeline.fit + length, newest.start))
    try:
        now = recall_in(engine, timeline, newest, options.k, RECALL_USERS, options.seed)
        if options.refit:
            return _Recalls(_recall_at_fit(engine, timeline, last, options, progress), now)
        if first.end - first.start >= length / 2:
            return _Recalls(recall_in(engine, timeline, first, options.k, RECALL_USERS, options.seed), now)
    except DataError as fault:
        notes.append(f"recall was not compared: {str(fault).removeprefix('drift: ')}")
        return _Recalls()
    notes.append(
        "recall has nothing to be compared with: the bundle knows what came before its fit, and the new events last "
        "less than one and a half windows; another fit can tell (command line: --refit)"
    )
    return _Recalls(None, now)


def _recall_at_fit(
    engine: Engine, timeline: Timeline, last: Window, options: DriftOptions, progress: Progress
) -> Recall:
    """The recall on the last window before the fit, of an engine with the same settings that does not know it."""
    data = engine.data
    times = data.interactions.times
    assert times is not None
    with Engine(engine.config) as other:
        other.fit(data.filter_events(times <= last.start), progress=progress)
        return recall_in(other, timeline, last, options.k, RECALL_USERS, options.seed)


def _recall_figure(before: Recall, now: Recall, rate: float) -> Figure:
    first, second = float(before.values.mean()), float(now.values.mean())
    limit = drop_limit(before.values.tolist(), now.values.tolist(), rate)
    return Figure(f"recall@{now.k}", "recall", first - second, "drop", limit.value, limit.source, first, second)


def _vector_figure(one: VectorDrift) -> Figure:
    return Figure(
        f"{one.path} neighbours", "vectors", 1 - one.overlap, "share", 1 - LEAST_OVERLAP, "stated", now=one.overlap
    )


def _histograms(before: Values, now: Values) -> Histograms:
    scores = np.concatenate([before.content, now.content])
    low, high = np.quantile(scores, [0.0, 0.99]) if scores.size else (0.0, 1.0)
    bounds = np.linspace(low, high if high > low else low + 1.0, SCORE_BINS + 1)
    shares = [
        tuple((np.histogram(np.clip(one.content, low, high), bounds)[0] / max(one.content.size, 1)).tolist())
        for one in (before, now)
    ]
    return Histograms(tuple(bounds.tolist()), *shares)


def _notes(timeline: Timeline, past: list[Window], newest: Window, length: int) -> list[str]:
    notes = []
    if timeline.n_left_out:
        notes.append(f"{timeline.n_left_out:,} of the events are not newer than the fit; they were left out")
    if len(past) - 1 < FEWEST_PAIRS:
        notes.append(
            f"the log before the fit has {len(past) - 1} pairs of windows, too few to learn limits from (it takes "
            f"{FEWEST_PAIRS}); stated limits serve"
        )
    if newest.end - newest.start < length:
        notes.append("the new events last shorter than a window")
    return notes


def _facts(
    timeline: Timeline,
    past: list[Window],
    newest: Window,
    people: list[Population],
    recalls: _Recalls,
    options: DriftOptions,
    n_figures: int,
) -> dict[str, str]:
    def span(window: Window, population: Population) -> str:
        return f"{_day(window.start + 1)} to {_day(window.end)}: {population.n_events:,} events, " + (
            f"{population.n_users:,} users"
        )

    new_rows = timeline.items[timeline.inside(newest)] >= timeline.n_known_items
    unknown = float(new_rows.mean()) if new_rows.size else 0.0
    facts = {
        "newest window": span(newest, people[-1]),
        "before the fit": span(past[-1], people[-2]),
        "not in the catalogue": f"{unknown:.2%} of the newest events",
        "limits": f"from {len(past) - 1} pairs of past windows of "
        f"{(past[-1].end - past[-1].start) / SECONDS_PER_DAY:g} days; {options.false_alarms:g} false alarms a period "
        f"over {n_figures} figures",
    }
    for name, one in (("recall before", recalls.before), ("recall now", recalls.now)):
        if one is not None:
            facts[name] = (
                f"{one.interval} at k = {one.k} from {_day(one.window.start + 1)} to {_day(one.window.end)}: "
                f"{one.values.size:,} users, {one.n_targets:,} targets, {one.unreachable:.2%} not in the catalogue"
            )
    if recalls.before is not None:
        facts["recall before is of"] = (
            "another fit with the same settings, which does not know that time"
            if options.refit
            else "this fit, in the first window after it"
        )
    return facts


def _day(seconds: int) -> str:
    return str(np.datetime64(seconds, "s").astype("datetime64[D]"))
