"""A tower model in training: its embedding tables, its networks, and one step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from multirecall.csr import take_runs

from .bags import Bags
from .batches import Batch, Share
from .config import ProfileConfig, TrainingConfig
from .data import TrainingData
from .dense_adamw import DenseAdamW
from .encoders import HistoryBags, ItemEncoder, TokenBags, UserBatch, UserEncoder
from .group import Group
from .histories import Histories
from .losses import LOSSES, BlockwiseLoss, Columns
from .mlp import Vectors
from .negatives import Sampler
from .sparse_adamw import Table
from .texts import Texts

HARD_PER_USER = 8
"""Hard negatives taken from the list of one user. Fewer spread them over more users of the batch, which costs more."""

CHUNK = 65_536
"""Items whose vectors are computed at a time: bounds the memory."""

SPREAD = 0.1
"""Standard deviation of the initial embeddings."""

STRAY = 0.3
"""What is left of the random initial embeddings where items begin at given vectors."""


class TowerModel:
    """The embedding tables, networks and optimiser of a tower model, on one device.

    Where several processes train it, each encodes a part of the users and of the items of a batch. All know the vectors
    of all items, and so the loss is that of the whole batch. They draw alike from `rng`.
    """

    def __init__(
        self,
        data: TrainingData,
        config: TrainingConfig,
        new_encoders: Callable[[Any], tuple[UserEncoder, ItemEncoder]],
        device: torch.device,
        dtype: torch.dtype,
        start: Vectors | None = None,
    ) -> None:
        """Draw initial embeddings and weights from torch's random stream.

        With `start`, float32 (n_items, dim), the embeddings of items begin near these vectors of length 1, scaled to
        the length of random embeddings; and so do the vectors of items, and of users with these histories.
        """
        self.group = Group.current(device)
        self.data, self.config, self.device, self.dtype = data, config, device, dtype
        dim = config.dim
        n_items = data.log.n_items
        sizes = {"users": data.user_profile.size}
        if not data.by_text:
            sizes["history"] = n_items
        if not (data.tied or data.by_text):
            sizes["items"] = data.item_profile.size
        if data.searches is not None:
            sizes["words"] = data.searches.rule.n_buckets
        self.tables = {name: Table((torch.randn(size, dim) * SPREAD).to(device)) for name, size in sizes.items()}
        self.user_net, self.item_net = new_encoders(config)
        if start is not None:
            self._begin_at(start)
        self.log_scale = nn.Parameter(torch.tensor(0.0 if config.loss == "triplet" else -np.log(config.temperature)))
        self.log_scale.requires_grad_(config.learn_temperature)
        self.nets = nn.ModuleDict({"user": self.user_net, "item": self.item_net})
        self.nets.register_parameter("log_scale", self.log_scale)
        self.nets.to(device)
        self.weights = DenseAdamW(self.nets.parameters(), config.weight_decay)
        counts = {"log": np.bincount(data.log.items[data.examples], minlength=n_items)}
        if data.by_text and data.searches is not None:
            counts["catalogue"] = np.bincount(data.searches.items, minlength=n_items)
        self.samplers = {source: Sampler.of(config.negatives, own) for source, own in counts.items()}
        self.log_q = {source: sampler.log_q(config.batch) for source, sampler in self.samplers.items()}
        self._item_table = "history" if data.tied else "items"
        self._dropped = config.id_dropout if isinstance(config, ProfileConfig) else 0.0
        self._unseen = {"users": data.user_profile.unknown_tokens(), "items": data.item_profile.unknown_tokens()}

    def _begin_at(self, start: Vectors) -> None:
        own = torch.from_numpy(start).to(self.device) * (SPREAD * self.config.dim**0.5)
        vectors = self.group.add_up(own if self.group.rank == 0 else torch.zeros_like(own))
        for table in self.tables.values():
            table.values *= STRAY
        self.tables["history"].values += vectors
        if "items" in self.tables:
            self.tables["items"].values[1 : 1 + len(vectors)] += vectors
        self.user_net.begin_at_mean()
        self.item_net.begin_at_sum()

    def loss(self, batch: Batch, rng: np.random.Generator, mined: Tensor | None) -> Tensor:
        """The mean loss of a batch, of which the processes of the group give one term each.

        Args:
            batch: the batch of all processes.
            rng: draws negatives, and tokens to drop.
            mined: float32 (n_items, dim), the item vectors for hard negatives; None: there are no such.
        """
        profile = self._drop_ids("users", self.data.users.take(batch.users), rng)
        share = batch.share(self.group)
        own = share.batch
        if self.group.size > 1:
            profile = profile.take(np.arange(share.rows.start, share.rows.stop))
        users = self._user_vectors(self.user_net.learn, own, profile)
        negatives, counts = np.unique(self._negatives(users.detach(), batch, share, mined, rng), return_counts=True)
        needed = np.union1d(batch.targets, negatives)
        items, log_q = self._learning_item_vectors(needed, rng), self.log_q[batch.source]
        positives = items.index_select(0, self._on_device(np.searchsorted(needed, own.targets)))
        columns = items
        if negatives.size < needed.size:
            columns = items.index_select(0, self._on_device(np.searchsorted(needed, negatives)))
        learning = users if users.shape[1] == 1 else self.user_net.choose(users, positives)
        loss: Tensor = BlockwiseLoss.apply(  # type: ignore[no-untyped-call]
            learning,
            positives,
            columns,
            self.log_scale.exp(),
            self._on_device(own.weights),
            self._on_device(places_among(own.targets, negatives)),
            self._on_device(log_q[own.targets]),
            Columns.of(
                np.tile(counts, learning.shape[1]),
                np.tile(log_q[negatives], learning.shape[1]),
                self.samplers[batch.source].items.size * learning.shape[1],
                self.config,
                self.device,
            ),
            LOSSES[self.config.loss],
            self.dtype,
        )
        penalty = self.user_net.penalty()
        loss = loss * share.weight
        return loss if penalty is None else loss + penalty * share.users

    def step(self, loss: Tensor, rate: float, number: int) -> tuple[float, float]:
        """Update tables and networks by the gradient of `loss`, in place.

        Args:
            loss: the result of `loss`.
            rate: the learning rate.
            number: the number of the step, from 1.

        Returns:
            The loss of the batch, and the norm of its gradient before clipping.
        """
        self.weights.clear_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.group.size > 1:
            loss = self._add_up_gradients(loss)
        used = [leaf for table in self.tables.values() for _, leaf in table.used]
        length = nn.utils.clip_grad_norm_([*self.nets.parameters(), *used], self.config.clip)
        self.weights.step(rate)
        for table in self.tables.values():
            table.step(rate, self.config.weight_decay, number)
        return float(loss.detach()), float(length)

    @torch.no_grad()
    def _add_up_gradients(self, loss: Tensor) -> Tensor:
        """Replace the gradients of this process by the sums over all of them; return the sum of the losses."""
        weights = [weight for weight in self.nets.parameters() if weight.requires_grad]
        known = loss.new_tensor([weight.grad is not None for weight in weights])
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
        flat = self.group.add_up(torch.cat([loss.reshape(1), known, *(one.reshape(-1).float() for one in gradients)]))
        total, known, rest = torch.split(flat, [1, len(weights), len(flat) - 1 - len(weights)])
        sums = torch.split(rest, [one.numel() for one in weights])
        for weight, gradient, users in zip(weights, sums, known.tolist(), strict=True):
            weight.grad = gradient.view_as(weight).to(weight.dtype) if users else None
        parts = {name: table.gradients() for name, table in self.tables.items()}
        summed = iter(self.group.add_up_rows([one for own in parts.values() for one in own]))
        for name, own in parts.items():
            self.tables[name].replace_gradients([next(summed) for _ in own])
        return total[0]

    @torch.no_grad()
    def user_vectors(self, users: NDArray[np.int32], histories: Histories) -> Tensor:
        """The vectors of users with these histories, float32 (n, V, dim), computed as for a request."""
        now = np.zeros(users.size, np.float32)
        batch = Batch(users, histories, users[:0], histories.weights[:0], now)
        return self._evaluate(partial(self._user_vectors, self.user_net, batch, self.data.users.take(users)))

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """The vectors of all items, float32 (n_items, dim)."""
        n_items = self.data.log.n_items
        rows = np.arange(n_items)[self.group.part(n_items)]
        parts = np.split(rows, range(CHUNK, rows.size, CHUNK))
        vectors = torch.cat([self._evaluate(partial(self._item_vectors, part)) for part in parts])
        return self.group.collect(vectors, n_items)

    def serving_state(self) -> dict[str, Tensor]:
        """The parameters that serving needs, which further training changes: the tables and the networks."""
        tables = {f"table-{name}": table.values for name, table in self.tables.items()}
        nets = {f"net-{name}": value for name, value in self.nets.state_dict().items()}
        return {**tables, **nets}

    def load(self, state: dict[str, Tensor]) -> None:
        """Set the parameters to the result of `serving_state`, in place."""
        for name, table in self.tables.items():
            table.values = state[f"table-{name}"]
        nets = {name.removeprefix("net-"): value for name, value in state.items() if name.startswith("net-")}
        self.nets.load_state_dict(nets)

    def state(self) -> dict[str, Tensor]:
        """The parameters and optimiser state from which `restore` resumes training."""
        state = self.serving_state()
        for name, table in self.tables.items():
            state |= {f"first-{name}": table.first, f"second-{name}": table.second}
        return state | self.weights.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Set parameters and optimiser to the result of `state`, in place."""
        self.load(state)
        for name, table in self.tables.items():
            table.first, table.second = state[f"first-{name}"], state[f"second-{name}"]
        self.weights.restore(state)

    def _evaluate(self, vectors: Callable[[], Tensor]) -> Tensor:
        """The result of `vectors()` with the networks in evaluation mode."""
        self.nets.eval()
        try:
            return vectors()
        finally:
            self.nets.train()

    def _user_vectors(self, encode: Callable[[UserBatch], Tensor], batch: Batch, profile: Bags) -> Tensor:
        own = TokenBags(*self._bags("users", profile.offsets, profile.tokens, profile.weights))
        terms = None if batch.terms is None else self._words(batch.terms)
        users = UserBatch(own, self._history(batch.histories), self._on_device(batch.ages), terms)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return encode(users)

    def _history(self, past: Histories) -> HistoryBags:
        """The histories of a batch; where items are texts, a row is the vector of an item."""
        if self.data.by_text:
            items, own = np.unique(past.items, return_inverse=True)
            rows, places = self._item_vectors(items), self._on_device(own)
        else:
            rows, places = self.tables["history"].rows(past.items)
        others = past.offsets, past.weights, past.positions, past.ages
        offsets, weights, positions, ages = (self._on_device(one) for one in others)
        return HistoryBags(rows, places, offsets, weights, positions, ages)

    def _learning_item_vectors(self, items: NDArray[np.integer], rng: np.random.Generator) -> Tensor:
        """The vectors of items for a training step, float32 (n, dim); `rng` drops some of their tokens."""
        rows = self.group.part(items.size)
        if self.data.by_text:
            own = self._item_vectors(items[rows])
        else:
            bags = self.data.items.take(items)
            if not self.data.tied:
                bags = self._drop_ids("items", bags, rng)
            if self.group.size > 1:
                bags = bags.take(np.arange(rows.start, rows.stop))
            own = self._encode_items(self._item_bags(bags))
        return self.group.collect(own, items.size)

    def _item_vectors(self, items: NDArray[np.integer]) -> Tensor:
        """The vectors of items, float32 (n, dim)."""
        data = self.data
        if data.by_text and data.searches is not None:
            return self._encode_items(self._words(data.searches.texts.take(items)))
        return self._encode_items(self._item_bags(data.items.take(items)))

    def _encode_items(self, items: TokenBags) -> Tensor:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            vectors: Tensor = self.item_net(items)
        return vectors

    def _item_bags(self, bags: Bags) -> TokenBags:
        return TokenBags(*self._bags(self._item_table, bags.offsets, bags.tokens, bags.weights))

    def _words(self, texts: Texts) -> TokenBags:
        """The words of texts; the row of a word is the sum of the embeddings of its tokens."""
        tokens, sequences = texts.words, texts.sequences
        words = TokenBags(*self._bags("words", tokens.offsets, tokens.tokens, tokens.weights))
        return TokenBags(
            words.sum(words.weights[None]),
            self._on_device(sequences.tokens.astype(np.int64)),
            self._on_device(sequences.offsets),
            self._on_device(sequences.weights),
        )

    def _bags(
        self, table: str, offsets: NDArray[np.int64], tokens: NDArray[np.int32], weights: Vectors
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The fields of `TokenBags`, over the embeddings of `table`."""
        rows, places = self.tables[table].rows(tokens)
        return rows, places, self._on_device(offsets), self._on_device(weights)

    def _drop_ids(self, table: str, bags: Bags, rng: np.random.Generator) -> Bags:
        """The bags with a random share `id_dropout` of their tokens replaced by those for unknown values."""
        if not self._dropped:
            return bags
        dropped = rng.random(bags.tokens.size) < self._dropped
        return Bags(bags.offsets, np.where(dropped, self._unseen[table][bags.tokens], bags.tokens), bags.weights)

    def _negatives(
        self, users: Tensor, batch: Batch, share: Share, mined: Tensor | None, rng: np.random.Generator
    ) -> NDArray[np.int32]:
        """The negatives that the examples of a batch share, int32, each as often as it was drawn."""
        sampler = self.samplers[batch.source]
        drawn = [sampler.draw(rng)]
        if not sampler.whole:
            if self.config.negatives.in_batch:
                drawn.append(batch.targets)
            if mined is not None:
                drawn.append(self._hard(users, batch, share, mined, rng))
        return np.concatenate(drawn)

    def _hard(
        self, users: Tensor, batch: Batch, share: Share, mined: Tensor, rng: np.random.Generator
    ) -> NDArray[np.int32]:
        """Hard negatives, int32: the best items of random users of the batch, without their histories and targets.

        Where every event of a history learns, they are those after the newest one.
        """
        n_users = min(-(-self.config.negatives.hard // HARD_PER_USER), batch.users.size)
        chosen = np.sort(rng.choice(batch.users.size, n_users, replace=False))
        last = batch.histories.offsets[1:] - 1 if self.data.causal else np.arange(batch.users.size)
        if self.data.causal:
            users = users[self._on_device(share.batch.histories.offsets[1:] - 1)]
        scores = best_scores(self.group.pick(users, share.rows, share.users > 0, chosen), mined)
        offsets, places = take_runs(batch.histories.offsets, chosen)
        own = np.append(np.repeat(np.arange(n_users), np.diff(offsets)), np.arange(n_users))
        left_out = np.append(batch.histories.items[places], batch.targets[last[chosen]])
        scores[self._on_device(own), self._on_device(left_out).long()] = -torch.inf
        best = scores.topk(min(HARD_PER_USER, len(mined)), dim=1)
        items: NDArray[np.int64] = best.indices[best.values > -torch.inf].cpu().numpy()
        drawable = items[self.samplers[batch.source].in_batch[items] > 0]
        return drawable[: self.config.negatives.hard].astype(np.int32)

    def _on_device(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def places_among(items: NDArray[np.int32], sorted_items: NDArray[np.int32]) -> NDArray[np.int64]:
    """The position of each of `items` (n,) in `sorted_items`, int64 (n,); −1 for an item that is not there."""
    places = np.searchsorted(sorted_items, items)
    found = sorted_items.take(places, mode="clip") == items if sorted_items.size else np.zeros(items.size, np.bool_)
    return np.where(found, places, -1)


def best_scores(users: Tensor, items: Tensor) -> Tensor:
    """The best score of each item under any vector of each user, float32 (n, n_items).

    Args:
        users: float32 (n, V, dim).
        items: float32 (n_items, dim).
    """
    scores = users[:, 0] @ items.T
    for number in range(1, users.shape[1]):
        scores = torch.maximum(scores, users[:, number] @ items.T)
    return scores
