"""Live changes: what a caller wants changed, as a record that survives a crash, and what it did to a dataset."""

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
"""The types that the columns of a change have; features are checked against the table when it is applied."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One live change, checked and in external ids, so that it holds in every state of an engine.

    Attributes:
        kind: what is done.
        frame: `user_id, item_id` and, where the log has them, `timestamp` (Int64 epoch microseconds), `position`
            (Int64), `weight` (Float64, event weights applied); or `item_id` with feature columns; or `item_id`;
            or, of events that are taken back, `user_id, item_id` and `timestamp` or `position` where given; or
            `user_id`.
        notes: what the caller should know about the frame; not kept in bytes.
    """

    kind: ChangeKind
    frame: pl.DataFrame
    notes: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The change as a line with its kind and CRC-32, and an Arrow IPC stream."""
        stream = BytesIO()
        self.frame.write_ipc_stream(stream)
        body = stream.getvalue()
        return b"%s %s %08x\n%s" % (MAGIC, self.kind.encode(), zlib.crc32(body), body)

    @classmethod
    def of_bytes(cls, payload: bytes) -> Change:
        """The change that `to_bytes` wrote.

        Raises:
            BundleError: it is no change, or damaged.
        """
        head, _, body = payload.partition(b"\n")
        kind, _, checksum = head.removeprefix(MAGIC + b" ").decode("ascii", "replace").partition(" ")
        if not head.startswith(MAGIC) or kind not in COLUMNS:
            raise BundleError(f"a live change begins with {head[:60]!r}, which is none; {REMEDY}")
        if checksum != f"{zlib.crc32(body):08x}":
            raise BundleError(f"a live change ({kind}) differs from its checksum; {REMEDY}")
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
    """What a change did.

    Attributes:
        data: the dataset after it.
        users: user row of each new event in order of arrival, int32 (n,).
        items: item rows, int32 (n,).
        times: epoch seconds, int64 (n,), or None where the log has no timestamps.
        weights: float32 (n,), decayed to `data.now`.
        undecayed: float32 (n,), the same as they were given.
        fading: the factor by which what was decayed to the former `now` must be multiplied; 1 without half-life.
        shifted: whether `now` moved, and not all ages with it: back, or with an event far beyond the rest in the log.
            What was decayed must then be counted anew from `data`.
        taken: events that are no longer in the log, with weights as of `data.now`; None where none was taken back.
        forgotten: user rows that nobody has any more, int32, ascending; they keep their numbers.
        touched: item rows that are new or were given features, int32, ascending.
        removed: item rows that are no longer retrievable, int32, ascending.
        revived: item rows that were removed and are retrievable again, int32, ascending.
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
        """How many users were forgotten, or events taken back where no user was."""
        return self.forgotten.size or (0 if self.taken is None else len(self.taken))

    @property
    def takes_back(self) -> bool:
        """Whether something is gone from the log that was in it."""
        return self.taken is not None or self.forgotten.size > 0
