"""The user encoders of `multi_interest` in training."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .encoders import HistoryBags, Net, UserBatch, UserEncoder, to_array
from .interest_attention import attend, attend_gradient
from .interest_routing import n_used_interests, route
from .interests import Attention, Extractor, InterestVectors, Routing
from .mlp import SMALLEST


class InterestEncoder(UserEncoder):
    """Joins each interest that it finds in a history to the profile: one vector for each interest.

    Args:
        net: the network, from an interest and the sum of the profile, 2 · dim, to the vector.
        power: the power of the label-aware attention in the loss; None: all vectors learn.
        temperature: the divisor of the cosines in the loss.
    """

    def __init__(self, net: Net, power: float | None, temperature: float) -> None:
        super().__init__()
        self.net, self.power, self.temperature = net, power, temperature

    @abstractmethod
    def interests(self, history: HistoryBags) -> Tensor:
        """The interests, float32 (B, n_interests, dim)."""

    @abstractmethod
    def extractor(self) -> Extractor:
        """What finds the interests without torch."""

    def forward(self, users: UserBatch) -> Tensor:
        """See `UserEncoder.forward`; V is the number of interests."""
        with torch.autocast(users.history.rows.device.type, enabled=False):
            interests = self.interests(users.history)
        profile = users.profile.sum(users.profile.weights[None])
        joined = torch.cat([interests, profile[:, None].expand_as(interests)], dim=2)
        vectors: Tensor = self.net(joined.flatten(0, 1))
        return vectors.view(interests.shape[0], interests.shape[1], -1)

    def choose(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """All vectors, or their sum under label-aware attention, scaled to length 1.

        In the sum, vector `k` has the weight `softmax_k(sign(l_k) |l_k| ** power)` for the logit `l_k = cos_k /
        temperature` of the target (Li et al. 2019, equation 11). A larger power comes nearer to the best vector alone,
        as in Cen et al. 2020.
        """
        if self.power is None:
            return super().choose(vectors, targets)
        logits = torch.einsum("bvd,bd->bv", vectors, targets) / self.temperature
        shares = torch.softmax(logits.sign() * logits.abs() ** self.power, dim=1)
        return functional.normalize(torch.einsum("bv,bvd->bd", shares, vectors), dim=1, eps=SMALLEST)[:, None]

    def export(self) -> InterestVectors:
        """See `UserEncoder.export`."""
        return InterestVectors(self.extractor(), self.net.export())


class AttentionEncoder(InterestEncoder):
    """Finds interests by self-attention, a head for each (ComiRec-SA: Cen et al., KDD 2020, equations 5 and 6).

    Args:
        sizes: the number of dimensions of an embedding, of hidden values of the attention, of interests, and of events
            in the longest history.
        routing_penalty: the weight of the variance of the attention in the loss.
        net, power, temperature: see `InterestEncoder`.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int, int],
        routing_penalty: float,
        net: Net,
        power: float | None,
        temperature: float,
    ) -> None:
        super().__init__(net, power, temperature)
        dim, width, n_interests, length = sizes
        self.hidden = nn.Linear(dim, width, bias=False)
        self.positions = nn.Parameter(torch.randn(length, dim) * dim**-0.5)
        self.heads = nn.Parameter(torch.randn(n_interests, width) * width**-0.5)
        self.routing_penalty = routing_penalty
        self._attention: tuple[Tensor, Tensor] | None = None

    def interests(self, history: HistoryBags) -> Tensor:
        """See `InterestEncoder.interests`."""
        inputs = history.rows, self.hidden(history.rows), self.hidden(self.positions), self.heads
        bags = history.places, history.positions.long(), history.offsets, history.weights
        attend_bags: Any = attend_on_gpu if history.rows.is_cuda else Attend.apply
        interests: Tensor
        interests, shares = attend_bags(*inputs, *bags)
        self._attention = (shares, history.offsets) if self.routing_penalty else None
        return interests

    def penalty(self) -> Tensor | None:
        """`λ · mean over users of Σ_k (Σ_t (a_kt − 1 / n)²)²` for `n` events (Xie et al., RecSys 2023, equation 10).

        It keeps an interest from the attention to a single event.
        """
        if self._attention is None:
            return None
        shares, offsets = self._attention
        lengths = offsets.diff()
        owners = torch.repeat_interleave(lengths)
        deviations = (shares - 1 / lengths[owners, None]) ** 2
        variances = shares.new_zeros(len(lengths), shares.shape[1]).index_add_(0, owners, deviations)
        return self.routing_penalty * (variances**2).sum(dim=1).mean()

    def extractor(self) -> Attention:
        """See `InterestEncoder.extractor`."""
        return Attention(
            to_array(self.hidden.weight).T.copy(), to_array(self.hidden(self.positions)), to_array(self.heads)
        )


class RoutingEncoder(InterestEncoder):
    """Finds interests by dynamic routing, whose couplings take no gradient.

    With one map for all interests and `adaptive`, it is MIND (Li et al., CIKM 2019); with a map for each interest,
    ComiRec-DR (Cen et al., KDD 2020).

    Args:
        dim: the number of dimensions of an embedding.
        n_maps: 1, or the number of interests.
        directions: float32 (dim, n_interests), what gives the start logits, see `interests.start_logits`.
        iterations: the number of iterations of the routing.
        adaptive: whether a short history has fewer interests.
        net, power, temperature: see `InterestEncoder`.
    """

    directions: Tensor

    def __init__(
        self,
        dim: int,
        n_maps: int,
        directions: Tensor,
        iterations: int,
        adaptive: bool,
        net: Net,
        power: float | None,
        temperature: float,
    ) -> None:
        super().__init__(net, power, temperature)
        self.maps = nn.Parameter(torch.randn(n_maps, dim, dim) * dim**-0.5)
        self.register_buffer("directions", directions)
        self.iterations, self.adaptive = iterations, adaptive

    def interests(self, history: HistoryBags) -> Tensor:
        """See `InterestEncoder.interests`."""
        rows = history.rows.detach()
        mapped = torch.einsum("nd,mde->nme", rows, self.maps.detach()).contiguous()
        starts = functional.normalize(rows, dim=1, eps=SMALLEST) @ self.directions
        bags = history.places, history.offsets, history.weights
        if rows.is_cuda:
            couplings = route_on_gpu(mapped, starts, *bags, self.iterations, self.adaptive)
        else:
            places, offsets, weights = (one.numpy() for one in bags)
            limits = self.iterations, self.adaptive
            couplings = torch.from_numpy(route(mapped.numpy(), starts.numpy(), places, offsets, weights, *limits))
        sums = history.sum(couplings).view(len(history.offsets) - 1, len(couplings), -1)
        capsules = torch.einsum("bkd,kde->bke", sums, self.maps.expand(len(couplings), -1, -1))
        return squash(capsules)

    def extractor(self) -> Routing:
        """See `InterestEncoder.extractor`."""
        return Routing(to_array(self.maps), to_array(self.directions), self.iterations, self.adaptive)


class Attend(torch.autograd.Function):
    """`interest_attention.attend` with its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        hidden: Tensor,
        shift: Tensor,
        heads: Tensor,
        places: Tensor,
        positions: Tensor,
        offsets: Tensor,
        weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See `interest_attention.attend`."""
        arrays = (one.numpy() for one in (rows, hidden, shift, heads, places, positions, offsets, weights))
        interests, shares = map(torch.from_numpy, attend(*arrays))
        ctx.save_for_backward(shares, rows, hidden, shift, heads, places, positions, offsets)
        return interests, shares

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """See `interest_attention.attend_gradient`."""
        saved = (one.detach().numpy() for one in ctx.saved_tensors)
        gradients = attend_gradient(*(one.contiguous().numpy() for one in grads), *saved)
        return (*map(torch.from_numpy, gradients), None, None, None, None)


def attend_on_gpu(
    rows: Tensor,
    hidden: Tensor,
    shift: Tensor,
    heads: Tensor,
    places: Tensor,
    positions: Tensor,
    offsets: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """The same as `interest_attention.attend`, in operations of torch."""
    owners, n_bags = torch.repeat_interleave(offsets.diff()), len(offsets) - 1
    logits = torch.tanh(hidden[places] + shift[positions]) @ heads.T
    logits = torch.where(weights[:, None] > 0, logits + weights.log()[:, None], -torch.inf)
    tops = logits.new_full((n_bags, len(heads)), -torch.inf)
    tops = tops.scatter_reduce(0, owners[:, None].expand_as(logits), logits.detach(), "amax")
    strengths = torch.exp(logits - tops.clamp_min(torch.finfo(logits.dtype).min)[owners])
    totals = strengths.new_zeros(tops.shape).index_add_(0, owners, strengths)
    shares = strengths / totals.clamp_min(SMALLEST)[owners]
    parts = shares[:, :, None] * rows[places][:, None]
    return rows.new_zeros(n_bags, len(heads), rows.shape[1]).index_add_(0, owners, parts), shares


def route_on_gpu(
    mapped: Tensor,
    starts: Tensor,
    places: Tensor,
    offsets: Tensor,
    weights: Tensor,
    iterations: int,
    adaptive: bool,
) -> Tensor:
    """The same as `interest_routing.route`, in operations of torch."""
    lengths, n_interests = offsets.diff(), starts.shape[1]
    owners = torch.repeat_interleave(lengths)
    limits = [n_used_interests(int(n), n_interests) if adaptive else n_interests for n in lengths]
    unused = torch.arange(n_interests) >= torch.tensor(limits, dtype=torch.long)[:, None]
    unused = unused.to(starts.device)[owners]
    vectors = mapped[places].expand(-1, n_interests, -1)
    logits = starts[places].masked_fill(unused, -torch.inf)
    couplings = torch.softmax(logits, dim=1) * weights[:, None]
    for _ in range(iterations - 1):
        sums = vectors.new_zeros(len(lengths), *vectors.shape[1:]).index_add_(
            0, owners, couplings[:, :, None] * vectors
        )
        logits = logits + torch.einsum("tkd,tkd->tk", vectors, squash(sums)[owners])
        couplings = torch.softmax(logits, dim=1) * weights[:, None]
    return torch.where(unused, couplings[:, :1], couplings).T.contiguous()


def squash(vectors: Tensor) -> Tensor:
    """`vectors` scaled from length `l` to length `l² / (1 + l²)`."""
    squares = (vectors * vectors).sum(dim=-1, keepdim=True)
    return vectors * (torch.sqrt(squares + SMALLEST) / (1 + squares))
