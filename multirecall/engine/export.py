"""Streaming the candidates of many users into a file, by one thread or several."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
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

Part = tuple[int, list[Id | User]]
"""Some of the users, and the number of the first of them."""

Retrieve = Callable[[int, list[Id | User]], CandidateBatch]
"""Answers a part; several threads may call it."""

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


def write_candidates(users: Iterable[Id | User], file: Path, chunk: int, retrieve: Retrieve, threads: int = 1) -> int:
    """Write `CandidateBatch.to_polars()` of every user, and return the number of rows.

    The suffix of `file` selects the format. The file appears under its name only when it is complete. Several threads
    answer one chunk of users each while the file is written; chunks are written in order, and at most `threads` wait.

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
    draft = file.with_name(f".{file.name}.draft")
    with closing(answer_in_order(lambda part: retrieve(*part).to_polars(), _chunks(users, chunk), threads)) as frames:
        try:
            rows = _write_frames(frames, draft, write)
            os.replace(draft, file)
        except OSError as fault:
            raise RequestError(f"write_candidates: {file}: cannot be written ({fault}); check the folder") from None
        finally:
            draft.unlink(missing_ok=True)
    return rows


def _write_frames(frames: Iterator[pl.DataFrame], draft: Path, write: Callable[[pl.LazyFrame, Path], Any]) -> int:
    first = next(frames, None)
    if first is None:
        raise RequestError("write_candidates: there are no users; pass at least one id or User")
    rows = 0

    def source(*_: Any) -> Iterator[pl.DataFrame]:
        nonlocal rows
        for frame in chain([first], frames):
            rows += frame.height
            yield frame.cast(first.schema)

    write(register_io_source(source, schema=first.schema), draft)
    return rows


def answer_in_order(
    answer: Callable[[Part], pl.DataFrame], parts: Iterable[Part], threads: int
) -> Generator[pl.DataFrame, None, None]:
    """The answer of each part, in order; `threads` at most are asked for ahead of their turn."""
    if threads == 1:
        yield from map(answer, parts)
        return
    with ThreadPoolExecutor(threads, "candidates") as pool:
        begun: deque[Future[pl.DataFrame]] = deque()
        try:
            for part in parts:
                begun.append(pool.submit(answer, part))
                if len(begun) > threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for one in begun:
                one.cancel()


def _chunks(users: Iterable[Id | User], size: int) -> Iterator[Part]:
    remaining, first = iter(users), 0
    while part := list(islice(remaining, size)):
        yield first, part
        first += len(part)
