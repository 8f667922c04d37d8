from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from multirecall.errors import BundleError, DataError, RequestError
from multirecall.retrievers._index import auto, base, exact
from multirecall.retrievers._index import hnsw as hnsw_module
from multirecall.retrievers._index import ivf as ivf_module
from multirecall.retrievers._index.kinds import build_index, load_index
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import IndexConfig

SPACES = ("cosine", "inner_product", "l2")
DIM = 5
N_ROWS = 400
EXACT = exact.ExactConfig()
HNSW = hnsw_module.HnswConfig(M=16, ef_construction=100, ef_search=50)
IVF = ivf_module.IvfConfig()
AUTO = auto.AutoConfig()
ALL_KINDS = pytest.mark.parametrize("config", [EXACT, IVF, HNSW, AUTO], ids=["exact", "ivf", "hnsw", "auto"])

State = dict[int, np.ndarray]


def oracle(space: str, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The similarity of each of `vectors` to `query`, in float64."""
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    scores: np.ndarray = vectors @ query
    if space == "l2":
        scores = -((vectors - query) ** 2).sum(axis=1)
    elif space == "cosine":
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
    return scores


def built(state: State, space: str, config: IndexConfig, seed: int = 1) -> Any:
    rows = np.array(list(state), np.int32)
    vectors = np.array(list(state.values()), np.float32).reshape(-1, DIM)
    return build_index(rows, vectors, space, config, rng=np.random.default_rng(seed), asked=vectors[:3])


def random_state(rng: np.random.Generator, n: int) -> State:
    """Vectors at random rows, a few of them zero and a few equal to each other."""
    vectors = rng.normal(size=(n, DIM)).astype(np.float32)
    vectors[rng.random(n) < 0.03] = 0
    vectors[rng.random(n) < 0.05] = vectors[0] if n else 0
    return dict(zip(rng.choice(N_ROWS, n, replace=False).tolist(), vectors, strict=True))


def random_filter(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    exclude = np.sort(rng.choice(N_ROWS, int(rng.integers(0, 60)), replace=False)).astype(np.int32)
    share = rng.choice([0.0, 0.02, 0.5, 1.0])
    return exclude, ALL_ALLOWED if share == 1.0 else rng.random(N_ROWS) < share


def eligible(state: State, exclude: np.ndarray, allowed: np.ndarray) -> list[int]:
    return [row for row in sorted(state) if row not in exclude and (not allowed.size or allowed[row])]


def assert_right(ranked: Any, space: str, state: State, query: np.ndarray, k: int, one: Any, full: bool = True) -> None:
    """The list is what the oracle gives, up to rounding; with `full` off, it may have missed a few items."""
    rows = eligible(state, *one)
    assert_ranked(ranked, rows, oracle(space, np.array([state[row] for row in rows]).reshape(-1, DIM), query), k, full)


def assert_ranked(ranked: Any, rows: list[int], scores: np.ndarray, k: int, full: bool = True) -> None:
    """The list holds the best `k` of `rows` by `scores`, as in `assert_right`."""
    expected = dict(zip(rows, scores.tolist(), strict=True))
    items = ranked.items.tolist()
    assert ranked.items.dtype == np.int32
    assert ranked.scores.dtype == np.float32
    assert len(items) == len(set(items)) == min(k, len(rows))
    assert set(items) <= set(rows)
    np.testing.assert_allclose(ranked.scores, [expected[item] for item in items], rtol=2e-6, atol=2e-6)
    order = list(zip((-ranked.scores).tolist(), items, strict=True))
    assert order == sorted(order)
    if full and items:
        best = np.sort(scores)[::-1][: len(items)]
        np.testing.assert_allclose(ranked.scores, best, rtol=2e-6, atol=2e-6)


def never_scan(patch: pytest.MonkeyPatch) -> None:
    """Walk graphs and visit cells even where a scan is faster, which a small test would never see otherwise."""
    patch.setattr(hnsw_module, "SCANNED_PER_STEP", 0)
    patch.setattr(ivf_module, "SCANNED", 0)
    patch.setattr(ivf_module, "SCANNED_PER_ITEM", 0)


@pytest.fixture(params=[True, False], ids=["searched", "as-chosen"])
def walks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether graphs and cells are used wherever they can be."""
    if request.param:
        never_scan(monkeypatch)
    return bool(request.param)


@pytest.mark.parametrize("space", SPACES)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 300), k=st.integers(0, 320))
def test_exact_equals_the_oracle(space: str, seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    state = random_state(rng, n)
    index = built(state, space, EXACT)
    queries = rng.normal(size=(4, DIM)).astype(np.float32)
    queries[3] = 0
    filters = [random_filter(rng) for _ in queries]
    batch = index.search_batch(queries, k, filters)
    for place, (query, one) in enumerate(zip(queries, filters, strict=True)):
        single = index.search(query, k, *one)
        assert_right(single, space, state, query, k, one)
        assert single.items.tolist() == batch[place].items.tolist()
        np.testing.assert_allclose(single.scores, batch[place].scores, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
@given(seed=st.integers(0, 10**6), k=st.integers(0, 90), grid=st.booleans(), block=st.sampled_from([1, 900, 10**6]))
def test_a_batch_equals_one_by_one_to_the_bit(space: str, seed: int, k: int, grid: bool, block: int) -> None:
    """With removed and added rows, bitmaps that change within the batch, and scores that tie where `grid`."""
    rng = np.random.default_rng(seed)

    def drawn(n: int) -> np.ndarray:
        return (rng.integers(-2, 3, (n, DIM)) if grid else rng.normal(size=(n, DIM))).astype(np.float32)

    rows = rng.permutation(N_ROWS)[:300].astype(np.int32)
    index = build_index(rows[:250], drawn(250), space, EXACT, rng=rng).add(rows[200:], drawn(100)).remove(rows[:40])
    queries = drawn(12)
    bitmaps = [ALL_ALLOWED, np.arange(N_ROWS) % 3 > 0, np.arange(N_ROWS) % 16 == 0]
    filters = [(random_filter(rng)[0], bitmaps[place]) for place in np.sort(rng.integers(0, 3, 12)).tolist()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "BLOCK", block)
        batch = index.search_batch(queries, k, filters)
    for place, (query, one) in enumerate(zip(queries, filters, strict=True)):
        single = index.search(query, k, *one)
        assert batch[place].items.tolist() == single.items.tolist()
        assert batch[place].scores.tobytes() == single.scores.tobytes()


def test_a_batch_scales_its_queries_once() -> None:
    """To scale a unit vector again may change its last bits; one bitmap leaves few vectors, which are scored alone."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2_000, 8)).astype(np.float32)
    index = build_index(np.arange(2_000, dtype=np.int32), vectors, "cosine", EXACT, rng=rng)
    few = NO_ROWS, np.arange(2_000) < 300
    queries = rng.normal(size=(1_000, 8)).astype(np.float32)
    batch = index.search_batch(queries, 20, [few] * 1_000)
    single = [index.search(query, 20, *few) for query in queries]
    assert batch.scores.tobytes() == b"".join(one.scores.tobytes() for one in single)


@ALL_KINDS
@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), n_each=st.integers(1, 4), k=st.integers(0, 320))
def test_the_best_of_several_vectors_equals_the_oracle(
    space: str, config: IndexConfig, seed: int, n_each: int, k: int
) -> None:
    """An item has the best score that any of the user's vectors gives it; nothing is approximate at this size."""
    rng = np.random.default_rng(seed)
    state = random_state(rng, int(rng.integers(0, 300)))
    index = built(state, space, config)
    users = rng.normal(size=(3, n_each, DIM)).astype(np.float32)
    users[1, -1] = users[1, 0]
    users[2, -1] = 0
    filters = [random_filter(rng) for _ in users]
    batch = index.search_any_batch(users, k, filters)
    for place, (vectors, one) in enumerate(zip(users, filters, strict=True)):
        ranked = index.search_any(vectors, k, *one)
        rows = eligible(state, *one)
        stored = np.array([state[row] for row in rows]).reshape(-1, DIM)
        scores = np.max([oracle(space, stored, vector) for vector in vectors], axis=0)
        assert_ranked(ranked, rows, scores, k)
        assert batch[place].items.tolist() == ranked.items.tolist()
        assert batch[place].scores.tobytes() == ranked.scores.tobytes()


def test_the_best_of_several_vectors_is_one_list_under_the_ordering_rule() -> None:
    state = {4: np.eye(DIM)[0], 2: np.eye(DIM)[1], 7: np.eye(DIM)[0] + np.eye(DIM)[1], 0: -np.eye(DIM)[2]}
    index = built(state, "inner_product", EXACT)
    ranked = index.search_any(np.eye(DIM)[:2] * [[1.0], [0.5]], 9)
    assert ranked.items.tolist() == [4, 7, 2, 0]  # by either vector 1 or .5; 4 and 7 tie; none of them sees 0
    assert ranked.scores.tolist() == [1.0, 1.0, 0.5, 0.0]
    assert index.search_any(np.eye(DIM)[:2], 2, np.array([4], np.int32)).items.tolist() == [2, 7]
    assert len(index.search_any(np.eye(DIM)[:2], 0)) == len(index.search_any(np.eye(DIM)[:2], -1)) == 0


@pytest.mark.parametrize("space", SPACES)
def test_exact_over_many_vectors_equals_the_oracle(space: str) -> None:
    """More vectors than a selection looks at one by one, with many ties, some of them at the last place."""
    rng = np.random.default_rng(0)
    vectors = rng.integers(-2, 3, size=(20_000, DIM)).astype(np.float32)
    rows = rng.permutation(30_000)[:20_000].astype(np.int32)
    index = build_index(rows, vectors, space, EXACT, rng=rng).remove(rows[:500])
    queries = rng.integers(-2, 3, size=(10, DIM)).astype(np.float32)
    exclude = np.sort(rows[500:600])
    batch = index.search_batch(queries, 70, [(exclude, ALL_ALLOWED)] * 10)
    rows, vectors = rows[600:], vectors[600:]
    for place, query in enumerate(queries):
        scores = oracle(space, vectors, query)
        single = index.search(query, 70, exclude)
        if space != "cosine":
            assert single.items.tolist() == rows[np.lexsort((rows, -scores))[:70]].tolist()
        np.testing.assert_allclose(single.scores, np.sort(scores)[::-1][:70], atol=1e-6)
        assert batch[place].items.tolist() == single.items.tolist()


def test_batches_far_from_the_origin_lose_nothing() -> None:
    """There the matrix product rounds away all that tells the vectors apart."""
    rng = np.random.default_rng(0)
    vectors = (1000 + rng.normal(size=(3000, DIM))).astype(np.float32)
    index = build_index(np.arange(3000, dtype=np.int32), vectors, "l2", EXACT, rng=rng)
    queries = (1000 + rng.normal(size=(5, DIM))).astype(np.float32)
    batch = index.search_batch(queries, 20)
    for place, query in enumerate(queries):
        expected = np.sort(oracle("l2", vectors, query))[::-1][:20]
        np.testing.assert_allclose(batch[place].scores, expected, rtol=1e-5)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("walked", [True, False])
@pytest.mark.parametrize("config", [IVF, HNSW], ids=["ivf", "hnsw"])
@settings(max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_random_changes_and_searches(space: str, walked: bool, config: IndexConfig, seed: int) -> None:
    """Every state of a chain of changes answers as the oracle does, also after later states have been made."""
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "CHANGED_AT_LEAST", 25)
        if walked:
            never_scan(patch)
        state = random_state(rng, int(rng.integers(0, 300)))
        index, exact = built(state, space, config), built(state, space, EXACT)
        states = [(state, index)]
        for _ in range(6):
            rows = rng.choice(N_ROWS, int(rng.integers(0, 40)), replace=False).astype(np.int32)
            if rng.random() < 0.5:
                vectors = rng.normal(size=(rows.size, DIM)).astype(np.float32)
                state = {**state, **dict(zip(rows.tolist(), vectors, strict=True))}
                index, exact = index.add(rows, vectors), exact.add(rows, vectors)
            else:
                state = {row: vector for row, vector in state.items() if row not in rows}
                index, exact = index.remove(rows), exact.remove(rows)
            assert len(index) == len(exact) == len(state)
            states.append((state, index))
        hits = wanted = 0
        for state, index in states:
            query, k, one = rng.normal(size=DIM).astype(np.float32), int(rng.integers(0, 60)), random_filter(rng)
            ranked = index.search(query, k, *one)
            assert_right(ranked, space, state, query, k, one, full=not walked)
            best = built(state, space, EXACT).search(query, k, *one)
            hits += np.isin(best.items, ranked.items).sum()
            wanted += len(best)
            again = index.search_batch(query[None], k, [one])[0]
            assert again.items.tolist() == ranked.items.tolist()
        last = exact.search(query, 50)
        assert_right(last, space, state, query, 50, (NO_ROWS, ALL_ALLOWED))
        assert hits >= 0.97 * wanted


@pytest.mark.parametrize("space", SPACES)
def test_a_walk_that_covers_all_misses_nothing(space: str, walks: bool) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(300, DIM)).astype(np.float32)
    state = dict(enumerate(vectors))
    index = built(state, space, HNSW.model_copy(update={"ef_search": 299}))
    for query in rng.normal(size=(20, DIM)).astype(np.float32):
        assert_right(index.search(query, 30), space, state, query, 30, (NO_ROWS, ALL_ALLOWED))


@ALL_KINDS
@pytest.mark.parametrize("space", SPACES)
def test_fewer_results_instead_of_errors(space: str, config: IndexConfig, walks: bool) -> None:
    rng = np.random.default_rng(4)
    query = rng.normal(size=DIM).astype(np.float32)
    empty = built({}, space, config)
    assert len(empty.search(query, 10)) == len(empty) == 0
    assert len(empty.search_batch(query[None], 10)[0]) == 0
    assert len(empty.search_batch(np.empty((0, DIM)), 10)) == 0
    state = random_state(rng, 200)
    index = built(state, space, config)
    assert len(index.search(query, 5000)) == 200
    assert len(index.search(query, 0)) == len(index.search(query, -1)) == 0
    nothing = np.zeros(N_ROWS, np.bool_)
    assert len(index.search(query, 10, NO_ROWS, nothing)) == 0
    everything = np.arange(N_ROWS, dtype=np.int32)
    assert len(index.search(query, 10, everything)) == 0
    gone = index.remove(everything)
    assert len(gone.search(query, 10)) == len(gone) == 0
    back = gone.add(everything[:3], np.ones((3, DIM)))
    assert back.search(np.ones(DIM), 10).items.tolist() == [0, 1, 2]


@ALL_KINDS
@pytest.mark.parametrize("space", SPACES)
def test_equal_vectors_that_nothing_can_tell_apart(space: str, config: IndexConfig, walks: bool) -> None:
    index = built({row: np.ones(DIM, np.float32) for row in range(300)}, space, config)
    found = index.search(np.ones(DIM), 200).items
    assert len(found) == 200
    if config is not HNSW:
        assert found.tolist() == list(range(200))


@pytest.mark.parametrize(
    "config", [IVF, hnsw_module.HnswConfig(M=4, ef_construction=10, ef_search=10)], ids=["ivf", "hnsw"]
)
@pytest.mark.parametrize("space", SPACES)
def test_narrow_filters_are_exact(space: str, config: IndexConfig) -> None:
    rng = np.random.default_rng(5)
    rows = np.arange(6000, dtype=np.int32)
    vectors = rng.normal(size=(6000, DIM)).astype(np.float32)
    index, exact = (build_index(rows, vectors, space, one, rng=rng) for one in (config, EXACT))
    allowed = rng.random(6000) < 0.1
    for query in rng.normal(size=(30, DIM)).astype(np.float32):
        ranked, expected = index.search(query, 20, NO_ROWS, allowed), exact.search(query, 20, NO_ROWS, allowed)
        assert ranked.items.tolist() == expected.items.tolist()


def test_what_was_added_does_not_hide_what_the_walk_did_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that the walk's candidates fail while far newer ones pass it: the walk must go on."""
    monkeypatch.setattr(hnsw_module, "SCANNED_PER_STEP", 0)
    rng = np.random.default_rng(6)
    vectors = np.c_[np.linspace(0, 1, 1000), np.zeros((1000, DIM - 1))].astype(np.float32)
    index = build_index(np.arange(1000, dtype=np.int32), vectors, "l2", HNSW, rng=rng)
    index = index.add(np.arange(1000, 1100, dtype=np.int32), np.full((100, DIM), 9.0))
    allowed = np.zeros(1100, np.bool_)
    allowed[400:] = True
    assert index.search(-np.eye(DIM)[0], 10, NO_ROWS, allowed).items.tolist() == [*range(400, 410)]


@ALL_KINDS
def test_a_zero_query_or_vector_has_cosine_zero(config: IndexConfig, walks: bool) -> None:
    rng = np.random.default_rng(7)
    state = {**random_state(rng, 200), 399: np.zeros(DIM, np.float32)}
    index = built(state, "cosine", config)
    ranked = index.search(np.zeros(DIM), 40)
    assert ranked.items.tolist() == sorted(state)[:40]
    assert ranked.scores.tolist() == [0.0] * 40
    only = np.zeros(N_ROWS, np.bool_)
    only[399] = True
    assert index.search(np.ones(DIM), 10, NO_ROWS, only).scores.tolist() == [0.0]


@pytest.mark.parametrize(("config", "part"), [(IVF, "_cells"), (HNSW, "_graph")], ids=["ivf", "hnsw"])
def test_a_change_shares_the_large_arrays(config: IndexConfig, part: str) -> None:
    index = built(random_state(np.random.default_rng(8), 200), "l2", config)
    added = index.add(np.array([0], np.int32), np.ones((1, DIM)))
    removed = added.remove(np.array([0], np.int32))
    for later in (added, removed):
        assert later.vectors.values is index.vectors.values
        assert getattr(later, part) is getattr(index, part)


def test_what_the_caller_does_to_its_arrays_is_not_seen() -> None:
    vectors = np.eye(DIM, dtype=np.float32)
    index = build_index(np.arange(DIM, dtype=np.int32), vectors, "l2", EXACT, rng=np.random.default_rng(0))
    vectors[:] = 9
    assert index.search(np.eye(DIM)[2], 1).scores.tolist() == [0.0]


def test_rebuilds_past_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHANGED_AT_LEAST", 10)
    rng = np.random.default_rng(9)
    state = random_state(rng, 200)
    index = built(state, "cosine", HNSW)
    rows = np.array(sorted(state)[:21], np.int32)
    assert index.remove(rows[:20])._graph is index._graph
    rebuilt = index.remove(rows)
    assert rebuilt._graph is not index._graph
    assert (rebuilt.vectors.n_dead, rebuilt.vectors.rows.size) == (0, 179)


def test_auto_chooses_by_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = random_state(np.random.default_rng(10), 100)
    settings = AUTO
    assert isinstance(built(state, "cosine", settings).chosen, exact.ExactIndex)
    monkeypatch.setattr(auto, "EXACT_UP_TO", 90)
    monkeypatch.setattr(base, "CHANGED_AT_LEAST", 5)
    large = built(state, "cosine", settings)
    assert isinstance(large.chosen, ivf_module.IvfIndex)
    large.save(tmp_path / "index")
    rows = np.array(sorted(state)[:20], np.int32)
    for index in (large, load_index(tmp_path / "index", settings)):
        assert isinstance(index.remove(rows[:5]).chosen, ivf_module.IvfIndex)
        assert isinstance(index.remove(rows).chosen, exact.ExactIndex)


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    built(random_state(np.random.default_rng(10), 100), "cosine", EXACT).save(tmp_path / "index")
    with pytest.raises(BundleError, match="holds an index of kind 'exact', the settings name 'ivf'; fit again"):
        load_index(tmp_path / "index", IVF)


@ALL_KINDS
def test_unusable_input_is_refused(config: IndexConfig) -> None:
    index = built(random_state(np.random.default_rng(11), 50), "l2", config)
    bad = np.ones(DIM, np.float32)
    bad[3] = np.nan
    with pytest.raises(RequestError, match=r"vector\[3\]: is nan"):
        index.search(bad, 5)
    with pytest.raises(RequestError, match=r"vector\[0\]: is inf"):
        index.search(np.full(DIM, 1e300), 5)
    with pytest.raises(RequestError, match=r"needs \(5,\)"):
        index.search(np.ones(DIM + 1), 5)
    with pytest.raises(RequestError, match=r"needs \(5,\)"):
        index.search_batch(np.ones((2, DIM - 1)), 5)
    with pytest.raises(RequestError, match="one row for each query"):
        index.search_batch(np.ones(DIM), 5)
    with pytest.raises(RequestError, match="one row for each vector of the user"):
        index.search_any(np.empty((0, DIM)), 5)
    with pytest.raises(RequestError, match=r"pass \(users, vectors of a user, dim\)"):
        index.search_any_batch(np.ones((2, DIM)), 5)
    with pytest.raises(RequestError, match="are 1 for 2 queries"):
        index.search_batch(np.ones((2, DIM)), 5, [(NO_ROWS, ALL_ALLOWED)])
    for ask in (index.search, lambda v, k, e, a: index.search_batch(v[None], k, [(e, a)])):
        with pytest.raises(RequestError, match="has 3 entries"):
            ask(np.ones(DIM), 5, NO_ROWS, np.ones(3, np.bool_))
    last = max(index.vectors.rows)
    with pytest.raises(RequestError, match=f"has {last} entries, the index has row {last}"):
        index.search(np.ones(DIM), 5, NO_ROWS, np.ones(last, np.bool_))
    rows = np.array([7, 2], np.int32)
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match="row 7 is not finite"):
            index.add(rows, [[value] * DIM, [0.0] * DIM])
    with pytest.raises(DataError, match="length 4, the index needs 5"):
        index.add(rows, np.ones((2, 4)))
    with pytest.raises(DataError, match="one vector for each row"):
        index.add(rows, np.ones((3, DIM)))
    with pytest.raises(DataError, match="row 2 twice"):
        index.add(np.array([2, 2], np.int32), np.ones((2, DIM)))
    with pytest.raises(DataError, match="has -1"):
        index.add(np.array([-1, 2], np.int32), np.ones((2, DIM)))


@ALL_KINDS
@pytest.mark.parametrize("space", ["inner_product", "l2"])
def test_scores_that_overflow_are_dropped(space: str, config: IndexConfig, walks: bool) -> None:
    vectors = np.array([[3e38] * DIM, [1.0] * DIM], np.float32)
    index = build_index(np.arange(2, dtype=np.int32), vectors, space, config, rng=np.random.default_rng(0))
    assert index.search(np.ones(DIM) * 5, 5).items.tolist() == [1]
    assert index.search_batch(np.ones((1, DIM)) * 5, 5)[0].items.tolist() == [1]


def test_the_same_seed_gives_the_same_graph(tmp_path: Path) -> None:
    state = random_state(np.random.default_rng(12), 300)
    files = []
    for name, order, seed in (("a", list(state), 1), ("b", sorted(state), 1), ("c", list(state), 2)):
        built({row: state[row] for row in order}, "cosine", HNSW, seed).save(tmp_path / name)
        files.append((tmp_path / name / hnsw_module.GRAPH).read_bytes())
    assert files[0] == files[1] != files[2]


def test_only_a_graph_needs_hnswlib() -> None:
    script = (
        "import sys, numpy as np\n"
        "from multirecall.retrievers._index.kinds import build_index, index_settings\n"
        "rows = np.arange(3, dtype=np.int32)\n"
        "for config in (index_settings(), index_settings({'kind': 'ivf'})):\n"
        "    build_index(rows, np.eye(3), 'l2', config, rng=np.random.default_rng(0))\n"
        "sys.exit('hnswlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def changed_index(space: str, config: IndexConfig) -> Any:
    """An index with removed, replaced and added rows."""
    rng = np.random.default_rng(13)
    index = built(random_state(rng, 250), space, config)
    rows = rng.choice(N_ROWS, 40, replace=False).astype(np.int32)
    return index.add(rows, rng.normal(size=(40, DIM))).remove(rows[30:] + 1)


@ALL_KINDS
@pytest.mark.parametrize("space", SPACES)
def test_a_loaded_index_answers_as_before(space: str, config: IndexConfig, tmp_path: Path, walks: bool) -> None:
    index = changed_index(space, config)
    index.save(tmp_path / "index")
    loaded = load_index(tmp_path / "index", config)
    assert type(loaded) is type(index)
    assert (len(loaded), loaded.space, loaded.dim, loaded.seed) == (len(index), space, DIM, index.seed)
    more = np.arange(50, 60, dtype=np.int32)
    changed = [one.add(more, np.ones((10, DIM))).remove(more[5:]) for one in (index, loaded)]
    rng = np.random.default_rng(14)
    for before, after in ((index, loaded), tuple(changed)):
        for query in rng.normal(size=(20, DIM)).astype(np.float32):
            one = random_filter(rng)
            ranked, expected = after.search(query, 25, *one), before.search(query, 25, *one)
            assert ranked.items.tolist() == expected.items.tolist()
            assert ranked.scores.tolist() == expected.scores.tolist()


@ALL_KINDS
def test_an_empty_index_is_saved_too(config: IndexConfig, tmp_path: Path) -> None:
    built({}, "l2", config).save(tmp_path / "index")
    loaded = load_index(tmp_path / "index", config)
    assert len(loaded.search(np.ones(DIM), 5)) == 0
    assert loaded.add(np.array([3], np.int32), np.ones((1, DIM))).search(np.ones(DIM), 5).items.tolist() == [3]


def truncate(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lengthen(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def flip(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 2 // 3] ^= 16
    file.write_bytes(content)


def clear(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def remove(file: Path, _: Path) -> None:
    file.unlink()


def swap(file: Path, other: Path) -> None:
    shutil.copy(other / file.name, file)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of two indexes of each kind that differ in all their files."""
    folder = tmp_path_factory.mktemp("saved")
    for name, config in (("exact", EXACT), ("hnsw", HNSW)):
        changed_index("cosine", config).save(folder / name)
        other = built(random_state(np.random.default_rng(15), 260), "l2", config)
        rows = np.arange(3, dtype=np.int32)
        other.add(rows, np.ones((3, DIM))).remove(np.array([300], np.int32)).save(folder / f"other-{name}")
    return lambda name: folder / name


FILES = (
    "asked.npy",
    "manifest.json",
    "meta.json",
    "rows.npy",
    "values.npy",
    "dead.npy",
    "new_rows.npy",
    "new_values.npy",
)


@pytest.mark.parametrize("damage", [truncate, lengthen, flip, clear, remove, swap])
@pytest.mark.parametrize(
    ("name", "file"), [*(("exact", file) for file in FILES), *(("hnsw", file) for file in (*FILES, "graph.hnsw"))]
)
def test_damage_is_found(
    name: str,
    file: str,
    damage: Callable[[Path, Path], None],
    saved: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    assert {one.name for one in saved("hnsw").iterdir()} == {*FILES, hnsw_module.GRAPH}
    folder = tmp_path / "index"
    shutil.copytree(saved(name), folder)
    damage(folder / file, saved(f"other-{name}"))
    with pytest.raises(BundleError, match=str(folder)):
        load_index(folder, HNSW)


def test_a_file_that_nothing_proves_is_named(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(saved("exact"), folder)
    np.save(folder / "other.npy", np.ones(3))
    with pytest.raises(BundleError, match=r"does not list other\.npy"):
        load_index(folder, EXACT)


def test_every_flip_in_the_manifest_is_found(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(saved("exact"), folder)
    file = folder / "manifest.json"
    content = file.read_bytes()
    for place in range(0, len(content), 5):
        for bit in (1, 4):
            flipped = bytearray(content)
            flipped[place] ^= bit
            if flipped[place : place + 1].isspace() and content[place : place + 1].isspace():
                continue
            file.write_bytes(flipped)
            with pytest.raises(BundleError):
                load_index(folder, EXACT)


def test_a_missing_folder_and_other_versions_are_named(saved: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere"):
        load_index(tmp_path / "nowhere", EXACT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hnsw_module, "_release", lambda: "0.9")
        with pytest.raises(BundleError, match=r"hnswlib 0\.8, this is 0\.9"):
            load_index(saved("hnsw"), HNSW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "FORMAT", 3)
        with pytest.raises(BundleError, match="has format 2, this program reads 3"):
            load_index(saved("hnsw"), HNSW)


def test_a_graph_of_other_vectors_is_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """Also when the manifest was written after the graphs were mixed up."""
    from multirecall.storage import write_manifest

    folder = tmp_path / "index"
    shutil.copytree(saved("hnsw"), folder)
    shutil.copy(saved("other-hnsw") / hnsw_module.GRAPH, folder)
    write_manifest(folder, {})
    with pytest.raises(BundleError, match="not the graph"):
        load_index(folder, HNSW)


@pytest.mark.parametrize("name", ["missing/graph", "/dev/full"])
def test_a_graph_that_cannot_be_written_is_noticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw_module, "GRAPH", name)
    with pytest.raises(BundleError, match="has 0 bytes instead of"):
        changed_index("l2", HNSW).save(tmp_path / "index")


def test_a_folder_that_holds_something_is_not_written_to(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """The arrays of a loaded index are mapped from its folder."""
    with pytest.raises(BundleError, match="not empty"):
        changed_index("l2", EXACT).save(saved("exact"))
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        changed_index("l2", EXACT).save(tmp_path / "file" / "below")


def recall(vectors: np.ndarray, asked: list[np.ndarray], space: Any, config: IndexConfig, *ks: int) -> float:
    """Share of the exact top `k` that an index finds: the lowest over sets of queries and values of `k`."""
    rows = np.arange(len(vectors), dtype=np.int32)
    index, exact = (build_index(rows, vectors, space, one, rng=np.random.default_rng(0)) for one in (config, EXACT))
    shares = []
    for k in ks:
        for queries in asked:
            found, expected = index.search_batch(queries, k), exact.search_batch(queries, k)
            shares.append(np.mean([np.isin(expected[i].items, found[i].items).mean() for i in range(len(queries))]))
    return float(min(shares))


def learned(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Item vectors and user vectors, 64-dimensional, from a truncated SVD of a log."""
    log = pl.read_parquet(file, columns=["user_id", "item_id"]).unique().sort("user_id", "item_id")
    users, items = (log[name].rank("dense").to_numpy() - 1 for name in ("user_id", "item_id"))
    matrix = csr_matrix((np.ones(len(log), np.float32), (users, items)))
    left, values, right = svds(matrix, 64, v0=np.ones(min(matrix.shape), np.float32))
    return (right.T * np.sqrt(values)).astype(np.float32), (left * np.sqrt(values)).astype(np.float32)


@pytest.mark.parametrize("name", ["ml-1m", "online-retail"])
def test_recall_on_learned_vectors_at_the_defaults(name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, users = learned(real_data / name / "interactions.parquet")
    rng = np.random.default_rng(0)
    asked = [items[rng.choice(len(items), 100, replace=False)], users[rng.choice(len(users), 100, replace=False)]]
    for space in SPACES:
        for config in (AUTO, hnsw_module.HnswConfig()):
            assert recall(items, asked, space, config, 100) >= 0.99
    never_scan(monkeypatch)
    assert recall(items, asked, "cosine", hnsw_module.HnswConfig(), 100, 500) >= 0.99
    for space in SPACES:
        assert recall(items, asked, space, IVF, 10, 100, 500) >= 0.99


def test_recall_on_clustered_vectors_at_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    never_scan(monkeypatch)
    rng = np.random.default_rng(16)
    centres = rng.normal(size=(60, 32))
    vectors = centres[rng.integers(0, 60, 6000)] + 0.5 * rng.normal(size=(6000, 32))
    queries = centres[rng.integers(0, 60, 60)] + 0.5 * rng.normal(size=(60, 32))
    for config in (IVF, hnsw_module.HnswConfig()):
        assert recall(vectors, [queries], "cosine", config, 100, 500) >= 0.99
