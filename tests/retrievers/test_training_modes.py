from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import tomli_w

from multirecall import Engine, EngineConfig
from multirecall.errors import ConfigError
from multirecall.retrievers._towers.config import MODES, LossName, Mode
from multirecall.retrievers.two_tower import TwoTower
from multirecall.settings import settings_of
from multirecall.testing import small_shop

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def loss_of(**params: Any) -> LossName:
    loss: LossName = TwoTower.Config.model_validate(params).loss
    return loss


def engine_config(**params: Any) -> dict[str, Any]:
    return {"paths": [{"retriever": "two_tower", "params": params}]}


def test_every_loss_has_one_mode() -> None:
    losses = [loss for group in MODES.values() for loss in group]
    assert sorted(losses) == sorted(get_args(LossName))
    assert list(MODES) == list(get_args(Mode))


def test_a_mode_alone_takes_its_first_loss() -> None:
    assert loss_of() == "softmax"
    assert loss_of(mode=None) == "softmax"
    assert [loss_of(mode=mode) for mode in MODES] == ["bce", "bpr", "softmax"]


@pytest.mark.parametrize("mode", list(MODES))
def test_a_loss_of_the_mode_stands(mode: Mode) -> None:
    assert [loss_of(mode=mode, loss=loss) for loss in MODES[mode]] == list(MODES[mode])


def test_a_loss_of_another_mode_is_refused_with_a_remedy() -> None:
    config = EngineConfig.model_validate(engine_config(mode="pairwise", loss="bce"))
    said = (
        "paths[0] 'two_tower' (two_tower): mode = 'pairwise' contradicts loss = 'bce', which is pointwise; "
        "set mode = 'pointwise', or a loss of bpr, bpr_max, triplet"
    )
    with pytest.raises(ConfigError) as caught:
        Engine(config)
    assert str(caught.value) == said


@pytest.mark.parametrize("mode", ["sideways", 3, ["pairwise"]])
def test_an_unknown_mode_is_refused(mode: object) -> None:
    with pytest.raises(ConfigError, match="mode: input should be 'pointwise', 'pairwise' or 'listwise'"):
        Engine(EngineConfig.model_validate(engine_config(mode=mode)))


def test_a_mode_survives_toml_and_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text(tomli_w.dumps(engine_config(mode="pairwise", dim=4, epochs=1)))
    with Engine.from_toml(tmp_path / "engine.toml") as engine:
        engine.fit(small_shop())
        engine.save(tmp_path / "bundle")
        before = engine.retrieve(1, k=5).ids.tolist()
        config = engine.config
    with Engine.load(tmp_path / "bundle") as loaded:
        assert loaded.retrieve(1, k=5).ids.tolist() == before
        assert loaded.config.paths[0].params["mode"] == "pairwise"
    assert TwoTower.Config.model_validate(config.paths[0].params).loss == "bpr"


def test_the_settings_name_the_modes() -> None:
    rows = {row.name: row for row in settings_of(TwoTower.Config)}
    assert rows["mode"].type == "str or None"
    assert rows["mode"].range == "one of pointwise, pairwise, listwise"
    assert rows["mode"].default == "None"
