"""Mamba2's mixer (Dao and Gu, Transformers are SSMs, 2024)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import silu

from airtrack.core.part import Slot, part
from airtrack.nets.canon import CanonLayer
from airtrack.nets.mixers.chunks import (
    LOG2E,
    Carry,
    Rate,
    along,
    apart,
    carried,
    fill,
    floor,
    kernel,
    launch,
    length_for,
    precise,
    shares,
    weights,
)
from airtrack.nets.protocols import Horizontal

OWN = CanonLayer(residual=False, activation=True, bias=True)  # Mamba2's, but that the bias starts at zero, not U(−½, ½)


@part("mixer")
class Mamba2:
    """A state space model whose step size depends on the input.

    [z, x, B, C, Δ] = W u;  x, B and C go through a short convolution;  δ = softplus(Δ + dt_bias), per head;
    S_t = e^{−exp(A_log) δ_t} S_{t−1} + B_t (δ_t x_t)ᵀ,  y_t = S_tᵀ C_t + D x_t;  W' RMSNorm(y · SiLU(z))

    state   dimensions of B and C, which all heads share; PhysicsLM4 has 64 in its synthetic tasks, 128 in its large
            models
    expand  width of x and z, in widths of the net
    conv    the model's own short convolution on x, B and C, with its SiLU ("Canon-b"); null: nothing, not even SiLU, as
            in Physics of Language Models 4.1
    eps     of the norm
    chunk   positions that are computed together; null: 32, or 64 where the state has 64 dimensions or more

    Canon-B lies on the whole of the first map's output, before the convolution: 2 · expand · width + 2 · state + heads
    channels. "AbCD" of that paper is canon ACD here; "ABCD", canon ABCD and conv null.

    >>> Mamba2(state=8).build(32, 2)(torch.zeros(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    example: ClassVar[dict[str, Any]] = {"state": 8}

    state: Annotated[int, Gt(0)] = 64
    expand: Annotated[float, Gt(0)] = 2.0
    conv: Annotated[Any, Slot("canon")] | None = OWN
    eps: Annotated[float, Gt(0)] = 1e-5
    chunk: Annotated[int, Gt(0)] | None = None

    def refuse(self, width: int, heads: int) -> None:
        """Raises ValueError where heads cannot share the channels."""
        shares(width, heads, expand=self.expand)

    def build(self, width: int, heads: int, *, canon: Horizontal | None = None) -> StateSpace:
        """A module, x [B, T, width] → [B, T, width]; `canon` makes the Canon layer on what the first map gives."""
        return StateSpace(self, width, heads, canon)


class StateSpace(nn.Module):
    """The module of `spec`."""

    def __init__(self, spec: Mamba2, width: int, heads: int, canon: Horizontal | None) -> None:
        super().__init__()
        self.spec, self.heads = spec, heads
        (self.V,) = shares(width, heads, expand=spec.expand)
        self.chunk = spec.chunk or length_for(spec.state, 32)
        inner = heads * self.V
        self.sizes = [inner, inner + 2 * spec.state, heads]  # of z, of what the convolution lies on, of Δ
        self.into = nn.Linear(width, sum(self.sizes), bias=False)
        self.canon = canon(sum(self.sizes)) if canon else None
        self.conv: nn.Module | None = spec.conv.build(self.sizes[1]) if spec.conv else None
        self.rate = Rate(heads, 1)
        self.D = nn.Parameter(torch.ones(heads))
        self.norm, self.out = nn.RMSNorm(inner, spec.eps), nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width]; documents [B, T], which document a position is in: no state reaches into another."""
        return self._run(x, None, documents)

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache`: the state [B, state, heads, V], the convolutions' inputs.

        documents  [B, T], which document each position up to the last of x is in; None: all in one
        """
        return self._run(x, cache, documents)

    def flops(self, length: int) -> int:
        """Of matrix products and Canon, over one row of so many tokens, the last chunk filled up."""
        C, K, H, V = self.chunk, self.spec.state, self.heads, self.V
        T = -(-length // C) * C
        own = 2 * length * (self.into.weight.numel() + self.out.weight.numel())
        own += 2 * T * (C * K + C * H * V + 2 * K * H * V)
        return own + sum(layer.flops(length) for layer in self._layers())

    def state_size(self, length: int) -> int:
        """Numbers that a step needs of a row."""
        own = self.spec.state * self.heads * self.V
        return own + sum(layer.state_size(length) for layer in self._layers())

    def _layers(self) -> list[Any]:
        return [layer for layer in (self.canon, self.conv) if layer is not None]

    def _run(self, x: Tensor, cache: dict[str, Any] | None, documents: Tensor | None) -> Tensor:
        all_of_it = along(self.canon, self.into(x), cache, "canon", documents)
        z, xbc, raw = all_of_it.split(self.sizes, -1)
        xbc = along(self.conv, xbc, cache, "conv", documents)
        u, b, c = xbc.split((self.sizes[0], self.spec.state, self.spec.state), -1)
        u = u.unflatten(-1, (self.heads, -1))  # [B, T, H, V]
        size, g = self.rate(raw)
        written = u * size.unsqueeze(-1).to(u.dtype)
        y = carried(state_space, cache, documents, self.chunk, c, b, written, g)
        y = (y + u * self.D.to(u.dtype).unsqueeze(-1)).flatten(2)
        y = (y * silu(z)).to(self.norm.weight.dtype)  # under autocast the gain is in single precision
        return self.out(self.norm(y))


def state_space(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    state: Tensor | None = None,
    documents: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = e^{g_t} S_{t−1} + k_t v_tᵀ, o_t = S_tᵀ q_t, a state for every head, q and k the same for all.

    q, k       [B, T, K]
    v          [B, T, H, V]
    g          [B, T, H], g ≤ 0
    state      [B, K, H, V], what came before; None: nothing
    documents  [B, T], or [B, T + 1] with the one that the state is of first

    Returns o [B, T, H, V] and the last state.
    """
    (B, T, K), (H, V) = q.shape, v.shape[2:]
    call = kernel("simple_gla", "chunk_simple_gla", q)
    if call is not None:
        q, k = (x.unsqueeze(2).expand(-1, -1, H, -1).contiguous() for x in (q, k))
        state = None if state is None else state.transpose(1, 2).contiguous()
        o, state = launch(partial(call, scale=1.0), state, documents, q=q, k=k, v=v, g=g)
        return o, state.transpose(1, 2)
    kind, (q, k, v, g) = v.dtype, precise(q, k, v, g)
    first = q.new_zeros(B, K, H, V) if state is None else state.to(q.dtype)
    if not v.numel():
        return v.to(kind), first
    if T == 1 and state is not None:
        o, last = _one(q, k, v, g, first, documents)
    else:
        with torch.autocast(q.device.type, enabled=False):
            o, last = _chunks(q, k, v, g, first, documents, chunk or length_for(K, 32))
    return o.to(kind), last


def _one(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, documents: Tensor | None) -> tuple[Tensor, Tensor]:
    """The recurrence itself, for one position."""
    if documents is not None:
        state = state * (documents[:, 0] == documents[:, -1]).view(-1, 1, 1, 1)
    state = state * g[:, 0].exp()[:, None, :, None] + k[:, 0, :, None, None] * v
    return (q @ state.flatten(2)).view_as(v), state


def _chunks(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor, documents: Tensor | None, C: int
) -> tuple[Tensor, Tensor]:
    """Within a chunk the weights are those of attention without softmax, times 2^(b_i − b_j), b the running sum of log₂
    decays; across chunks goes the state (the paper's block decomposition, section 6)."""
    T, (H, V) = q.shape[1], v.shape[2:]
    q, k, v, g = (
        fill(x, C).unflatten(1, (-1, C)).transpose(0, 1) for x in (q, k, v, (g * LOG2E).clamp(min=floor(q.dtype)))
    )  # [N, B, C, ..]
    same, enter, leave = (None,) * 3 if documents is None else apart(documents, T, C, 1)
    b = g.transpose(2, 3).cumsum(-1)  # [N, B, H, C]
    since, until = torch.exp2(b), torch.exp2(b[..., -1:] - b)
    keep = since[..., -1]  # [N, B, H]
    if same is not None and enter is not None and leave is not None:
        enter, leave = (x.view(*b.shape[:2], 1, C) for x in (enter, leave))
        since, until, keep = since * enter, until * leave, keep * enter[..., -1]
        same = same.view(*b.shape[:2], 1, C, C)
    seen = (q @ k.mT).unsqueeze(2) * weights(b, same)  # [N, B, H, C, C]
    add = k.mT @ (v * until.transpose(2, 3).unsqueeze(-1)).flatten(3)  # [N, B, K, H V]
    states = Carry.apply(keep[:, :, None, :, None], add.unflatten(-1, (H, V)), state)  # [N + 1, B, K, H, V]
    past = (q @ states[:-1].flatten(3)).unflatten(-1, (H, V)) * since.transpose(2, 3).unsqueeze(-1)
    o = (seen @ v.transpose(2, 3)).transpose(2, 3) + past  # [N, B, C, H, V]
    return o.transpose(0, 1).flatten(1, 2)[:, :T], states[-1]
