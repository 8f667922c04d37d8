"""Processes that compile kernels ahead of the first fit on a machine."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from multirecall.cli import first_run
from multirecall.config import EngineConfig
from multirecall.data import Dataset
from multirecall.datasets import generate
from multirecall.errors import MissingExtra
from multirecall.evaluation import time_split
from multirecall.kernel_cache import CacheState


class Helper:
    """Stands for a process."""

    started: list[list[str]]
    ended = 0

    def __init__(self, command: list[str], **_: Any) -> None:
        self.started.append(command)

    def terminate(self) -> None:
        type(self).ended += 1

    def wait(self) -> None:
        assert self.ended


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> type[Helper]:
    kind = type("Own", (Helper,), {"started": [], "ended": 0})
    monkeypatch.setattr("multirecall.cli.first_run.subprocess.Popen", kind)
    return kind


def set_machine(monkeypatch: pytest.MonkeyPatch, *, n_kept: int, cores: int, writable: bool = True) -> None:
    state = CacheState("0", None, writable, 9, n_kept)
    monkeypatch.setattr(first_run, "cache_state", lambda: state)
    monkeypatch.setattr(first_run, "usable_cores", lambda: cores)


@pytest.mark.parametrize(("cores", "n_helpers"), [(1, 0), (2, 1), (4, 3), (64, 3)])
def test_other_cores_help_the_first_run(
    helpers: type[Helper],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cores: int,
    n_helpers: int,
) -> None:
    set_machine(monkeypatch, n_kept=0, cores=cores)
    with first_run.compile_ahead():
        assert len(helpers.started) == n_helpers
        assert helpers.ended == 0
    assert helpers.ended == n_helpers
    assert [command[-2:] for command in helpers.started] == [[str(own), str(n_helpers)] for own in range(n_helpers)]
    assert all(command[:3] == [sys.executable, "-m", "multirecall.cli.first_run"] for command in helpers.started)
    assert "first run" in capsys.readouterr().err


@pytest.mark.parametrize(("n_kept", "writable"), [(1, True), (0, False)])
def test_nothing_is_started_where_it_would_not_help(
    helpers: type[Helper],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    n_kept: int,
    writable: bool,
) -> None:
    set_machine(monkeypatch, n_kept=n_kept, cores=8, writable=writable)
    with first_run.compile_ahead():
        assert not helpers.started
    assert not capsys.readouterr().err


def test_helpers_end_where_the_fit_fails(helpers: type[Helper], monkeypatch: pytest.MonkeyPatch) -> None:
    set_machine(monkeypatch, n_kept=0, cores=2)
    with pytest.raises(KeyError), first_run.compile_ahead():
        raise KeyError
    assert helpers.ended == 1


def test_each_helper_does_all_and_begins_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[list[str]] = []
    monkeypatch.setattr(first_run, "_use", lambda _, names, *, learn: done.append(names))
    monkeypatch.setattr("multirecall.cli.first_run.gc.disable", lambda: None)
    monkeypatch.setattr("multirecall.cli.first_run.logging.disable", lambda: None)
    begun = []
    for number in range(3):
        done.clear()
        first_run.help_compile(number, 3)
        begun.append(done[0])
        assert sorted(names for names in done if len(names) == 1) == sorted(
            [path.name] for path in EngineConfig().paths
        )
        assert ["item_cf", "popularity"] in done
    assert len({tuple(names) for names in begun}) == 3


def test_helper_goes_on_behind_a_path_that_cannot_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[list[str]] = []

    def use(_: object, names: list[str], *, learn: bool) -> None:
        done.append(names)
        raise MissingExtra("two_tower needs torch")

    monkeypatch.setattr(first_run, "_use", use)
    monkeypatch.setattr("multirecall.cli.first_run.gc.disable", lambda: None)
    monkeypatch.setattr("multirecall.cli.first_run.logging.disable", lambda: None)
    first_run.help_compile(0, 1)
    assert len(done) == 1 + len(EngineConfig().paths)


@pytest.mark.parametrize("learn", [True, False])
def test_what_a_helper_does_works(learn: bool) -> None:
    log = generate(n_users=60, n_items=40, n_interactions=900)
    split = time_split(Dataset.from_frames(log.interactions, log.items, log.users), 0.1)
    first_run._use(split, ["item_cf", "popularity"], learn=learn)
