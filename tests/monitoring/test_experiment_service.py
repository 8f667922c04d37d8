"""A service attaches the experiments of its settings, and takes them off when it ends."""

from __future__ import annotations

import pytest

from multirecall import Engine, EngineConfig
from multirecall.errors import ConfigError
from multirecall.serving import ServeSettings
from multirecall.serving.monitors import Monitors
from multirecall.testing import small_shop
from multirecall.validation import validate

ARMS = [{"name": "old", "share": 0.5}, {"name": "new", "share": 0.5, "weights": {"item_cf": 4.0}}]


def test_the_settings_of_a_service_attach_an_experiment() -> None:
    paths = [{"retriever": "item_cf"}, {"retriever": "popularity"}]
    settings = validate(ServeSettings, {"experiment": {"name": "x", "arms": ARMS}}, "serve.toml")
    with Engine(EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": "rrf"}})).fit(
        small_shop()
    ) as engine:
        monitors = Monitors(engine, settings)
        assert {engine.retrieve(user, 3).variant for user in range(1, 30)} == {"x:old", "x:new"}
        monitors.close()
        assert engine.retrieve(1, 3).variant is None


def test_experiments_that_do_not_go_together_are_refused_with_the_settings() -> None:
    twice = [{"name": "x", "arms": ARMS}, {"name": "x", "arms": ARMS}]
    with pytest.raises(ConfigError, match="two experiments have the name 'x'"):
        validate(ServeSettings, {"experiment": twice}, "serve.toml")
