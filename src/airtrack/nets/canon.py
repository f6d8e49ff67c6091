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
        whole = None if documents is None else within(documents, x.dtype)
        if torch.compiler.is_compiling():
            return shifted_sum(x, weight, whole)  # fused by the compiler, which sees no custom function
        return _Canon.apply(x, weight, whole)

    def step(self, x: Tensor, past: Tensor | None = None, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next positions of a sequence, given the inputs before them.

        x          [B, t, width], t ≥ 1
        past       [B, 3, width], the last inputs, oldest first, zeros where there were none; None at the start
        documents  [B, T], of all positions up to the last of x

        Returns y [B, t, width] and the `past` of the next call.
        """
        if past is None:
            past = x.new_zeros(x.shape[0], KERNEL - 1, x.shape[2])
        whole = torch.cat((past, x), 1)
        if documents is not None:  # before the first position lie zeros, of whatever document
            documents = nn.functional.pad(documents, (KERNEL - 1, 0))[:, -whole.shape[1] :]
        return self(whole, documents)[:, KERNEL - 1 :], whole[:, -(KERNEL - 1) :]

    def extra_repr(self) -> str:
        return str(self.weight.shape[1])


def within(documents: Tensor, dtype: torch.dtype) -> Tensor:
    """[3, B, T, 1], for j = 1, 2, 3: one where position t − j lies in the document of position t [B, T], else zero."""
    same = torch.zeros(KERNEL - 1, *documents.shape, dtype=torch.bool, device=documents.device)
    if documents.shape[1] > 1:
        same[0, :, 1:] = documents[:, 1:] == documents[:, :-1]
        for j in range(2, min(KERNEL, documents.shape[1])):
            same[j - 1, :, j:] = same[j - 2, :, j:] & same[0, :, 1 : 1 - j]  # neighbours all the way
    return same.unsqueeze(-1).to(dtype)


def shifted_sum(x: Tensor, weight: Tensor, whole: Tensor | None = None) -> Tensor:
    """The definition, in plain differentiable operations. x [B, T, D], weight [4, D], whole of `within` → [B, T, D]."""
    y = x * (weight[0] + 1)
    for j in range(1, min(KERNEL, x.shape[1])):
        tap = x[:, :-j] * weight[j]
        tap = tap if whole is None else tap * whole[j - 1, :, j:]
        y = y + nn.functional.pad(tap, (0, 0, j, 0))
    return y


class _Canon(torch.autograd.Function):
    """The same sum by in-place multiply-adds on shifted views: no intermediate of x's size is kept for the backward."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, whole: Tensor | None) -> Tensor:
        y = x * (weight[0] + 1)  # the residual is part of tap 0
        for j in range(1, min(KERNEL, x.shape[1])):
            tap = x[:, :-j] if whole is None else x[:, :-j] * whole[j - 1, :, j:]
            y[:, j:].addcmul_(tap, weight[j])
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        return torch.vmap(shifted_sum, in_dims)(*args), 0

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (g,), (x, weight, whole) = grads, ctx.saved_tensors
        gx = g * (weight[0] + 1) if ctx.needs_input_grad[0] else None
        taps = [(g * x).sum((0, 1))] if ctx.needs_input_grad[1] else []
        for j in range(1, min(KERNEL, x.shape[1])):
            back = g[:, j:] if whole is None else g[:, j:] * whole[j - 1, :, j:]
            if taps:
                taps.append((back * x[:, :-j]).sum((0, 1)))
            if gx is not None and torch.is_grad_enabled():  # create_graph: nothing may change in place
                gx = gx + nn.functional.pad(back * weight[j], (0, 0, 0, j))
            elif gx is not None:
                gx[:, :-j].addcmul_(back, weight[j])
        gw = torch.stack(taps + [torch.zeros_like(taps[0])] * (KERNEL - len(taps))) if taps else None
        return gx, gw, None
