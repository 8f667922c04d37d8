"""Indexes of libraries: what they find, what they are asked, and what is believed of their files."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_helpers import any_state, built, never_scan

from multirecall.errors import BundleError, DataError, MissingExtra
from multirecall.extras import import_extra
from multirecall.retrievers._index import base, effort, foreign
from multirecall.retrievers._index import faiss as faiss_module
from multirecall.retrievers._index.effort import Efforts
from multirecall.retrievers._index.exact import ExactConfig
from multirecall.retrievers._index.kinds import build_index, index_settings, load_index
from multirecall.testing.nearest import DIM, N_ROWS
from multirecall.topk import NO_ROWS
from multirecall.vector_index import SPACES, Space

SIZES = (10, 30, 100, 200)
KINDS: dict[str, dict[str, Any]] = {
    "faiss": {},
    "faiss-codes": {"factory": "IVF60,PQ8x4fs"},
    "faiss-graph": {"factory": "HNSW16"},
    "annoy": {"trees": 20},
    "usearch": {},
    "usearch-codes": {"dtype": "i8"},
}
ALL_KINDS = pytest.mark.parametrize("name", KINDS)


def settings_of(name: str, **more: Any) -> Any:
    return index_settings({"kind": name.partition("-")[0], **KINDS[name], **more})


@pytest.fixture(autouse=True)
def searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the library even where a scan is faster, as it is in all small tests."""
    never_scan(monkeypatch)
    monkeypatch.setattr(effort, "SIZES", SIZES)
    monkeypatch.setattr(effort, "ASKED", 100)


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 16))
    vectors: np.ndarray = (centres[rng.integers(0, 60, 3_000)] + 0.5 * rng.normal(size=(3_000, 16))).astype(np.float32)
    return vectors


def index_over(vectors: np.ndarray, settings: Any, space: Space = "cosine") -> Any:
    rows = np.arange(len(vectors), dtype=np.int32)
    return build_index(rows, vectors, space, settings, rng=np.random.default_rng(0))


def held_out(vectors: np.ndarray) -> list[np.ndarray]:
    """Queries of the kinds that a build measures, which it has not seen."""
    rng = np.random.default_rng(99)
    near = vectors[rng.integers(0, len(vectors), 60)] + 0.1 * rng.normal(size=(60, vectors.shape[1]))
    return [near, vectors[rng.integers(0, len(vectors), (60, 5))].mean(axis=1)]


def recall(index: Any, vectors: np.ndarray, k: int) -> float:
    exact = index_over(vectors, ExactConfig(), index.space)
    shares = []
    for queries in held_out(vectors):
        found, best = index.search_batch(queries, k), exact.search_batch(queries, k)
        shares.append(np.mean([np.isin(best[place].items, found[place].items).mean() for place in range(len(queries))]))
    return float(min(shares))


@ALL_KINDS
def test_the_recall_that_is_asked_for_is_found(name: str, clusters: np.ndarray) -> None:
    efforts = []
    for asked in (0.8, 0.95):
        index = index_over(clusters, settings_of(name, recall=asked))
        assert recall(index, clusters, 10) >= asked
        assert recall(index, clusters, 100) >= asked
        efforts.append(index._searched.efforts.efforts[:4])
    assert (efforts[0] <= efforts[1]).all()


@pytest.mark.parametrize("space", SPACES)
def test_a_search_looks_at_few_cells(space: Space, clusters: np.ndarray) -> None:
    index = index_over(clusters, settings_of("faiss", recall=0.9), space)
    widths, efforts = index._searched.efforts.widths, index._searched.efforts.efforts
    assert 0 < efforts[2] < index._searched.part.most_effort / 2
    assert widths[:3].tolist() == list(SIZES[:3])


def test_lossy_codes_bring_more_candidates(clusters: np.ndarray) -> None:
    index = index_over(clusters, settings_of("faiss-codes", recall=0.95))
    assert (index._searched.efforts.widths[:3] > SIZES[:3]).all()


def test_where_no_effort_is_enough_every_vector_is_scored(
    clusters: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit for each entry tells few of these vectors apart."""
    monkeypatch.setattr(effort, "WIDER", (1.0,))
    index = index_over(clusters, settings_of("faiss", factory="PQ1"))
    assert index._searched.efforts.of(100).effort == 0
    assert recall(index, clusters, 100) == 1.0


def test_a_list_is_searched_as_the_next_longer_one() -> None:
    efforts = Efforts(np.array(SIZES) * 2, np.arange(len(SIZES)) + 5)
    assert efforts.of(1) == efforts.of(10) == (20, 5)
    assert efforts.of(11) == (60, 6)
    assert efforts.of(2 * SIZES[-1]) == (4 * SIZES[-1], 2 * (len(SIZES) + 4))


@ALL_KINDS
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_filters_cost_no_recall(name: str, share: float, clusters: np.ndarray) -> None:
    index, exact = (index_over(clusters, one) for one in (settings_of(name, recall=0.95), ExactConfig()))
    allowed = np.random.default_rng(1).random(len(clusters)) < share
    shares = []
    for query in held_out(clusters)[0][:30]:
        found, best = (one.search(query, 20, NO_ROWS, allowed) for one in (index, exact))
        assert allowed[found.items].all()
        shares.append(np.isin(best.items, found.items).mean())
    assert np.mean(shares) >= 0.95


def test_faiss_is_told_of_filters(clusters: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_over(clusters, settings_of("faiss"))
    told = []
    search = faiss_module.FaissPart.search

    def spy(part: Any, point: Any, width: int, effort: int, eligible: Any) -> Any:
        told.append(None if eligible is None else int(eligible.sum()))
        return search(part, point, width, effort, eligible)

    monkeypatch.setattr(faiss_module.FaissPart, "search", spy)
    allowed = np.arange(len(clusters)) % 3 == 0
    index.remove(np.arange(3, dtype=np.int32)).search(clusters[0], 5, NO_ROWS, allowed)
    index.search(clusters[0], 5, NO_ROWS, np.arange(len(clusters)) % 30 == 0)
    assert told == [999]


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("IVF5000,Flat", "faiss makes no 'IVF5000,Flat' of 300 vectors of length 5 .* or 'auto'"),
        ("nonsense", r"faiss makes no 'nonsense' .* \(could not parse index string nonsense\)"),
        ("IVF10,PQ3", "faiss makes no 'IVF10,PQ3'"),
    ],
)
def test_what_faiss_does_not_make_is_refused(factory: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        built(any_state(np.random.default_rng(0), 300), "l2", settings_of("faiss", factory=factory))


def test_removals_may_leave_too_few_vectors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(base, "CHANGED_AT_LEAST", 10)
    state = any_state(np.random.default_rng(0), 300)
    settings = settings_of("faiss", factory="IVF200,Flat")
    index = built(state, "l2", settings)
    few = index.remove(np.array(sorted(state)[:250], np.int32))
    assert "until a later build, every vector is scored" in caplog.text
    assert len(few.search(np.ones(DIM), 100)) == 50
    assert few._searched is None
    few.save(tmp_path / "index")
    assert len(load_index(tmp_path / "index", settings).search(np.ones(DIM), 100)) == 50
    assert "was saved without faiss" in caplog.text
    more = np.arange(N_ROWS, 2 * N_ROWS, dtype=np.int32)
    assert few.add(more, np.random.default_rng(1).normal(size=(N_ROWS, DIM)))._searched is not None


@ALL_KINDS
def test_a_change_shares_the_part(name: str, clusters: np.ndarray) -> None:
    index = index_over(clusters[:500], settings_of(name))
    changed = index.add(np.array([0], np.int32), np.ones((1, 16))).remove(np.array([5], np.int32))
    assert changed._searched is index._searched


def test_memory_is_stated(clusters: np.ndarray) -> None:
    vectors = index_over(clusters, index_settings({"kind": "exact"})).memory_bytes
    assert vectors == len(clusters) * (4 * 16 + 4 + 1)  # its entries, its row and whether it is dead
    sizes = [(index_over(clusters, settings_of(name)).memory_bytes - vectors) / len(clusters) for name in KINDS]
    assert all(0 < size < 4_000 for size in sizes)
    assert sizes[1] < 64 <= sizes[0]  # 4-bit codes and whole vectors of 16 entries


@ALL_KINDS
def test_a_file_of_another_release_is_refused(
    name: str, clusters: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name)
    index = index_over(clusters[:500], settings)
    index.save(tmp_path / "index")
    monkeypatch.setattr(type(index).part, "release", classmethod(lambda cls: "0.1"))
    with pytest.raises(BundleError, match=r"was written by \w+ [\d.]+, this is 0\.1; install that or fit again"):
        load_index(tmp_path / "index", settings)


def test_whole_vectors_of_faiss_are_no_file_of_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default keeps cells as plain arrays, and no file is read that proves nothing about who wrote it."""
    index = built(any_state(np.random.default_rng(0), 300), "l2", settings_of("faiss"))
    index.save(tmp_path / "index")
    assert all(file.suffix in {".npy", ".json", ""} for file in (tmp_path / "index").rglob("*"))
    graph = built(any_state(np.random.default_rng(0), 300), "l2", settings_of("faiss-graph"))
    graph.save(tmp_path / "graph")
    assert (tmp_path / "graph" / foreign.FOLDER / faiss_module.FILE).is_file()


@ALL_KINDS
def test_a_missing_library_is_named_at_the_build(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = name.partition("-")[0]
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'multirecall\[{library}\]'"):
        built(any_state(np.random.default_rng(0), 300), "l2", settings_of(name))


def test_threads_of_faiss_are_left_as_they_were(clusters: np.ndarray) -> None:
    faiss = import_extra("faiss", "this test")
    seen = []

    def ask() -> None:
        faiss.omp_set_num_threads(3)
        index_over(clusters[:500], settings_of("faiss")).search(clusters[0], 5)
        seen.append(faiss.omp_get_max_threads())

    before = faiss.omp_get_max_threads()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen == [3]
    assert faiss.omp_get_max_threads() == before
