"""The arms of experiments as variants of an engine: other settings over the paths that it has fitted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from multirecall.config import EngineConfig
from multirecall.engine.variants import Interleaving, Variant
from multirecall.engine.what_if import Choices, refuse_unknown, vary
from multirecall.errors import ConfigError, RequestError
from multirecall.monitoring.experiments.assignment import Arms, name_of
from multirecall.monitoring.experiments.settings import ArmSettings, ExperimentSettings, layers_of


def variants_of(
    config: EngineConfig, paths: Sequence[str], experiments: Sequence[ExperimentSettings]
) -> dict[str, Variant]:
    """A variant for each combination of arms that a user may get, by `name_of`.

    Args:
        config: the config that serves.
        paths: the names of the paths that the engine has fitted.
        experiments: as `check_experiments` gives them.

    Raises:
        ConfigError: an arm names no path of the engine, or has a wrong value.
    """
    by_name = {one.name: one for one in experiments}
    order = list(by_name)
    options = [
        [None, *((one.name, arm.name) for one in layer for arm in one.arms if arm.share > 0)]
        for layer in layers_of(experiments).values()
    ]
    variants: dict[str, Variant] = {}
    for combination in product(*options):
        arms = tuple(sorted((one for one in combination if one is not None), key=lambda one: order.index(one[0])))
        if arms:
            variants[name_of(arms)] = _variant(config, paths, by_name, arms)
    return variants


def _variant(
    config: EngineConfig, paths: Sequence[str], experiments: dict[str, ExperimentSettings], arms: Arms
) -> Variant:
    sides = [config, config]
    interleaves = False
    for experiment, name in arms:
        arm = experiments[experiment].arm(name)
        names = arm.interleaves or (name, name)
        interleaves |= arm.interleaves is not None
        sides = [
            _changed(side, paths, experiments[experiment].arm(own), f"experiment {experiment!r}, arm {own!r}")
            for side, own in zip(sides, names, strict=True)
        ]
    return Interleaving(sides[0], sides[1]) if interleaves else sides[0]


def _changed(config: EngineConfig, paths: Sequence[str], arm: ArmSettings, place: str) -> EngineConfig:
    """The config with what an arm changes, for the users of every segment."""
    strategy, params = (None, None) if arm.fusion is None else (arm.fusion.strategy, arm.fusion.params)
    try:
        refuse_unknown(arm.paths or (), paths, "paths")
        enabled = {} if arm.paths is None else {name: name in arm.paths for name in paths}
        changed = vary(config, paths, None, Choices(arm.weights, arm.quotas, enabled, strategy, params))
        for segment in range(len(config.segments)):
            changed = vary(changed, paths, segment, Choices(arm.weights, strategy=strategy, params=params))
    except (RequestError, ConfigError) as fault:
        raise ConfigError(f"{place}: {fault}") from None
    return changed
