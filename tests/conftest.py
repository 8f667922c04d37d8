"""Set-up of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHARED_KERNELS = ("multirecall/topk.py", "multirecall/rowtable.py", "multirecall/kernels.py")

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("suite")


def pytest_configure() -> None:
    """Drop compiled kernels that are older than the kernels they call: numba does not notice such changes."""
    newest = max((ROOT / file).stat().st_mtime for file in SHARED_KERNELS)
    for folder in ("multirecall", "retrievers", "fusion"):
        for cached in (ROOT / folder).rglob("*.nb[ci]"):
            if cached.stat().st_mtime < newest:
                cached.unlink()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that stands beside a checkout; they are not part of the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data sets beside this checkout")
    return folder
