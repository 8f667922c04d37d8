"""Numbers in numpy's files: nothing is unpickled, and a file of another form is named as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign import write_object_npy

from multirecall.numpy_files import load_numbers


def test_numbers_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(3))
    np.savez(tmp_path / "some.npz", values=np.arange(2))
    assert load_numbers(tmp_path / "one.npy", "npy").tolist() == [0, 1, 2]
    with load_numbers(tmp_path / "some.npz", "npz") as found:
        assert found["values"].tolist() == [0, 1]


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_another_form_is_refused(form: str, tmp_path: Path) -> None:
    other = {"npy": "npz", "npz": "npy"}[form]
    np.savez(tmp_path / "file.npz", values=np.arange(2))
    np.save(tmp_path / "file.npy", np.arange(2))
    (tmp_path / "file.other").write_bytes(b"\x80\x04]\x94.")  # an empty list, as Python serialises it
    (tmp_path / "file.empty").write_bytes(b"")
    for name in (other, "other", "empty"):
        with pytest.raises(ValueError, match=f"it does not begin as {form} does"):
            load_numbers(tmp_path / f"file.{name}", form)


def test_objects_are_refused(tmp_path: Path) -> None:
    write_object_npy(tmp_path / "objects.npy")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_numbers(tmp_path / "objects.npy", "npy")
