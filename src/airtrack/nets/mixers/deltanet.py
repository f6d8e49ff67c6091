"""DeltaNet and Gated DeltaNet (Yang, Kautz and Hatamizadeh, Improving Mamba2 with Delta Rule, 2025)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from airtrack.core.part import Slot, part
from airtrack.nets.mixers.chunks import (
    CANON_B,
    LOG2E,
    Inputs,
    Output,
    Rate,
    carried,
    cut,
    floor,
    in_chunks,
    join,
    kernel,
    launch,
    length_for,
    precise,
    shares,
    weights,
)
from airtrack.nets.protocols import Horizontal


@part("mixer")
class DeltaNet:
    """Linear attention that writes what its state does not yet say: the delta rule, with a decay per head.

    S_t = e^{a_t} S_{t−1} + β_t k_t (v_t − (e^{a_t} S_{t−1})ᵀ k_t)ᵀ,  o_t = S_tᵀ q_t / √K,  q and k of length one,
    β = sigmoid(W x), a = −exp(A_log) softplus(W x + dt_bias); then each head is normalised, gated, and projected.

    gated        false: DeltaNet, a = 0
    expand_k     width of all keys, in widths of the net
    expand_v     width of all values, likewise (fla counts it in widths of the keys: its 2 is 1.5 at expand_k .75)
    negative     β goes up to 2, so that a step may turn the state's sign along k (Grazzi et al., 2025)
    conv         the model's own short convolution on q, k and v, with its SiLU ("Canon-b"); null: SiLU alone
    output_rank  rank of the output gate, its second map with a bias; null: full, and none
    eps          of the norm
    chunk        positions that are computed together; null: 16, or 32 where K is 64 or more

    The defaults have 6 width² weights and, at a head for every 128 of width, as in Physics of Language Models 4.1, a
    state of 144 · width. PhysicsLM4's GDN2 is expand_k 1, expand_v 2, output_rank 16.
    Canon-B lies between the projection and the convolution or SiLU, as the paper's rule wants; the released code has
    it after SiLU here. "AbCD" there is canon ACD here; "ABCD", canon ABCD and conv null.

    >>> DeltaNet().build(32, 2)(torch.zeros(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    example: ClassVar[dict[str, Any]] = {}

    gated: bool = True
    expand_k: Annotated[float, Gt(0)] = 0.75
    expand_v: Annotated[float, Gt(0)] = 1.5
    negative: bool = False
    conv: Annotated[Any, Slot("canon")] | None = CANON_B
    output_rank: Annotated[int, Gt(0)] | None = None
    eps: Annotated[float, Gt(0)] = 1e-5
    chunk: Annotated[int, Gt(0)] | None = None

    def refuse(self, width: int, heads: int) -> None:
        """Raises ValueError where heads cannot share the keys or the values."""
        shares(width, heads, expand_k=self.expand_k, expand_v=self.expand_v)

    def build(self, width: int, heads: int, *, canon: Horizontal | None = None) -> DeltaRule:
        """A module, x [B, T, width] → [B, T, width]; `canon` makes the Canon layer on concat(q, k, v)."""
        return DeltaRule(self, width, heads, canon)


class DeltaRule(nn.Module):
    """The module of `spec`."""

    def __init__(self, spec: DeltaNet, width: int, heads: int, canon: Horizontal | None) -> None:
        super().__init__()
        self.spec, self.heads = spec, heads
        self.K, self.V = shares(width, heads, expand_k=spec.expand_k, expand_v=spec.expand_v)
        self.chunk = spec.chunk or length_for(self.K, 16)
        self.inputs = Inputs(width, heads, [self.K, self.V], spec.conv, canon)
        self.beta = nn.Linear(width, heads, bias=False)
        self.forget = nn.Linear(width, heads, bias=False) if spec.gated else None
        self.rate = Rate(heads, 0) if spec.gated else None
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
        """Of matrix products and Canon, over one row of so many tokens, the last chunk filled up; not of the solution
        of the triangular systems, chunk² / 2 multiply-adds a token and head."""
        C, K, V = self.chunk, self.K, self.V
        N = -(-length // C)
        maps = self.beta.weight.numel() + (0 if self.forget is None else self.forget.weight.numel())
        own = 2 * (C * C * (3 * K + 2 * V) + 3 * C * K * V)
        return 2 * length * maps + N * self.heads * own + self.inputs.flops(length) + self.output.flops(length)

    def state_size(self, length: int) -> int:
        """Numbers that a step needs of a row."""
        return self.heads * self.K * self.V + self.inputs.state_size(length)

    def _run(self, x: Tensor, cache: dict[str, Any] | None, documents: Tensor | None) -> Tensor:
        q, k, v = self.inputs(x, cache, documents)
        q, k = unit(q), unit(k)
        (beta,) = precise(self.beta(x).sigmoid() * (1 + self.spec.negative))
        g = torch.zeros_like(beta) if self.forget is None else self.rate(self.forget(x))[1]  # type: ignore[misc]
        o = carried(delta_rule, cache, documents, self.chunk, q, k, v, g, beta)
        return self.output(o, x)


def unit(x: Tensor) -> Tensor:
    """x at length one; what is shorter than 1e−3 stays short, as in fla."""
    (long,) = precise(x)
    return (long * torch.rsqrt(long.square().sum(-1, keepdim=True) + 1e-6)).to(x.dtype)


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    state: Tensor | None = None,
    documents: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = e^{g_t} S_{t−1} + β_t k_t (v_t − (e^{g_t} S_{t−1})ᵀ k_t)ᵀ, o_t = S_tᵀ q_t / √K.

    q, k       [B, T, H, K], of length one, or shorter
    v          [B, T, H, V]
    g, beta    [B, T, H], g ≤ 0
    state      [B, H, K, V], what came before; None: nothing
    documents  [B, T], or [B, T + 1] with the one that the state is of first

    Returns o [B, T, H, V] and the last state.
    """
    (B, T, H, K), V = q.shape, v.shape[-1]
    call = kernel("gated_delta_rule", "chunk_gated_delta_rule", q)
    if call is not None:
        return launch(call, state, documents, q=q, k=k, v=v, g=g, beta=beta)
    kind, (q, k, v, g, beta) = v.dtype, precise(q, k, v, g, beta)
    first = q.new_zeros(B, H, K, V) if state is None else state.to(q.dtype)
    if not v.numel():
        return v.to(kind), first
    if T == 1 and state is not None:
        o, last = _one(q, k, v, g, beta, first, documents)
    else:
        o, last = in_chunks(_run, _gradient, (q, k, v, g, beta), first, documents, chunk or length_for(K, 16))
    return o.to(kind), last


def _one(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor, documents: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The recurrence itself, for one position."""
    if documents is not None:
        state = state * (documents[:, 0] == documents[:, -1]).view(-1, 1, 1, 1)
    q, k, v = (x[:, 0].unsqueeze(-2) for x in (q, k, v))  # [B, H, 1, ..]
    state = state * g[:, 0].exp()[..., None, None]
    state = state + k.mT @ (beta[:, 0, :, None, None] * (v - k @ state))
    return (q @ state * q.shape[-1] ** -0.5).transpose(1, 2), state


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    state: Tensor,
    same: Tensor | None,
    enter: Tensor | None,
    leave: Tensor | None,
    C: int,
) -> tuple[Tensor, ...]:
    """`run` of `Chunks`.

    What is written at i of a chunk, e_i, depends on what was written before it: (1 + L) e = β (v − 2^b Sᵀ k), with
    L_ij = β_i 2^(b_i − b_j) k_i·k_j for i > j and S the state before the chunk. So e = U − W S, U and W of all chunks
    made at once (the UT form of the paper, section 3.3).
    """
    B, _, H, K = q.shape
    g = (g * LOG2E).clamp_min_(floor(q.dtype))
    q, k, v, g, beta = (cut(x, C) for x in (q, k, v, g, beta))  # [M, C, ..]
    q = q.mul_(K**-0.5)
    b = g.cumsum(1)
    decay = weights(b, same)  # [M, C, C]
    since, until = b.exp2().unsqueeze(-1), (b[:, -1:] - b).exp2_().unsqueeze(-1)  # [M, C, 1]
    if enter is not None and leave is not None:
        since, until = since * enter, until * leave
    keep = since[:, -1].view(-1, B * H, 1, 1)
    near = (torch.bmm(k, k.mT) * decay).tril(-1)
    inverse = invert(near * beta.unsqueeze(-1))
    left = inverse * beta.unsqueeze(1)
    U, W = torch.bmm(left, v), torch.bmm(left * since.mT, k)
    qs, ks = q * since, k * until
    states, wrote = [state.flatten(0, 1)], []
    for u, w, s, f in zip(*(x.unflatten(0, (-1, B * H)) for x in (U, W, ks)), keep):
        wrote.append(torch.baddbmm(u, w, states[-1], alpha=-1))
        states.append(torch.baddbmm(states[-1] * f, s.mT, wrote[-1]))
    past, last, e = torch.cat(states[:-1]), states[-1].view_as(state), torch.cat(wrote)
    seen = torch.bmm(q, k.mT) * decay
    o = torch.baddbmm(torch.bmm(seen, e), qs, past)
    kept = (q, k, v, beta, decay, since, until, keep, near, inverse, U, W, qs, ks, seen, past, e)
    return join(o, B, H), last, *kept


def invert(lower: Tensor) -> Tensor:
    """(1 + L)⁻¹ of strictly lower triangular matrices."""
    one = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device).expand_as(lower)
    return torch.linalg.solve_triangular(lower, one, upper=False, unitriangular=True)


def _gradient(
    kept: tuple[Tensor, ...], do: Tensor, last: Tensor, same: Tensor | None, enter: Tensor | None, leave: Tensor | None
) -> tuple[Tensor, ...]:
    """From the last chunk to the first, as the states went; then of all chunks at once."""
    q, k, v, beta, decay, since, until, keep, near, inverse, U, W, qs, ks, seen, past, e = kept
    (B, H), (C, K) = last.shape[:2], q.shape[1:]
    do = cut(do, C)
    parts = (torch.bmm(seen.mT, do), torch.bmm(qs.mT, do), W, ks)
    back, des, after = last.flatten(0, 1), [], []
    for de, ds, w, s, f in zip(*(reversed(x.unflatten(0, (-1, B * H)).unbind()) for x in parts), keep.flip(0)):
        after.append(back)
        des.append(torch.baddbmm(de, s, back))
        back = torch.baddbmm(torch.addcmul(ds, f, back), w.mT, des[-1], alpha=-1)
    de, after = torch.cat(des[::-1]), torch.cat(after[::-1])
    dks, dqs = torch.bmm(e, after.mT), torch.bmm(do, past.mT)
    # with U = A β v, W = A β since k, A the inverse: the gradient of L = 1/A − 1 is −Aᵀ (dU Uᵀ + dW Wᵀ), dW = −de Sᵀ
    du, less = torch.bmm(inverse.mT, de), torch.bmm(inverse.mT, torch.bmm(de, past.mT))
    dlower = torch.baddbmm(torch.bmm(less, W.mT), du, U.mT, alpha=-1).tril_(-1)
    along = torch.linalg.vecdot(less, k).unsqueeze(-1)  # [M, C, 1]
    dbeta = torch.linalg.vecdot(du, v).unsqueeze(-1) - along * since
    dsince = torch.linalg.vecdot(dqs, q).unsqueeze(-1) - along * beta.unsqueeze(-1)
    duntil = torch.linalg.vecdot(dks, ks)  # · until
    dseen = torch.bmm(do, e.mT)
    pairs = dlower * near
    dbeta += pairs.sum(2, keepdim=True)
    pairs = pairs.mul_(beta.unsqueeze(-1)).addcmul_(dseen, seen)  # of the exponents b_i − b_j
    db = pairs.sum(2) - pairs.sum(1) + (dsince * since).squeeze(-1) - duntil
    db[:, -1] += duntil.sum(1) + torch.linalg.vecdot(after.flatten(1), past.flatten(1)) * keep.flatten()
    dg = db.flip(1).cumsum(1).flip(1)
    dseen, dnear = dseen.mul_(decay), dlower.mul_(beta.unsqueeze(-1)).mul_(decay)
    dq = torch.bmm(dseen, k).addcmul_(dqs, since).mul_(K**-0.5)
    dk = torch.baddbmm(torch.bmm(dseen.mT, q), dnear + dnear.mT, k)
    dk = dk.addcmul_(dks, until).addcmul_(less, beta.unsqueeze(-1) * since, value=-1)
    dv = du * beta.unsqueeze(-1)
    return *(join(x, B, H) for x in (dq, dk, dv, dg, dbeta.squeeze(-1))), back.view_as(last)
