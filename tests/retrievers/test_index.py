"""The vector indexes beside a slow and obvious oracle; what all kinds must do stands in the contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_helpers import any_filter, any_state, built, never_scan

from multirecall.errors import DataError, RequestError
from multirecall.retrievers._index import auto, base, exact
from multirecall.retrievers._index import hnsw as hnsw_module
from multirecall.retrievers._index import ivf as ivf_module
from multirecall.retrievers._index.kinds import build_index, load_index
from multirecall.testing.nearest import (
    DIM,
    N_ROWS,
    assert_best,
    assert_nearest,
    eligible_rows,
    similarities,
)
from multirecall.topk import ALL_ALLOWED, NO_ROWS
from multirecall.vector_index import SPACES, IndexConfig, Space

EXACT = exact.ExactConfig()
HNSW = hnsw_module.HnswConfig(M=16, ef_construction=100, ef_search=50)
IVF = ivf_module.IvfConfig()
AUTO = auto.AutoConfig()


@pytest.fixture(params=[True, False], ids=["searched", "as-chosen"])
def walks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether graphs and cells are used wherever they can be."""
    if request.param:
        never_scan(monkeypatch)
    return bool(request.param)


@pytest.mark.parametrize("space", SPACES)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 300), k=st.integers(0, 320))
def test_exact_equals_the_oracle(space: Space, seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    state = any_state(rng, n)
    index = built(state, space, EXACT)
    queries = rng.normal(size=(4, DIM)).astype(np.float32)
    queries[3] = 0
    filters = [any_filter(rng) for _ in queries]
    batch = index.search_batch(queries, k, filters)
    for place, (query, one) in enumerate(zip(queries, filters, strict=True)):
        single = index.search(query, k, *one)
        assert_nearest(single, state, space, query, k, one)
        assert single.items.tolist() == batch[place].items.tolist()
        np.testing.assert_allclose(single.scores, batch[place].scores, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
@given(seed=st.integers(0, 10**6), k=st.integers(0, 90), grid=st.booleans(), block=st.sampled_from([1, 900, 10**6]))
def test_a_batch_equals_one_by_one_to_the_bit(space: Space, seed: int, k: int, grid: bool, block: int) -> None:
    """With removed and added rows, bitmaps that change within the batch, and scores that tie where `grid`."""
    rng = np.random.default_rng(seed)

    def drawn(n: int) -> np.ndarray:
        return (rng.integers(-2, 3, (n, DIM)) if grid else rng.normal(size=(n, DIM))).astype(np.float32)

    rows = rng.permutation(N_ROWS)[:300].astype(np.int32)
    index = build_index(rows[:250], drawn(250), space, EXACT, rng=rng).add(rows[200:], drawn(100)).remove(rows[:40])
    queries = drawn(12)
    bitmaps = [ALL_ALLOWED, np.arange(N_ROWS) % 3 > 0, np.arange(N_ROWS) % 16 == 0]
    filters = [(any_filter(rng)[0], bitmaps[place]) for place in np.sort(rng.integers(0, 3, 12)).tolist()]
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


@pytest.mark.parametrize("config", [EXACT, IVF], ids=["exact", "ivf"])
@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), n_each=st.integers(1, 4), k=st.integers(0, 320))
def test_the_best_of_several_vectors_equals_the_oracle(
    space: Space, config: IndexConfig, seed: int, n_each: int, k: int
) -> None:
    """An item has the best score that any of the user's vectors gives it; nothing is approximate at this size."""
    rng = np.random.default_rng(seed)
    state = any_state(rng, int(rng.integers(0, 300)))
    index = built(state, space, config)
    users = rng.normal(size=(3, n_each, DIM)).astype(np.float32)
    users[1, -1] = users[1, 0]
    users[2, -1] = 0
    filters = [any_filter(rng) for _ in users]
    batch = index.search_any_batch(users, k, filters)
    for place, (vectors, one) in enumerate(zip(users, filters, strict=True)):
        ranked = index.search_any(vectors, k, *one)
        rows = eligible_rows(state, one)
        stored = np.array([state[row] for row in rows]).reshape(-1, DIM)
        scores = np.max([similarities(space, stored, vector) for vector in vectors], axis=0)
        assert_best(ranked, rows, scores, k)
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
def test_exact_over_many_vectors_equals_the_oracle(space: Space) -> None:
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
        scores = similarities(space, vectors, query)
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
        expected = np.sort(similarities("l2", vectors, query))[::-1][:20]
        np.testing.assert_allclose(batch[place].scores, expected, rtol=1e-5)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("walked", [True, False])
@pytest.mark.parametrize("config", [IVF, HNSW], ids=["ivf", "hnsw"])
@settings(max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_random_changes_and_searches(space: Space, walked: bool, config: IndexConfig, seed: int) -> None:
    """Every state of a chain of changes answers as the oracle does, also after later states have been made."""
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "CHANGED_AT_LEAST", 25)
        if walked:
            never_scan(patch)
        state = any_state(rng, int(rng.integers(0, 300)))
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
            query, k, one = rng.normal(size=DIM).astype(np.float32), int(rng.integers(0, 60)), any_filter(rng)
            ranked = index.search(query, k, *one)
            assert_nearest(ranked, state, space, query, k, one, full=not walked)
            best = built(state, space, EXACT).search(query, k, *one)
            hits += np.isin(best.items, ranked.items).sum()
            wanted += len(best)
            again = index.search_batch(query[None], k, [one])[0]
            assert again.items.tolist() == ranked.items.tolist()
        last = exact.search(query, 50)
        assert_nearest(last, state, space, query, 50, (NO_ROWS, ALL_ALLOWED))
        assert hits >= 0.97 * wanted


@pytest.mark.parametrize("space", SPACES)
def test_a_walk_that_covers_all_misses_nothing(space: Space, walks: bool) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(300, DIM)).astype(np.float32)
    state = dict(enumerate(vectors))
    index = built(state, space, HNSW.model_copy(update={"ef_search": 299}))
    for query in rng.normal(size=(20, DIM)).astype(np.float32):
        assert_nearest(index.search(query, 30), state, space, query, 30, (NO_ROWS, ALL_ALLOWED))


@pytest.mark.parametrize("space", SPACES)
def test_cells_keep_the_first_of_equal_vectors(space: Space, walks: bool) -> None:
    index = built({row: np.ones(DIM, np.float32) for row in range(300)}, space, IVF)
    assert index.search(np.ones(DIM), 200).items.tolist() == list(range(200))


@pytest.mark.parametrize(
    "config", [IVF, hnsw_module.HnswConfig(M=4, ef_construction=10, ef_search=10)], ids=["ivf", "hnsw"]
)
@pytest.mark.parametrize("space", SPACES)
def test_narrow_filters_are_exact(space: Space, config: IndexConfig) -> None:
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


@pytest.mark.parametrize(("config", "part"), [(IVF, "_cells"), (HNSW, "_graph")], ids=["ivf", "hnsw"])
def test_a_change_shares_the_large_arrays(config: IndexConfig, part: str) -> None:
    index = built(any_state(np.random.default_rng(8), 200), "l2", config)
    added = index.add(np.array([0], np.int32), np.ones((1, DIM)))
    removed = added.remove(np.array([0], np.int32))
    for later in (added, removed):
        assert later.vectors.values is index.vectors.values
        assert getattr(later, part) is getattr(index, part)


def test_rebuilds_past_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHANGED_AT_LEAST", 10)
    rng = np.random.default_rng(9)
    state = any_state(rng, 200)
    index = built(state, "cosine", HNSW)
    rows = np.array(sorted(state)[:21], np.int32)
    assert index.remove(rows[:20])._graph is index._graph
    rebuilt = index.remove(rows)
    assert rebuilt._graph is not index._graph
    assert (rebuilt.vectors.n_dead, rebuilt.vectors.rows.size) == (0, 179)


def test_auto_chooses_by_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = any_state(np.random.default_rng(10), 100)
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


def test_unusable_input_is_named() -> None:
    index = built(any_state(np.random.default_rng(11), 50), "l2", EXACT)
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
