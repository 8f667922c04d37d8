"""What an inverted file believes of its files, and of those that an older release has saved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from index_helpers import clustered, ivf_and_exact, never_scan, recall

from multirecall.errors import BundleError
from multirecall.retrievers._index.cell_scan import encode
from multirecall.retrievers._index.cells import Cells, place_vectors
from multirecall.retrievers._index.ivf import FOLDER, IvfConfig
from multirecall.retrievers._index.kinds import load_index
from multirecall.storage import write_manifest
from multirecall.vector_index import SPACES

IVF = IvfConfig()


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 16
    file.write_bytes(content)


CELL_FILES = sorted(Cells.__dataclass_fields__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "saved"
    vectors = clustered(np.random.default_rng(16), 300, 8)
    ivf_and_exact(vectors, "cosine")[0].save(folder)
    return folder


@pytest.mark.parametrize("name", CELL_FILES)
@pytest.mark.parametrize("damage", [truncated, flipped, Path.unlink])
def test_damaged_cells_are_found(name: str, damage: Callable[[Path], None], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "index")
    damage(tmp_path / "index" / FOLDER / f"{name}.npy")
    with pytest.raises(BundleError, match=f"{name}.npy"):
        load_index(tmp_path / "index", IVF)


@pytest.mark.parametrize("name", CELL_FILES)
def test_cells_of_other_vectors_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    """Also when the manifest was written after arrays were mixed up or are gone."""
    shutil.copytree(folder, tmp_path / "index")
    file = tmp_path / "index" / FOLDER / f"{name}.npy"
    file.unlink()
    write_manifest(tmp_path / "index", {})
    with pytest.raises(BundleError, match="do not fit together"):
        load_index(tmp_path / "index", IVF)
    np.save(file, np.ones((7, 3)))
    write_manifest(tmp_path / "index", {})
    with pytest.raises(BundleError, match="do not fit together"):
        load_index(tmp_path / "index", IVF)


def test_cells_of_an_older_release_are_coded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saved codes of 8 bits, and no slack."""
    never_scan(monkeypatch)
    rng = np.random.default_rng(22)
    vectors = clustered(rng, 3000, 24, 60)
    for space in SPACES:
        ivf, exact = ivf_and_exact(vectors, space)
        ivf.save(tmp_path / space)
        files = tmp_path / space / FOLDER
        for name in ("first_blocks", "blocks", "slack"):
            (files / f"{name}.npy").unlink()
        cells = ivf._cells
        codes, scales = encode(place_vectors(ivf.vectors.values, cells.centre, cells.unit[0]))
        np.save(files / "codes.npy", codes)
        np.save(files / "scales.npy", scales)
        np.save(files / "offsets.npy", cells.offsets[:3000] if space == "l2" else np.zeros(3000, np.float32))
        write_manifest(tmp_path / space, {})
        former = load_index(tmp_path / space, IVF)
        assert (former._cells.blocks == cells.blocks).all()
        assert recall(former, exact, vectors[:60], 100) >= 0.99


def test_starts_that_lead_astray_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "index")
    file = tmp_path / "index" / FOLDER / "starts.npy"
    starts = np.load(file)
    starts[1] = 10**9
    np.save(file, starts)
    write_manifest(tmp_path / "index", {})
    with pytest.raises(BundleError, match="do not fit together"):
        load_index(tmp_path / "index", IVF)


@pytest.mark.parametrize(("name", "rows"), [("rows", [-7]), ("new_rows", [-7]), ("new_rows", [900, 899])])
def test_rows_that_lead_astray_are_refused(name: str, rows: list[int], folder: Path, tmp_path: Path) -> None:
    """Kernels look rows up in bitmaps without a look at their size."""
    shutil.copytree(folder, tmp_path / "index")
    file = tmp_path / "index" / f"{name}.npy"
    kept = np.load(file)[len(rows) :]
    np.save(file, np.concatenate([kept, np.array(rows, np.int32)]))
    if name == "new_rows":
        np.save(tmp_path / "index" / "new_values.npy", np.ones((len(rows), 8), np.float32))
    write_manifest(tmp_path / "index", {})
    with pytest.raises(BundleError, match="do not fit together"):
        load_index(tmp_path / "index", IVF)
