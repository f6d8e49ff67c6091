"""Copies of one net as one module: its matrix products, norms and embeddings are made for all copies at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from airtrack.nets.block import Block
from airtrack.nets.decoder import Transformer
from airtrack.nets.mixers.attention import SelfAttention
from airtrack.nets.mlps.plain import FeedForward

ROWS_APART = (
    Transformer,
    Block,
    SelfAttention,
    FeedForward,
    nn.ModuleList,
    nn.Sequential,
)  # what a row becomes depends
# on no other, and their children are called, not looked into


class Stacked(nn.Module):
    """Modules of one architecture side by side: the rows of its input are those of the first copy, then the second's, …

    Parameters are stacked, [k, …], and each copy's own become views of the stack: what an optimiser does to a copy, the
    stack sees. After a backward pass, `share` hands the copies their gradients.

    modules  k of them, alike but for the values of their parameters; their modes (training or not) are kept

    A linear map without bias, an embedding and an RMSNorm are one operation for all copies: of the layers with weights
    these are the ones that were found to give the bits of the copies by themselves. The decoder, its blocks, attention
    and MLPs are put together of these, and see k times the rows. All other modules that have weights or buffers, Canon,
    layer norms and mixtures of experts among them, are called copy by copy, so that they may do with rows what they
    like. A module without either is called once, and has to treat rows alike.

    >>> a, b = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    >>> both, x = Stacked([a, b]), torch.arange(12.0).view(4, 3)
    >>> torch.equal(both(x), torch.cat((a(x[:2]), b(x[2:]))))
    True
    >>> both(x).sum().backward(); both.share()
    >>> b.weight.grad.tolist()
    [[15.0, 17.0, 19.0], [15.0, 17.0, 19.0]]
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self._stacks: dict[int, tuple[nn.Parameter, list[nn.Parameter]]] = {}
        self._forms: dict[int, nn.Module] = {}  # of what occurs twice, there is one
        self.module = self._form(list(modules))
        if isinstance(self.module, Transformer) and self.module.head is None:  # tied: it reads the embedding's weights
            self.module.head = _Linear(self._stack([m.tokens.weight for m in modules]))  # type: ignore[assignment, misc]

    def forward(self, *args: Any) -> Any:
        return self.module(*args)

    def share(self) -> None:
        """Give the gradients of the last backward pass to the copies' own parameters, and forget them."""
        for stack, copies in self._stacks.values():
            if stack.grad is None:
                continue
            for parameter, gradient in zip(copies, stack.grad.unbind()):
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
            stack.grad = None

    def _form(self, modules: list[nn.Module]) -> nn.Module:
        first = modules[0]
        if id(first) not in self._forms:
            self._forms[id(first)] = self._made(first, modules)
        return self._forms[id(first)]

    def _made(self, first: nn.Module, modules: list[nn.Module]) -> nn.Module:
        if not first.state_dict():
            return first
        kind = type(first)
        if kind is nn.Linear and first.bias is None:
            return _Linear(self._stack([m.weight for m in modules]))  # type: ignore[misc]
        if kind is nn.Embedding and first.max_norm is None:
            return _Embedding(self._stack([m.weight for m in modules]))  # type: ignore[misc]
        if kind is nn.RMSNorm and first.weight is not None:
            return _RMSNorm(self._stack([m.weight for m in modules]), first.eps)  # type: ignore[misc]
        if kind not in ROWS_APART or getattr(first, "q_norm", None) is not None:  # norms of q and k are looked into
            return _Apart(modules)
        shell = copy.copy(first)  # the same code and options, above other children
        children = {n: self._form([m._modules[n] for m in modules]) for n, c in first._modules.items() if c is not None}  # type: ignore[misc]
        shell.__dict__["_modules"] = first._modules | children
        return shell

    def _stack(self, copies: list[nn.Parameter]) -> nn.Parameter:
        """[k, …]; what shares its weights with another shares the stack."""
        if id(copies[0]) not in self._stacks:
            stack = nn.Parameter(torch.stack([p.detach() for p in copies]), copies[0].requires_grad)
            for parameter, part in zip(copies, stack.detach().unbind()):
                parameter.data = part
            self._stacks[id(copies[0])] = (stack, copies)
        return self._stacks[id(copies[0])][0]


class _Linear(nn.Module):
    """x [k · n, …, in] → [k · n, …, out]."""

    def __init__(self, stack: nn.Parameter) -> None:
        super().__init__()
        self.stack = stack  # [k, out, in]

    def forward(self, x: Tensor) -> Tensor:
        y = _Products.apply(x.reshape(len(self.stack), -1, x.shape[-1]), self.stack)
        return y.view(*x.shape[:-1], -1)


class _Products(torch.autograd.Function):
    """x [k, n, in], weight [k, out, in] → x weightᵀ [k, n, out], with the gradients that a linear map makes.

    torch's own of a batched product makes the weight's transposed, which with five outputs is rounded otherwise.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.bmm(x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (g,), (x, weight) = grads, ctx.saved_tensors
        gx = torch.bmm(g, weight) if ctx.needs_input_grad[0] else None
        return gx, torch.bmm(g.transpose(1, 2), x) if ctx.needs_input_grad[1] else None


class _Embedding(nn.Module):
    """ids [k · n, …] → [k · n, …, width]."""

    def __init__(self, stack: nn.Parameter) -> None:
        super().__init__()
        self.stack = stack  # [k, ids, width]

    def forward(self, ids: Tensor) -> Tensor:
        k, many, _ = self.stack.shape
        first = torch.arange(0, k * many, many, device=ids.device)[:, None]
        return F.embedding((ids.reshape(k, -1) + first).view(ids.shape), self.stack.flatten(0, 1))


class _RMSNorm(nn.Module):
    """x [k · n, …, width] → the same."""

    def __init__(self, stack: nn.Parameter, eps: float | None) -> None:
        super().__init__()
        self.stack, self.eps = stack, eps  # [k, width]

    def forward(self, x: Tensor) -> Tensor:
        k, width = self.stack.shape
        return (F.rms_norm(x, (width,), None, self.eps).reshape(k, -1, width) * self.stack[:, None]).view(x.shape)


class _Apart(nn.Module):
    """Copies that are called one after the other; of each argument [k · n, …] a copy is given its [n, …]."""

    def __init__(self, copies: list[nn.Module]) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copies)

    def forward(self, x: Tensor, *args: Any, **named: Any) -> Tensor:
        k, n = len(self.copies), len(x)

        def own(value: Any, number: int) -> Any:
            return value.chunk(k)[number] if isinstance(value, Tensor) and value.ndim and len(value) == n else value

        parts = [
            module(own(x, j), *(own(a, j) for a in args), **{name: own(a, j) for name, a in named.items()})
            for j, module in enumerate(self.copies)
        ]
        return torch.cat(parts)
