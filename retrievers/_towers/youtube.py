"""The user encoder of `youtube_dnn` for requests."""

from __future__ import annotations

import numpy as np

from .mlp import Vectors
from .pooling import PooledVector
from .serving import UserInputs


class DeepVector(PooledVector):
    """`DeepEncoder` without torch: one vector per user, from the inputs of a `PooledVector` and the search terms."""

    __slots__ = ()

    def inputs(self, user: UserInputs) -> Vectors:
        """See `PooledVector.inputs`; the sum of the search terms is added at the end."""
        return np.concatenate([super().inputs(user), user.term_weights @ user.term_rows])
