"""Canon layers: every position sees its three predecessors (Allen-Zhu, Physics of Language Models 4.1, eq. 4.1)."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from airtrack.core.part import part

Start = Literal["uniform", "normal", "zero"]


@part("canon")
class CanonLayer:
    """How the Canon layers of a net are made. The defaults are the paper's.

    kernel      taps: the present one and kernel − 1 before it
    residual    the input is added to what the taps make of it
    activation  a SiLU after the taps (and before the residual, if there is one)
    frozen      the taps stay as they were drawn
    start       "uniform": U(−1/√kernel, 1/√kernel), PyTorch's Conv1d default; "normal": N(0, .02); "zero"
    bias        whether there is one, zero at the start

    Without residual, with activation, started "normal", it is the short convolution of fla's linear models ("Canon-b").

    >>> CanonLayer(kernel=3).build(8).weight.shape
    torch.Size([3, 8])
    """

    example: ClassVar[dict[str, Any]] = {}

    kernel: Annotated[int, Ge(2), Le(8)] = 4
    residual: bool = True
    activation: bool = False
    frozen: bool = False
    start: Start = "uniform"
    bias: bool = False

    def build(self, width: int) -> Canon:
        """A module, x [B, T, width] → [B, T, width]."""
        return Canon(
            width,
            kernel=self.kernel,
            residual=self.residual,
            activation=self.activation,
            frozen=self.frozen,
            start=self.start,
            bias=self.bias,
        )


class Canon(nn.Module):
    """y_t = h_t + Σ_{j<kernel} w_j · h_{t−j}, channel by channel; nothing lies left of position 0, or of a document's
    start.

    `weight` [kernel, width] holds w_j in its row j. The other arguments are those of `CanonLayer`.

    >>> canon = Canon(1)
    >>> _ = torch.nn.init.constant_(canon.weight, 0.5)
    >>> canon(torch.tensor([[[1.0], [0.0], [0.0], [0.0], [0.0]]])).flatten().tolist()
    [1.5, 0.5, 0.5, 0.5, 0.0]
    """

    def __init__(
        self,
        width: int,
        *,
        kernel: int = 4,
        residual: bool = True,
        activation: bool = False,
        frozen: bool = False,
        start: Start = "uniform",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.residual, self.activation, self.start = residual, activation, start
        self.weight = nn.Parameter(torch.empty(kernel, width), requires_grad=not frozen)
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.init_()

    @torch.no_grad()
    def init_(self, generator: torch.Generator | None = None) -> None:
        """Taps from U(−½, ½) at kernel 4, the residual's included: PyTorch's Conv1d default at that fan-in.

        Not zero and not N(0, .02), with which two seeds of three fail to learn recall at a small budget.
        """
        drawn, bound = torch.zeros(self.weight.shape, device="cpu"), len(self.weight) ** -0.5
        if self.start == "uniform":
            drawn.uniform_(-bound, bound, generator=generator)
        elif self.start == "normal":
            drawn.normal_(0, 0.02, generator=generator)
        self.weight.copy_(drawn)
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """[B, T, width] → [B, T, width].

        documents  [B, T] integers; where two neighbours differ a document begins, and no tap reaches across
        """
        weight, plain = self.weight, self.bias is None and not self.activation
        if self.residual and plain:  # the residual is part of tap 0
            weight = weight + torch.eye(len(weight), 1, dtype=weight.dtype, device=weight.device)
        kernel = gpu_kernel() if x.is_cuda and not torch.compiler.is_compiling() else None
        if kernel is not None and x.dtype in kernel.DTYPES:
            y = kernel._Taps.apply(x, weight, documents)
        else:
            weight = weight.to(x.dtype)  # under autocast x comes in half precision
            whole = None if documents is None else within(documents, x.dtype, len(weight))
            # the compiler sees no custom function, and fuses the sum
            y = (shifted_sum if torch.compiler.is_compiling() else _Taps.apply)(x, weight, whole)
        if plain:
            return y
        y = y if self.bias is None else y + self.bias.to(x.dtype)
        y = silu(y) if self.activation else y
        return x + y if self.residual else y

    def step(self, x: Tensor, past: Tensor | None = None, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next positions of a sequence, given the inputs before them.

        x          [B, t, width], t ≥ 1
        past       [B, kernel − 1, width], the last inputs, oldest first, zeros where there were none; None at the start
        documents  [B, T], of all positions up to the last of x

        Returns y [B, t, width] and the `past` of the next call.
        """
        before = len(self.weight) - 1
        if past is None:
            past = x.new_zeros(x.shape[0], before, x.shape[2])
        whole = torch.cat((past, x), 1)
        if documents is not None:  # before the first position lie zeros, of whatever document
            documents = pad(documents, (before, 0))[:, -whole.shape[1] :]
        return self(whole, documents)[:, before:], whole[:, -before:]

    def flops(self, length: int) -> int:
        """Of the taps, over one row of so many tokens; a multiply-add is two."""
        return 2 * length * self.weight.numel()

    def state_size(self, length: int) -> int:
        """Numbers that `step` keeps of a row."""
        return self.weight[1:].numel()

    def extra_repr(self) -> str:
        return str(self.weight.shape[1])


@cache
def gpu_kernel() -> Any:
    """The module of the Triton kernels, None where Triton is not installed."""
    try:
        return import_module("airtrack.nets.canon_triton")
    except ImportError:
        return None


def within(documents: Tensor, dtype: torch.dtype, kernel: int = 4) -> Tensor:
    """[kernel − 1, B, T, 1], for j = 1 … kernel − 1: one where position t − j lies in the document of position t
    [B, T], else zero."""
    same = torch.zeros(kernel - 1, *documents.shape, dtype=torch.bool, device=documents.device)
    if documents.shape[1] > 1:
        same[0, :, 1:] = documents[:, 1:] == documents[:, :-1]
        for j in range(2, min(kernel, documents.shape[1])):
            same[j - 1, :, j:] = same[j - 2, :, j:] & same[0, :, 1 : 1 - j]  # neighbours all the way
    return same.unsqueeze(-1).to(dtype)


def shifted_sum(x: Tensor, weight: Tensor, whole: Tensor | None = None) -> Tensor:
    """Σ_j weight_j · x_{t−j} in plain differentiable operations. x [B, T, D], weight [kernel, D], whole of `within` →
    [B, T, D]. The compiler's way, and the definition that the fast one is tested against."""
    y = x * weight[0]
    for j in range(1, min(len(weight), x.shape[1])):
        tap = x[:, :-j] * weight[j]
        tap = tap if whole is None else tap * whole[j - 1, :, j:]
        y = y + pad(tap, (0, 0, j, 0))
    return y


class _Taps(torch.autograd.Function):
    """The same sum by in-place multiply-adds on shifted views: no intermediate of x's size is kept for the backward."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, whole: Tensor | None) -> Tensor:
        y = x * weight[0]
        for j in range(1, min(len(weight), x.shape[1])):
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
        if torch.is_grad_enabled():  # create_graph: nothing may change in place, and all needs a derivative
            return *gradients(g, x, weight, whole), None
        gx = g * weight[0] if ctx.needs_input_grad[0] else None
        fused = ctx.needs_input_grad[1] and x.is_cpu and x.dtype in (torch.float32, torch.float64)
        gw = correlation(g, x, whole, len(weight)) if fused else None
        taps = [(g * x).sum((0, 1))] if ctx.needs_input_grad[1] and not fused else []
        for j in range(1, min(len(weight), x.shape[1])):
            back = g[:, j:] if whole is None else g[:, j:] * whole[j - 1, :, j:]
            if taps:
                taps.append((back * x[:, :-j]).sum((0, 1)))
            if gx is not None:
                gx[:, :-j].addcmul_(back, weight[j])
        if taps:
            gw = torch.stack(taps + [torch.zeros_like(taps[0])] * (len(weight) - len(taps)))
        return gx, gw, None


def gradients(g: Tensor, x: Tensor, weight: Tensor, whole: Tensor | None) -> tuple[Tensor, Tensor]:
    """Of `shifted_sum`, for x and weight, from y's g [B, T, D]; in plain differentiable operations, as it is itself."""
    gx, taps = g * weight[0], [(g * x).sum((0, 1))]
    for j in range(1, len(weight)):
        back = g[:, j:] if whole is None else g[:, j:] * whole[j - 1, :, j:]
        gx = gx + pad(back * weight[j], (0, 0, 0, min(j, g.shape[1])))
        taps.append((back * x[:, : back.shape[1]]).sum((0, 1)))
    return gx, torch.stack(taps)


def correlation(g: Tensor, x: Tensor, whole: Tensor | None, kernel: int) -> Tensor:
    """Σ_{b,t} g_t · x_{t−j} for j < kernel, [kernel, D], of g and x [B, T, D] and whole of `within`.

    A product and a sum would write and read x's size once more for each j. The gradient of a layer norm's gain,
    Σ g · (x − mean) · scale with a mean and a scale for every row, is the same in one reading: mean 0, and as scale
    1 or, where t − j lies outside, 0. It adds row after row: in single precision 2,048 of them are exact to 4e-6 of a
    sum's size, 32,768 to 2e-5.
    """
    B, T, D = x.shape
    rows = B * T
    g, x = g.reshape(rows, D), x.reshape(rows, D)
    mean, inside, gain = x.new_zeros(rows, 1), x.new_ones(B, T), x.new_empty(D)
    taps = []
    for j in range(min(kernel, T)):
        if j:  # rows lie end to end: what stands j before the beginning of one is the end of another
            inside[:, j - 1] = 0
        scale = inside if whole is None or j == 0 else whole[j - 1]
        given = (g[j:], x[: rows - j], [D], mean[j:], scale.reshape(rows, 1)[j:], gain, None)
        taps.append(torch.ops.aten.native_layer_norm_backward(*given, [False, True, False])[1])
    return torch.stack(taps + [x.new_zeros(D)] * (kernel - len(taps)))
