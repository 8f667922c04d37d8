"""Live changes: `Change` is a change to make, as the journal stores it; `Changes` is what it did to a dataset."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data.ids import INTEGERS
from multirecall.errors import BundleError

if TYPE_CHECKING:
    from multirecall.data.dataset import Dataset
    from multirecall.data.interactions import Interactions

ChangeKind = Literal[
    "add_interactions", "add_items", "update_items", "remove_items", "remove_interactions", "remove_users"
]
"""What a live change does: the name of the method of `Engine` that makes it."""

MAGIC = b"multirecall change 1"
REMEDY = "restore the journal from a copy"

PolarsType = pl.DataType | type[pl.DataType]
ITEM_COLUMNS: dict[str, Sequence[PolarsType]] = {"item_id": (*INTEGERS, pl.String)}
EVENT_COLUMNS = {"user_id": (*INTEGERS, pl.String), "timestamp": (pl.Int64,), "position": (pl.Int64,)}
COLUMNS: dict[str, dict[str, Sequence[PolarsType]]] = {
    "add_interactions": {**ITEM_COLUMNS, **EVENT_COLUMNS, "weight": (pl.Float64,)},
    "add_items": ITEM_COLUMNS,
    "update_items": ITEM_COLUMNS,
    "remove_items": ITEM_COLUMNS,
    "remove_interactions": {**ITEM_COLUMNS, **EVENT_COLUMNS},
    "remove_users": {"user_id": EVENT_COLUMNS["user_id"]},
}
"""The allowed types of each column of a change. Feature columns are not listed: they are checked against the item table
when the change is applied."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One live change, checked, with external ids instead of rows, so that it can be applied to any engine state.

    Attributes:
        kind: the kind of change.
        frame: its rows. The columns depend on `kind`:

            - `add_interactions`: `user_id`, `item_id` and, where the log has them, `timestamp` (Int64, epoch
              microseconds), `position` (Int64) and `weight` (Float64, event weights applied).
            - `add_items`, `update_items`: `item_id` and feature columns.
            - `remove_items`: `item_id`.
            - `remove_interactions`: `user_id`, `item_id` and, where given, `timestamp` and `position`.
            - `remove_users`: `user_id`.
        notes: what the caller should know about the frame; `to_bytes` leaves them out.
    """

    kind: ChangeKind
    frame: pl.DataFrame
    notes: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The change as bytes: a line with its kind and a CRC-32 checksum, then an Arrow IPC stream."""
        stream = BytesIO()
        self.frame.write_ipc_stream(stream)
        body = stream.getvalue()
        return b"%s %s %08x\n%s" % (MAGIC, self.kind.encode(), zlib.crc32(body), body)

    @classmethod
    def of_bytes(cls, payload: bytes) -> Change:
        """Read what `to_bytes` wrote.

        Raises:
            BundleError: `payload` is not a change, or is damaged.
        """
        head, _, body = payload.partition(b"\n")
        kind, _, checksum = head.removeprefix(MAGIC + b" ").decode("ascii", "replace").partition(" ")
        if not head.startswith(MAGIC) or kind not in COLUMNS:
            raise BundleError(f"a record begins with {head[:60]!r}, so it is not a live change; {REMEDY}")
        if checksum != f"{zlib.crc32(body):08x}":
            raise BundleError(f"a live change ({kind}) does not match its checksum; {REMEDY}")
        try:
            frame = pl.read_ipc_stream(BytesIO(body))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as fault:
            raise BundleError(f"a live change ({kind}) cannot be read ({fault}); {REMEDY}") from None
        for column, types in COLUMNS[kind].items():
            needed = column in ("user_id", "item_id")
            if (needed or column in frame.columns) and not _holds(frame, column, types):
                raise BundleError(f"a live change ({kind}) has a faulty column {column!r}; {REMEDY}")
        return cls(kind, frame)  # type: ignore[arg-type]


def _holds(frame: pl.DataFrame, column: str, types: Sequence[PolarsType]) -> bool:
    return column in frame.columns and frame[column].dtype in types and not frame[column].null_count()


def _no_rows() -> NDArray[np.int32]:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What a change did to a dataset.

    Attributes:
        data: the dataset after the change.
        users: the user row of each new event, int32 (n,), in order of arrival.
        items: the item row of each new event, int32 (n,).
        times: the time of each new event in epoch seconds, int64 (n,); None where the log has no timestamps.
        weights: the weight of each new event, float32 (n,), decayed to `data.now`.
        undecayed: the same weights without decay, float32 (n,).
        fading: the factor that turns weights decayed to the former `now` into weights decayed to the new one; 1
            without a half-life.
        shifted: whether `fading` is not enough, because `now` moved back or an event lies far beyond the rest of the
            log. Decayed sums must then be recomputed from `data`.
        taken: the events that were removed from the log, with weights decayed to `data.now`; None where there are
            none.
        forgotten: the rows of removed users, int32, ascending. The rows stay in place without a user.
        touched: the rows of new items and of items with new features, int32, ascending.
        removed: the rows of items that are no longer retrievable, int32, ascending.
        revived: the rows of items that are retrievable again, int32, ascending.
    """

    data: Dataset
    users: NDArray[np.int32] = field(default_factory=_no_rows)
    items: NDArray[np.int32] = field(default_factory=_no_rows)
    times: NDArray[np.int64] | None = None
    weights: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    undecayed: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    fading: float = 1.0
    shifted: bool = False
    taken: Interactions | None = None
    forgotten: NDArray[np.int32] = field(default_factory=_no_rows)
    touched: NDArray[np.int32] = field(default_factory=_no_rows)
    removed: NDArray[np.int32] = field(default_factory=_no_rows)
    revived: NDArray[np.int32] = field(default_factory=_no_rows)

    @property
    def n_taken_back(self) -> int:
        """The number of removed users; where no user was removed, the number of removed events."""
        return self.forgotten.size or (0 if self.taken is None else len(self.taken))

    @property
    def takes_back(self) -> bool:
        """Whether the change removed users or events."""
        return self.taken is not None or self.forgotten.size > 0
