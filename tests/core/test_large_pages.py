from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from patience import eventually

from multirecall import Dataset, Engine, EngineConfig, large_pages
from multirecall.cli.serve import _open
from multirecall.datasets import generate
from multirecall.large_pages import PAGE, in_large_pages, load_into_large_pages, system_has_large_pages
from multirecall.serving.service import Service
from multirecall.serving.settings import ServeSettings
from multirecall.storage import read_component, write_component

linux = pytest.mark.skipif(not system_has_large_pages(), reason="the system has no large pages")


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


def test_arrays_stay_where_they_are_where_large_pages_are_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = tmp_path / "enabled"
    monkeypatch.setattr(large_pages, "SWITCH", switch)
    for text in (None, "always madvise [never]\n"):
        if text is not None:
            switch.write_text(text)
        given = arrays()
        assert not system_has_large_pages()
        assert all(copy is given[name] for name, copy in in_large_pages(given).items())


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Path]]:
    """An engine whose weights of `ease` fill a large page, and its bundle."""
    config = EngineConfig.model_validate({"k": 20, "paths": [{"retriever": "ease"}, {"retriever": "item_cf"}]})
    bundle = tmp_path_factory.mktemp("large-pages") / "bundle"
    with Engine(config).fit(Dataset.from_frames(generate(300, 900, 6_000).interactions)) as engine:
        engine.save(bundle)
        yield engine, bundle


@linux
def test_an_engine_in_large_pages_gives_the_same_lists(writer: tuple[Engine, Path]) -> None:
    engine, bundle = writer
    users = engine.data.users.ids.ids()[:40].tolist()
    plain, large = Engine.load(bundle), Engine.load(bundle, large_pages=True)
    assert is_mapped(weights_of(plain))
    assert not is_mapped(weights_of(large))
    for one, other in zip(plain.retrieve_batch(users), large.retrieve_batch(users), strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.scores, other.scores)


@linux
@pytest.mark.parametrize("large", [False, True])
def test_an_engine_that_follows_reads_newer_versions_as_it_read_the_first(
    writer: tuple[Engine, Path], large: bool
) -> None:
    engine, bundle = writer
    with Engine.load(bundle, follow=True, large_pages=large) as follower:
        first = follower._current()
        engine.save(bundle)
        eventually(lambda: follower._current() is not first)
        assert is_mapped(weights_of(follower)) is not large


@linux
@pytest.mark.parametrize("large", [False, True])
def test_a_service_reads_a_bundle_as_its_settings_say(writer: tuple[Engine, Path], large: bool) -> None:
    _, bundle = writer
    settings = ServeSettings(large_pages=large)
    service = Service(bundle, settings)
    assert is_mapped(weights_of(service.engine)) is not large
    service.close()
    with _open(bundle, None, settings, None, 1) as opened:
        assert is_mapped(weights_of(opened)) is not large


def weights_of(engine: Engine) -> NDArray[Any]:
    """The weights of `ease`."""
    retriever: Any = engine._current().paths[0].retriever
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
