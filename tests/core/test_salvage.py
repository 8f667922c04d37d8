"""A user can salvage a bundle whose journal is damaged, and is told what was lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multirecall import Engine, EngineConfig, PathConfig
from multirecall.engine.bundle.journal import FILE
from multirecall.errors import BundleError
from multirecall.testing import small_shop


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A saved engine with five live changes, the first of which is in the version."""
    with Engine(EngineConfig(paths=(PathConfig(retriever="popularity"),))).fit(small_shop()) as engine:
        engine.save(tmp_path)
        for item in range(101, 106):
            engine.add_items([{"item_id": item, "title": f"thing {item}"}])
            if item == 101:
                engine.save(tmp_path)
    return tmp_path


def damage(bundle: Path, change: int) -> None:
    """Flip a bit of a journaled change, by the text that it holds."""
    content = bytearray((bundle / FILE).read_bytes())
    content[content.index(f"thing {change}".encode()) + 2] ^= 1
    (bundle / FILE).write_bytes(content)


def items(bundle: Path) -> set[int]:
    with Engine.load(bundle) as engine:
        return set(engine.data.items.ids.ids().tolist()) & set(range(101, 106))


def run(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "multirecall", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    return done.stdout


def test_what_is_whole_is_kept_and_what_is_lost_is_counted(bundle: Path) -> None:
    damage(bundle, 104)
    with pytest.raises(BundleError, match=r"or keep what can be read: multirecall salvage BUNDLE"):
        Engine.load(bundle)
    said = run("salvage", bundle)
    assert "2 live changes after version 000002 are kept, 2 were lost" in said
    assert items(bundle) == {101, 102, 103}
    assert list(bundle.glob(f"damaged-1-{FILE}"))
    with Engine.load(bundle) as engine:
        engine.add_items([{"item_id": 105}])
    assert items(bundle) == {101, 102, 103, 105}


def test_a_journal_that_is_whole_stays_as_it_is(bundle: Path) -> None:
    assert "is whole (4 live changes); nothing was done" in run("salvage", bundle)
    assert items(bundle) == {101, 102, 103, 104, 105}
    assert not list(bundle.glob("damaged-*"))


def test_a_bundle_with_a_writer_is_left_alone(bundle: Path) -> None:
    with Engine.load(bundle) as writer:
        writer.add_items([{"item_id": 106}])
        with pytest.raises(BundleError, match="writer"):
            Engine.salvage(bundle)


def test_what_is_no_bundle_is_said(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Engine.salvage(tmp_path)
