from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_helpers import clustered, ivf_and_exact, never_scan, recall

from multirecall.retrievers._index import ivf as ivf_module
from multirecall.retrievers._index import margins as margins_module
from multirecall.retrievers._index.cell_scan import encode, locate
from multirecall.retrievers._index.cells import SIZES, SPARE, Cells, place_vectors
from multirecall.retrievers._index.kinds import build_index
from multirecall.retrievers._index.kmeans import centroids_of, means, nearest
from multirecall.retrievers._index.vectors import Vectors
from multirecall.topk import ALL_ALLOWED
from multirecall.vector_index import SPACES, Space

IVF = ivf_module.IvfConfig()
EVERYTHING = 1e6
"""A margin at which every cell is visited."""


@pytest.fixture(autouse=True)
def visit_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    never_scan(monkeypatch)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dim", [1, 31, 64, 1024])
def test_recall_and_scores_in_any_dimension(space: Space, dim: int) -> None:
    rng = np.random.default_rng(dim)
    vectors = clustered(rng, 1000, dim)
    ivf, exact = ivf_and_exact(vectors, space)
    queries = clustered(rng, 40, dim)
    for query in queries:
        found, truth = ivf.search(query, 50), exact.search(query, 50)
        common = dict(zip(truth.items.tolist(), truth.scores.tolist(), strict=True))
        assert len(found) == 50
        scores = zip(found.items.tolist(), found.scores.tolist(), strict=True)
        assert all(common.get(item, score) == score for item, score in scores)
    best = [(ivf.search(query, 50).scores, exact.search(query, 50).scores) for query in queries]
    assert np.mean([(found >= truth[-1]).mean() for found, truth in best]) >= 0.99


@pytest.mark.parametrize("space", SPACES)
def test_a_visit_of_few_cells_is_enough(space: Space) -> None:
    """What makes it fast: a search looks at a small part of the vectors, keeps few, and yet finds what is near."""
    rng = np.random.default_rng(1)
    vectors = clustered(rng, 4000, 16, 100)
    ivf, exact = ivf_and_exact(vectors, space)
    cells = ivf._cells
    visited = []
    for query in vectors[:50]:
        placed, _ = locate(query, space == "l2", cells.centre, cells.unit[0])
        mean, deviation = cells.score_moments(placed, space == "l2")
        bound = np.sort(mean + cells.margin(10) * deviation)[::-1]
        found = cells.near(ivf.vectors, query, 10, cells.margin(10), cells.slack[0])
        assert found.size <= 2 * (10 + SPARE)
        lowest = _scores(cells, ivf.vectors, query)[found].min()
        visited.append(np.mean(bound >= lowest))
    assert np.mean(visited) < 0.3
    assert recall(ivf, exact, vectors[:50], 10) >= 0.99


def _scores(cells: Cells, vectors: Vectors, query: np.ndarray) -> np.ndarray:
    """The scores of all vectors in the measure of the cells, written out."""
    l2 = vectors.space == "l2"
    placed = place_vectors(vectors.values, cells.centre, cells.unit[0]).astype(np.float64)
    point = (query.astype(np.float64) - cells.centre) / cells.unit[0] if l2 else query / np.linalg.norm(query)
    scores: np.ndarray = 2 * placed @ point - (placed**2).sum(axis=1) if l2 else placed @ point
    return scores


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 400), k=st.integers(1, 60), dim=st.integers(1, 40))
def test_with_all_cells_and_the_largest_slack_none_is_missed(space: Space, seed: int, n: int, k: int, dim: int) -> None:
    """The kernel keeps the best that are live and eligible; how few others is for the test above."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, dim)).astype(np.float32) * np.float32(10.0 ** rng.integers(-15, 15))
    vectors, cells, _ = Cells.of_vectors(Vectors.of(np.arange(n, dtype=np.int32), values, space), rng)
    vectors = vectors.without(rng.choice(n, n // 8, replace=False).astype(np.int32))
    exclude = np.sort(rng.choice(n, n // 5, replace=False)).astype(np.int32)
    allowed = rng.random(n) < 0.8 if rng.random() < 0.5 else ALL_ALLOWED
    query, _ = vectors.query(values[rng.integers(n)] + values[rng.integers(n)])
    slack = 2 * dim**0.5 + 0.2 * dim  # half a step in every entry of the vector, and of the query
    found = cells.near(vectors, query, k, EVERYTHING, slack, exclude, allowed)
    live = ~vectors.dead & (allowed[vectors.rows] if allowed.size else True)
    eligible = live & ~np.isin(vectors.rows, exclude)
    assert len(set(found.tolist())) == len(found)
    assert live[found].all()
    assert eligible[found].sum() >= min(k, eligible.sum())
    scores = _scores(cells, vectors, query)
    if eligible.sum() > k and np.any(query):
        kth = np.sort(scores[eligible])[::-1][k - 1]
        certain = eligible & (scores > kth + 1e-5 * np.ptp(scores))
        assert set(np.flatnonzero(certain)) <= set(found.tolist())


@pytest.mark.parametrize("space", SPACES)
def test_codes_err_as_much_as_is_said(space: Space) -> None:
    rng = np.random.default_rng(21)
    vectors, cells, _ = Cells.of_vectors(
        Vectors.of(np.arange(3000, dtype=np.int32), clustered(rng, 3000, 48), space), rng
    )
    ratios = []
    for query in clustered(rng, 20, 48):
        asked, _ = vectors.query(query)
        scores, errors = cells.score_codes(asked, space == "l2")
        ratios.append((scores - _scores(cells, vectors, asked)) / errors)
    assert abs(np.mean(ratios)) < 0.05
    assert 0.9 < np.std(ratios) < 1.1


def test_excluded_rows_that_are_nearest_crowd_out_no_others() -> None:
    rng = np.random.default_rng(20)
    rows = np.arange(2000, dtype=np.int32)
    vectors, cells, _ = Cells.of_vectors(Vectors.of(rows, clustered(rng, 2000, 16), "cosine"), rng)
    query, _ = vectors.query(vectors.values[3])
    exclude = np.sort(vectors.scan(query, 140).items)
    found = vectors.rows[cells.near(vectors, query, 100, 8.0, 3.0, exclude)]
    assert set(vectors.scan(query, 100, exclude).items.tolist()) <= set(found.tolist())


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_neither_offset_nor_size_costs_recall(space: Space, offset: float, size: float) -> None:
    rng = np.random.default_rng(2)
    vectors = ((clustered(rng, 2000, 8) + offset) * size).astype(np.float32)
    ivf, exact = ivf_and_exact(vectors, space)
    found = [(ivf.search(query, 20).scores, exact.search(query, 20).scores) for query in vectors[:40]]
    assert np.mean([(scores >= truth[-1]).mean() for scores, truth in found]) >= 0.99


@pytest.mark.parametrize("space", ["inner_product", "l2"])
def test_lengths_that_differ_by_orders_of_magnitude(space: Space) -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(2000, 8)) * 10.0 ** rng.uniform(-3, 3, size=(2000, 1))).astype(np.float32)
    ivf, exact = ivf_and_exact(vectors, space)
    assert recall(ivf, exact, vectors[:60], 20) >= 0.99


@pytest.mark.parametrize("space", ["inner_product", "l2"])
@pytest.mark.parametrize("outlier", [1e5, 1e30])
def test_one_far_vector_costs_the_others_no_recall(space: Space, outlier: float) -> None:
    """Beside one so long, all others lie at about the same place."""
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(500, 8)).astype(np.float32)
    vectors[7] = outlier
    ivf, exact = ivf_and_exact(vectors, space)
    assert recall(ivf, exact, vectors[8:40], 20) >= 0.99


def test_a_query_far_away_is_answered_exactly() -> None:
    vectors = np.random.default_rng(5).normal(size=(300, 4)).astype(np.float32)
    ivf, exact = ivf_and_exact(vectors, "l2")
    query = np.full(4, 1e16, np.float32)
    assert ivf.search(query, 10).items.tolist() == exact.search(query, 10).items.tolist()


@pytest.mark.parametrize("share", [0.5, 0.05, 0.004])
def test_filters_of_any_width_return_k_items(share: float) -> None:
    rng = np.random.default_rng(6)
    vectors = clustered(rng, 5000, 16)
    ivf, exact = ivf_and_exact(vectors, "cosine")
    allowed = rng.random(5000) < share
    exclude = np.sort(rng.choice(5000, 500, replace=False)).astype(np.int32)
    hits = []
    for query in vectors[:40]:
        found, truth = ivf.search(query, 15, exclude, allowed), exact.search(query, 15, exclude, allowed)
        assert len(found) == len(truth)
        assert allowed[found.items].all()
        assert not np.isin(found.items, exclude).any()
        hits.append(np.isin(truth.items, found.items).mean())
    assert np.mean(hits) >= 0.99


def test_excluding_all_that_is_near_goes_on_to_what_is_far() -> None:
    rng = np.random.default_rng(7)
    vectors = clustered(rng, 3000, 16)
    ivf, exact = ivf_and_exact(vectors, "cosine")
    near = np.sort(exact.search(vectors[0], 2900).items)
    assert ivf.search(vectors[0], 50, near).items.tolist() == exact.search(vectors[0], 50, near).items.tolist()


def test_scores_that_overflow_make_room_for_others() -> None:
    vectors = np.r_[np.full((40, 4), 3e38), np.random.default_rng(8).normal(size=(200, 4))].astype(np.float32)
    ivf, exact = ivf_and_exact(vectors, "inner_product")
    found = ivf.search(np.full(4, 5.0), 30)
    assert found.items.tolist() == exact.search(np.full(4, 5.0), 30).items.tolist()
    assert np.isfinite(found.scores).all()


def test_the_margins_hold_on_other_queries() -> None:
    """Recall on queries that the measurement has not seen, of both kinds, is what the measurement says."""
    rng = np.random.default_rng(9)
    vectors = clustered(rng, 3000, 24, 60)
    ivf, exact = ivf_and_exact(vectors, "cosine")
    profiles = vectors[rng.integers(0, 3000, (100, 8))].mean(axis=1)
    for k in (10, 100, 300):
        assert recall(ivf, exact, vectors[rng.integers(0, 3000, 100)], k) >= 0.985
        assert recall(ivf, exact, profiles, k) >= 0.985


def test_the_recall_that_is_asked_for_decides_how_many_cells_are_visited() -> None:
    rng = np.random.default_rng(19)
    vectors = clustered(rng, 4000, 24, 80)
    rows = np.arange(len(vectors), dtype=np.int32)
    exact = ivf_and_exact(vectors, "cosine")[1]
    profiles = vectors[rng.integers(0, 4000, (100, 8))].mean(axis=1)
    margins = []
    for asked_for in (0.8, 0.9, 0.97):
        own = ivf_module.IvfConfig(recall=asked_for)
        ivf = build_index(rows, vectors, "cosine", own, rng=np.random.default_rng(0))
        margins.append(ivf._cells.margin(100))
        assert recall(ivf, exact, profiles, 100) >= asked_for
    assert margins == sorted(margins)
    assert margins[0] < 0.9 * margins[-1]


def test_queries_unlike_the_vectors_are_measured_where_they_are_given() -> None:
    """As those of a user tower are: they point between the clusters, where a cell's own vectors never ask."""
    rng = np.random.default_rng(17)
    vectors = clustered(rng, 6000, 32, 200)
    axes = np.linalg.qr(rng.normal(size=(32, 3)))[0].T
    asked, others = (rng.normal(size=(n, 3)) @ axes * 30 for n in (100, 60))
    rows = np.arange(len(vectors), dtype=np.int32)
    plain, exact = ivf_and_exact(vectors, "inner_product")
    told = build_index(rows, vectors, "inner_product", IVF, rng=np.random.default_rng(0), asked=asked)
    assert recall(told, exact, others, 100) >= 0.98
    assert recall(told, exact, others, 100) >= recall(plain, exact, others, 100)
    assert told.remove(rows[:5]).vectors.asked.shape == (100, 32)


def test_a_margin_between_measured_sizes_is_the_wider_of_both() -> None:
    vectors = clustered(np.random.default_rng(10), 500, 8)
    cells = ivf_and_exact(vectors, "cosine")[0]._cells
    cells.margins[:] = np.arange(len(SIZES))[::-1]
    assert cells.margin(1) == cells.margin(SIZES[0]) == len(SIZES) - 1
    assert cells.margin(SIZES[1]) == len(SIZES) - 2
    assert cells.margin(SIZES[0] + 1) == len(SIZES) - 1
    assert cells.margin(SIZES[-1] * 5) == 0


def test_when_recall_is_too_low_there_is_no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margins_module, "ALLOWANCES", (40.0,))
    vectors = clustered(np.random.default_rng(11), 3000, 24, 300)
    ivf, exact = ivf_and_exact(vectors, "cosine")
    assert np.isinf(ivf._cells.margins).any()
    k = SIZES[int(np.flatnonzero(np.isinf(ivf._cells.margins))[0])]
    for query in vectors[:10]:
        assert ivf.search(query, k).items.tolist() == exact.search(query, k).items.tolist()


@pytest.mark.parametrize("space", SPACES)
def test_the_expected_scores_are_those_of_the_cell(space: Space) -> None:
    """The mean up to what 8-bit codes lose; the deviation on average over directions."""
    rng = np.random.default_rng(12)
    vectors, cells, placed = Cells.of_vectors(
        Vectors.of(np.arange(3000, dtype=np.int32), rng.normal(size=(3000, 6)), space), rng
    )
    l2 = space == "l2"
    shares = []
    for query in rng.normal(size=(20, 6)).astype(np.float32):
        point, _ = locate(query, l2, cells.centre, cells.unit[0])
        mean, deviation = cells.score_moments(point, l2)
        scores = placed @ point
        if l2:
            scores = 2 * scores - (placed**2).sum(axis=1)
        parts = np.split(scores, cells.starts[1:-1])
        lost = (1 + l2) * cells.centroid_scales.max() * np.abs(point).sum() / 2
        np.testing.assert_allclose(mean, [part.mean() for part in parts], atol=1.1 * lost)
        shares.append(np.sqrt(np.mean(deviation**2) / np.mean([part.var() for part in parts])))
    assert 0.8 < np.mean(shares) < 1.25
    assert vectors.rows.tolist() != sorted(vectors.rows.tolist())


def test_codes_are_within_half_a_step() -> None:
    rng = np.random.default_rng(13)
    vectors = rng.normal(size=(50, 7)).astype(np.float32) * np.float32(1e-3)
    vectors[3] = 0
    codes, scales = encode(vectors)
    assert np.abs(codes.astype(int)).max(axis=1).tolist() == [127 if one != 3 else 0 for one in range(50)]
    assert (np.abs(vectors - codes * scales[:, None]) <= 0.501 * scales[:, None]).all()


def test_k_means_finds_separate_groups_and_is_reproducible() -> None:
    rng = np.random.default_rng(14)
    centres = 100 * np.eye(5, 8)
    group = rng.integers(0, 5, 600)
    vectors = (centres[group] + rng.normal(size=(600, 8))).astype(np.float32)
    one, again = (centroids_of(vectors, 25, np.random.default_rng(3)) for _ in range(2))
    assert (one == again).all()
    found = nearest(vectors, one)
    assert (found == ((vectors[:, None] - one) ** 2).sum(axis=2).argmin(axis=1)).all()
    assert all(len(set(group[found == cluster])) <= 1 for cluster in range(25))
    averages, counts = means(vectors, found, 26)
    assert counts.tolist() == np.bincount(found, minlength=26).tolist()
    np.testing.assert_allclose(averages[found[0]], vectors[found == found[0]].mean(axis=0), rtol=1e-5)
    assert not averages[25].any()


def test_the_same_seed_gives_the_same_cells() -> None:
    vectors = clustered(np.random.default_rng(15), 2000, 8)
    one, again = (ivf_and_exact(vectors, "l2")[0]._cells.arrays() for _ in range(2))
    other = ivf_and_exact(vectors, "l2", seed=1)[0]._cells.arrays()
    assert all((one[name] == again[name]).all() for name in one)
    assert one["centroids"].tolist() != other["centroids"].tolist()
