"""Canon layers: every position sees its three predecessors (Allen-Zhu, Physics of Language Models 4.1, eq. 4.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

KERNEL = 4  # taps 0 … 3; the paper's kernel, and the largest that its CUDA code takes


class Canon(nn.Module):
    """y_t = h_t + Σ_{j<4} w_j · h_{t−j}, channel by channel; nothing lies left of position 0, or of a document's start.

    No bias and no activation. `weight` [4, width] holds w_j in its row j.

    >>> canon = Canon(1)
    >>> _ = torch.nn.init.constant_(canon.weight, 0.5)
    >>> canon(torch.tensor([[[1.0], [0.0], [0.0], [0.0], [0.0]]])).flatten().tolist()
    [1.5, 0.5, 0.5, 0.5, 0.0]
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(KERNEL, width))
        self.init_()

    @torch.no_grad()
    def init_(self, generator: torch.Generator | None = None) -> None:
        """Taps from U(−½, ½), the residual's included: PyTorch's Conv1d default at fan-in 4.

        Not zero and not N(0, .02), with which two seeds of three fail to learn recall at a small budget.
        """
        bound = KERNEL**-0.5
        self.weight.copy_(torch.empty(self.weight.shape, device="cpu").uniform_(-bound, bound, generator=generator))

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """[B, T, width] → [B, T, width].

        documents  [B, T] integers; where two neighbours differ a document begins, and no tap reaches across
        """
        weight = self.weight.to(x.dtype)  # under autocast x comes in half precision
        if documents is not None:
            return shifted_sum(x, weight, documents)
        if torch.compiler.is_compiling():
            return shifted_sum(x, weight)  # the compiler fuses it, and cannot look into a custom function as well
        return _Canon.apply(x, weight)

    def step(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next positions of a sequence, given the inputs before them.

        x     [B, t, width], t ≥ 1
        past  [B, 3, width], the last inputs, oldest first, zeros where there were none; None at the start

        Returns y [B, t, width] and the `past` of the next call.
        """
        if past is None:
            past = x.new_zeros(x.shape[0], KERNEL - 1, x.shape[2])
        whole = torch.cat((past, x), 1)
        return self(whole)[:, KERNEL - 1 :], whole[:, -(KERNEL - 1) :]

    def extra_repr(self) -> str:
        return str(self.weight.shape[1])


def shifted_sum(x: Tensor, weight: Tensor, documents: Tensor | None = None) -> Tensor:
    """The definition, in plain differentiable operations. x [B, T, D], weight [4, D] → [B, T, D]."""
    T = x.shape[1]
    y = x * (weight[0] + 1)
    near = None if documents is None else (documents[:, 1:] == documents[:, :-1]).unsqueeze(-1)  # [B, T−1, 1]: t, t−1
    within = near
    for j in range(1, min(KERNEL, T)):
        tap = x[:, :-j] * weight[j]
        if near is not None and within is not None:
            within = within if j == 1 else within[:, 1:] & near[:, : T - j]  # t − j … t all in one document
            tap = tap * within
        y = y + nn.functional.pad(tap, (0, 0, j, 0))
    return y


class _Canon(torch.autograd.Function):
    """The same sum by in-place multiply-adds on shifted views: no intermediate of x's size is kept for the backward."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        y = x * (weight[0] + 1)  # the residual is part of tap 0
        for j in range(1, min(KERNEL, x.shape[1])):
            y[:, j:].addcmul_(x[:, :-j], weight[j])
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Tensor) -> tuple[Tensor, int]:
        return torch.vmap(shifted_sum, in_dims)(*args), 0

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (g,), (x, weight) = grads, ctx.saved_tensors
        reach = range(1, min(KERNEL, x.shape[1]))
        gx = gw = None
        if ctx.needs_input_grad[0]:
            gx = g * (weight[0] + 1)
            for j in reach:
                if torch.is_grad_enabled():  # create_graph: a second derivative is wanted, nothing may change in place
                    gx = gx + nn.functional.pad(g[:, j:] * weight[j], (0, 0, 0, j))
                else:
                    gx[:, :-j].addcmul_(g[:, j:], weight[j])
        if ctx.needs_input_grad[1]:
            taps = [(g * x).sum((0, 1))] + [(g[:, j:] * x[:, :-j]).sum((0, 1)) for j in reach]
            gw = torch.stack(taps + [torch.zeros_like(taps[0])] * (KERNEL - len(taps)))
        return gx, gw
