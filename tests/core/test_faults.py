"""Damaged files, full disks and folders that nobody may write to; `benchmarks/faults.py` is the long form."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _faults import CHANGES, DAMAGES, Saved, damage_every_file, error_of, fail_every_write, read_only
from _odd_changes import RETRIEVERS, bear_odd_changes, odd_changes
from _odd_data import bear_odd_data, odd_data

from multirecall import Engine, EngineConfig
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.journal import Journal
from multirecall.testing import small_shop

CONFIG = {"paths": [{"retriever": "als", "params": {"index": {"kind": "hnsw"}}}, {"retriever": "popularity"}]}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(EngineConfig.model_validate(CONFIG)).fit(small_shop("str"))


@pytest.fixture(scope="module")
def original(engine: Engine) -> Iterator[Saved]:
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to other users
        Path(place).chmod(0o755)
        yield Saved.of(engine._current(), engine.config, Path(place) / "original")


@pytest.fixture
def saved(original: Saved) -> Iterator[Saved]:
    folder = original.folder.with_name("copy")
    yield Saved(shutil.copytree(original.folder, folder), original.version)
    shutil.rmtree(folder)


def test_every_file_damaged(saved: Saved) -> None:
    faults = damage_every_file(saved, np.random.default_rng(5), every=3)
    assert set(faults) == {damage.__name__ for damage in DAMAGES}
    assert faults.total() > 2 * len(saved.files())


def test_disk_that_fails_at_every_write(saved: Saved, engine: Engine) -> None:
    assert fail_every_write(saved, engine._current(), engine.config, step=7) > 10
    assert saved.open() == CHANGES


def test_read_only_folder(saved: Saved, engine: Engine) -> None:
    with read_only(saved.folder):
        assert saved.open() == CHANGES
        assert "cannot be locked (Permission denied)" in error_of(lambda: bundle.claim(saved.folder))
        [_, current] = bundle.versions(saved.folder)
        told = error_of(lambda: Journal(saved.folder, current.bundle, current.journal_seq))
        assert "check the disk and the permissions" in told
        later = replace(engine._current(), journal_seq=40)
        told = error_of(lambda: bundle.save(later, engine.config, saved.folder))
        assert "cannot be written" in told
    assert saved.open() == CHANGES


SAVE = """
import resource, sys
from pathlib import Path
from multirecall import Engine
from multirecall.engine.bundle import bundle
from multirecall.errors import BundleError
folder = Path(sys.argv[1])
engine = Engine.load(folder)
refused = []
for size in (0, 100, 1_000, 8_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1))
    try:
        engine.save(folder)
    except BundleError as fault:
        refused.append(str(fault))
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
engine.save(folder)
print(*refused, sep="\\n")
"""


def test_files_that_may_not_grow(saved: Saved) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAVE, str(saved.folder)], capture_output=True, text=True, timeout=300, check=True
    )
    told = done.stdout.splitlines()
    assert len(told) == 4
    assert all("check the disk and the permissions" in line for line in told), told
    assert [one.name for one in bundle.versions(saved.folder)] == ["000002", "000003"]


@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_an_odd_change_is_refused_or_borne_for_good(retriever: str, tmp_path: Path) -> None:
    outcomes = bear_odd_changes(retriever, tmp_path / "bundle")
    assert outcomes.total() == len(odd_changes())
    assert outcomes["refused"] > 10
    assert outcomes["taken"] > 40


NEEDS_FEATURES = {"content"}
NEEDS_ORDER = {"next_item", "sequence"}
NEEDS_NO_WEIGHT = {"content", "item2vec", "item_cf", "popularity"}


@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_odd_data_are_fitted_or_refused_with_a_reason(retriever: str, tmp_path: Path) -> None:
    for number, (what, data) in enumerate(odd_data().items()):
        fits = bear_odd_data(retriever, what, data, tmp_path / str(number))
        unfit = (
            (retriever in NEEDS_FEATURES and not data.items.features)
            or (retriever in NEEDS_ORDER and what == "no order")
            or (retriever not in NEEDS_NO_WEIGHT and what == "no weight")
        )
        assert fits != unfit, what
