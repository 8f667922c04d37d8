"""Set-up of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import ray_clusters  # noqa: F401 - it says where Ray listens, before anything imports Ray
from hypothesis import settings

from multirecall import plugins as installed
from multirecall.plugins import PluginGroup
from multirecall.registry import RETRIEVERS

ROOT = Path(__file__).resolve().parent.parent

os.environ["PYTHONPATH"] = str(ROOT)  # what tests start is this checkout as well, however it was installed

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that stands beside a checkout; they are not part of the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data sets beside this checkout")
    return folder


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Register plug-ins, by default retrievers, by entry point, as an installed project would.

    `plugins(name="module:Class")`, `plugins(INDEXES, name="module:Class")`.
    """
    added: list[EntryPoint] = []

    def register(group: PluginGroup[Any] = RETRIEVERS, /, **targets: str) -> None:
        added.extend(EntryPoint(name, target, group.entry_points) for name, target in targets.items())
        installed._points.cache_clear()

    def all_points(group: str) -> list[EntryPoint]:
        return [*entry_points(group=group), *(point for point in added if point.group == group)]

    monkeypatch.setattr("multirecall.plugins.entry_points", all_points)
    yield register
    installed._points.cache_clear()


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Models that a test trains itself run on one thread, as those of `fit` do."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
