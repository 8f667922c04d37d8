from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.engine.follower import Followed
from multirecall.engine.state import EngineState
from multirecall.large_pages import PAGE, in_large_pages, load_into_large_pages
from multirecall.storage import read_component, write_component

linux = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="only Linux is asked for large pages")


def arrays() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(3)
    return {
        "empty": np.empty(0, np.int32),
        "text": np.array(["a", "bcd"]),
        "table": rng.random((3, 100_000), np.float32),
        "columns": np.asfortranarray(rng.random((7, 50_001))),
        "number": np.array(7),
        "last": np.arange(5),
    }


@linux
def test_copies_are_equal_begin_at_lines_of_the_cache_and_may_be_written() -> None:
    given = arrays()
    copies = in_large_pages(given)
    assert list(copies) == list(given)
    assert next(iter(copies.values())).ctypes.data % PAGE == 0
    for name, copy in copies.items():
        assert copy.dtype == given[name].dtype
        assert copy.flags.c_contiguous == given[name].flags.c_contiguous
        assert copy.flags.writeable
        assert copy.ctypes.data % 64 == 0
        assert not np.shares_memory(copy, given[name])
        np.testing.assert_array_equal(copy, given[name])
    before = copies["last"].copy()
    copies["columns"][:] = 0.0
    np.testing.assert_array_equal(copies["last"], before)
    np.testing.assert_array_equal(copies["table"], given["table"])


def test_arrays_that_fill_no_page_stay_where_they_are() -> None:
    given = {"one": np.arange(9), "two": np.arange(3)}
    assert all(copy is given[name] for name, copy in in_large_pages(given).items())
    assert in_large_pages({}) == {}


@linux
def test_arrays_stay_where_they_are_where_the_system_has_no_memory_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    given = arrays()
    assert all(copy is given[name] for name, copy in in_large_pages(given).items())


@linux
def test_a_component_is_copied_within_the_body_alone(tmp_path: Path) -> None:
    write_component(tmp_path, arrays(), {"n": 1})
    mapped, _ = read_component(tmp_path)
    with load_into_large_pages():
        copied, meta = read_component(tmp_path)
    with load_into_large_pages(False):
        mapped_again, _ = read_component(tmp_path)
    assert meta == {"n": 1}
    assert is_mapped(mapped["table"])
    assert is_mapped(mapped_again["table"])
    assert not is_mapped(copied["table"])
    for name, array in arrays().items():
        np.testing.assert_array_equal(copied[name], array)


@linux
def test_an_engine_in_large_pages_gives_the_same_lists_and_reads_newer_versions_into_them(tmp_path: Path) -> None:
    log = generate(300, 900, 6_000)
    config = EngineConfig.model_validate({"k": 20, "paths": [{"retriever": "ease"}, {"retriever": "item_cf"}]})
    writer = Engine(config).fit(Dataset.from_frames(log.interactions))
    writer.save(tmp_path / "bundle")
    users = writer.data.users.ids.ids()[:40].tolist()
    plain, large = Engine.load(tmp_path / "bundle"), Engine.load(tmp_path / "bundle", large_pages=True)
    assert is_mapped(weights_of(plain._current()))
    assert not is_mapped(weights_of(large._current()))
    for one, other in zip(plain.retrieve_batch(users), large.retrieve_batch(users), strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.scores, other.scores)
    writer.save(tmp_path / "bundle")
    for engine in (plain, large):
        store = engine._writer.store
        assert store is not None
        newer = Followed(store, engine.config, large_pages=engine is large).newest(engine._current(), engine._adopt)
        assert newer is not engine._current()
        assert is_mapped(weights_of(newer)) == (engine is plain)


def weights_of(state: EngineState) -> NDArray[Any]:
    """The weights of `ease`, which fill a large page."""
    retriever: Any = state.paths[0].retriever
    weights: NDArray[Any] = retriever._neighbours.values
    return weights


def is_mapped(array: NDArray[Any]) -> bool:
    """Whether the array lies in a memory map of a file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False
