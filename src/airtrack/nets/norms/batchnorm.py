"""Batch normalisation (Ioffe and Szegedy, 2015) of sequences, torch's own."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from airtrack.core.part import part


@part("norm")
class BatchNorm:
    """(x − mean) / √(variance + eps) · gain + bias, mean and variance of a channel over all tokens of the batch.

    momentum  share of the batch in the running mean and variance, which take their place in evaluation
    eps       keeps the root from nought

    In training every token sees the whole batch through its statistics, later positions and other rows included; in
    evaluation it sees none of it.

    >>> BatchNorm().build(8)(torch.zeros(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    example: ClassVar[dict[str, Any]] = {}
    batch_statistics: ClassVar[bool] = True  # a token's output depends on others, in training

    momentum: Annotated[float, Gt(0), Le(1)] = 0.1
    eps: Annotated[float, Gt(0)] = 1e-5

    def build(self, width: int) -> BatchOverTokens:
        """A module, x [.., width] → the same."""
        return BatchOverTokens(width, self.momentum, self.eps)


class BatchOverTokens(nn.Module):
    """torch's `batch_norm` on x [.., width].

    The running statistics see a batch in its backward pass, and each backward pass is one batch: a forward pass that is
    repeated to save memory (`torch.utils.checkpoint`) counts once, one without a gradient not at all.
    """

    running_mean: Tensor
    running_var: Tensor
    batches: Tensor

    def __init__(self, width: int, momentum: float, eps: float) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self._distances: list[Tensor | float] = [math.nan, math.nan]

    def forward(self, x: Tensor) -> Tensor:
        """x [.., width] → the same. Raises ValueError for a single token in training, which has no variance."""
        tokens = x.flatten(0, -2)
        if not self.training:
            running = self.running_mean, self.running_var
            return batch_norm(tokens, *running, self.weight, self.bias, eps=self.eps).view_as(x)
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        y = batch_norm(tokens, mean, var, self.weight, self.bias, True, 1.0, self.eps)  # leaves its statistics there
        if y.requires_grad:
            y.register_hook(lambda _: self.see(mean, var))
        return y.view_as(x)

    def discrepancy(self) -> dict[str, float]:
        """How far the last batch was from the running statistics that met it, the training-inference discrepancy of
        Wang et al., 2022 (arXiv 2210.05153): {"mean": ‖μ_B − μ‖ / ‖σ‖, "deviation": ‖σ_B − σ‖ / ‖σ‖} over the channels;
        nan before the second batch."""
        return dict(zip(("mean", "deviation"), map(float, self._distances)))

    def see(self, mean: Tensor, var: Tensor) -> None:
        """Count a batch of such statistics [width]."""
        sigma, known = self.running_var.sqrt(), self.batches > 0
        apart = [(mean - self.running_mean).norm(), (var.sqrt() - sigma).norm()]
        self._distances = [torch.where(known, d / sigma.norm(), math.nan) for d in apart]
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        self.batches.add_(1)
