"""Metrics against the loop, and against trec_eval."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import oracles
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multirecall import Dataset
from multirecall.csr import offsets_of
from multirecall.evaluation import (
    CATALOGUE_METRICS,
    METRICS,
    catalogue_metrics,
    diversity,
    exposure,
    feature_rows,
    gini,
    interval,
    intervals,
    user_metrics,
    vector_rows,
)
from multirecall.evaluation.catalogue import choice_shares, long_tail

KS = [1, 5, 10, 100, 1000]
Run = dict[str, list[str]]


@given(
    st.lists(st.integers(0, 30), unique=True, max_size=25), st.sets(st.integers(0, 40), min_size=1), st.integers(1, 40)
)
def test_metrics_equal_the_loop(ranked: list[int], relevant: set[int], k: int) -> None:
    items, targets = np.array(ranked, np.int32), np.array(sorted(relevant), np.int32)
    values = user_metrics(np.array([0, items.size]), items, np.array([0, targets.size]), targets, [k])[:, 0, 0]
    assert dict(zip(METRICS, values.tolist(), strict=True)) == pytest.approx(
        oracles.ranking_metrics(ranked, relevant, k)
    )


@pytest.fixture(scope="module")
def trec(real_data: Path) -> tuple[dict[str, set[str]], Run, Path]:
    """Relevant documents and the ranking of each topic, as trec_eval reads them."""
    folder = real_data / "fusion-reference" / "trec_eval"
    relevant: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.test").read_text().splitlines():
        topic, _, document, grade = line.split()
        if int(grade) > 0:
            relevant[topic].add(document)
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for line in (folder / "results.test").read_text().splitlines():
        topic, _, document, _, score, _ = line.split()
        scores[topic][document] = float(score)
    # trec_eval passes over the stated rank: score descending, ties by document name descending
    run = {topic: sorted(sorted(own, reverse=True), key=lambda d, own=own: -own[d]) for topic, own in scores.items()}  # type: ignore[misc]
    return dict(relevant), run, folder


def test_agreement_with_trec_eval(trec: tuple[dict[str, set[str]], Run, Path]) -> None:
    """On trec_eval's own test files, at every cut-off, topic by topic."""
    ir_measures = pytest.importorskip("ir_measures", reason="ir_measures is not installed: multirecall[test]")
    relevant, run, folder = trec
    topics = sorted(run)
    documents = sorted({document for own in (*run.values(), *relevant.values()) for document in own})
    rows = {document: row for row, document in enumerate(documents)}
    lists = [[rows[document] for document in run[topic]] for topic in topics]
    targets = [sorted(rows[document] for document in relevant[topic]) for topic in topics]
    values = user_metrics(
        offsets_of([len(one) for one in lists]),
        np.concatenate(lists).astype(np.int32),
        offsets_of([len(one) for one in targets]),
        np.concatenate(targets).astype(np.int32),
        KS,
    )
    theirs = {
        "recall": ir_measures.R,
        "hit_rate": ir_measures.Success,
        "precision": ir_measures.P,
        "ndcg": ir_measures.nDCG,
        "mrr": ir_measures.RR,
        "map": ir_measures.AP,
    }
    wanted = {theirs[metric] @ k: (metric, column) for metric in METRICS for column, k in enumerate(KS)}
    qrels, results = (ir_measures.read_trec_qrels(str(folder / "qrels.test")), str(folder / "results.test"))
    binary = [one._replace(relevance=int(one.relevance > 0)) for one in qrels]
    compared = 0
    for found in ir_measures.iter_calc([*wanted], binary, ir_measures.read_trec_run(results)):
        metric, column = wanted[found.measure]
        ours = values[METRICS.index(metric), topics.index(found.query_id), column]
        assert ours == pytest.approx(found.value, abs=1e-12), (metric, KS[column], found.query_id)
        compared += 1
    assert compared == len(wanted) * len(topics)


def test_exposure_and_what_follows_from_it_written_out() -> None:
    offsets, items = np.array([0, 3, 5, 5]), np.array([0, 1, 3, 0, 2], np.int32)
    counts = exposure(offsets, items, 5, [1, 2, 9])
    assert counts.tolist() == [[2, 0, 0, 0, 0], [2, 1, 1, 0, 0], [2, 1, 1, 1, 0]]
    shares = np.array([1.0, 0.5, 0.25, 0.125, 0.5])
    tail = np.array([False, False, True, True, True])
    values = dict(zip(CATALOGUE_METRICS, catalogue_metrics(counts, shares, tail).tolist(), strict=True))
    assert values["coverage"] == [1 / 5, 3 / 5, 4 / 5]
    assert values["novelty"] == [0, (0 + 0 + 1 + 2) / 4, (0 + 0 + 1 + 2 + 3) / 5]
    assert values["long_tail"] == [0, 1 / 4, 2 / 5]
    assert values["gini"][0] == pytest.approx(4 / 5), "one of five gets all: 1 - 1/n"


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_gini_equals_the_mean_difference(counts: list[int]) -> None:
    n, total = len(counts), sum(counts)
    pairs = sum(abs(a - b) for a in counts for b in counts)
    assert gini(np.array(counts)) == pytest.approx(pairs / (2 * n * total) if total else 0.0)


def test_the_head_makes_up_four_fifths() -> None:
    chosen = [0] * 6 + [1] * 2 + [2] + [3]
    log = pl.DataFrame({"user_id": range(10), "item_id": chosen})
    data = Dataset.from_frames(log)
    assert long_tail(data.interactions).tolist() == [False, False, True, True]
    assert choice_shares(data.interactions).tolist() == [0.6, 0.2, 0.1, 0.1]


ITEMS = pl.DataFrame(
    {
        "item_id": [0, 1, 2, 3],
        "kind": ["a", "a", "b", None],
        "tags": [["x"], ["x", "y"], ["y"], []],
        "title": ["Red cup", "red plate", "blue plate", None],
    }
)


def similarity(one: int, other: int) -> float:
    """The cosine of two items' unit fields, joined."""
    rows = []
    for row in (one, other):
        values = ITEMS.row(row, named=True)
        fields = [[values["kind"]] if values["kind"] else [], values["tags"], (values["title"] or "").lower().split()]
        rows.append({(n, w): 1 / math.sqrt(len(field)) for n, field in enumerate(fields) for w in field})
    dot = sum(weight * rows[1].get(key, 0.0) for key, weight in rows[0].items())
    return dot / math.prod(math.sqrt(sum(w * w for w in row.values())) for row in rows)


def test_diversity_equals_the_mean_over_pairs() -> None:
    data = Dataset.from_frames(
        pl.DataFrame({"user_id": [0], "item_id": [0]}), ITEMS, kinds={"title": "text", "kind": "categorical"}
    )
    rows = feature_rows(data.items)
    assert rows is not None
    offsets, items = np.array([0, 4, 5, 7]), np.array([0, 3, 1, 2, 1, 3, 2], np.int32)
    values = diversity(offsets, items, rows, [2, 3, 4])
    pairs = [1 - similarity(*pair) for pair in ((0, 1), (0, 2), (1, 2))]
    assert np.isnan(values[0, 0]), "item 3 has no feature, so one is left"
    assert values[0, 1:].tolist() == pytest.approx([pairs[0], np.mean(pairs)])
    assert np.isnan(values[1:]).all()
    assert feature_rows(Dataset.from_frames(pl.DataFrame({"user_id": [0], "item_id": [0]})).items) is None


def test_diversity_of_vectors() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(20, 6)).astype(np.float32)
    items = rng.permutation(20)[:8].astype(np.int32)
    found = diversity(np.array([0, 8]), items, vector_rows(vectors), [8])[0, 0]
    units = vectors[items] / np.linalg.norm(vectors[items], axis=1, keepdims=True)
    expected = 1 - (units @ units.T)[~np.eye(8, dtype=bool)].mean()
    assert found == pytest.approx(expected, abs=1e-6)


def test_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        found = interval(rng.exponential(2.0, 80), resamples=300, level=0.9, seed=trial)
        assert found.low < found.mean < found.high
        covered += found.low <= 2.0 <= found.high
    assert 0.82 <= covered / 200 <= 0.95


def test_bootstrap_width_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(6).normal(size=4_000)
    found = interval(values)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / math.sqrt(4_000), rel=0.1)


def test_paired_columns_see_the_same_resamples() -> None:
    values = np.random.default_rng(7).normal(size=(50, 1))
    bounds = intervals(np.concatenate([values, values + 1.0, np.where(values > 0, values, np.nan)], axis=1))
    assert bounds[:, 1].tolist() == pytest.approx((bounds[:, 0] + 1).tolist())
    assert (bounds[:, 2] > 0).all(), "absent values are left out, not counted as 0"


def test_a_huge_k_needs_no_room_of_its_own() -> None:
    offsets, items = np.array([0, 2]), np.array([3, 1], np.int32)
    values = user_metrics(offsets, items, np.array([0, 1]), np.array([1], np.int32), [2, 2**31 - 1])
    assert values[METRICS.index("recall"), 0].tolist() == [1, 1]
    assert values[METRICS.index("ndcg"), 0, 1] == values[METRICS.index("ndcg"), 0, 0]
