"""The encoders of text towers in training: a convolution over words, and a user who asks or has a history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .encoders import ItemEncoder, Net, TokenBags, UserBatch, UserEncoder, to_array
from .mlp import SMALLEST
from .pooled_encoder import history_means
from .text_serving import SearchVector
from .windows import WindowedText, window_gradient, window_maxima


class WindowMaxima(torch.autograd.Function):
    """`windows.window_maxima` with its gradient."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, places: Tensor, offsets: Tensor) -> Tensor:
        """See `windows.window_maxima`."""
        best, where = window_maxima(parts.numpy(), places.numpy(), offsets.numpy())
        ctx.save_for_backward(torch.from_numpy(where), places, offsets)
        ctx.n_words = len(parts)
        return torch.from_numpy(best)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """See `windows.window_gradient`."""
        where, places, offsets = (tensor.numpy() for tensor in ctx.saved_tensors)
        return (
            torch.from_numpy(window_gradient(grads[0].contiguous().numpy(), where, places, offsets, ctx.n_words)),
            None,
            None,
        )


class WindowedTexts(ItemEncoder):
    """Filters over every window of three words, their maxima over all windows of a text, tanh, and a network.

    The three parts that a word adds to a window, as its left, middle and right word, are computed once for each
    distinct word. Since tanh is monotone, it is applied to the maxima.

    Args:
        dim: the width of a word's embedding.
        n_filters: the number of filters.
        net: the network, from the filters' maxima to the vector.
    """

    def __init__(self, dim: int, n_filters: int, net: Net) -> None:
        super().__init__()
        self.parts = nn.Linear(dim, 3 * n_filters)
        self.net = net

    def forward(self, items: TokenBags) -> Tensor:
        """See `ItemEncoder.forward`; the rows are those of words, and their weights do not count."""
        parts = self.parts(items.rows).float()
        if parts.is_cuda:
            best = widest_maxima(parts, items.places, items.offsets)
        else:
            best = WindowMaxima.apply(parts, items.places, items.offsets)  # type: ignore[no-untyped-call]
        vectors: Tensor = self.net(torch.tanh(best))
        return vectors

    def export(self) -> WindowedText:
        """See `ItemEncoder.export`."""
        return WindowedText(to_array(self.parts.weight).T.copy(), to_array(self.parts.bias), self.net.export())


def widest_maxima(parts: Tensor, places: Tensor, offsets: Tensor) -> Tensor:
    """`windows.window_maxima` for a GPU."""
    left, middle, right = parts[places].chunk(3, dim=1)
    owners = torch.repeat_interleave(offsets.diff())
    follows = (owners[1:] == owners[:-1])[:, None]
    none = parts.new_zeros(1, left.shape[1])
    windows = (
        middle
        + torch.cat([none, left[:-1] * follows])[: len(middle)]
        + torch.cat([right[1:] * follows, none])[: len(middle)]
    )
    best = parts.new_zeros(len(offsets) - 1, left.shape[1])
    return best.scatter_reduce(0, owners[:, None].expand_as(windows), windows, "amax", include_self=False)


class SearchEncoder(UserEncoder):
    """A user is the text that they ask for, or, if they ask for nothing, a linear function of their history.

    The history is averaged once for each half-life, over the vectors of its items. At the start of the training, the
    linear function is the mean of these averages, so that a user lies near the items that they chose.

    Args:
        item: the encoder of items, which also encodes search terms.
        dim: the width of an item's vector.
        half_lives: the number of newer events after which the weight of an event is halved.
        certainty: the length of the vectors of histories in the loss; that of searches is 1.
    """

    def __init__(self, item: ItemEncoder, dim: int, half_lives: Sequence[float], certainty: float) -> None:
        super().__init__()
        self.item, self.certainty = item, certainty
        self.half_lives = tuple(half_lives)
        self.history = nn.Linear(dim * len(half_lives), dim)
        with torch.no_grad():
            self.history.weight.copy_(torch.eye(dim).repeat(1, len(half_lives)) / len(half_lives))
            self.history.bias.zero_()

    def forward(self, users: UserBatch) -> Tensor:
        """See `UserEncoder.forward`; V is 1."""
        terms, past = users.terms, users.history
        if terms is not None and not past.places.numel():
            asked: Tensor = self.item(terms)
            return asked[:, None]
        means = history_means(past, self.half_lives)
        vectors = functional.normalize(self.history(means).float(), dim=1, eps=SMALLEST)
        if terms is not None:
            vectors = torch.where(terms.offsets.diff()[:, None] > 0, self.item(terms), vectors)
        return vectors[:, None]

    def learn(self, users: UserBatch) -> Tensor:
        """See `UserEncoder.learn`."""
        vectors: Tensor = self(users)
        return vectors * self.certainty if users.terms is None else vectors

    def export(self) -> SearchVector:
        """See `UserEncoder.export`."""
        weight, bias = to_array(self.history.weight).T.copy(), to_array(self.history.bias)
        item = self.item.export()
        assert item is not None
        return SearchVector.of(item, weight, bias, self.half_lives)
