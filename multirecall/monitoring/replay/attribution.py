"""Which logged request an event counts for: the newest one of its user before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.data import Dataset
from multirecall.errors import DataError
from multirecall.monitoring.newest_answer import with_newest_answer
from multirecall.monitoring.replay.groups import Group
from multirecall.monitoring.request_log.parts import read_part
from multirecall.monitoring.request_log.table_reader import TableReader
from multirecall.monitoring.request_log.user_names import UserNames, refuse_foreign

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Targets:
    """What users did after some requests.

    Attributes:
        members: the positions in a group of the requests that were followed by an event, int64 (n,), ascending.
        offsets: where the targets of each of them begin, int64 (n + 1,).
        items: item rows, int32, ascending and unique within a request; -1 for items that the catalogue lacks.
    """

    members: NDArray[np.int64]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]

    def of_all(self, n: int) -> NDArray[np.int64]:
        """The offsets for each of the `n` requests of the group, int64 (n + 1,)."""
        lengths = np.zeros(n, np.int64)
        lengths[self.members] = np.diff(self.offsets)
        return offsets_of(lengths)


class Attribution:
    """The events of a log of interactions, each with the request that it counts for.

    An event counts for a logged request as `with_newest_answer` says. Events of weight 0 do not count.

    Args:
        files: the parts of the request log.
        events: what users did later.
        horizon_days: the longest time from a request to an event.
        names: how users are named in the request log: as they are, and under each salt.

    Attributes:
        n_events: the number of events.
        n_attributed: those that count for a request.

    Raises:
        DataError: the events have no times.
        ConfigError: users of the log are hashed under a salt that is not given.
    """

    def __init__(self, files: Sequence[Path], events: Dataset, horizon_days: float, names: Sequence[UserNames]) -> None:
        log = events.interactions
        if log.times is None:
            raise DataError("events: they have no timestamps, so none is later than a request; add the column")
        counts = log.weights > 0
        micros = 0 if log.micros is None else log.micros[counts]
        happened = pl.DataFrame(
            {"user": log.users[counts], "item": log.items[counts], "time": log.times[counts] * 1_000_000 + micros}
        )
        asked = _requests(files, events, names).with_row_index("answer")
        joined = with_newest_answer(happened, asked, int(horizon_days * DAY_S * 1e6))
        self.n_events, self.n_attributed = happened.height, joined.height
        self._ids = events.items.ids.ids()
        pairs = joined.select("file", "row", "item").unique().sort("file", "row", "item")
        self._by_file = {int(key[0]): part for key, part in pairs.partition_by("file", as_dict=True).items()}

    def targets(self, file: int, group: Group, tables: TableReader) -> Targets:
        """What users did after the requests of a group, which stand in the part of this number."""
        pairs = self._by_file.get(file)
        rows = group.frame["row"].to_numpy()
        if pairs is None:
            return Targets(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32))
        places = pl.DataFrame({"row": rows, "member": np.arange(rows.size)})
        own = pairs.join(places, on="row", how="inner")
        items = tables.vocabulary(*group.catalogue).rows(self._ids[own["item"].to_numpy()])
        found = pl.DataFrame({"member": own["member"], "item": items}).sort("member", "item")
        members, lengths = np.unique(found["member"].to_numpy(), return_counts=True)
        return Targets(members, offsets_of(lengths), found["item"].to_numpy())


def _requests(files: Sequence[Path], events: Dataset, names: Sequence[UserNames]) -> pl.DataFrame:
    """The requests of users who have events: `user`, their row there, `time` in microseconds, `file` and `row`."""
    owners = _owners(events.users.ids.ids(), names)
    found = [part for number, file in enumerate(files) for part in _of_part(number, file, owners, names)]
    schema = {"user": pl.Int32, "time": pl.Int64, "file": pl.Int64, "row": pl.Int64}
    return pl.concat(found) if found else pl.DataFrame(schema=schema)


def _owners(ids: NDArray[Any], names: Sequence[UserNames]) -> pl.DataFrame:
    frames = [
        pl.DataFrame(
            {
                "user": [one.name(user) for user in ids.tolist()],
                "salt": pl.Series([one.salt] * ids.size, dtype=pl.String),
                "owner": np.arange(ids.size, dtype=np.int32),
            }
        )
        for one in names
    ]
    return pl.concat(frames)


def _of_part(number: int, file: Path, owners: pl.DataFrame, names: Sequence[UserNames]) -> Iterator[pl.DataFrame]:
    frame = read_part(file, ["user", "salt", "time"])
    if frame is None:
        return
    refuse_foreign(frame, names, file)
    yield (
        frame.with_row_index("row")
        .join(owners, on=["user", "salt"], how="inner", nulls_equal=True)
        .filter(pl.col("user").is_not_null())
        .select(
            pl.col("owner").alias("user"),
            pl.col("time").dt.epoch("us"),
            pl.lit(number, pl.Int64).alias("file"),
            pl.col("row").cast(pl.Int64),
        )
    )
