"""The settings of experiments, as the table `[experiment]` of a TOML file has them, or several `[[experiment]]`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from multirecall.config import FusionConfig
from multirecall.errors import ConfigError
from multirecall.validation import AUTO, Count, Positive, StrictModel, nearest, validate

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
ROUNDING = 1e-9
"""By how much shares may sum to more than 1."""

MOST_VARIANTS = 64
"""Of all experiments together; each takes a config and a compiled fusion."""

Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Effect = Annotated[float, Field(strict=True, gt=0, le=10)]


class ArmSettings(StrictModel):
    """An arm of an experiment: what differs from the config that the engine serves."""

    name: Annotated[str, Field(pattern=NAME)]
    """Name in answers and reports. Letters, digits, `_` and `-`."""

    share: Share
    """The share of the users. With 0 nobody gets the arm by itself, but it may be a side of an interleaving."""

    fusion: FusionConfig | None = None
    """The fusion, for users with histories of any length; None: the engine's."""

    weights: dict[str, Positive] = Field(default_factory=dict)
    """Weights in the fusion by path name, for users with histories of any length; others stay."""

    quotas: dict[str, Count] = Field(default_factory=dict)
    """Quotas by path name; others stay."""

    paths: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The paths that are asked, among those that the engine has fitted; None: those that the engine asks."""

    interleaves: tuple[str, str] | None = None
    """The names of two arms whose lists are interleaved by team draft. Such an arm changes nothing else."""

    @model_validator(mode="after")
    def _interleaves_alone(self) -> Self:
        if self.fusion is not None and self.fusion.strategy == AUTO:
            raise ValueError("fusion: 'auto' is learned by a fit; name a strategy, or leave the fusion out")
        if self.interleaves is not None:
            if self.changes:
                raise ValueError(f"an arm that interleaves has no {self.changes[0][0]}; give it to one of its two arms")
            if self.interleaves[0] == self.interleaves[1]:
                raise ValueError(f"interleaves: {self.interleaves[0]!r} is named twice; name two arms")
        return self

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """What the arm changes: the setting, and the path that it is of, or ""."""
        whole = [(name, "") for name in ("fusion", "paths") if getattr(self, name) is not None]
        return (*whole, *(("weights", path) for path in self.weights), *(("quotas", path) for path in self.quotas))


class ExperimentSettings(StrictModel):
    """An experiment: its arms, and how users are assigned to them."""

    name: Annotated[str, Field(pattern=NAME)]
    """Name in answers and reports. Letters, digits, `_` and `-`."""

    salt: Annotated[str, Field(min_length=1)] | None = None
    """Decides, with the id of the user, who gets which arm; None: the name. Another salt draws the arms anew."""

    arms: Annotated[tuple[ArmSettings, ...], Field(min_length=1)]
    """The arms. Users beyond the sum of their shares take no part."""

    control: str | None = None
    """The name of the arm that the others are compared with; None: the first that does not interleave."""

    visitors: Annotated[str, Field(min_length=1)] | None = None
    """The key of a request's context that identifies a user without an id; None, or a request without the key: the id
    of the request does."""

    layer: Annotated[str, Field(min_length=1)] | None = None
    """Experiments in one layer exclude each other; those in different layers are independent. None: a layer of its
    own."""

    range: tuple[Share, Share] = (0.0, 1.0)
    """Which users of the layer take part, from and up to, as shares. Ranges of a layer's experiments are disjoint."""

    effect: Effect = 0.05
    """The difference that the experiment is to find, relative to the control's metric. Sequential intervals are
    narrowest where it is found; they hold for any effect. Fix it before the experiment begins."""

    preference: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.1
    """The same for interleaving: the mean preference of users, between 0 and 1."""

    @model_validator(mode="after")
    def _arms_fit_together(self) -> Self:
        names = [arm.name for arm in self.arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"arms: two are named {twice[0]!r}; give one of them another name")
        plain = [arm.name for arm in self.arms if arm.interleaves is None]
        for name in (*(side for arm in self.arms for side in arm.interleaves or ()), *filter(None, [self.control])):
            if name not in plain:
                raise ValueError(f"no arm without interleaves is named {name!r}; {nearest(name, plain)}")
        total = sum(arm.share for arm in self.arms)
        if not 0 < total <= 1 + ROUNDING:
            raise ValueError(f"arms: the shares sum to {total:g}; let them sum to more than 0 and at most 1")
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range: {list(self.range)} is empty; give a lower and a higher share")
        if self.layer is None and self.range != (0.0, 1.0):
            raise ValueError("range: it is a part of a layer; name the layer, or lower the shares of the arms")
        return self

    @property
    def compared_with(self) -> str:
        """The name of the control."""
        return self.control or next(arm.name for arm in self.arms if arm.interleaves is None)

    def arm(self, name: str) -> ArmSettings:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    @field_validator("arms")
    @classmethod
    def _has_a_plain_arm(cls, arms: tuple[ArmSettings, ...]) -> tuple[ArmSettings, ...]:
        if all(arm.interleaves is not None for arm in arms):
            raise ValueError("every arm interleaves; add the two arms that it interleaves, with share 0 if need be")
        return arms


def _as_list(given: Any) -> Any:
    """One experiment as a list of one."""
    return (given,) if isinstance(given, dict | ExperimentSettings) else given


def check_together(experiments: Sequence[ExperimentSettings]) -> None:
    """Raise `ValueError` where experiments do not go together."""
    for one, other in combinations(experiments, 2):
        for what, first, second in (
            ("name", one.name, other.name),
            ("salt", one.salt or one.name, other.salt or other.name),
        ):
            if first == second:
                raise ValueError(f"two experiments have the {what} {first!r}; give one of them another")
        if one.layer is None or one.layer != other.layer:
            _refuse_both(one, other)
    variants = 1
    for layer in layers_of(experiments).values():
        variants *= 1 + sum(arm.share > 0 for one in layer for arm in one.arms)
        _check_layer(layer)
    if variants - 1 > MOST_VARIANTS:
        raise ValueError(
            f"the experiments combine to {variants - 1} variants, more than {MOST_VARIANTS}; put some of them in one "
            "layer, or leave out arms"
        )


def _check_layer(layer: Sequence[ExperimentSettings]) -> None:
    if len({one.visitors for one in layer}) > 1:
        raise ValueError(f"layer {layer[0].layer!r}: its experiments differ in visitors; let them agree")
    ranges = sorted((one.range, one.name) for one in layer)
    for (first, name), (second, other) in pairwise(ranges):
        if first[1] > second[0]:
            raise ValueError(
                f"layer {layer[0].layer!r}: the ranges {list(first)} of {name!r} and {list(second)} of {other!r} "
                "overlap; make them disjoint"
            )


def _refuse_both(one: ExperimentSettings, other: ExperimentSettings) -> None:
    """Refuse two experiments of different layers that would change the same thing for the same user."""
    remedy = "put both in one layer"
    changed = {change for arm in other.arms for change in arm.changes}
    for what, path in (change for arm in one.arms for change in arm.changes if change in changed):
        of = f" of {path!r}" if path else ""
        raise ValueError(f"experiments {one.name!r} and {other.name!r} both change the {what}{of}; {remedy}")
    if all(any(arm.interleaves for arm in experiment.arms) for experiment in (one, other)):
        raise ValueError(f"experiments {one.name!r} and {other.name!r} both interleave; {remedy}")


Experiments = Annotated[tuple[ExperimentSettings, ...], BeforeValidator(_as_list)]
"""One experiment or several, as a tuple; a model with such a field calls `check_together`."""


class _Tables(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    experiment: Experiments = ()

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        check_together(self.experiment)
        return self


def check_experiments(given: ExperimentSettings | Sequence[ExperimentSettings]) -> tuple[ExperimentSettings, ...]:
    """One experiment or several as a tuple; raises `ConfigError` where they do not go together."""
    return validate(_Tables, {"experiment": given}, "experiments").experiment


def read_experiments(file: str | Path) -> tuple[ExperimentSettings, ...]:
    """The experiments of a TOML file, from its table `[experiment]` or its tables `[[experiment]]`; others are ignored.

    Raises:
        ConfigError: the file cannot be read, is no TOML, has no experiment, or a setting is wrong.
    """
    try:
        values = tomllib.loads(Path(file).read_text(encoding="utf-8-sig"))
    except OSError as fault:
        raise ConfigError(f"{file}: cannot be read ({fault.strerror}); check the path") from None
    except ValueError as fault:
        raise ConfigError(f"{file}: is not TOML ({fault})") from None
    found = validate(_Tables, values, str(file)).experiment
    if not found:
        raise ConfigError(f"{file}: has no table [experiment]; add one with a name and arms")
    return found


def layers_of(experiments: Sequence[ExperimentSettings]) -> dict[str, list[ExperimentSettings]]:
    """The experiments by layer; one without a layer has its own, under the key `experiment NAME`."""
    layers: dict[str, list[ExperimentSettings]] = {}
    for one in experiments:
        layers.setdefault(f"experiment {one.name}" if one.layer is None else f"layer {one.layer}", []).append(one)
    return layers
