"""`multirecall warm` fills a folder with which another process compiles nothing, and changes no bundle."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from commands import output_of

from multirecall import Engine, EngineConfig, PathConfig
from multirecall.kernel_cache import FOLDER_VARIABLE
from multirecall.testing import small_shop

ASK = """
import sys
from multirecall import Engine
engine = Engine.load(sys.argv[1], version="000001")
engine.retrieve("u7", where={"price": {"max": 20}})
engine.retrieve_batch(["u7", "u8"])
engine.add_items([{"item_id": "new", "title": "green thing"}])
engine.retrieve("u7")
"""


def run(*command: str | Path, **environment: str) -> str:
    return output_of(sys.executable, *command, environment={**os.environ, **environment})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm") / "bundle"
    config = EngineConfig(paths=(PathConfig(retriever="popularity"),))
    with Engine(config).fit(small_shop("str")) as engine:
        engine.save(folder)
    return folder


def test_what_was_compiled_ahead_is_not_compiled_again(bundle: Path, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in bundle.rglob("*")}
    kernels = tmp_path / "kernels"
    said = run("-m", "multirecall", "warm", kernels, bundle)
    assert f"export {FOLDER_VARIABLE}={kernels}" in said.replace("\n", "")
    assert {file: file.stat().st_mtime_ns for file in bundle.rglob("*")} == before
    n_files = len(list(kernels.rglob("*.nbc")))
    assert n_files > 5
    run("-c", ASK, bundle, **{FOLDER_VARIABLE: str(kernels)})
    assert len(list(kernels.rglob("*.nbc"))) == n_files
    table = run("-m", "multirecall", "doctor", **{FOLDER_VARIABLE: str(kernels), "COLUMNS": "300"})
    assert f"compiled for this CPU, kept in {kernels}" in table
