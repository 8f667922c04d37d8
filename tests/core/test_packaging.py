"""The wheel holds every module, and a plug-in of somebody else works once it is installed."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest
from commands import output_of

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("multirecall", "retrievers", "fusion")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command away from the checkout and from the caller's Python settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return output_of(*command, environment=environment, cwd=cwd)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", place, source)
    return next(place.glob("*.whl"))


def test_wheel_contains_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        str(file.relative_to(ROOT)) if folder == "multirecall" else f"multirecall/{file.relative_to(ROOT)}"
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*.py")
    }
    for files in ("templates/*", "static/*"):
        expected |= {str(file.relative_to(ROOT)) for file in (ROOT / "multirecall").rglob(files)}
    assert {"multirecall/evaluation/templates/page.html", "multirecall/serving/explorer/static/main.js"} <= expected
    assert packed == expected | {"multirecall/py.typed"}


def test_source_distribution_has_what_a_reader_wants(tmp_path: Path) -> None:
    listed = ("MANIFEST.in", "CHANGELOG.md", "LICENSE", "README.md", "constraints.txt", "mkdocs.yml", "pyproject.toml")
    for name in listed:
        shutil.copy(ROOT / name, tmp_path)
    for name in (*FOLDERS, "docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-c", "from setuptools.build_meta import build_sdist; build_sdist('dist')", cwd=tmp_path)
    with tarfile.open(next((tmp_path / "dist").glob("*.tar.gz"))) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert packed >= {*listed, "docs/index.md", "docs/assets/growth.svg", "examples/shop.py", "retrievers/als.py"}


PLUGIN = '''
import numpy as np
from multirecall.lists import RankedList
from multirecall.protocols import Retriever

class Newest(Retriever):
    """Proposes the last rows first."""

    def fit(self, data, *, rng, progress):
        self.n_items = data.n_items

    def retrieve(self, query, quota):
        items = np.arange(self.n_items - 1, -1, -1, dtype=np.int32)[:quota]
        return RankedList(items, items.astype(np.float32))

    def save(self, folder):
        (folder / "n").write_text(str(self.n_items))

    @classmethod
    def load(cls, config, folder, data):
        path = cls(config)
        path.n_items = int((folder / "n").read_text())
        return path
'''
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "newest-first"
version = "1"
[project.entry-points."multirecall.retrievers"]
newest = "newest_first:Newest"
[tool.setuptools]
py-modules = ["newest_first"]
"""
USE = """
import sys
import polars as pl
from multirecall import Dataset, Engine, EngineConfig
log = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [10, 20, 30]})
config = EngineConfig.model_validate({"paths": [{"retriever": "newest", "quota": 5}]})
Engine(config).fit(Dataset.from_frames(log)).save(sys.argv[1])
print(Engine.load(sys.argv[1]).retrieve(1, 3, seen=True).ids.tolist())
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that also sees what this one has installed."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return folder / "bin" / "python"


def test_the_folder_of_a_clone_is_not_taken_for_the_package(wheel: Path, environment: Path, tmp_path: Path) -> None:
    """`git clone … multirecall`, installed as the README says, and Python run beside it."""
    run(sys.executable, "-m", "pip", "--python", environment, "install", "--no-deps", "--force-reinstall", wheel)
    clone = tmp_path / "multirecall"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", clone)
    script = "import multirecall, multirecall.retrievers; from multirecall import User; print(multirecall.__file__)"
    found = Path(run(environment, "-c", script, cwd=tmp_path).strip())
    assert environment.parents[1] in found.parents
    assert found == Path(run(environment, "-c", script, cwd=tmp_path / "multirecall" / "fusion").strip())


def test_plugin_of_somebody_else(environment: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "newest_first.py").write_text(PLUGIN)
    (project / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "use.py").write_text(textwrap.dedent(USE))
    run(sys.executable, "-m", "pip", "--python", environment, "install", "--no-deps", "--no-build-isolation", project)
    assert run(environment, tmp_path / "use.py", tmp_path / "bundle", cwd=tmp_path) == "[30, 20, 10]\n"
    listed = run(environment, "-m", "multirecall", "plugins", cwd=tmp_path)
    assert "newest" in listed
    assert "item_cf" in listed
