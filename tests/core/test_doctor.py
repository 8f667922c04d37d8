"""What `multirecall doctor` says about requirements: parsed as pip does, markers, extras of extras and versions."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError

import pytest
from rich.console import Console

doctor = import_module("multirecall.cli.doctor")  # the package has the command under that name

REQUIRES = [
    "numpy>=1.26",
    "Old.Name (<2,>=1)",
    "colorama>=0.4; sys_platform == 'win32'",
    "gone[fast]!=1.5,>=1; python_version >= '3.8'",
    "torch>=2.4; extra == 'train'",
    'pandas; (python_version >= "3.8") and extra == "bench-all"',
    "winonly; sys_platform == 'win32' and extra == 'bench-all'",
    "Multirecall[train]; extra == 'bench-all'",
    "absent; extra == 'bench-all'",
]
VERSIONS = {"numpy": "2.4.6", "Old.Name": "3.0", "torch": "2.3.0+cpu", "pandas": "2.2.0rc1"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name not in VERSIONS:
            raise PackageNotFoundError(name)
        return VERSIONS[name]

    monkeypatch.setattr(doctor, "requires", lambda _: REQUIRES)
    monkeypatch.setattr(doctor, "version", version)


def names(extra: str) -> list[str]:
    return [one.name for one in doctor._requirements(extra)]


def test_what_a_marker_excludes_is_not_needed() -> None:
    assert names("") == ["Old.Name", "gone", "numpy"]
    assert names("train") == ["torch"]


def test_an_extra_has_what_the_extras_that_it_names_add() -> None:
    assert names("bench-all") == ["absent", "pandas", "torch"]


def test_versions_are_compared() -> None:
    assert [doctor._fault(one) for one in doctor._requirements("")] == ["3.0, needs <2,>=1", "missing", None]


def test_what_an_extra_lacks_is_said_with_the_remedy() -> None:
    assert doctor._extra_state("train") == "torch 2.3.0+cpu, needs >=2.4: pip install 'multirecall[train]'"
    assert doctor._extra_state("bench-all") == (
        "missing absent; torch 2.3.0+cpu, needs >=2.4: pip install 'multirecall[bench-all]'"
    )
    assert doctor._extra_state("none-such") == "complete"


def test_the_table_names_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERSIONS, "multirecall", "0.1.0")
    console = Console(width=200, record=True)
    console.print(doctor._environment())
    shown = console.export_text()
    assert "Old.Name" in shown
    assert "3.0, needs <2,>=1" in shown
    assert "extra test" in shown
