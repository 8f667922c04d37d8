"""The peer of two_tower: torch-rechub's DSSM, fed with the examples of ours."""

from __future__ import annotations

import contextlib
import io
import tempfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from multirecall.data import Categorical, Dataset, Interactions

Inputs = dict[str, NDArray[Any]]


class Dssm:
    """DSSM with cosine towers, a mean of the history, and in-batch negatives sampled by the library's trainer.

    Id 0 pads; item `r` has id `r + 1`. Categorical features of items and users join where the data have them.
    """

    def __init__(self, data: Dataset, dim: int, width: int, history: int) -> None:
        """Build the model of the library for `data`."""
        from torch_rechub.basic.features import SequenceFeature, SparseFeature
        from torch_rechub.models.matching import DSSM

        self.data, self.history = data, history
        self.user_tables = categories(data.users.features)
        self.item_tables = categories(data.items.features)
        users = [SparseFeature("user_id", data.n_users + 1, dim)]
        users += [SparseFeature(f"user {name}", int(codes.max()) + 1, dim) for name, codes in self.user_tables.items()]
        items = [SparseFeature("item_id", data.n_items + 1, dim)]
        items += [SparseFeature(f"item {name}", int(codes.max()) + 1, dim) for name, codes in self.item_tables.items()]
        past = SequenceFeature("history", data.n_items + 1, dim, pooling="mean", shared_with="item_id", padding_idx=0)
        layers = {"dims": [width, dim], "activation": "relu"}
        self.model: nn.Module = DSSM([*users, past], items, layers, dict(layers))

    def train(self, events: NDArray[np.int64], batch: int, epochs: int, negatives: int) -> None:
        """Train on events of the log with the library's trainer, its optimiser and its learning rate."""
        from torch_rechub.trainers import MatchTrainer
        from torch_rechub.utils.data import MatchDataGenerator

        log = self.data.interactions
        inputs = {**self.users(log, log.users[events], events), **self.items(log.items[events])}
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            loader, _, _ = MatchDataGenerator(inputs, np.ones(events.size)).generate_dataloader(
                inputs, inputs, batch_size=batch, num_workers=0
            )
            trainer = MatchTrainer(
                self.model,
                mode=2,
                in_batch_neg=True,
                in_batch_neg_ratio=negatives,
                sampler_seed=0,
                n_epoch=epochs,
                model_path=folder,
            )
            trainer.fit(loader)

    @torch.no_grad()
    def user_vectors(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Vectors of user rows (-1: unknown) with their whole history, float32 (n, dim)."""
        log = self.data.interactions
        ends = np.where(users < 0, 0, log.offsets[users + 1])
        return self._vectors("user", self.users(log, users, ends))

    @torch.no_grad()
    def item_vectors(self) -> NDArray[np.float32]:
        """Vectors of all items, float32 (n_items, dim)."""
        return self._vectors("item", self.items(np.arange(self.data.n_items, dtype=np.int32)))

    def users(self, log: Interactions, users: NDArray[np.int32], ends: NDArray[np.int64]) -> Inputs:
        """What the user tower reads of users whose history ends before the events `ends`."""
        padded = np.zeros((users.size, self.history), np.int64)
        for row, (user, end) in enumerate(zip(users.tolist(), ends.tolist(), strict=True)):
            start = max(end - self.history, int(log.offsets[user])) if user >= 0 else end
            if end > start:
                padded[row, : end - start] = log.items[start:end].astype(np.int64) + 1
        own = {f"user {name}": codes[users] * (users >= 0) for name, codes in self.user_tables.items()}
        return {"user_id": users.astype(np.int64) + 1, "history": padded, **own}

    def items(self, items: NDArray[np.int32]) -> Inputs:
        """What the item tower reads."""
        own = {f"item {name}": codes[items] for name, codes in self.item_tables.items()}
        return {"item_id": items.astype(np.int64) + 1, **own}

    def _vectors(self, mode: str, inputs: Inputs) -> NDArray[np.float32]:
        self.model.eval()
        self.model.mode = mode  # type: ignore[assignment]
        parts = []
        n = len(next(iter(inputs.values())))
        for part in np.array_split(np.arange(n), max(n // 1024, 1)):
            vectors: Tensor = self.model({name: torch.from_numpy(array[part]) for name, array in inputs.items()})
            parts.append(vectors.numpy())
        self.model.mode = None  # type: ignore[assignment]
        return np.concatenate(parts)


def categories(features: Any) -> dict[str, NDArray[np.int64]]:
    """The categorical features as codes, 0 for none."""
    return {name: one.codes.astype(np.int64) + 1 for name, one in features.items() if isinstance(one, Categorical)}
