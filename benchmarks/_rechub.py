"""Peers of towers over a pooled or routed history: models of torch-rechub, trained by its own trainer."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from _stopwatch import Stopwatch
from numpy.typing import NDArray

from multirecall import Dataset
from multirecall.retrievers._towers.histories import histories_before

Inputs = dict[str, NDArray[Any]]
EXAMPLES = 200_000
"""Distinct examples at most; the training goes through them again and again."""


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


def train(name: str, data: Dataset, watch: Stopwatch, sizes: Sizes) -> None:
    """Train a model until the stopwatch ends; a sample is an example: a user, their history and a target.

    The examples are prepared before the stopwatch starts.

    Args:
        name: `DSSM`, `YoutubeDNN`, `GRU4Rec`, `ComirecSA`, `ComirecDR` or `MIND`; the last three have four interests.
        data: the log, of which ids alone count.
        watch: counts the steps.
        sizes: the sizes of the model.
    """
    from torch_rechub.trainers import MatchTrainer
    from torch_rechub.utils.data import MatchDataGenerator

    inputs = _inputs(data, sizes)
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


def _timed(loader: Iterable[tuple[Any, Any]], watch: Stopwatch) -> Iterator[tuple[Any, Any]]:
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
            return matching.YoutubeDNN([user, past], [item], [others], layers)
        case "GRU4Rec":
            return matching.GRU4Rec([user], [past], [item], [others], layers)
        case "ComirecSA":
            return matching.ComirecSA([user], [past], [item], [others])
        case _:
            return getattr(matching, name)([user], [past], [item], [others], sizes.history)


def _inputs(data: Dataset, sizes: Sizes) -> Inputs:
    """Random events as examples: id 0 pads, and the item or user `r` has id `r + 1`."""
    log, rng = data.interactions, np.random.default_rng(0)
    events = rng.permutation(len(log))[:EXAMPLES]
    past = histories_before(log, events, np.zeros(events.size, np.int64), sizes.history)
    lengths = np.diff(past.offsets)
    rows = np.repeat(np.arange(events.size), lengths)
    padded = np.zeros((events.size, sizes.history), np.int64)
    padded[rows, np.arange(rows.size) - past.offsets[rows]] = past.items + 1
    return {
        "user": log.users[events].astype(np.int64) + 1,
        "history": padded,
        "item": log.items[events].astype(np.int64) + 1,
        "negatives": rng.integers(1, data.n_items + 1, (events.size, sizes.negatives)),
    }
