"""What the package does without the libraries that only extras bring: it serves every bundle and fits what it can."""

from __future__ import annotations

import logging
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from multirecall import Dataset, Engine, EngineConfig, PathConfig
from multirecall.datasets import generate
from multirecall.engine.bundle import bundle as bundles
from multirecall.errors import CannotFit, MissingExtra, MultirecallError
from multirecall.extras import EXTRAS, import_extra
from multirecall.testing import small_shop

ROOT = Path(__file__).resolve().parents[2]
Without = Callable[..., None]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Without:
    """Make libraries unknown to this process, as if they were not installed: `without("torch")`."""

    def hide(*libraries: str) -> None:
        def release(name: str) -> str:
            if name in libraries:
                raise PackageNotFoundError(name)
            return version(name)

        for library in libraries:
            monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.setattr(bundles, "installed", release)
        bundles._software.cache_clear()

    return hide


@pytest.fixture(autouse=True)
def _noted_afresh() -> Iterator[None]:
    yield
    bundles._software.cache_clear()


def two_tower(**params: object) -> PathConfig:
    return PathConfig(retriever="two_tower", params={"epochs": 1, **params})


def graph(*more: PathConfig) -> EngineConfig:
    settings = {"kind": "hnsw"}
    return EngineConfig(paths=(two_tower(index=settings), *more), seed=3)


def test_each_library_has_an_extra_that_brings_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for library, extra in EXTRAS.items():
        name = {"faiss": "faiss-cpu", "prometheus_client": "prometheus-client", "sklearn": "scikit-learn"}.get(
            library, library
        )
        assert name in {Requirement(line).name for line in project["optional-dependencies"][extra]}
        assert name not in {Requirement(line).name for line in project["dependencies"]}


@pytest.mark.parametrize("library", sorted(EXTRAS))
def test_a_missing_library_names_its_extra(without: Without, library: str) -> None:
    without(library)
    remedy = rf"^this needs {library}, which is not installed: pip install 'multirecall\[{EXTRAS[library]}\]'$"
    with pytest.raises(MissingExtra, match=remedy) as fault:
        import_extra(library, "this")
    assert isinstance(fault.value, MultirecallError)


def test_a_library_that_is_broken_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfway.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        import_extra("halfway", "this")


def test_the_default_engine_fits_without_torch(without: Without, caplog: pytest.LogCaptureFixture) -> None:
    without("torch", "hnswlib")
    log = generate(80, 60, 1_500)
    with Engine().fit(Dataset.from_frames(log.interactions, log.items, log.users)) as engine:
        assert "two_tower" not in engine.paths
        assert {"item_cf", "content", "popularity", "ease"} <= set(engine.paths)
        assert len(engine.retrieve("u00007", k=10).ids) == 10
    said = "path 'two_tower' is left out: fitting two_tower needs torch, which is not installed: pip install"
    assert [line for line in caplog.messages if line.startswith(said)], caplog.messages


def test_a_path_that_was_asked_for_is_not_left_out(without: Without) -> None:
    without("torch")
    with pytest.raises(CannotFit, match=r"paths\[0\] 'two_tower': .* pip install 'multirecall\[deep\]'"):
        Engine(EngineConfig(paths=(two_tower(),))).fit(small_shop())


def test_building_a_graph_names_its_extra(without: Without) -> None:
    without("hnswlib")
    with pytest.raises(CannotFit, match=r"kind 'hnsw' needs hnswlib.*pip install 'multirecall\[hnsw\]'"):
        Engine(graph()).fit(small_shop())


def test_reading_graphml_names_its_extra(without: Without, tmp_path: Path) -> None:
    (tmp_path / "items.graphml").write_text("<graphml/>")
    without("networkx")
    path = PathConfig(retriever="node2vec", params={"graph": str(tmp_path / "items.graphml")})
    with pytest.raises(CannotFit, match=r"reading GraphML needs networkx.*pip install 'multirecall\[graph\]'"):
        Engine(EngineConfig(paths=(path,))).fit(small_shop())


def test_a_saved_graph_is_served_exactly_without_hnswlib(
    tmp_path: Path, without: Without, caplog: pytest.LogCaptureFixture
) -> None:
    data = small_shop()
    every = two_tower(index={"kind": "exact"})
    with Engine(graph()).fit(data) as engine, Engine(EngineConfig(paths=(every,), seed=3)).fit(data) as exact:
        engine.save(tmp_path / "bundle")
        expected = exact.retrieve(1, 8)
    without("torch", "hnswlib")
    with caplog.at_level(logging.WARNING), Engine.load(tmp_path / "bundle") as served:
        found = served.retrieve(1, 8)
        assert found.ids.tolist() == expected.ids.tolist()
        np.testing.assert_array_equal(found.scores, expected.scores)
        served.add_items([{"item_id": 900 + number, "group": "even"} for number in range(1_200)])
        assert found.status["two_tower"].state == served.retrieve(1, 8).status["two_tower"].state == "ok"
        assert not served.health().paths["two_tower"].stale, "an index that is built anew is exact as well"
        served.save(tmp_path / "bundle")
    assert any(
        "every vector is scored, which takes longer: an index of kind 'hnsw' needs hnswlib" in one
        for one in caplog.messages
    )
    libraries = Engine.versions(tmp_path / "bundle")[-1].libraries
    assert libraries.keys() >= {"python", "numpy"}
    assert not libraries.keys() & {"torch", "hnswlib"}
    with Engine.load(tmp_path / "bundle") as again:
        assert again.retrieve(1, 8).status["two_tower"].state == "ok"
    assert "was saved without hnswlib" in caplog.messages[-1]
