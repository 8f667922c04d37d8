"""Events per second that the journal makes durable, beside a bare log of lengths and checksums with fdatasync."""

from __future__ import annotations

import io
import os
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import numpy as np
import polars as pl
import typer
from _harness import write
from rich.progress import track

from multirecall.engine.bundle.journal import Journal, JournalReader

OWNER = "0" * 32


def main(
    seconds: Annotated[float, typer.Option(help="How long each batch size is tried, in each run.")] = 3.0,
    runs: Annotated[int, typer.Option(help="Runs, in turn for both logs; the median counts.")] = 5,
    folder: Annotated[Path | None, typer.Option(help="Where to write; default: the system's temporary folder.")] = None,
) -> None:
    """Append batches of 1, 100 and 1,000 events, each batch one payload and one transaction; then read all back."""
    batches = {size: frames(size) for size in (1, 100, 1_000)}
    rates: dict[tuple[str, int], list[float]] = {(log, size): [] for size in batches for log in ("journal", "bare_log")}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for run in track(range(runs)):
            for size, payloads in batches.items():
                own = Path(place) / f"{size}-{run}"
                own.mkdir()
                with Journal(own, OWNER, 0) as journal:
                    append = partial(append_one, journal)
                    rates["journal", size].append(size * per_second(append, payloads, seconds))
                with (own / "bare.log").open("ab", buffering=0) as log:
                    rates["bare_log", size].append(size * per_second(partial(bare_append, log), payloads, seconds))
        start = perf_counter()
        n_events = size * sum(1 for _ in JournalReader(own, OWNER).since(0))
        read_back = n_events / (perf_counter() - start)
    figures = [
        {
            "log": name,
            "events_per_batch": size,
            "payload_bytes": len(batches[size][0]),
            "events_per_s": median(found),
            "lowest": min(found),
            "highest": max(found),
        }
        for (name, size), found in rates.items()
    ]
    for (name, size), found in rates.items():
        typer.echo(f"{name}, {size} a batch: {median(found):,.0f}/s ({min(found):,.0f} to {max(found):,.0f})")
    typer.echo(f"read back: {read_back:,.0f}/s")
    typer.echo(
        write("journal", {"seconds": seconds, "runs": runs, "read_back_events_per_s": read_back, "logs": figures})
    )


def frames(size: int) -> list[bytes]:
    """Payloads as the engine writes them: Arrow IPC frames of `size` events."""
    rng = np.random.default_rng(7)
    return [_ipc(rng, size) for _ in range(64)]


def _ipc(rng: np.random.Generator, size: int) -> bytes:
    frame = pl.DataFrame(
        {
            "user_id": [f"u{row:06}" for row in rng.integers(0, 200_000, size)],
            "item_id": [f"i{row:06}" for row in rng.integers(0, 100_000, size)],
            "timestamp": 1_700_000_000 + rng.integers(0, 10**7, size),
        }
    )
    stream = io.BytesIO()
    frame.write_ipc(stream)
    return stream.getvalue()


def per_second(append: Callable[[bytes], object], batches: list[bytes], seconds: float) -> float:
    """How many batches a second `append` takes."""
    n, start = 0, perf_counter()
    while (spent := perf_counter() - start) < seconds:
        for one in islice(batches, 8):
            append(one)
            n += 1
    return n / spent


def append_one(journal: Journal, payload: bytes) -> None:
    journal.append([payload])


def bare_append(log: io.FileIO, payload: bytes) -> None:
    """Length, CRC-32 and payload, and a wait for the disk."""
    log.write(len(payload).to_bytes(4, "little") + zlib.crc32(payload).to_bytes(4, "little") + payload)
    os.fdatasync(log.fileno())


if __name__ == "__main__":
    typer.run(main)
