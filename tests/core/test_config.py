from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from multirecall import Engine, EngineConfig
from multirecall.errors import ConfigError

FULL = """
k = 50
seed = 3
threads = 2
deadline_ms = 40.0

[data]
event_weights = { buy = 5.0 }

[[paths]]
name = "similar"
retriever = "item_cf"
quota = 400
weight = 0.5
required = true
params = { neighbours = 20 }

[[paths]]
retriever = "popularity"
enabled = false

[fusion]
strategy = "weighted_sum"
params = { normaliser = "rank" }

[fallback]
retriever = "popularity"
params = { half_life_days = 7 }
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "engine.toml"
    file.write_text(text)
    return file


def test_every_key_of_the_design_is_read(tmp_path: Path) -> None:
    config = EngineConfig.from_toml(write(tmp_path, FULL))
    assert (config.k, config.seed, config.threads, config.deadline_ms) == (50, 3, 2, 40.0)
    assert config.data.event_weights == {"buy": 5.0}
    first, second = config.paths
    assert (first.name, first.quota, first.weight, first.required) == ("similar", 400, 0.5, True)
    assert (second.name, second.quota, second.weight, second.enabled) == ("popularity", 500, 1.0, False)
    assert Engine(config)._blueprint.paths[0][2].settings.model_dump()["threads"] == 2, "the engine's threads reach it"


def test_defaults() -> None:
    config = EngineConfig()
    assert (config.k, config.deadline_ms) == (500, None)
    assert [config.threads, config.fusion.strategy] == ["auto", "auto"]
    assert config.fallback.retriever == "popularity"


PATH = '[[paths]]\nretriever = "item_cf"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k = 0", ": k: input should be greater than 0, got 0"),
        ("kk = 5", ": unknown key 'kk'; did you mean 'k'?"),
        ("deadline_ms = inf", ": deadline_ms: input should be a finite number, got inf"),
        (PATH + "quote = 3", ": paths[0]: unknown key 'quote'; did you mean 'quota'?"),
        (PATH + "weight = 0", ": paths[0].weight: input should be greater than 0, got 0"),
        (PATH + PATH, ": paths: two paths are named 'item_cf'; give one of them another name"),
        (PATH + 'name = "fallback"', ": paths: the name 'fallback' is taken by the fallback"),
        (PATH + 'name = "../x"', ": paths[0].name: string should match pattern"),
        (PATH + "enabled = false", ": paths: no path is enabled; enable one"),
        ("[[paths]]\nquota = 3", ": paths[0]: key 'retriever' is missing; add it"),
        ("paths = []", ": paths: no path is enabled; enable one"),
        ("k = true", ": k: input should be a valid integer, got True"),
        ('k = "7"', ": k: input should be a valid integer, got '7'"),
        ("k = 99999999999", ": k: input should be less than 2147483648"),
        (PATH + "params = { x = 2026-01-01 }", ": paths[0].params: object of type date is not JSON serializable; use"),
        ("[fusion]\nstrategie = 'rrf'", ": fusion: unknown key 'strategie'; did you mean 'strategy'?"),
        (PATH + "params = { neighbours = 0 }", ": paths[0] 'item_cf' (item_cf): neighbours: input should be greater"),
        (PATH + "params = { neighbors = 9 }", "(item_cf): unknown key 'neighbors'; did you mean 'neighbours'?"),
        (
            "[fusion]\nstrategy = 'rrf'\nparams = { rank = 3 }",
            ": fusion (rrf): unknown key 'rank'; known: rank_constant",
        ),
        ("[fusion]\nparams = { rank = 3 }", ": fusion: params are given for strategy 'auto', which has none; name"),
        (
            "[[segments]]\nmax_history = 3\nfusion = {}",
            ": segments[0].fusion: a segment of the config cannot be 'auto'; name",
        ),
        ("[fusion]\ngoal = 'win'", ": fusion.goal: input should be 'next' or 'while', got 'win'"),
        ("[fallback]\nparams = { x = 3 }", ": fallback (popularity): unknown key 'x'; known: half_life_days"),
        ("k = = 3", ": is not TOML: "),
    ],
)
def test_mistakes_are_named_with_place_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as fault:
        Engine.from_toml(file)
    assert str(fault.value).startswith(str(file))
    assert message in str(fault.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        EngineConfig.from_toml(tmp_path / "none.toml")


def test_config_cannot_be_changed() -> None:
    config: Any = EngineConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.k = 3
