"""Fits whose blocks are done elsewhere: the same lists to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multirecall import Dataset
from multirecall.blocks import Arrays, Bounds, Work, blocks_run_by, name_of, run_blocks, work_named
from multirecall.datasets import generate
from multirecall.progress import SILENT
from multirecall.registry import retriever_class
from multirecall.retrievers._neighbours import knn

FITS: dict[str, dict[str, Any]] = {
    "item_cf": {"neighbours": 20},
    "sequence": {"neighbours": 20},
    "ease": {"form": "sparse", "neighbours": 20},
    "item2vec": {"epochs": 1, "neighbours": 20},
}


@pytest.fixture(scope="module")
def data() -> Dataset:
    """More items than one block has."""
    return Dataset.from_frames(generate(300, 600, 6_000).interactions)


def saved(name: str, data: Dataset, folder: Path) -> dict[str, bytes]:
    """The files of a fitted retriever."""
    kind = retriever_class(name)
    path = kind(kind.Config.model_validate(FITS[name]))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    folder.mkdir()
    path.save(folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class Elsewhere:
    """Finds the function by its name, gives it read-only arrays, and begins with the last block."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self, work: Work, arguments: Sequence[Any], bounds: Bounds, threads: int) -> Iterator[Arrays]:
        found = work_named(name_of(work))
        given = [one.copy() if isinstance(one, np.ndarray) else one for one in arguments]
        for one in given:
            if isinstance(one, np.ndarray):
                one.flags.writeable = False
        self.done += [name_of(work)] * len(bounds)
        yield from [found(*bound, *given) for bound in reversed(bounds)][::-1]


@pytest.mark.parametrize("name", FITS)
def test_lists_are_the_same_to_the_bit(name: str, data: Dataset, tmp_path: Path) -> None:
    here, elsewhere = saved(name, data, tmp_path / "here"), Elsewhere()
    with blocks_run_by(elsewhere):
        assert saved(name, data, tmp_path / "elsewhere") == here
    assert len(elsewhere.done) > 1 or name == "item2vec"
    assert elsewhere.done
    count = len(elsewhere.done)
    saved(name, data, tmp_path / "again")
    assert len(elsewhere.done) == count, "outside of the body, the fit is done here"


def test_lists_of_vectors_in_cells_are_the_same_to_the_bit(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn, "EXACT_UP_TO", 0)
    here, elsewhere = saved("item2vec", data, tmp_path / "here"), Elsewhere()
    with blocks_run_by(elsewhere):
        assert saved("item2vec", data, tmp_path / "elsewhere") == here
    assert {one.rpartition(":")[2] for one in elsewhere.done} == {"_lists_of_block"}
    assert len(elsewhere.done) > 1


def rows_of(start: int, stop: int, factor: int) -> Arrays:
    return (np.arange(start, stop) * factor,)


def test_results_have_the_order_of_the_blocks() -> None:
    found = run_blocks(rows_of, [3], [(0, 2), (2, 3), (3, 5)], threads=2)
    assert [rows.tolist() for (rows,) in found] == [[0, 3], [6], [9, 12]]


def test_only_functions_of_the_package_are_found_by_name() -> None:
    with pytest.raises(ValueError, match="'os:system' is no function of multirecall"):
        work_named("os:system")
