"""What a fit has learned, as values that a bundle stores and people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import tomli_w
from pydantic import TypeAdapter

from multirecall.config import EngineConfig, FusionConfig, SegmentConfig
from multirecall.learning.choice import open_fusion
from multirecall.learning.gate import GateStep
from multirecall.learning.hold_out import Goal
from multirecall.learning.learn import LearnedFusion, SegmentOutcome, TrialOutcome
from multirecall.learning.settings import SettingsOutcome
from multirecall.learning.trials import Cell
from multirecall.validation import validate

ENDLESS = 1e9
"""A half-life in items that no history reaches, in place of None."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where the time of a fit went, in seconds of wall time.

    Attributes:
        fit: the fit of all paths.
        settings: choosing the settings that are "auto".
        fusion: holding out, asking every path, and learning the fusion.
    """

    fit: float
    settings: float
    fusion: float

    @property
    def share(self) -> float:
        """The share of learning the fusion in the whole."""
        return self.fusion / max(self.fit + self.settings + self.fusion, 1e-9)


@dataclass(frozen=True, slots=True)
class FusionReport:
    """What a fit has learned from events that it held out: the settings of paths, which paths stay, and the fusion.

    Attributes:
        statement: what was learned, or why nothing was, in words.
        goal: what was held out: `next`, `while`, or None for items of a log without order, or where nothing was.
        n_users: the number of users that were held out.
        n_requests: the number of requests.
        strategy: the fusion plug-in.
        params: its settings.
        weights: the weight of each path that is asked.
        segments: the settings and weights of users with short histories, shortest first.
        dropped: why a path is not asked, by path.
        settings: the settings of each path that are "auto", with the values in use.
        choices: what was tried for them, by path.
        trials: every fusion that was tried, best first.
        cells: the fusion beside the best path, by metric and list length, on users that it was not learned from.
        steps: the paths that the gate looked at.
        segment_trials: the fusions by history length that were tried.
        tuned: by fusion that was tried, its settings and weights after learning; for comparisons.
        seconds: where the time went.
        refits: the number of refits that have kept this fusion.
    """

    statement: str
    goal: Goal | None = None
    n_users: int = 0
    n_requests: int = 0
    strategy: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    segments: tuple[dict[str, Any], ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    choices: dict[str, SettingsOutcome] = field(default_factory=dict)
    trials: tuple[TrialOutcome, ...] = ()
    cells: tuple[Cell, ...] = ()
    steps: tuple[GateStep, ...] = ()
    segment_trials: tuple[SegmentOutcome, ...] = ()
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: Seconds | None = None
    refits: int = 0

    def apply_to(self, config: EngineConfig) -> EngineConfig:
        """The config that gives the same engine without learning; a path that was dropped stays enabled."""
        values = config.model_dump(exclude_unset=True)
        paths = []
        for path in config.paths:
            own = path.model_dump(exclude_unset=True) | {"name": path.name}
            if path.name in self.settings:
                own["params"] = {**path.params, **self.settings[path.name]}
            if path.name in self.weights:
                own["weight"] = self.weights[path.name]
            paths.append(own)
        values["paths"] = paths
        if self.strategy:
            values["fusion"] = FusionConfig(strategy=self.strategy, params=self.params).model_dump(exclude_unset=True)
        if self.segments:
            values["segments"] = [SegmentConfig.model_validate(segment).model_dump() for segment in self.segments]
        return validate(EngineConfig, values, "fusion report")

    def settle(self, config: EngineConfig) -> EngineConfig:
        """As `apply_to`, with the paths that were dropped switched off; they keep their places, and with them seeds."""
        values = self.apply_to(config).model_dump(exclude_unset=True)
        for path in values["paths"]:
            if path["name"] in self.dropped:
                path["enabled"] = False
        return validate(EngineConfig, values, "fusion report")

    def to_toml(self, config: EngineConfig) -> str:
        """The config that gives the same engine without learning, as TOML; paths that were dropped are disabled.

        TOML cannot hold None. A half-life that the log chose as None becomes `ENDLESS`, which halves nothing either.
        Any other setting that is None is left out, and named in a comment.
        """
        return config_toml(self.settle(config), self.settings)

    def with_fusion(self, learned: LearnedFusion, names: Sequence[str]) -> FusionReport:
        """A copy with the fusion that was learned for the paths `names`."""
        choice = learned.choice

        def stored(params: Mapping[str, Any]) -> dict[str, Any]:
            values: dict[str, Any] = open_fusion(choice.strategy, params).config.model_dump(mode="json")
            return values

        losses = {step.path: step.loss for step in learned.steps if not step.kept}
        dropped = {
            name: f"the others do as well without it (loss {losses[name]})"
            if name in losses
            else f"it has no weight in what is kept ({learned.name})"
            for number, name in enumerate(names)
            if number not in choice.asked
        }
        return replace(
            self,
            statement=f"The fusion that is kept: {learned.name}; {learned.reason}.",
            strategy=choice.strategy,
            params=stored(choice.params),
            weights=_by_name(names, choice.weights),
            segments=tuple(
                {
                    "max_history": segment.max_history,
                    "weights": _by_name(names, segment.weights),
                    "fusion": {"strategy": choice.strategy, "params": stored(segment.params)},
                }
                for segment in choice.segments
            ),
            dropped=dropped,
            trials=learned.trials,
            cells=learned.cells,
            steps=learned.steps,
            segment_trials=learned.segments,
            tuned={
                name: {"strategy": one.strategy, "params": dict(one.params), "weights": _by_name(names, one.weights)}
                for name, one in learned.tuned.items()
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> FusionReport:
        """Read what `to_dict` gave."""
        return _ADAPTER.validate_python(values)

    def __str__(self) -> str:
        lines = [self.statement]
        lines += [f"  {one.name}: {one.score:.3f} of the best path, gain {one.over_path}" for one in self.trials]
        lines += [f"Dropped: {path}, {reason}." for path, reason in self.dropped.items()]
        for path, choice in self.choices.items():
            kept = "kept" if choice.kept else "not kept"
            found = "no better values were found" if choice.gain is None else f"gain {choice.gain}, {kept}"
            named = ", ".join(f"{name} {value}" for name, value in choice.values.items())
            lines.append(f"Settings of {path}: {named} ({choice.n_tried} tried; {found}).")
        if self.seconds is not None:
            lines.append(
                f"The paths were fitted in {self.seconds.fit:.1f} s, settings chosen in {self.seconds.settings:.1f} s, "
                f"the fusion learned in {self.seconds.fusion:.1f} s ({self.seconds.share:.0%})."
            )
        return "\n".join(lines)


def config_toml(config: EngineConfig, settings: Mapping[str, Mapping[str, Any]]) -> str:
    """A config as TOML; what to do with None says `FusionReport.to_toml`.

    Args:
        config: the config.
        settings: the settings of each path that the log chose.
    """
    values = config.model_dump(mode="json", exclude_unset=True)
    lines = []
    for path in values["paths"]:
        params = path.get("params", {})
        for name in [name for name, value in params.items() if value is None]:
            if name in settings.get(path["name"], {}):
                params[name] = ENDLESS
            else:
                del params[name]
                lines.append(f"# paths {path['name']!r}: {name} is None, which TOML cannot hold, and is left out")
    return "\n".join([*lines, tomli_w.dumps(_without_none(values))])


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list | tuple) else value


def _by_name(names: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    return {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}


_ADAPTER: TypeAdapter[FusionReport] = TypeAdapter(FusionReport)
