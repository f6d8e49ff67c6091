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
    Apart,
    Inputs,
    MatrixScan,
    Output,
    Rate,
    cut,
    fill,
    floor,
    join,
    kernel,
    launch,
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
    chunk        positions that are computed together

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
    chunk: Annotated[int, Gt(0)] = 16

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
        of the triangular systems, chunk² / 3 multiply-adds a token and head."""
        C, K, V = self.spec.chunk, self.K, self.V
        N = -(-length // C)
        maps = self.beta.weight.numel() + (0 if self.forget is None else self.forget.weight.numel())
        own = 2 * (C * C * (3 * K + 2 * V) + C * K * (K + 3 * V) + K * K * V)
        return 2 * length * maps + N * self.heads * own + self.inputs.flops(length) + self.output.flops(length)

    def state_size(self, length: int) -> int:
        """Numbers that a step needs of a row."""
        return self.heads * self.K * self.V + self.inputs.state_size(length)

    def _run(self, x: Tensor, cache: dict[str, Any] | None, documents: Tensor | None) -> Tensor:
        q, k, v = self.inputs(x, cache, documents)
        q, k = unit(q), unit(k)
        (beta,) = precise(self.beta(x).sigmoid() * (1 + self.spec.negative))
        g = torch.zeros_like(beta) if self.forget is None else self.rate(self.forget(x))[1]  # type: ignore[misc]
        state = None if cache is None else cache.get("state")
        documents = None if documents is None else documents[:, -x.shape[1] - 1 :]
        o, state = delta_rule(q, k, v, g, beta, state, documents, self.spec.chunk)
        if cache is not None:
            cache["state"] = state
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
    chunk: int = 16,
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
    kind, carried = v.dtype, state is not None
    q, k, v, g, beta = precise(q, k, v, g, beta)
    state = q.new_zeros(B, H, K, V) if state is None else state.to(q.dtype)
    if T == 0:
        return v.to(kind), state
    if T == 1 and carried:
        o, state = _one(q, k, v, g, beta, state, documents)
    else:
        with torch.autocast(q.device.type, enabled=False):
            o, state = _chunks(q, k, v, g, beta, state, documents, chunk)
    return o.to(kind), state


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


def _chunks(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor, documents: Tensor | None, C: int
) -> tuple[Tensor, Tensor]:
    """What is written at i of a chunk, e_i, depends on what was written before it: (1 + L) e = β (v − 2^b S k), with
    L_ij = β_i 2^(b_i − b_j) k_i·k_j for i > j. So e = U − W S, and the state moves by a matrix: the chunks' matrices
    are all made at once, and the loop over chunks is one product each (the UT form of the paper, section 3.3)."""
    T = q.shape[1]
    q, k, v, g, beta = (cut(fill(x, C), C) for x in (q, k, v, (g * LOG2E).clamp(min=floor(q.dtype)), beta))
    apart = None if documents is None else Apart(documents, T, C)
    b, beta = g.cumsum(-1), beta.unsqueeze(-1)  # [N, B, H, C], [N, B, H, C, 1]
    decay = weights(b, apart)  # [N, B, H, C, C]
    since, until = torch.exp2(b).unsqueeze(-1), torch.exp2(b[..., -1:] - b).unsqueeze(-1)  # [N, B, H, C, 1]
    keep = torch.exp2(b[..., -1, None, None])  # [N, B, H, 1, 1]
    if apart is not None:
        since, until = since * apart.enter, until * apart.leave
        keep = keep * (apart.enter & apart.leave)[..., -1:, :]
    kb = k * beta
    inverse = Inverse.apply(((kb @ k.mT) * decay).tril(-1))
    wrote = inverse @ torch.cat((v * beta, kb * since), -1)  # U | W, [N, B, H, C, V + K]
    moves = (k * until).mT @ wrote  # [N, B, H, K, V + K]
    (U, W), (add, less) = wrote.split((v.shape[-1], k.shape[-1]), -1), moves.split((v.shape[-1], k.shape[-1]), -1)
    matrix = keep * torch.eye(k.shape[-1], dtype=k.dtype, device=k.device) - less
    states = MatrixScan.apply(matrix.flatten(1, 2), add.flatten(1, 2), state.flatten(0, 1))
    states = states.unflatten(1, state.shape[:2])
    o = ((q @ k.mT) * decay) @ (U - W @ states[:-1]) + (q * since) @ states[:-1]
    return join(o, T) * q.shape[-1] ** -0.5, states[-1]


class Inverse(torch.autograd.Function):
    """(1 + L)⁻¹ of strictly lower triangular matrices L."""

    generate_vmap_rule = True

    @staticmethod
    def forward(lower: Tensor) -> Tensor:
        one = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device).expand_as(lower)
        return torch.linalg.solve_triangular(lower, one, upper=False, unitriangular=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return -(inverse.mT @ grads[0] @ inverse.mT)
