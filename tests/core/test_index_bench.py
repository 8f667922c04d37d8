"""`measure_kinds` and `multirecall index-bench`: kinds of vector index side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from typer.testing import CliRunner

from multirecall.cli import app
from multirecall.errors import DataError, RequestError
from multirecall.evaluation import index_kinds
from multirecall.evaluation.index_kinds import KindFigures, measure_kinds
from multirecall.lists import RankedList
from multirecall.retrievers._index.exact import ExactIndex
from multirecall.vector_index import INDEXES, IndexConfig

rng = np.random.default_rng(3)
VECTORS = rng.normal(size=(400, 8)).astype(np.float32)
QUERIES = rng.normal(size=(12, 8)).astype(np.float32)


class HalfConfig(IndexConfig):
    efforts: ClassVar[Any] = ({"share": 0.5}, {"share": 0.9}, {"share": 1.0})

    kind: Literal["half"] = "half"

    share: float = 1.0
    """Share of the true list that is found."""


class Half(ExactIndex):  # type: ignore[misc]
    """Finds as much as its settings say: a known answer for what is measured."""

    Config: ClassVar[type[HalfConfig]] = HalfConfig
    kind: ClassVar[str] = "half"

    def search(self, vector: Any, k: int, *rest: Any) -> RankedList:
        return super().search(vector, k, *rest).head(round(self.settings.share * k))  # type: ignore[no-any-return]


class BrokenConfig(IndexConfig):
    kind: Literal["broken"] = "broken"


class Broken(Half):
    Config: ClassVar[Any] = BrokenConfig

    @classmethod
    def build(cls, *_: Any, **__: Any) -> Any:
        raise DataError("too few vectors")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_kinds, "N_ADDED", 20)
    monkeypatch.setattr(index_kinds, "ROUNDS", 1)


def test_a_kind_with_a_recall_is_built_for_each() -> None:
    figures, missing = measure_kinds(VECTORS, QUERIES, k=10, recalls=(0.9, 0.99), kinds=("exact", "ivf", "auto"))
    assert [(one.kind, one.asked) for one in figures] == [
        ("exact", None),
        ("ivf", 0.9),
        ("ivf", 0.99),
        ("auto", 0.9),
        ("auto", 0.99),
    ]
    assert not missing
    for one in figures:
        assert one.search.recall >= (one.asked or 1.0)  # so few vectors are all scored
        assert one.bytes_per_vector > 4 * 8
        assert 0 < one.search.p50_us <= one.search.p95_us
        assert one.build_s > 0
        assert one.adds_per_s > 0
        assert set(one.filtered) == set(index_kinds.SHARES)
        assert all(own.recall == 1.0 for own in one.filtered.values())


def test_efforts_are_tried_until_each_recall_is_reached(plugins: Callable[..., None]) -> None:
    plugins(INDEXES, half=f"{__name__}:Half")
    figures, _ = measure_kinds(VECTORS, QUERIES, k=10, recalls=(0.4, 0.85, 0.95, 0.99), kinds=("half",))
    assert [(one.asked, one.settings["share"], one.search.recall) for one in figures] == [
        (0.4, 0.5, 0.5),
        (0.85, 0.9, pytest.approx(0.9)),
        (0.95, 1.0, 1.0),
        (0.99, 1.0, 1.0),
    ]


def test_a_kind_that_cannot_be_built_is_named(plugins: Callable[..., None]) -> None:
    plugins(INDEXES, half=f"{__name__}:Half", broken=f"{__name__}:Broken")
    figures, missing = measure_kinds(VECTORS, QUERIES, k=10, recalls=(0.4,), kinds=("broken", "half"))
    assert [one.kind for one in figures] == ["half"]
    assert missing == {"broken": "too few vectors"}


@pytest.mark.parametrize(
    ("vectors", "queries", "kinds", "message"),
    [
        (VECTORS, QUERIES, ("ivg",), "kinds: no index is of kind 'ivg'; did you mean 'ivf'"),
        (VECTORS, QUERIES[:, :3], None, "queries: have length 3, the vectors 8"),
        (VECTORS[:0], QUERIES, None, r"vectors: have shape \(0, 8\)"),
        (VECTORS, QUERIES[0], None, r"queries: have shape \(8,\)"),
    ],
)
def test_what_does_not_fit_is_refused(vectors: Any, queries: Any, kinds: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        measure_kinds(vectors, queries, kinds=kinds)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "vectors.npy", VECTORS)
    return tmp_path / "vectors.npy"


def run(*arguments: str | Path, fails: bool = False) -> str:
    done = CliRunner().invoke(app, ["index-bench", *map(str, arguments)])
    assert (done.exit_code != 0) == fails, done.output
    return str(done.exception) if fails else done.output


def test_the_command_prints_a_table_and_draws(file: Path, tmp_path: Path) -> None:
    shown = run(file, "-k", "5", "--kind", "exact", "--kind", "ivf", "--recall", "0.9", "--plot", tmp_path / "plot.svg")
    assert "400 vectors of length 8, 500 queries, k = 5, cosine" in shown
    assert "ivf" in shown
    drawn = (tmp_path / "plot.svg").read_text()
    assert ">exact</text>" in drawn
    assert ">ivf</text>" in drawn


def test_the_command_prints_json(file: Path) -> None:
    told = json.loads(run(file, "--queries", file, "-k", "5", "--kind", "exact", "--json"))
    assert told["missing"] == {}
    assert told["figures"][0].keys() == KindFigures.__dataclass_fields__.keys()
    assert told["figures"][0]["search"]["recall"] == 1.0


def test_files_that_hold_no_vectors_are_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "flat.npy", VECTORS[0])
    for name in ("text.npy", "flat.npy", "missing.npy"):
        assert f"VECTORS: {tmp_path / name}" in run(tmp_path / name, fails=True)
    assert "--queries" in run(file, "--queries", tmp_path / "flat.npy", fails=True)
    assert "--space: got 'dot'; name one of cosine" in run(file, "--space", "dot", fails=True)
    assert "no index is of kind 'ivg'" in run(file, "--kind", "ivg", fails=True)
