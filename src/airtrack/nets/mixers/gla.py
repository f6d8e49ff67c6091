"""Gated linear attention (Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, 2024)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, MultipleOf
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from airtrack.core.part import Slot, part
from airtrack.nets.mixers.chunks import (
    CANON_B,
    LOG2E,
    REACH,
    Apart,
    Inputs,
    LowRank,
    Output,
    Scan,
    cut,
    fill,
    floor,
    join,
    kernel,
    launch,
    precise,
    shares,
)
from airtrack.nets.protocols import Horizontal


@part("mixer")
class Gla:
    """Linear attention whose state forgets, each key channel at a rate of its own that depends on the input.

    S_t = diag(exp g_t) S_{t−1} + k_t v_tᵀ,  o_t = S_tᵀ q_t / √K,  g = logsigmoid(W₂ W₁ x + c) / gate_divisor;
    then each head is normalised, gated with SiLU(W x), and all are projected.

    expand_k      width of all keys, in widths of the net
    expand_v      width of all values, likewise
    conv          the model's own short convolution on q, k and v, with its SiLU ("Canon-b"); null: SiLU alone
    gate_rank     rank of W₂ W₁
    gate_divisor  what the log of a gate is divided by
    output_rank   rank of the output gate, its second map with a bias; null: full, and none
    eps           of the norm
    chunk         positions that are computed as one matrix product

    The paper's models have 4 heads at every width. PhysicsLM4's GLA5 is expand_k 1, expand_v 2, output_rank 16.
    Canon-B lies between the projection and the convolution or SiLU, where Physics of Language Models 4.1 wants it:
    "AbCD" there is canon ACD here; "ABCD", canon ABCD and conv null.

    >>> Gla().build(32, 2)(torch.zeros(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    example: ClassVar[dict[str, Any]] = {}

    expand_k: Annotated[float, Gt(0)] = 0.5
    expand_v: Annotated[float, Gt(0)] = 1.0
    conv: Annotated[Any, Slot("canon")] | None = CANON_B
    gate_rank: Annotated[int, Gt(0)] = 16
    gate_divisor: Annotated[float, Gt(0)] = 16.0
    output_rank: Annotated[int, Gt(0)] | None = None
    eps: Annotated[float, Gt(0)] = 1e-5
    chunk: Annotated[int, Gt(0), MultipleOf(2 * REACH)] = 16

    def refuse(self, width: int, heads: int) -> None:
        """Raises ValueError where heads cannot share the keys or the values."""
        shares(width, heads, expand_k=self.expand_k, expand_v=self.expand_v)

    def build(self, width: int, heads: int, *, canon: Horizontal | None = None) -> GatedLinear:
        """A module, x [B, T, width] → [B, T, width]; `canon` makes the Canon layer on concat(q, k, v)."""
        return GatedLinear(self, width, heads, canon)


class GatedLinear(nn.Module):
    """The module of `spec`."""

    def __init__(self, spec: Gla, width: int, heads: int, canon: Horizontal | None) -> None:
        super().__init__()
        self.spec, self.heads = spec, heads
        self.K, self.V = shares(width, heads, expand_k=spec.expand_k, expand_v=spec.expand_v)
        self.inputs = Inputs(width, heads, [self.K, self.V], spec.conv, canon)
        self.forget = LowRank(width, spec.gate_rank, heads * self.K)
        self.output = Output(width, heads, self.V, spec.output_rank, spec.eps)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width]; documents [B, T], which document a position is in: no state reaches into another."""
        return self._run(x, None, documents)

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache` holds the state [B, heads, K, V] and the convolutions' inputs.

        documents  [B, T], which document each position up to the last of x is in; None: all in one
        """
        return self._run(x, cache, documents)

    def flops(self, length: int) -> int:
        """Of matrix products and Canon, over one row of so many tokens, the last chunk filled up."""
        C = self.spec.chunk
        T, K, V = -(-length // C) * C, self.K, self.V
        own = 2 * length * (self.forget.down.weight.numel() + self.forget.up.weight.numel())
        own += 2 * T * self.heads * (C * K + C * V + 2 * K * V)
        return own + self.inputs.flops(length) + self.output.flops(length)

    def state_size(self, length: int) -> int:
        """Numbers that a step needs of a row."""
        return self.heads * self.K * self.V + self.inputs.state_size(length)

    def _run(self, x: Tensor, cache: dict[str, Any] | None, documents: Tensor | None) -> Tensor:
        q, k, v = self.inputs(x, cache, documents)
        (gate,) = precise(self.forget(x).unflatten(-1, (self.heads, -1)))
        g = logsigmoid(gate) / self.spec.gate_divisor
        state = None if cache is None else cache.get("state")
        documents = None if documents is None else documents[:, -x.shape[1] - 1 :]
        o, state = gated_linear(q, k, v, g, state, documents, self.spec.chunk)
        if cache is not None:
            cache["state"] = state
        return self.output(o, x)


def gated_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    state: Tensor | None = None,
    documents: Tensor | None = None,
    chunk: int = 16,
) -> tuple[Tensor, Tensor]:
    """S_t = diag(exp g_t) S_{t−1} + k_t v_tᵀ, o_t = S_tᵀ q_t / √K.

    q, k, g    [B, T, H, K], g ≤ 0
    v          [B, T, H, V]
    state      [B, H, K, V], what came before; None: nothing
    documents  [B, T], or [B, T + 1] with the one that the state is of first

    Returns o [B, T, H, V] and the last state.
    """
    (B, T, H, K), V = q.shape, v.shape[-1]
    call = kernel("gla", "chunk_gla", q)
    if call is not None:
        return launch(call, state, documents, q=q, k=k, v=v, g=g)
    kind, carried = v.dtype, state is not None
    q, k, v, g = precise(q, k, v, g)
    state = q.new_zeros(B, H, K, V) if state is None else state.to(q.dtype)
    if T == 0:
        return v.to(kind), state
    if T == 1 and carried:
        o, state = _one(q, k, v, g, state, documents)
    else:
        with torch.autocast(q.device.type, enabled=False):
            o, state = _chunks(q, k, v, g, state, documents, chunk)
    return o.to(kind), state


def _one(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, documents: Tensor | None) -> tuple[Tensor, Tensor]:
    """The recurrence itself, for one position."""
    if documents is not None:
        state = state * (documents[:, 0] == documents[:, -1]).view(-1, 1, 1, 1)
    q, k, v, keep = q[:, 0], k[:, 0], v[:, 0], g[:, 0].exp()
    state = keep.unsqueeze(-1) * state + k.unsqueeze(-1) * v.unsqueeze(-2)
    return (q.unsqueeze(-2) @ state * q.shape[-1] ** -0.5).transpose(1, 2), state


def _chunks(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, documents: Tensor | None, C: int
) -> tuple[Tensor, Tensor]:
    """The weight of v_j in o_i is Σ_c q_ic k_jc 2^(b_ic − b_jc), b the running sum of log₂ decays within the chunk: a
    matrix product, once 2^(b_i − b_j) is taken apart into 2^(b_i − r) · 2^(r − b_j).

    A positive exponent overflows where gates are strong. Therefore every eight rows i have an r of their own, in their
    middle: an exponent that counts is the sum of four steps at most, which `floor` keeps within the number format.
    """
    T, rows, low = q.shape[1], 2 * REACH, floor(q.dtype)
    q, k, v, g = (cut(fill(x, C), C) for x in (q, k, v, (g * LOG2E).clamp(min=low)))
    b = g.cumsum(-2)  # [N, B, H, C, K]
    r = b[..., REACH - 1 :: rows, :]  # [N, B, H, C/8, K]
    up = torch.exp2(b.unflatten(-2, (-1, rows)) - r.unsqueeze(-2))  # [N, B, H, C/8, 8, K]
    down = torch.exp2((r.unsqueeze(-2) - b.unsqueeze(-3)).clamp(max=-REACH * low))  # [N, B, H, C/8, C, K]
    qr, kr = q.unflatten(-2, (-1, rows)) * up, k.unsqueeze(-3) * down
    seen = (qr @ kr.mT).flatten(-3, -2)  # [N, B, H, C, C]
    qs = (qr * torch.exp2(r).unsqueeze(-2)).flatten(-3, -2)
    end = b[..., -1:, :]
    ks = kr[..., -1, :, :] * torch.exp2(end - r[..., -1:, :])
    keep = torch.exp2(end).mT  # [N, B, H, K, 1]
    if documents is None:
        seen = seen.tril()
    else:
        apart = Apart(documents, T, C)
        seen = seen.where(apart.same, 0).tril()
        qs, ks, keep = qs * apart.enter, ks * apart.leave, keep * (apart.enter & apart.leave)[..., -1:, :]
    states = Scan.apply(keep, ks.mT @ v, state)
    return join(seen @ v + qs @ states[:-1], T) * q.shape[-1] ** -0.5, states[-1]
