"""Dropout that draws few random bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dropout(nn.Module):
    """Sets a share of the values to 0 in training and scales the others up, so that the mean stays.

    On a CPU, torch draws a number for each value, which takes a tenth of a training step; here a byte decides, so the
    share is rounded to 1/256.

    Args:
        share: the share of the values, 0 ≤ share < 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.lowest_kept = min(round(share * 256), 255)

    def forward(self, values: Tensor) -> Tensor:
        """The values, of the same shape and dtype."""
        if not self.training or not self.lowest_kept:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.share)
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: values.numel()].view(values.shape) >= self.lowest_kept
        return values * (kept.to(values.dtype) * (256 / (256 - self.lowest_kept)))
