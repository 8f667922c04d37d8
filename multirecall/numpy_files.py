"""Reading of numpy's files, without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FORMS = {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz"}
"""How the files begin; numpy takes every other file for a pickle."""


def load_numbers(file: Path, form: str) -> Any:
    """What `numpy.load` makes of a file of this form, `npy` or `npz`, which holds no Python objects.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is of another form, or damaged; numpy may also raise EOFError, RuntimeError, zlib.error or
            zipfile.BadZipFile.
    """
    with file.open("rb") as stream:
        start = stream.read(max(map(len, FORMS)))
    if not any(start.startswith(mark) for mark, name in FORMS.items() if name == form):
        raise ValueError(f"it does not begin as {form} does")
    return np.load(file, allow_pickle=False)
