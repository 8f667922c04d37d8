"""Peers of towers over a pooled or routed history: models of torch-rechub, trained by its own trainer."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from multirecall import Dataset

Inputs = dict[str, NDArray[Any]]
EXAMPLES = 200_000
"""Distinct examples of a timed training at most, which goes through them again and again."""

TEMPERATURE = 0.05
"""Divisor of the cosines of `YoutubeDNN`, that of our towers; the library's default is 1."""


class Watch(Protocol):
    """Says when a training ends."""

    def goes_on(self, samples: int) -> bool:
        """Whether training goes on after a step of so many samples."""


@dataclass(slots=True)
class Examples:
    """A training of so many examples."""

    left: int

    def goes_on(self, samples: int) -> bool:
        """See `Watch.goes_on`."""
        self.left -= samples
        return self.left > 0


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a model that learns one target from a history.

    Attributes:
        dim: the dimensions of embeddings and vectors.
        width: the width of the hidden layer of the towers.
        history: the newest events that a user tower reads.
        batch: examples of a step.
        negatives: negatives of an example: DSSM draws them from the batch, to the other models they are given.
    """

    dim: int = 64
    width: int = 128
    history: int = 50
    batch: int = 1024
    negatives: int = 20


def train(name: str, data: Dataset, watch: Watch, sizes: Sizes, examples: int = EXAMPLES) -> Any:
    """Train a model until the watch ends, and return it; a sample is an example: a user, their history and a target.

    The examples are prepared before the first step.

    Args:
        name: `DSSM`, `YoutubeDNN`, `GRU4Rec`, `ComirecSA`, `ComirecDR` or `MIND`; the last three have four interests.
        data: the log, of which ids alone count.
        watch: counts the samples.
        sizes: the sizes of the model.
        examples: distinct examples at most.
    """
    from torch_rechub.trainers import MatchTrainer
    from torch_rechub.utils.data import MatchDataGenerator

    inputs = _inputs(data, sizes, examples)
    labels = np.zeros(inputs["item"].size, np.int64)
    loader, _, _ = MatchDataGenerator(inputs, labels).generate_dataloader(
        inputs, inputs, batch_size=sizes.batch, num_workers=0
    )
    model = _model(name, data.n_users + 1, data.n_items + 1, sizes)
    sampled: dict[str, Any] = {}
    if name == "DSSM":
        sampled = {"in_batch_neg": True, "in_batch_neg_ratio": sizes.negatives, "sampler_seed": 0}
    quiet = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
    ):
        trainer = MatchTrainer(model, mode=2, n_epoch=1, model_path=folder, **sampled)
        trainer.fit(_timed(loader, watch))
    return model


@torch.no_grad()
def vectors(model: Any, data: Dataset, users: NDArray[np.int32], history: int) -> list[NDArray[np.float32]]:
    """The vectors of user rows with their newest events, float32 (n_users, dim), and of all items, (n_items, dim)."""
    log = data.interactions
    ends = log.offsets[users + 1]
    inputs = {
        "user": {"user": users.astype(np.int64) + 1, "history": _padded(log.items, log.offsets[users], ends, history)},
        "item": {"item": np.arange(1, data.n_items + 1)},
    }
    model.eval()
    found = []
    for mode, own in inputs.items():
        model.mode = mode
        found.append(model({name: torch.from_numpy(array) for name, array in own.items()}).numpy())
    return found


def _padded(
    items: NDArray[np.int32], firsts: NDArray[np.int64], ends: NDArray[np.int64], history: int
) -> NDArray[np.int64]:
    """The newest items before each of `ends`, as ids, padded with 0 at the end: int64 (n, history)."""
    padded = np.zeros((ends.size, history), np.int64)
    for row, (first, end) in enumerate(zip(firsts.tolist(), ends.tolist(), strict=True)):
        own = items[max(first, end - history) : end]
        padded[row, : own.size] = own + 1
    return padded


def _timed(loader: Iterable[tuple[Any, Any]], watch: Watch) -> Iterator[tuple[Any, Any]]:
    """The batches of a loader over and over, until the stopwatch ends."""
    while True:
        for inputs, labels in loader:
            yield inputs, labels
            if not watch.goes_on(len(labels)):
                return


def _model(name: str, n_users: int, n_items: int, sizes: Sizes) -> Any:
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.models import matching

    dim = sizes.dim
    pooling = "mean" if name in ("DSSM", "YoutubeDNN") else "concat"
    user, item = SparseFeature("user", n_users, dim), SparseFeature("item", n_items, dim)
    past = SequenceFeature("history", n_items, dim, pooling=pooling, shared_with="item", padding_idx=0)
    others = SequenceFeature("negatives", n_items, dim, pooling="concat", shared_with="item")
    layers = {"dims": [sizes.width, dim]}
    match name:
        case "DSSM":
            return matching.DSSM([user, past], [item], layers, dict(layers))
        case "YoutubeDNN":
            return matching.YoutubeDNN([user, past], [item], [others], layers, TEMPERATURE)
        case "GRU4Rec":
            return matching.GRU4Rec([user], [past], [item], [others], layers)
        case "ComirecSA":
            return matching.ComirecSA([user], [past], [item], [others])
        case _:
            return getattr(matching, name)([user], [past], [item], [others], sizes.history)


def _inputs(data: Dataset, sizes: Sizes, examples: int) -> Inputs:
    """Random events as examples: id 0 pads, and the item or user `r` has id `r + 1`."""
    log, rng = data.interactions, np.random.default_rng(0)
    events = rng.permutation(len(log))[:examples]
    return {
        "user": log.users[events].astype(np.int64) + 1,
        "history": _padded(log.items, log.offsets[log.users[events]], events, sizes.history),
        "item": log.items[events].astype(np.int64) + 1,
        "negatives": rng.integers(1, data.n_items + 1, (events.size, sizes.negatives)),
    }
