"""Machine code is kept from process to process, and never outlives what it was compiled from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from multirecall.kernel_cache import FOLDER_VARIABLE, source_digest
from multirecall.kernels import fast_kernel, kernel

CALLEE = """
from multirecall.kernels import kernel
FACTOR = {factor}
@kernel
def inner(number):
    return {inner}
"""
BETWEEN = """
from multirecall.kernels import kernel
from callee import inner
@kernel
def middle(number):
    return inner(number) + 1
"""
CALLER = """
from multirecall.kernels import kernel
from between import middle
from callee import FACTOR
@kernel
def outer(number):
    return FACTOR * middle(number)
"""
RUN = """
import caller
from multirecall.kernel_cache import cache_state
number = caller.outer(5)
hits = sum(caller.outer.stats.cache_hits.values())
print(number, hits, cache_state().n_kept)
"""


def write(folder: Path, *, factor: int = 10, inner: str = "number * 2") -> None:
    """Three modules, each of which calls the one before."""
    (folder / "callee.py").write_text(CALLEE.format(factor=factor, inner=inner))
    (folder / "between.py").write_text(BETWEEN)
    (folder / "caller.py").write_text(CALLER)


def run(folder: Path, **environment: str) -> list[int]:
    """The number that the modules give in a process of its own, cache hits of the outer kernel, and kernels kept."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]]), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("change", "number"),
    [({"inner": "number * 3"}, 160), ({"factor": 7}, 77), ({"inner": "number * 2 + 0"}, 110)],
    ids=["callee of a callee", "constant of another file", "another spelling"],
)
def test_a_change_in_another_file_is_noticed(tmp_path: Path, change: dict[str, object], number: int) -> None:
    write(tmp_path)
    assert run(tmp_path)[:2] == [110, 0]
    assert run(tmp_path)[:2] == [110, 1]
    write(tmp_path, **change)  # type: ignore[arg-type]
    assert run(tmp_path)[:2] == [number, 0]
    assert run(tmp_path)[:2] == [number, 1]


def test_a_folder_that_was_filled_serves_elsewhere(tmp_path: Path) -> None:
    built, moved, kernels = tmp_path / "built", tmp_path / "moved", tmp_path / "kernels"
    built.mkdir()
    write(built)
    assert run(built, **{FOLDER_VARIABLE: str(kernels)}) == [110, 0, 3]
    shutil.copytree(built, moved)
    for file in moved.iterdir():
        os.utime(file, (1, 1))
    assert run(moved, **{FOLDER_VARIABLE: str(kernels)}) == [110, 1, 3]


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path)
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    (kernels / "caller").write_text("a file where a folder is needed, which stops even root")
    assert run(tmp_path, **{FOLDER_VARIABLE: str(kernels)}) == [110, 0, 2]
    assert run(tmp_path, **{FOLDER_VARIABLE: str(kernels)}) == [110, 0, 2]


def test_another_cpu_has_code_of_its_own(tmp_path: Path) -> None:
    write(tmp_path)
    assert run(tmp_path)[:2] == [110, 0]
    assert run(tmp_path, NUMBA_CPU_NAME="generic")[:2] == [110, 0]


def test_no_folder_at_all_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path)
    nowhere = "/proc/nowhere"  # a folder that even root cannot make
    modules = "numba.core.caching.UserProvidedCacheLocator"
    outcome = run(tmp_path, NUMBA_CACHE_LOCATOR_CLASSES=modules, NUMBA_CACHE_DIR=nowhere)
    assert outcome == [110, 0, 0]


def test_a_digest_tells_constants_and_callees_apart() -> None:
    def made(text: str) -> str:
        names: dict[str, object] = {}
        exec(text, names)
        return source_digest(names["outer"])  # type: ignore[arg-type]

    plain = "def inner(x):\n    return x\ndef outer(x):\n    return inner(x) + SIZE\nSIZE = 3\n"
    texts = [
        plain,
        plain.replace("SIZE = 3", "SIZE = 4"),
        plain.replace("SIZE = 3", "SIZE = 3.0"),
        plain.replace("return x", "return -x"),
        plain.replace("return x", "return outer(x)"),
        plain.replace("SIZE = 3", "import numpy\nSIZE = numpy.arange(3)"),
        plain.replace("SIZE = 3", "import numpy\nSIZE = numpy.array([0, 1, 3])"),
    ]
    digests = [made(text) for text in texts]
    assert len(set(digests)) == len(texts)
    assert made(plain.replace("\n", "\n\n")) == digests[0]


def test_a_digest_tells_the_options_of_a_kernel_apart() -> None:
    def own(x: float) -> float:
        return 1.0 / x

    digests = {source_digest(one) for one in (own, kernel(own), fast_kernel(own))}
    assert len(digests) == 3
    assert source_digest(kernel(own)) in digests


def test_a_kernel_is_compiled_once_for_numbers_and_for_literals() -> None:
    @kernel
    def inner(number: int) -> int:
        return number + 1

    @kernel
    def outer(n: int) -> int:
        place = 0
        for _ in range(n):
            place = inner(place)
        return place + inner(7)

    assert outer(3) == 11
    assert len(inner.signatures) == 1  # type: ignore[attr-defined]
