"""Which shard has an item: a hash of its id, so that an item that joins later finds its shard."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from multirecall.vocabulary import Id


def owners_of(ids: Iterable[Id], n_shards: int, seed: int) -> NDArray[np.int32]:
    """The shard of each item, int32 (n,): BLAKE2b of its id as text, modulo the number of shards.

    Args:
        ids: item ids, as Python values.
        n_shards: the number of shards.
        seed: another seed gives another split.
    """
    key = seed.to_bytes(8, "little")
    digests = b"".join(blake2b(str(one).encode(), digest_size=8, key=key).digest() for one in ids)
    return (np.frombuffer(digests, "<u8") % np.uint64(n_shards)).astype(np.int32)
