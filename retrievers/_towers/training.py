"""The training of a tower model: epochs, learning-rate schedule, early stopping and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from math import cos, pi
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirecall.errors import ConfigError, DataError
from multirecall.progress import Advance, Progress

from .batches import Batch, new_batches
from .checkpoint import Checkpoint, training_digest
from .config import TrainingConfig, learning_rate_of
from .data import TrainingData
from .encoders import ItemEncoder, UserEncoder
from .mlp import Vectors
from .model import TowerModel, best_scores
from .serving import ExportedEncoder, ExportedItemEncoder

SCORED = 256
"""The most held-out events that are scored at a time."""

SCORES = 1 << 26
"""The most scores at a time, 256 MiB of float32: with many items, fewer events are scored together."""


@dataclass(frozen=True, slots=True)
class TrainedTowers:
    """The parts of a trained model that serving needs.

    Attributes:
        tables: the embeddings of `users` (tokens), `history` (items) and `items` (tokens), float32 (n, dim).
        user_net, item_net: the two encoders, without torch; `item_net` is None if the items are rows of `history`.
        vectors: float32 (n_items, dim), the vectors of all items; None if they are the rows of `history`.
        recalls: recall@`recall_at` on held-out events after each epoch; empty if no events were held out.
    """

    tables: dict[str, Vectors]
    user_net: ExportedEncoder
    item_net: ExportedItemEncoder | None
    vectors: Vectors | None
    recalls: list[float]


def fit_towers(
    data: TrainingData,
    config: TrainingConfig,
    new_encoders: Callable[[Any], tuple[UserEncoder, ItemEncoder]],
    rng: np.random.Generator,
    progress: Progress,
    start: Vectors | None = None,
) -> TrainedTowers:
    """Train for all epochs, or until early stopping, and return the state with the best recall on held-out events.

    The embeddings of items begin at `start`, float32 (n_items, dim); None: at random.

    In a process group of torch.distributed, all processes call this with equal arguments and train one model together.

    Raises:
        ConfigError: the device does not exist, the checkpoint is no folder, or a setting is not for several processes.
        DataError: the loss, its gradient or the model is not finite; or another process has other arguments.
        BundleError: the checkpoint cannot be read or written.
        ProcessLost: another process has ended, or does not answer.
    """
    device, seed = _device(config, data.name), int(rng.integers(2**62))
    with _torch_settings(config.threads, seed, device):
        model = TowerModel(data, config, new_encoders, device, training_dtype(config, device), start)
        del start  # a table's worth of memory
        _require_divisible(model)
        training = _Training(model, rng, seed)
        training.run(progress)
        return training.result()


class _Training:
    """A training under way: a model, the number of epochs done, and the best state so far."""

    def __init__(self, model: TowerModel, rng: np.random.Generator, seed: int) -> None:
        self.model, self.rng, self.seed, self.group = model, rng, seed, model.group
        self.data, self.config = model.data, model.config
        self.epoch = 0
        self.recalls: list[float] = []
        self.best: dict[str, Tensor] = {}
        self.batches = new_batches(self.data, self.config)
        self.steps = self.batches.steps
        self.epochs = min(self.config.epochs, max(self.config.examples // self.batches.n_targets, 1))
        self.highest = learning_rate_of(self.config.learning_rate, self.steps * self.epochs)

    def run(self, progress: Progress) -> None:
        """Run the remaining epochs, with a checkpoint after each."""
        checkpoint = self._agreed_checkpoint()
        with progress.task(f"{self.data.name}: training, batches at most", self.steps * self.epochs) as advance:
            advance(self.steps * self.epoch)
            while self.epoch < self.epochs and not self._is_over():
                self._run_epoch(advance)
                self.epoch += 1
                self._assess()
                if checkpoint is not None and self.group.rank == 0:
                    checkpoint.write(*self.state())

    def result(self) -> TrainedTowers:
        """The best state, in the form that serving needs."""
        model = self.model
        model.load(self.best)
        if not all(torch.isfinite(value).all() for value in self.best.values()):
            raise DataError(f"{self.data.name}: the trained model is not finite; lower learning_rate")
        return TrainedTowers(
            {name: table.values.cpu().numpy() for name, table in model.tables.items()},
            model.user_net.export(),
            model.item_net.export(),
            None if self.data.tied else model.item_vectors().cpu().numpy(),
            self.recalls,
        )

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The arrays and JSON values from which `restore` resumes."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in self.model.state().items()}
        arrays |= {f"best-{name}": tensor.cpu().numpy() for name, tensor in self.best.items()}
        arrays["torch-random"] = torch.get_rng_state().numpy()
        if self.model.device.type == "cuda":
            arrays["cuda-random"] = torch.cuda.get_rng_state(self.model.device).numpy()
        meta = {"epoch": self.epoch, "recalls": self.recalls, "random": self.rng.bit_generator.state}
        return arrays, meta

    def restore(self, arrays: dict[str, NDArray[Any]], meta: dict[str, Any]) -> None:
        """Set the training to a result of `state`, in place."""
        self.epoch, self.recalls = meta["epoch"], meta["recalls"]
        self.rng.bit_generator.state = meta["random"]
        torch.set_rng_state(torch.from_numpy(arrays.pop("torch-random")))
        if "cuda-random" in arrays:
            torch.cuda.set_rng_state(torch.from_numpy(arrays.pop("cuda-random")), self.model.device)
        tensors = {name: torch.from_numpy(array).to(self.model.device) for name, array in arrays.items()}
        self.best = {name.removeprefix("best-"): one for name, one in tensors.items() if name.startswith("best-")}
        self.model.restore({name: one for name, one in tensors.items() if not name.startswith("best-")})

    def _agreed_checkpoint(self) -> Checkpoint | None:
        """Resume from the checkpoint, if the config names one; see that all processes train the same from here on."""
        folder, name = self.config.checkpoint, self.data.name
        if folder is None and self.group.size == 1:
            return None
        digest = training_digest(self.data, self.config, self.rng)
        self.group.require_same(digest, "all must have the same data, config and seed")
        if folder is None:
            return None
        checkpoint = Checkpoint.of(folder, name, digest)
        if found := checkpoint.read():
            self.restore(*found)
        epoch = sha256(str(self.epoch).encode()).hexdigest()
        self.group.require_same(epoch, f"its checkpoint is of another epoch; all must see one folder {folder!r}")
        return checkpoint

    def _run_epoch(self, advance: Advance) -> None:
        if self.group.size > 1:
            torch.manual_seed(
                int(np.random.SeedSequence([self.seed, self.epoch, self.group.rank]).generate_state(1)[0])
            )
        mined = self.model.item_vectors() if self.config.negatives.hard else None
        for number, batch in enumerate(self.batches.draw(self.rng)):
            done = self.epoch * self.steps + number
            loss, length = self.model.step(self.model.loss(batch, self.rng, mined), self._rate(done), done + 1)
            if not np.isfinite(length):
                raise DataError(self._fault(number, batch, loss, length))
            advance(1, self._note(loss))

    def _rate(self, done: int) -> float:
        """The learning rate after `done` steps: a linear warm-up, then half a cosine down to 0."""
        total = self.steps * self.epochs
        rising = int(self.config.warm_up * total)
        if done < rising:
            return self.highest * (done + 1) / rising
        return self.highest * (1 + cos(pi * (done - rising) / (total - rising))) / 2

    def _assess(self) -> None:
        """Measure recall on held-out events; keep the model's state if it is the best, or if nothing is held out."""
        if self.data.held_out.size:
            self.recalls.append(held_out_recall(self.model))
            if self.recalls[-1] < max(self.recalls):
                return
        state = self.model.serving_state()
        ends = self.epoch == self.epochs  # then nothing changes the parameters any more
        self.best = state if ends else {name: value.clone() for name, value in state.items()}

    def _is_over(self) -> bool:
        """Whether to stop early: the last `patience` epochs brought no better recall."""
        return bool(self.recalls) and len(self.recalls) - 1 - int(np.argmax(self.recalls)) >= self.config.patience

    def _note(self, loss: float) -> str:
        recall = f", recall@{self.config.recall_at} {self.recalls[-1]:.3f}" if self.recalls else ""
        return f"epoch {self.epoch + 1}, loss {loss:.3f}{recall}"

    def _fault(self, number: int, batch: Batch, loss: float, length: float) -> str:
        return (
            f"{self.data.name}: epoch {self.epoch + 1}, batch {number + 1} of {self.steps}: the loss is {loss} and its "
            f"gradient has length {length}; its first examples are users {batch.users[:5].tolist()} with items "
            f"{batch.targets[:5].tolist()} (rows) and weights {batch.weights[:5].tolist()}; "
            "lower learning_rate, or use precision = 'float32'"
        )


@torch.no_grad()
def held_out_recall(model: TowerModel) -> float:
    """Recall@`recall_at` on the held-out events; the other items of each user are excluded."""
    data = model.data
    targets = torch.from_numpy(data.whole.items[data.held_out].astype(np.int64)).to(model.device)
    items = model.item_vectors()
    found = torch.zeros((), dtype=torch.int64, device=model.device)
    mine = model.group.part(data.held_out.size)
    size = max(1, min(SCORED, SCORES // len(items)))
    for begin in range(mine.start, mine.stop, size):
        part = slice(begin, min(begin + size, mine.stop))
        users = data.whole.users[data.held_out[part]]
        scores = best_scores(model.user_vectors(users, data.held_out_histories(part, model.config.history)), items)
        own = scores.gather(1, targets[part, None])
        owners, seen = data.log.matrix[users].nonzero()
        scores[torch.from_numpy(owners), torch.from_numpy(seen)] = -torch.inf
        found += ((scores > own).sum(dim=1) < model.config.recall_at).sum()
    return int(model.group.add_up(found)) / data.held_out.size


def _require_divisible(model: TowerModel) -> None:
    """Refuse several processes for a network whose output for one user depends on the others in the batch."""
    normed = any(isinstance(one, torch.nn.BatchNorm1d) for one in model.nets.modules())
    if normed and model.group.size > 1:
        raise ConfigError(
            f"{model.data.name}: norm = 'batch' needs whole batches, of which each of {model.group.size} processes has "
            "a part; set norm = 'layer' or 'none', or train in one process"
        )


def _device(config: TrainingConfig, name: str) -> torch.device:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{name}: device is 'cuda', but torch finds no GPU; use 'auto' or 'cpu'")
    return torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


def training_dtype(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """The dtype of matrix products in training."""
    if config.precision != "auto":
        return torch.float32 if config.precision == "float32" else torch.bfloat16
    return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def _torch_settings(threads: int, seed: int, device: torch.device) -> Iterator[None]:
    """Run the body with `threads` threads of torch and a fresh random stream; restore the caller's settings after."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
