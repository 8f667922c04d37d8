"""Fusion of two TREC runs, against the outputs that Pyserini's test suite expects."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from multirecall.fusion.rrf import reciprocal_rank
from multirecall.fusion.weighted_sum import WeightedSum, WeightedSumConfig
from multirecall.lists import RankedList
from multirecall.testing.fusion import ranked_list

Run = dict[str, dict[str, tuple[int, float]]]
"""By topic, then document: the stated rank and the score."""


def read_run(file: Path) -> Run:
    run: Run = defaultdict(dict)
    for line in file.read_text().splitlines():
        topic, _, document, rank, score, _ = line.split()
        run[topic][document] = (int(rank), float(score))
    return run


@pytest.fixture
def runs(real_data: Path) -> list[Run]:
    folder = real_data / "fusion-reference" / "pyserini"
    return [read_run(folder / f"simple_trec_run_fusion_{number}.txt") for number in (1, 2)]


def assert_matches(result: dict[str, dict[str, float]], file: Path) -> None:
    expected = {
        topic: {document: score for document, (_, score) in rows.items()} for topic, rows in read_run(file).items()
    }
    assert result.keys() == expected.keys()
    for topic, scores in expected.items():
        assert result[topic] == pytest.approx(scores, rel=1e-6)
        assert [*result[topic]] == [*scores], "order of documents"


@pytest.mark.parametrize(
    ("normaliser", "weights", "name"),
    [
        ("none", [0.4, 0.6], "simple_trec_run_interpolation_verify"),
        ("none", [0.5, 0.5], "simple_trec_run_average_verify"),
        ("min_max", [1.0, 1.0], "simple_fusion_normalize_verify"),
    ],
)
def test_weighted_sum(runs: list[Run], real_data: Path, normaliser: str, weights: list[float], name: str) -> None:
    fusion = WeightedSum(WeightedSumConfig.model_validate({"normaliser": normaliser}))
    documents = sorted({document for run in runs for rows in run.values() for document in rows})
    result = {}
    for topic in sorted({topic for run in runs for topic in run}):
        lists = [as_list(run.get(topic, {}), documents) for run in runs]
        fused = fusion.fuse(lists, weights, [10, 10], 10)
        result[topic] = {documents[item]: score for item, score in zip(fused.items, fused.scores, strict=True)}
    assert_matches(result, real_data / "fusion-reference" / "pyserini" / f"{name}.txt")


def test_reciprocal_rank_of_the_stated_ranks(runs: list[Run], real_data: Path) -> None:
    """One run skips a rank, so its stated ranks go to the formula as they are."""
    result: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for run in runs:
        for topic, rows in run.items():
            for document, (rank, _) in rows.items():
                result[topic][document] += reciprocal_rank(1.0, rank, 60.0)
    assert_matches(result, real_data / "fusion-reference" / "pyserini" / "simple_trec_run_rrf_verify.txt")


def as_list(rows: dict[str, tuple[int, float]], documents: list[str]) -> RankedList:
    return ranked_list([documents.index(document) for document in rows], [score for _, score in rows.values()])
