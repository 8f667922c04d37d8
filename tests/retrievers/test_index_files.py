"""What an index believes of the files that it was saved into."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from index_helpers import any_state, built, changed_index

from multirecall.errors import BundleError
from multirecall.retrievers._index import base
from multirecall.retrievers._index import hnsw as hnsw_module
from multirecall.retrievers._index.exact import ExactConfig
from multirecall.retrievers._index.ivf import IvfConfig
from multirecall.retrievers._index.kinds import load_index
from multirecall.storage import write_manifest
from multirecall.testing.nearest import DIM

EXACT = ExactConfig()
HNSW = hnsw_module.HnswConfig(M=16, ef_construction=100, ef_search=50)
IVF = IvfConfig()
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


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    built(any_state(np.random.default_rng(10), 100), "cosine", EXACT).save(tmp_path / "index")
    with pytest.raises(BundleError, match="holds an index of kind 'exact', the settings name 'ivf'; fit again"):
        load_index(tmp_path / "index", IVF)


def test_the_same_seed_gives_the_same_graph(tmp_path: Path) -> None:
    state = any_state(np.random.default_rng(12), 300)
    files = []
    for name, order, seed in (("a", list(state), 1), ("b", sorted(state), 1), ("c", list(state), 2)):
        built({row: state[row] for row in order}, "cosine", HNSW, seed).save(tmp_path / name)
        files.append((tmp_path / name / hnsw_module.GRAPH).read_bytes())
    assert files[0] == files[1] != files[2]


def lengthen(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def clear(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def swap(file: Path, other: Path) -> None:
    shutil.copy(other / file.name, file)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of two indexes of each kind that differ in all their files."""
    folder = tmp_path_factory.mktemp("saved")
    for name, config in (("exact", EXACT), ("hnsw", HNSW)):
        changed_index("cosine", config).save(folder / name)
        other = built(any_state(np.random.default_rng(15), 260), "l2", config)
        rows = np.arange(3, dtype=np.int32)
        other.add(rows, np.ones((3, DIM))).remove(np.array([300], np.int32)).save(folder / f"other-{name}")
    return lambda name: folder / name


@pytest.mark.parametrize("damage", [lengthen, clear, swap])
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
        patch.setattr(hnsw_module, "release_of", lambda _: "0.9")
        with pytest.raises(BundleError, match=r"hnswlib 0\.8, this is 0\.9"):
            load_index(saved("hnsw"), HNSW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "FORMAT", 3)
        with pytest.raises(BundleError, match="has format 2, this program reads 3"):
            load_index(saved("hnsw"), HNSW)


def test_a_graph_of_other_vectors_is_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """Also when the manifest was written after the graphs were mixed up."""
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
