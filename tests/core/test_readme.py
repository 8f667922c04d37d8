"""What the README shows runs, and its tables say what the result files say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.datasets import generate
from multirecall.progress import SILENT
from multirecall.protocols import PluginConfig
from multirecall.testing import small_shop
from multirecall.testing.retriever import RetrieverContract

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    assert "PathStatus(state='ok'" in capsys.readouterr().out
    assert (tmp_path / "candidates.parquet").is_file()


def test_live_changes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    log = generate(n_users=500, n_items=800, n_interactions=20_000)
    config = EngineConfig(paths=(PathConfig(retriever="item_cf"), PathConfig(retriever="content")))
    with Engine(config).fit(Dataset.from_frames(log.interactions, log.items, log.users)) as engine:
        engine.save("bundle")
    names: dict[str, Any] = {"Engine": Engine}
    exec(compile(blocks("python")[1], "README.md", "exec"), names)
    assert "PathHealth(breaker='closed'" in capsys.readouterr().out
    assert "i000080" not in names["engine"].retrieve("u00042", k=800).ids
    assert "brand-new" in names["engine"].retrieve("u00042", k=800).ids
    assert not names["engine"].retrieve("u00007", k=1).known
    names["engine"].close()
    assert len(Engine.versions("bundle")) == 1, "the one before holds who was forgotten"


def test_config_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text(blocks("toml")[0], encoding="utf-8")
    assert [path.name for path in Engine.from_toml(tmp_path / "engine.toml").config.paths] == [
        "similar",
        "content",
        "popularity",
    ]


def test_own_retriever_passes_the_contract(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "my_project.fresh"}
    exec(compile(blocks("python")[2], "README.md", "exec"), names)
    contract = type("TestFresh", (RetrieverContract,), {"retriever": names["Fresh"]})()
    data = small_shop()
    path = names["Fresh"](PluginConfig())
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    for name in ("test_lists_are_valid", "test_batch_equals_one_by_one", "test_filter_is_applied_if_promised"):
        getattr(contract, name)(path, data)
    contract.test_saved_and_loaded_is_the_same(path, data, tmp_path)


def test_tables_are_those_of_the_result_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme_tables

    assert readme_tables.filled(README) == README, "run python benchmarks/readme_tables.py"
    monkeypatch.delitem(sys.modules, "readme_tables")
