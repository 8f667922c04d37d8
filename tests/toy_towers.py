"""Small encoders that use what `two_tower` does not: order, ages, several vectors, the target, order in a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from multirecall.data import Dataset
from multirecall.retrievers._towers.config import TowerConfig
from multirecall.retrievers._towers.encoders import ItemEncoder, TokenBags, UserBatch, UserEncoder
from multirecall.retrievers._towers.mlp import SMALLEST, Vectors
from multirecall.retrievers._towers.retriever import TowerRetriever
from multirecall.retrievers._towers.searches import Searches, SearchesConfig
from multirecall.retrievers._towers.serving import ExportedEncoder, ExportedItemEncoder, UserInputs
from multirecall.retrievers._towers.texts import TextRule, fields_with_words

DAY_S = 86_400.0
Arrays = Mapping[str, NDArray[Any]]


def arrays_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


def unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    units: Vectors = vectors / np.maximum(lengths, np.float32(SMALLEST))
    return units


@dataclass(frozen=True)
class Exported(ExportedEncoder):  # type: ignore[misc]
    """Its weights by name."""

    weights: Arrays

    def arrays(self) -> dict[str, NDArray[Any]]:
        return dict(self.weights)

    @classmethod
    def of_arrays(cls, arrays: Arrays, config: Any) -> Self:
        return cls(arrays)


class Interests(UserEncoder):  # type: ignore[misc]
    """Two vectors a user, each a mean of the history under attention of its own; the nearest learns the target more."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seeds = nn.Linear(dim, 2, bias=False)
        self.mix = nn.Linear(dim, dim)

    def forward(self, users: UserBatch) -> Tensor:
        history = users.history
        owners = torch.repeat_interleave(history.offsets.diff())
        rows = history.rows[history.places]
        strengths = torch.exp(self.seeds(rows)) * history.weights[:, None]
        n_users = len(history.offsets) - 1
        totals = strengths.new_zeros(n_users, 2).index_add_(0, owners, strengths).clamp_min(SMALLEST)
        shares = strengths / totals[owners]
        pooled = rows.new_zeros(n_users, 2, rows.shape[1]).index_add_(0, owners, shares[:, :, None] * rows[:, None])
        return functional.normalize(self.mix(pooled), dim=2, eps=SMALLEST)

    def choose(self, vectors: Tensor, targets: Tensor) -> Tensor:
        shares = torch.softmax(2 * torch.einsum("bvd,bd->bv", vectors, targets), dim=1)
        return functional.normalize((shares[:, :, None] * vectors).sum(dim=1, keepdim=True), dim=2, eps=SMALLEST)

    def export(self) -> InterestVectors:
        return InterestVectors(arrays_of(self))


class InterestVectors(Exported):
    def __call__(self, user: UserInputs) -> Vectors:
        rows = user.item_table[user.history]
        strengths = np.exp(rows @ self.weights["seeds.weight"].T) * user.weights[:, None]
        shares = strengths / np.maximum(strengths.sum(axis=0), np.float32(SMALLEST))
        return unit((shares.T @ rows) @ self.weights["mix.weight"].T + self.weights["mix.bias"])


class Recurrent(UserEncoder):  # type: ignore[misc]
    """The last state of an Elman network over the history, oldest first, with the days since the event as an input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.item = nn.Linear(dim, dim)
        self.day = nn.Linear(1, dim, bias=False)
        self.state = nn.Linear(dim, dim, bias=False)

    def forward(self, users: UserBatch) -> Tensor:
        history = users.history
        days = torch.exp(-history.ages / DAY_S)[:, None]
        inputs = self.item(history.rows[history.places]) + self.day(days)
        lengths = history.offsets.diff()
        state = inputs.new_zeros(len(lengths), inputs.shape[1])
        for step in range(int(lengths.max()) if len(lengths) else 0):
            going = step < lengths
            places = (history.offsets[:-1] + step).clamp_max(max(len(inputs) - 1, 0))
            state = torch.where(going[:, None], torch.tanh(inputs[places] + self.state(state)), state)
        return functional.normalize(state, dim=1, eps=SMALLEST)[:, None]

    def export(self) -> RecurrentVector:
        return RecurrentVector(arrays_of(self))


class RecurrentVector(Exported):
    def __call__(self, user: UserInputs) -> Vectors:
        named = self.weights
        days = np.exp(-user.ages / np.float32(DAY_S))[:, None]
        inputs = user.item_table[user.history] @ named["item.weight"].T + named["item.bias"]
        inputs = inputs + days @ named["day.weight"].T
        state = np.zeros(inputs.shape[1], np.float32)
        for one in inputs:
            state = np.tanh(one + named["state.weight"] @ state)
        return unit(state[None])


class Aged(UserEncoder):  # type: ignore[misc]
    """The profile, the mean of the history, and the age of the example, which is 0 in a request."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * dim + 1, dim)

    def forward(self, users: UserBatch) -> Tensor:
        profile, history = users.profile, users.history
        lengths = history.offsets.diff().clamp_min(1)
        mean = history.sum(torch.ones_like(history.weights)[None]) / lengths[:, None]
        age = torch.log1p(users.example_ages / DAY_S)[:, None]
        mixed = self.mix(torch.cat([profile.sum(profile.weights[None]), mean, age], dim=1))
        return functional.normalize(mixed, dim=1, eps=SMALLEST)[:, None]

    def export(self) -> AgedVector:
        return AgedVector(arrays_of(self))


class AgedVector(Exported):
    def __call__(self, user: UserInputs) -> Vectors:
        profile = user.token_weights @ user.token_table[user.tokens]
        mean = user.item_table[user.history].sum(axis=0) / np.float32(max(user.history.size, 1))
        inputs = np.concatenate([profile, mean, np.zeros(1, np.float32)]).astype(np.float32)
        return unit((self.weights["mix.weight"] @ inputs + self.weights["mix.bias"])[None])


class Asking(UserEncoder):  # type: ignore[misc]
    """The mean of the history and the sum of the words that the user asks for."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * dim, dim)

    def forward(self, users: UserBatch) -> Tensor:
        history, terms = users.history, users.terms
        lengths = history.offsets.diff().clamp_min(1)
        mean = history.sum(torch.ones_like(history.weights)[None]) / lengths[:, None]
        asked = torch.zeros_like(mean) if terms is None else terms.sum(terms.weights[None])
        return functional.normalize(self.mix(torch.cat([mean, asked], dim=1)), dim=1, eps=SMALLEST)[:, None]

    def export(self) -> AskingVector:
        return AskingVector(arrays_of(self))


class AskingVector(Exported):
    def __call__(self, user: UserInputs) -> Vectors:
        mean = user.item_table[user.history].sum(axis=0) / np.float32(max(user.history.size, 1))
        inputs = np.concatenate([mean, user.term_weights @ user.term_rows]).astype(np.float32)
        return unit((self.weights["mix.weight"] @ inputs + self.weights["mix.bias"])[None])


class Convolution(ItemEncoder):  # type: ignore[misc]
    """The largest value in each dimension over windows of three tokens in a row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.window = nn.Linear(3 * dim, dim)

    def forward(self, items: TokenBags) -> Tensor:
        rows = items.rows[items.places] * items.weights[:, None]
        none = rows.new_zeros(1, rows.shape[1])
        before = torch.cat([none, rows[:-1]]).index_fill(0, items.offsets[:-1], 0.0)
        behind = torch.cat([rows[1:], none]).index_fill(0, items.offsets[1:] - 1, 0.0)
        hidden = torch.tanh(self.window(torch.cat([before, rows, behind], dim=1)))
        owners = torch.repeat_interleave(items.offsets.diff())[:, None].expand_as(hidden)
        best = hidden.new_zeros(len(items.offsets) - 1, hidden.shape[1])
        best = best.scatter_reduce(0, owners, hidden, "amax", include_self=False)
        return functional.normalize(best, dim=1, eps=SMALLEST)

    def export(self) -> ConvolutionVector:
        return ConvolutionVector(arrays_of(self))


@dataclass(frozen=True)
class ConvolutionVector(ExportedItemEncoder):  # type: ignore[misc]
    weights: Arrays

    def __call__(self, weights: Vectors, rows: Vectors) -> Vectors:
        padded = np.pad(rows * weights[:, None], ((1, 1), (0, 0)))
        windows = np.concatenate([padded[:-2], padded[1:-1], padded[2:]], axis=1)
        hidden = np.tanh(windows @ self.weights["window.weight"].T + self.weights["window.bias"])
        return unit(hidden.max(axis=0))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return dict(self.weights)

    @classmethod
    def of_arrays(cls, arrays: Arrays, config: Any) -> Self:
        return cls(arrays)


class _Toy(TowerRetriever):  # type: ignore[misc]
    Config: ClassVar[type[TowerConfig]] = TowerConfig
    encoder: ClassVar[type[Interests] | type[Recurrent] | type[Aged]]

    @classmethod
    def new_encoder(cls, config: TowerConfig) -> UserEncoder:
        return cls.encoder(config.dim)


class InterestsTower(_Toy):
    name, encoder, exported = "interests", Interests, InterestVectors


class RecurrentTower(_Toy):
    name, encoder, exported = "recurrent", Recurrent, RecurrentVector


class AgedTower(_Toy):
    name, encoder, exported = "aged", Aged, AgedVector


class AskingConfig(TowerConfig):  # type: ignore[misc]
    searches: SearchesConfig = SearchesConfig()


class AskingTower(TowerRetriever):  # type: ignore[misc]
    """Reads search terms where items have words."""

    Config: ClassVar[type[AskingConfig]] = AskingConfig
    name, exported = "asking", AskingVector

    @classmethod
    def new_encoder(cls, config: Any) -> UserEncoder:
        return Asking(config.dim)

    def new_searches(self, data: Dataset) -> Searches | None:
        features = data.items.features
        rule = TextRule(tuple(fields_with_words(features)), self.config.tokeniser, self.config.text_buckets)
        return Searches.of(rule, features, self.config.searches) if rule.fields else None


class ConvolutionTower(_Toy):
    name, encoder, exported, exported_item = "convolution", Aged, AgedVector, ConvolutionVector

    @classmethod
    def new_item_encoder(cls, config: TowerConfig) -> ItemEncoder:
        return Convolution(config.dim)
