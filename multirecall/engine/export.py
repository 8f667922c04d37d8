"""Streaming the candidates of many users into a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from multirecall.errors import RequestError
from multirecall.output import require_file
from multirecall.result import CandidateBatch
from multirecall.user import User
from multirecall.vocabulary import Id

Retrieve = Callable[[list[Id | User]], CandidateBatch]

_parquet = partial(pl.LazyFrame.sink_parquet, compression="lz4")

WRITERS: dict[str, Callable[[pl.LazyFrame, Path], Any]] = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".arrow": pl.LazyFrame.sink_ipc,
    ".feather": pl.LazyFrame.sink_ipc,
    ".ipc": pl.LazyFrame.sink_ipc,
    ".csv": pl.LazyFrame.sink_csv,
    ".jsonl": pl.LazyFrame.sink_ndjson,
    ".ndjson": pl.LazyFrame.sink_ndjson,
}
"""The function that writes each file format, by suffix."""


def write_candidates(users: Iterable[Id | User], file: Path, chunk: int, retrieve: Retrieve) -> int:
    """Write `CandidateBatch.to_polars()` of every user, `chunk` users at a time, and return the number of rows.

    The suffix of `file` selects the format. The file appears under its name only when it is complete.

    Raises:
        RequestError: there are no users, no format has the suffix, or the file cannot be written.
    """
    write = WRITERS.get(file.suffix.lower())
    if write is None:
        raise RequestError(
            f"write_candidates: {file}: no format ends in {file.suffix!r}; name a file that ends in "
            f"{', '.join(WRITERS)}"
        )
    require_file(file, "write_candidates")
    frames = (retrieve(part).to_polars() for part in _chunks(users, chunk))
    first = next(frames, None)
    if first is None:
        raise RequestError("write_candidates: there are no users; pass at least one id or User")
    rows = 0

    def source(*_: Any) -> Iterator[pl.DataFrame]:
        nonlocal rows
        for frame in chain([first], frames):
            rows += frame.height
            yield frame.cast(first.schema)

    draft = file.with_name(f".{file.name}.draft")
    try:
        write(register_io_source(source, schema=first.schema), draft)
        os.replace(draft, file)
    except OSError as fault:
        raise RequestError(f"write_candidates: {file}: cannot be written ({fault}); check the folder") from None
    finally:
        draft.unlink(missing_ok=True)
    return rows


def _chunks(users: Iterable[Id | User], size: int) -> Iterator[list[Id | User]]:
    remaining = iter(users)
    while part := list(islice(remaining, size)):
        yield part
