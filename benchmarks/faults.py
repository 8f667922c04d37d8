"""Damaged files, a disk that fails at every write, odd changes and odd data for every path: what was borne."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from _faults import CHANGES, Saved, damage_every_file, fail_every_write
from _harness import write
from _odd_changes import RETRIEVERS, bear_odd_changes
from _odd_data import bear_odd_data, odd_data
from rich.progress import track

from multirecall import Engine, EngineConfig
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.journal import Journal, JournalReader
from multirecall.engine.state import EngineState
from multirecall.errors import BundleError
from multirecall.testing import small_shop


def main(
    rounds: Annotated[int, typer.Option(help="How often each file is damaged in each way, elsewhere each time.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the places of damage.")] = 1,
) -> None:
    """Damage, refuse writes, fill a small disk; the first thing that does not hold ends the run."""
    paths = [{"retriever": name, "params": params} for name, params in RETRIEVERS.items()]
    config = EngineConfig.model_validate({"paths": paths})
    engine = Engine(config).fit(small_shop("str"))
    state = engine._current()
    figures: dict[str, Any] = {"rounds": rounds, "seed": seed, "retrievers": list(RETRIEVERS)}
    with tempfile.TemporaryDirectory() as place:
        saved = Saved.of(state, config, Path(place) / "bundle")
        figures["files"] = len(saved.files())
        faults: Counter[str] = Counter()
        for number in track(range(rounds), "damaged files"):
            faults.update(damage_every_file(saved, np.random.default_rng([seed, number])))
        figures["damaged_files"] = faults
        typer.echo(f"damaged files: {dict(faults)}")
        for code in (errno.ENOSPC, errno.EIO):
            own = Saved.of(state, config, Path(place) / errno.errorcode[code])
            figures[f"refused_writes_{errno.errorcode[code]}"] = fail_every_write(own, state, config, code)
            typer.echo(f"{errno.errorcode[code]} at every write: {figures[f'refused_writes_{errno.errorcode[code]}']}")
        figures["odd_changes"] = odd_changes(Path(place))
        typer.echo(f"odd changes: {figures['odd_changes']}")
        figures["odd_data"] = odd_logs(Path(place))
        typer.echo(f"odd data: {figures['odd_data']}")
        figures["full_disks"] = fill_disks(state, config, Path(place))
        typer.echo(f"full disks: {figures['full_disks']}")
    typer.echo(write("faults", figures))


def odd_changes(place: Path) -> dict[str, Counter[str]]:
    """Odd items and events added live to each path."""
    return {name: bear_odd_changes(name, place / f"odd-{name}") for name in track(RETRIEVERS, "odd changes")}


def odd_logs(place: Path) -> Counter[str]:
    """Each path fitted on odd data."""
    outcome: Counter[str] = Counter()
    for name in track(RETRIEVERS, "odd data"):
        for number, (what, data) in enumerate(odd_data().items()):
            outcome["fitted" if bear_odd_data(name, what, data, place / f"{name}-{number}") else "refused"] += 1
    return outcome


def fill_disks(state: Any, config: EngineConfig, place: Path) -> dict[str, Any]:
    """Saves and appends on file systems that are too small for them."""
    outcome = {"saves_refused": 0, "appends_refused": 0, "changes_acknowledged": 0}
    for n_bytes in track(range(500_000, 8_000_000, 500_000), "full disks"):
        disk = place / f"disk-{n_bytes}"
        with mounted(disk, n_bytes) as is_mounted:
            if not is_mounted:
                return {"skipped": "this user may not mount a file system"}
            folder = disk / "bundle"
            with bundle.claim(folder):
                if not saves(state, config, folder):
                    outcome["saves_refused"] += 1
                    continue
                [version] = bundle.versions(folder)
                ballast = disk / "ballast"
                ballast.write_bytes(bytes(100_000))
                with Journal(folder, version.bundle, 0) as journal:
                    while appends(journal):
                        pass
                    if saves(state, config, folder):
                        raise AssertionError(f"{n_bytes} bytes: a save went through on a full disk")
                    acknowledged = journal.last
                    ballast.unlink()
                    journal.append([b"once there is space"])
            changes = [change for _, change in JournalReader(folder, version.bundle).since(0)]
            if changes != [*(CHANGES * acknowledged)[:acknowledged], b"once there is space"]:
                raise AssertionError(f"{n_bytes} bytes: the journal is not what was acknowledged")
            bundle.verify(folder)
            outcome["saves_refused"] += 1
            outcome["appends_refused"] += 1
            outcome["changes_acknowledged"] += acknowledged
    return outcome


def saves(state: EngineState, config: EngineConfig, folder: Path) -> bool:
    """Whether a save goes through."""
    try:
        bundle.save(state, config, folder)
    except BundleError:
        return False
    return True


def appends(journal: Journal) -> bool:
    """Whether changes can be appended."""
    try:
        journal.append(CHANGES)
    except BundleError:
        return False
    return True


@contextmanager
def mounted(folder: Path, n_bytes: int) -> Iterator[bool]:
    """A file system in memory of so many bytes, where this user may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
    done = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(folder)], check=True)


if __name__ == "__main__":
    typer.run(main)
