"""Each kind of index has settings of its own, and is loaded only where a configuration names it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_helpers import never_scan

from multirecall import Engine, EngineConfig, PathConfig
from multirecall.config import config_hash, stored_values
from multirecall.engine.state import Blueprint
from multirecall.errors import ConfigError, PluginError
from multirecall.retrievers._index.exact import ExactIndex
from multirecall.retrievers._index.kinds import index_settings
from multirecall.storage import json_digest
from multirecall.testing import small_shop
from multirecall.vector_index import INDEXES, IndexConfig, VectorIndex

FORMER_OWN = {"auto": {"recall"}, "exact": set(), "hnsw": {"M", "ef_construction", "ef_search"}, "ivf": {"recall"}}
LIBRARIES = {
    "annoy": {"recall", "trees"},
    "faiss": {"recall", "factory"},
    "usearch": {"recall", "dtype", "connectivity", "expansion_add"},
}
OWN = FORMER_OWN | LIBRARIES
INSTALLED = ", ".join(sorted(OWN))
FORMER = {"kind": "auto", "recall": 0.99, "M": 24, "ef_construction": 200, "ef_search": 200}
"""The settings of an index as bundles hold them that the release before has written: keys of all kinds."""


def config_with(index: Any, retriever: str = "als") -> EngineConfig:
    return EngineConfig(paths=(PathConfig(retriever=retriever, params={"index": index}),))


@pytest.mark.parametrize("kind", OWN)
def test_a_kind_has_its_own_settings(kind: str) -> None:
    settings = Blueprint.of(config_with({"kind": kind})).paths[0][2].settings
    assert type(settings.index) is INDEXES.load(kind).Config  # type: ignore[attr-defined]
    assert settings.model_dump()["index"].keys() == OWN[kind] | {"kind"}
    again = type(settings).model_validate(json.loads(settings.model_dump_json()))
    assert again == settings


@pytest.mark.parametrize("retriever", ["als", "two_tower"])
@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"kind": "exact", "M": 16}, "unknown key 'M'; kind 'exact' has the keys kind, got"),
        (
            {"kind": "hnsw", "recal": 0.9},
            "unknown key 'recal'; kind 'hnsw' has the keys kind, M, ef_construction, ef_s",
        ),
        ({"M": 16}, "unknown key 'M'; kind 'auto' has the keys kind, recall, got"),
        ({"kind": "hsnw"}, f"no index is of kind 'hsnw'; installed: {INSTALLED}, got"),
        ({"kind": 3}, f"no index is of kind 3; installed: {INSTALLED}, got"),
        ({"kind": ["ivf"]}, f"no index is of kind ['ivf']; installed: {INSTALLED}, got"),
        ("ivf", "an index is a table; write such as {kind = 'exact'}, got 'ivf'"),
    ],
)
def test_what_is_not_of_the_kind_is_refused(retriever: str, index: Any, message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        Engine(config_with(index, retriever))
    assert str(fault.value).startswith(f"paths[0] '{retriever}' ({retriever}): index: {message}")


def test_a_value_out_of_range_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError) as fault:
        Engine(config_with({"kind": "hnsw", "M": 1, "ef_search": 4}))
    assert str(fault.value).splitlines() == [
        "paths[0] 'als' (als): index.M: input should be greater than or equal to 2, got 1",
        "paths[0] 'als' (als): index.ef_search: input should be greater than or equal to 10, got 4",
    ]


@pytest.mark.parametrize("kind", FORMER_OWN)
def test_settings_of_all_kinds_in_one_are_those_of_their_kind(kind: str) -> None:
    former = {**FORMER, "kind": kind, "recall": 0.9, "M": 8, "ef_search": 50}
    settings = index_settings(former)
    assert settings == INDEXES.load(kind).Config(**{key: former[key] for key in OWN[kind]})
    config = Blueprint.of(config_with(former)).resolved
    assert config_hash(config) == config_hash(EngineConfig.model_validate(stored_values(config)))
    del former["ef_construction"]
    with pytest.raises(ValueError, match="unknown key"):
        index_settings(former)


@pytest.mark.parametrize("kind", FORMER_OWN)
def test_a_bundle_with_the_settings_of_all_kinds_answers_alike(kind: str, tmp_path: Path) -> None:
    with Engine(config_with({"kind": kind})).fit(small_shop()) as engine:
        engine.save(tmp_path)
        expected = [engine.retrieve(user, 9) for user in (1, 2, 3)]
    file = tmp_path / "000001" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["config"]["paths"][0]["params"]["index"] = {**FORMER, "kind": kind}
    manifest["config_hash"] = json_digest(manifest["config"])
    del manifest["sha256"]
    manifest["sha256"] = json_digest(manifest)
    file.write_text(json.dumps(manifest))
    (tmp_path / "CURRENT").write_text(f"000001 {manifest['sha256']}\n")
    with Engine.load(tmp_path) as engine:
        for user, one in zip((1, 2, 3), expected, strict=True):
            found = engine.retrieve(user, 9)
            assert found.ids.tolist() == one.ids.tolist()
            assert found.scores.tobytes() == one.scores.tobytes()
        engine.refresh().result(60)
        engine.save(tmp_path)
        assert Engine.versions(tmp_path)[-1].config["paths"][0]["params"]["index"].keys() == OWN[kind] | {"kind"}


def test_only_the_kind_that_a_config_names_is_loaded() -> None:
    script = (
        "import sys\n"
        "from multirecall import Engine, EngineConfig, PathConfig\n"
        "from multirecall.testing import small_shop\n"
        "path = PathConfig(retriever='als', params={'index': {'kind': 'exact'}})\n"
        "Engine(EngineConfig(paths=(path,))).fit(small_shop()).retrieve(1)\n"
        "print(*(name.split('.')[-1] for name in sys.modules if '._index.' in name), 'hnswlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert set(done.stdout.split()) == {"kinds", "base", "vectors", "scan", "exact", "similar", "shard", "False"}


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_bundle_with_an_index_of_a_library(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers as before, without the library as well, with a warning, since at this size nothing is missed."""
    never_scan(monkeypatch)
    with Engine(config_with({"kind": kind})).fit(small_shop()) as engine:
        engine.save(tmp_path)
        expected = [engine.retrieve(user, 9) for user in (1, 2, 3)]
    for library in (None, kind):
        if library:
            monkeypatch.setitem(sys.modules, library, None)
        with caplog.at_level("WARNING"), Engine.load(tmp_path) as served:
            for user, one in zip((1, 2, 3), expected, strict=True):
                found = served.retrieve(user, 9)
                assert found.ids.tolist() == one.ids.tolist()
                assert found.scores.tobytes() == one.scores.tobytes()
        warned = f"every vector is scored, which takes longer: an index of kind '{kind}' needs {kind}" in caplog.text
        assert warned == bool(library)


class LongestConfig(IndexConfig):
    """Settings of the index of a third party."""

    longest: int = 3
    """Most items of a list."""


class Longest(ExactIndex):  # type: ignore[misc]
    """An index of a third party, whose lists are short."""

    Config = LongestConfig
    kind = "longest"

    def search(self, vector: Any, k: int, *filters: Any) -> Any:
        return super().search(vector, min(k, self.settings.longest), *filters)

    def _search_batch(self, vectors: Any, k: int, filters: Any) -> Any:
        return super()._search_batch(vectors, min(k, self.settings.longest), filters)


def test_a_kind_of_a_third_party(plugins: Callable[..., None], tmp_path: Path) -> None:
    plugins(INDEXES, longest=f"{__name__}:Longest")
    with Engine(config_with({"kind": "longest", "longest": 2})).fit(small_shop()) as engine:
        engine.save(tmp_path)
        before = engine.path_lists([1])["als"][0]
    assert len(before) == 2
    with Engine.load(tmp_path) as engine:
        assert engine.path_lists([1])["als"][0].items.tolist() == before.items.tolist()
        assert engine.path_lists([1, 2])["als"][1].items.size == 2


class Loose(ExactIndex):  # type: ignore[misc]
    from multirecall.protocols import PluginConfig as Config


def test_a_broken_kind_is_named(plugins: Callable[..., None]) -> None:
    plugins(INDEXES, loose=f"{__name__}:Loose", absent="no_such_module:Index", rows="faulty:Rows")
    for kind, message in (
        ("loose", "its Config must inherit multirecall.vector_index.IndexConfig"),
        ("absent", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'; fix or uninstall it"),
        ("rows", "is not a complete subclass of multirecall.vector_index.VectorIndex; let it inherit"),
    ):
        with pytest.raises(PluginError) as fault:
            Engine(config_with({"kind": kind}))
        assert message in str(fault.value)


class OneByOne(ExactIndex):  # type: ignore[misc]
    """A kind that overrides nothing but `search`."""

    _search_batch = VectorIndex._search_batch


def test_a_kind_need_not_know_of_batches() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 4)).astype(np.float32)
    rows = np.arange(50, dtype=np.int32)
    ours, own = (
        kind.build(rows, vectors, "l2", index_settings(), seed=0, asked=None, threads=1, progress=None)
        for kind in (ExactIndex, OneByOne)
    )
    for found, expected in (
        (own.search_batch(vectors[:5], 7), ours.search_batch(vectors[:5], 7)),
        (own.search_any_batch(vectors[:6].reshape(2, 3, 4), 7), ours.search_any_batch(vectors[:6].reshape(2, 3, 4), 7)),
    ):
        assert found.items.tolist() == expected.items.tolist()
        assert found.scores.tobytes() == expected.scores.tobytes()
