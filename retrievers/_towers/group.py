"""The processes that train one model together: each holds the whole model and learns from a part of every batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from multirecall.errors import DataError, ProcessLost


@dataclass(frozen=True, slots=True)
class Group:
    """The group that this process trains in; a process that trains alone is a group of one.

    All processes call the methods in the same order. What a method returns is the same to the bit in each of them, so
    that their copies of the model never drift apart.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
        device: where the tensors of the training are.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def current(cls, device: torch.device) -> Self:
        """The process group of torch.distributed, if the caller has set one up; else a group of one."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size(), device)
        return cls(0, 1, device)

    def bounds(self, n: int) -> list[int]:
        """The first of `n` rows that each process takes and, last, `n`."""
        return [n * rank // self.size for rank in range(self.size + 1)]

    def part(self, n: int) -> slice:
        """The rows, of `n`, that this process takes."""
        bounds = self.bounds(n)
        return slice(bounds[self.rank], bounds[self.rank + 1])

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            with _reached():
                distributed.all_reduce(tensor)
        return tensor

    def collect(self, own: Tensor, n: int) -> Tensor:
        """The rows of all processes, (n, dim), of which each has its `part`; a gradient flows back to its process."""
        if self.size == 1:
            return own
        rows: Tensor = _Collect.apply(own, self, n)  # type: ignore[no-untyped-call]
        return rows

    def pick(self, own: Tensor, rows: slice, counts: bool, chosen: NDArray[np.integer]) -> Tensor:
        """The rows `chosen` of what the processes have together, (n, …), without a gradient.

        This one has `rows` of them as `own`, unless they do not count, since another process has them too.
        """
        places = torch.from_numpy(chosen).to(self.device)
        if self.size == 1:
            return own[places]
        here = (places >= rows.start) & (places < rows.stop) & counts
        picked = own.new_zeros(chosen.size, *own.shape[1:])
        picked[here] = own[places[here] - rows.start]
        return self.add_up(picked)

    def add_up_rows(self, parts: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """Sum gradients of table rows over all processes, without sending any other row.

        Args:
            parts: distinct rows, int64 (n,), and their gradients, float32 (n, dim); as many parts in each process.

        Returns:
            For each part the distinct rows of all processes, ascending, and the sums of their gradients.
        """
        sizes = torch.tensor([len(rows) for rows, _ in parts], device=self.device)
        every_size = [one.tolist() for one in self._gather(sizes, [len(parts)] * self.size)]
        totals = [sum(one) for one in every_size]
        rows = self._gather(torch.cat([rows for rows, _ in parts]).int(), totals)
        gradients = self._gather(torch.cat([gradient for _, gradient in parts]), totals)
        split_rows = [torch.split(one, own) for one, own in zip(rows, every_size, strict=True)]
        split_gradients = [torch.split(one, own) for one, own in zip(gradients, every_size, strict=True)]
        return [
            _sum_in_order(*both)
            for both in zip(zip(*split_rows, strict=True), zip(*split_gradients, strict=True), strict=True)
        ]

    def require_same(self, digest: str, remedy: str) -> None:
        """Compare a hexadecimal digest with those of the other processes.

        Raises:
            DataError: they differ.
        """
        if self.size == 1:
            return
        own = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8, device=self.device)
        others = self._gather(own, [len(own)] * self.size)
        differing = [rank for rank, other in enumerate(others) if not torch.equal(other, others[0])]
        if differing:
            raise DataError(f"process {differing[0]} of the training differs from process 0: {remedy}")

    def _gather(self, own: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """The tensor of each process; they have these numbers of rows."""
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        with _reached():
            distributed.all_gather(parts, padded)
        return [part[:size] for part, size in zip(parts, sizes, strict=True)]


class _Collect(torch.autograd.Function):
    """`Group.collect`: the gradient of a row is the sum of what all processes make of it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Group, n: int) -> Tensor:
        ctx.group = group
        sizes = np.diff(group.bounds(n)).tolist()
        return torch.cat(group._gather(own.contiguous(), sizes))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        group: Group = ctx.group
        gradient = group.add_up(grads[0].clone(memory_format=torch.contiguous_format))
        return gradient[group.part(len(gradient))], None, None


def _sum_in_order(rows: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The distinct rows and the sums of their gradients, added process by process: no order is left to chance."""
    distinct, places = torch.unique(torch.cat(list(rows)).long(), return_inverse=True)
    total = gradients[0].new_zeros(len(distinct), gradients[0].shape[1])
    for own, gradient in zip(torch.split(places, [len(one) for one in rows]), gradients, strict=True):
        total.index_add_(0, own, gradient)
    return distinct, total


@contextmanager
def _reached() -> Iterator[None]:
    """Turn a fault of the exchange, such as a closed connection or a timeout, into an error that says what to do."""
    try:
        yield
    except RuntimeError as fault:
        raise ProcessLost(
            f"another process of the training has ended or does not answer ({str(fault).partition('. ')[0]}); "
            "its own output says why. Start all of them again"
        ) from fault
