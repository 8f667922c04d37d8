"""Messages between the client and the shards: JSON and arrays as bytes. Nothing that is read is executed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import RequestError

Message = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""Plain values, and arrays by name."""

ALIGNMENT = 16
"""Each array begins at a multiple of so many bytes."""

KINDS = "biuf"
"""The kinds of arrays that a message may hold."""


def pack(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A message as bytes: the length of its head, a head of JSON, then the arrays, which `unpack` reads in place.

    Raises:
        RequestError: `values` holds something that JSON has no form for.
    """
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    shapes = [[name, array.dtype.str, array.shape] for name, array in plain.items()]
    try:
        head = json.dumps([values, shapes]).encode()
    except (TypeError, ValueError) as fault:
        raise RequestError(f"a sharded engine sends features, terms and context as JSON: {fault}") from None
    parts = [len(head).to_bytes(8, "little"), head]
    end = 8 + len(head)
    for array in plain.values():
        gap = -end % ALIGNMENT
        parts += [bytes(gap), array.tobytes()]
        end += gap + array.nbytes
    return b"".join(parts)


def unpack(message: bytes) -> Message:
    """The values and arrays of a message. The arrays can be written to, as those that kernels are compiled for.

    Raises:
        ValueError: it is no such message.
    """
    own = bytearray(message)
    end = 8 + int.from_bytes(message[:8], "little")
    values, shapes = json.loads(message[8:end])
    arrays: dict[str, NDArray[Any]] = {}
    for name, code, shape in shapes:
        dtype = np.dtype(code)
        if dtype.kind not in KINDS:
            raise ValueError(f"a message holds no arrays of {dtype}")
        count = math.prod(shape)
        end += -end % ALIGNMENT
        arrays[name] = np.frombuffer(own, dtype, count, end).reshape(shape)
        end += count * dtype.itemsize
    return values, arrays
