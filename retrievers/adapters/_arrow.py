"""A look at the messages of an Arrow IPC stream before a library reads it: nothing in it may be larger than it is sent.

An Arrow stream may be compressed, or say that it has more rows than its bytes hold. A library would believe both.
"""

from __future__ import annotations

from struct import error, unpack_from

from multirecall.errors import ServiceError

MARK = 0xFFFFFFFF
"""What each message begins with."""

SCHEMA, RECORD_BATCH = 1, 3
"""The types of messages that an answer may have."""


def refuse_odd_messages(stream: bytes, k: int) -> None:
    """Walk through the messages, as the Arrow columnar format describes them ("Encapsulated message format").

    Raises:
        ServiceError: a message is cut off, compressed or of a type other than schema and record batch; or all record
            batches together have more than `k` rows.
    """
    try:
        n_rows = _count_rows(stream)
    except error:
        raise ServiceError("answers with what is no Arrow stream, or with one that is cut off") from None
    if n_rows > k:
        raise ServiceError(f"answers with {n_rows:,} items to a request for {k:,}; send at most k")


def _count_rows(stream: bytes) -> int:
    place, n_rows = 0, 0
    while place < len(stream):
        mark, size = unpack_from("<Ii", stream, place)
        if mark != MARK or size < 0:
            raise error
        if size == 0:  # the end of the stream
            break
        message = stream[place + 8 : place + 8 + size]
        place += 8 + size
        root = unpack_from("<I", message)[0]
        kind = unpack_from("<B", message, _field(message, root, 1))[0]
        body_place = _field(message, root, 3)
        body_bytes = unpack_from("<q", message, body_place)[0] if body_place else 0
        if body_bytes < 0 or place + body_bytes > len(stream):
            raise error
        place += body_bytes
        if kind == RECORD_BATCH:
            n_rows += _rows_of(message, _child(message, _field(message, root, 2)))
        elif kind != SCHEMA:
            raise ServiceError("answers with an Arrow stream that has dictionaries; send plain columns")
    return n_rows


def _rows_of(message: bytes, batch: int) -> int:
    """The rows of a record batch, whose table stands at `batch`."""
    if _field(message, batch, 3):
        raise ServiceError("answers with a compressed Arrow stream; send it without compression")
    place = _field(message, batch, 0)
    length: int = unpack_from("<q", message, place)[0] if place else 0
    if length < 0:
        raise error
    return length


def _field(message: bytes, table: int, number: int) -> int:
    """The place of a field of a flatbuffer's table; 0 where the table lacks it."""
    fields = table - unpack_from("<i", message, table)[0]
    slot = 4 + 2 * number
    if fields < 0 or slot + 2 > unpack_from("<H", message, fields)[0]:
        return 0
    offset: int = unpack_from("<H", message, fields + slot)[0]
    return table + offset if offset else 0


def _child(message: bytes, place: int) -> int:
    """The place of the table that the offset at `place` leads to."""
    if not place:
        raise error
    return place + int(unpack_from("<I", message, place)[0])
