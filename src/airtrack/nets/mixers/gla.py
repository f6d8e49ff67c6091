"""Gated linear attention (Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, 2024)."""

from __future__ import annotations

import math
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
    Inputs,
    LowRank,
    Output,
    carried,
    carry,
    carry_back,
    cut,
    floor,
    in_chunks,
    join,
    kernel,
    launch,
    length_for,
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
    chunk         positions that are computed together, a multiple of 8; null: 16, or 32 where K is 64 or more

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
    chunk: Annotated[int, Gt(0), MultipleOf(2 * REACH)] | None = None

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
        self.chunk = spec.chunk or length_for(self.K, 16)
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
        C = self.chunk
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
        o = carried(gated_linear, cache, documents, self.chunk, q, k, v, g)
        return self.output(o, x)


def gated_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    state: Tensor | None = None,
    documents: Tensor | None = None,
    chunk: int | None = None,
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
    kind, (q, k, v, g) = v.dtype, precise(q, k, v, g)
    first = q.new_zeros(B, H, K, V) if state is None else state.to(q.dtype)
    if not v.numel():
        return v.to(kind), first
    if T == 1 and state is not None:
        o, last = _one(q, k, v, g, first, documents)
    else:
        o, last = in_chunks(_run, _gradient, (q, k, v, g), first, documents, chunk or length_for(K, 16))
    return o.to(kind), last


def _one(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, documents: Tensor | None) -> tuple[Tensor, Tensor]:
    """The recurrence itself, for one position."""
    if documents is not None:
        state = state * (documents[:, 0] == documents[:, -1]).view(-1, 1, 1, 1)
    q, k, v, keep = q[:, 0], k[:, 0], v[:, 0], g[:, 0].exp()
    state = keep.unsqueeze(-1) * state + k.unsqueeze(-1) * v.unsqueeze(-2)
    return (q.unsqueeze(-2) @ state * q.shape[-1] ** -0.5).transpose(1, 2), state


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    state: Tensor,
    same: Tensor | None,
    enter: Tensor | None,
    leave: Tensor | None,
    C: int,
) -> tuple[Tensor, ...]:
    """`run` of `Chunks`.

    The weight of v_j in o_i is Σ_c q_ic k_jc 2^(b_ic − b_jc), b the running sum of log₂ decays within the chunk: a
    matrix product, once 2^(b_i − b_j) is taken apart into 2^(b_i − r) · 2^(r − b_j).

    A positive exponent overflows where gates are strong. Therefore every eight rows i have an r of their own, in their
    middle: a positive exponent that counts is the sum of four steps at most, which `floor` keeps within the format.
    Nothing depends on r, which therefore has no gradient.
    """
    B, _, H, K = q.shape
    rows, low = 2 * REACH, floor(q.dtype)
    q, k, v, g = (cut(x, C) for x in (q, k, v, (g * LOG2E).clamp_min_(low)))  # [M, C, ..]
    b = g.cumsum(1)
    r = b[:, REACH - 1 :: rows].detach()  # [M, n, K], n = C/8
    scaled = (r + math.log2(K) / 2).unsqueeze(2)  # 1/√K is in the exponents
    up = (b.unflatten(1, (-1, rows)) - scaled).exp2_()  # [M, n, 8, K]
    down = (r.unsqueeze(2) - b.unsqueeze(1)).clamp_max_(-REACH * low).exp2_()  # [M, n, C, K]
    qr, kr = q.unflatten(1, (-1, rows)) * up, k.unsqueeze(1) * down
    seen = torch.bmm(qr.flatten(0, 1), kr.flatten(0, 1).mT).view(-1, C, C)
    seen = seen.tril() if same is None else seen.where(same.tril(), 0)
    since, until = r.exp2().unsqueeze(2), (b[:, -1:] - r[:, -1:]).exp2_()
    qs, ks = (qr * since).flatten(1, 2), kr[:, -1] * until  # to go with the state before the chunk; into that after it
    keep = b[:, -1].exp2()
    if enter is not None and leave is not None:
        qs, ks, keep = qs * enter, ks * leave, keep * enter[:, -1]
    keep = keep.view(-1, B, H, K, 1)
    states = carry(keep, torch.bmm(ks.mT, v).view(-1, B, H, K, v.shape[-1]), state)
    o = torch.baddbmm(torch.bmm(seen, v), qs, states[:-1].flatten(0, 2))
    return join(o, B, H), states[-1].clone(), v, up, down, qr, kr, seen, since, until, qs, ks, keep, states


def _gradient(
    kept: tuple[Tensor, ...], do: Tensor, last: Tensor, same: Tensor | None, enter: Tensor | None, leave: Tensor | None
) -> tuple[Tensor, ...]:
    """Where b_i stands it multiplies what stands with q_i or divides what stands with k_i, so that its gradient is
    q_i · dq_i − k_i · dk_i, and more in the last row, to which decays in the state run."""
    v, up, down, qr, kr, seen, since, until, qs, ks, keep, states = kept
    (B, H), (C, K) = last.shape[:2], qs.shape[1:]
    do, past = cut(do, C), states[:-1].flatten(0, 2)
    back = carry_back(keep, torch.bmm(qs.mT, do).view_as(states[:-1]), last)
    after = back[1:].flatten(0, 2)
    dv = torch.baddbmm(torch.bmm(seen.mT, do), ks, after)
    dqs, dks = torch.bmm(do, past.mT), torch.bmm(v, after.mT)
    if enter is not None and leave is not None:
        dqs, dks = dqs * enter, dks * leave
    dseen = torch.bmm(do, v.mT)
    dseen = (dseen.tril_() if same is None else dseen.where(same.tril(), 0)).view(-1, 2 * REACH, C)
    dqr = torch.bmm(dseen, kr.flatten(0, 1)).view_as(qr).addcmul_(dqs.view_as(qr), since)
    dkr = torch.bmm(dseen.mT, qr.flatten(0, 1)).view_as(kr)
    dkr[:, -1].addcmul_(dks, until)
    db = (qr * dqr).flatten(1, 2) - (kr * dkr).sum(1)
    db[:, -1] += (ks * dks).sum(1) + torch.linalg.vecdot(after, past) * keep.view(-1, K)
    dg = db.flip(1).cumsum(1).flip(1)
    dq, dk = dqr.mul_(up).flatten(1, 2), dkr.mul_(down).sum(1)
    return *(join(x, B, H) for x in (dq, dk, dv, dg)), back[0]
