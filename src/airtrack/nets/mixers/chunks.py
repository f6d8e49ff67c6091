"""What the linear mixers share: sequences cut into chunks, states carried from chunk to chunk, gates and low ranks.

A state S [.., K, V] is kept from one position to the next but for a decay. Within a chunk everything is a few matrix
products; between chunks only S goes on. Exponents are in base 2, whose exp is three times as fast on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu, softplus

from airtrack.nets.canon import CanonLayer
from airtrack.nets.protocols import Horizontal
from airtrack.nets.start import SPREAD

CANON_B = CanonLayer(residual=False, activation=True, start="normal")  # fla's short convolution
LOG2E = 1 / math.log(2)
REACH = 4  # the most steps of decay that `gla` has to undo; see there


def floor(dtype: torch.dtype) -> float:
    """The least log₂ of what a step keeps of the state: what would be less counts as this, 8e−8 in single precision
    (3e−58 in double), which beside the new input of the same step is about rounding. It bounds all exponents, and
    leaves a quarter of the format's to the numbers that they multiply."""
    return 0.75 * math.log2(torch.finfo(dtype).tiny) / REACH


def precise(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Half precision → single: decays and states need it."""
    return tuple(t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors)


def length_for(size: int, least: int) -> int:
    """The length of chunks that proved fastest on a CPU: `least`, twice that where keys have 64 dimensions or more."""
    return least if size < 64 else 2 * least


def fill(x: Tensor, chunk: int) -> Tensor:
    """[B, T, ..] → [B, N · chunk, ..], zeros at the end."""
    lacking = -x.shape[1] % chunk
    return pad(x, (0, 0) * (x.ndim - 2) + (0, lacking)) if lacking else x


def cut(x: Tensor, chunk: int) -> Tensor:
    """[B, N · chunk, H, ..] → [M, chunk, ..], M = N · B · H, copied into that order."""
    x = x.unflatten(1, (-1, chunk)).permute(1, 0, 3, 2, *range(4, x.ndim + 1))
    return x.clone(memory_format=torch.contiguous_format).flatten(0, 2)


def join(x: Tensor, rows: int, heads: int) -> Tensor:
    """[M, chunk, ..] → [B, N · chunk, H, ..]: what `cut` did, undone."""
    x = x.unflatten(0, (-1, rows, heads))
    return x.permute(1, 0, 3, 2, *range(4, x.ndim)).flatten(1, 2)


class Apart(NamedTuple):
    """Which positions of packed documents may meet, as booleans; see `apart`. M is N · B · H.

    same   [M, chunk, chunk]  i and j of a chunk are in one document
    enter  [M, chunk, 1]      i is in the document of the state that the chunk begins with
    leave  [M, chunk, 1]      j is in the document in which the chunk ends
    """

    same: Tensor
    enter: Tensor
    leave: Tensor


def apart(documents: Tensor, length: int, chunk: int, heads: int) -> Apart:
    """For documents [B, T] or, with that of the state before them, [B, T + 1]; T is `length`. Positions that fill up
    the last chunk belong to the last document, so that its state comes through."""
    before = documents[:, :1]
    documents = documents[:, documents.shape[1] - length :]
    own = torch.cat((documents, documents[:, -1:].expand(-1, -length % chunk)), 1)
    own = own.unflatten(1, (-1, chunk)).transpose(0, 1)[:, :, None].expand(-1, -1, heads, -1)  # [N, B, H, chunk]
    ends = torch.cat((before[None, :, None].expand(-1, -1, heads, -1), own[..., -1:]))  # before each, after the last
    enter, leave = (own == ends[:-1]).flatten(0, 2), (own == ends[1:]).flatten(0, 2)
    own = own.flatten(0, 2)
    return Apart(own.unsqueeze(-1) == own.unsqueeze(-2), enter.unsqueeze(-1), leave.unsqueeze(-1))


def weights(b: Tensor, same: Tensor | None) -> Tensor:
    """2^(b_i − b_j) for i ≥ j of the same document, else 0; b [.., chunk] → [.., chunk, chunk].

    What is forbidden is −∞ before it becomes an exponent: afterwards it might be ∞ · 0.
    """
    C = b.shape[-1]
    bar = torch.full((C, C), -torch.inf, dtype=b.dtype, device=b.device).triu(1)
    if same is not None:
        bar = bar.masked_fill(~same, -torch.inf)
    return (b.unsqueeze(-1) - b.unsqueeze(-2)).add_(bar).exp2_()


def carry(keep: Tensor, add: Tensor, first: Tensor) -> Tensor:
    """S_{n+1} = keep_n · S_n + add_n, entry by entry, from S_0 = first [..]: S_0 … S_N, [N + 1, ..]."""
    states = [first]
    for k, a in zip(keep.unbind(), add.unbind()):
        states.append(torch.addcmul(a, k, states[-1]))
    return torch.stack(states)


def carry_back(keep: Tensor, grads: Tensor, last: Tensor) -> Tensor:
    """The same towards the beginning, as gradients go: G_n = keep_n · G_{n+1} + grads_n from G_N = last: G_0 … G_N."""
    found = [last]
    for k, g in zip(reversed(keep.unbind()), reversed(grads.unbind())):
        found.append(torch.addcmul(g, k, found[-1]))
    return torch.stack(found[::-1])


class Carry(torch.autograd.Function):
    """`carry`, with its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(keep: Tensor, add: Tensor, first: Tensor) -> Tensor:
        return carry(keep, add, first)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, states = ctx.saved_tensors
        back = carry_back(keep, grads[0][:-1], grads[0][-1])
        return (back[1:] * states[:-1]).sum_to_size(keep.shape), back[1:], back[0]


class Chunks(torch.autograd.Function):
    """`run(*inputs)` with a gradient written by hand, which makes half the passes over memory that the automatic one
    makes. A gradient of the gradient is automatic, from `run` once more.

    run       (q, k, v, .., state, same, enter, leave, chunk) → o and the last state, of v's and of state's shape, and
              whatever the gradient needs
    gradient  (that, as a tuple; gradients of o and of the last state; same; enter; leave) → gradients of q … state
    count     number of inputs that have one
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(run: Callable[..., Any], gradient: Callable[..., Any], count: int, *inputs: Any) -> tuple[Tensor, ...]:
        return run(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.run, ctx.gradient, ctx.count, *tensors, ctx.chunk = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*tensors, *output[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved, n = ctx.saved_tensors, ctx.count
        do, last = (torch.zeros_like(x) if g is None else g for g, x in zip(grads, (saved[2], saved[n - 1])))
        if torch.is_grad_enabled():

            def run(*inputs: Tensor) -> tuple[Tensor, ...]:
                return ctx.run(*inputs, *saved[n : n + 3], ctx.chunk)[:2]

            found = torch.func.vjp(run, *saved[:n])[1]((do, last))
        else:
            found = ctx.gradient(saved[n + 3 :], do, last, *saved[n : n + 3])
        return (None,) * 3 + tuple(found) + (None,) * 4


def in_chunks(
    run: Callable[..., Any],
    gradient: Callable[..., Any],
    tensors: tuple[Tensor, ...],
    state: Tensor,
    documents: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """`run` and `gradient` of `Chunks`, for tensors [B, T, H, ..] of any length T > 0: o and the last state."""
    T, heads = tensors[0].shape[1:3]
    bars = (None,) * 3 if documents is None else apart(documents, T, chunk, heads)
    with torch.autocast(state.device.type, enabled=False):
        inputs = (*(fill(x, chunk) for x in tensors), state, *bars, chunk)
        if torch.compiler.is_compiling():
            o, state, *_ = run(*inputs)
        else:
            o, state, *_ = Chunks.apply(run, gradient, len(tensors) + 1, *inputs)
    return o[:, :T], state


class LowRank(nn.Module):
    """up(down(x)), of rank `rank`, the second map with a bias."""

    def __init__(self, width: int, rank: int, out: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, out)
        self.init_()

    @torch.no_grad()
    def init_(self, generator: torch.Generator | None = None) -> None:
        """N(0, √.02 / rank^¼) each, so that the product of both has the .02 of every other map, as in PhysicsLM4."""
        for weight in (self.down.weight, self.up.weight):
            draw = torch.empty(weight.shape, device="cpu")
            weight.copy_(draw.normal_(0, SPREAD**0.5 / len(self.down.weight) ** 0.25, generator=generator))
        self.up.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


class Rate(nn.Module):
    """A decay per head: step = softplus(x + dt_bias), log-decay = −exp(A_log) · step.

    At the start exp(A_log) is U(low, 16), and softplus(dt_bias) is log-uniform on [.001, .1], as in Mamba2's code.
    Both are vectors, which no optimiser of the bench decays.
    """

    def __init__(self, heads: int, low: float) -> None:
        super().__init__()
        self.low = low
        self.A_log, self.dt_bias = nn.Parameter(torch.empty(heads)), nn.Parameter(torch.empty(heads))
        self.init_()

    @torch.no_grad()
    def init_(self, generator: torch.Generator | None = None) -> None:
        draw = torch.empty(2, len(self.A_log), device="cpu").uniform_(generator=generator)
        self.A_log.copy_((self.low + (16 - self.low) * draw[0]).clamp(min=1e-4).log())  # log 0 would stay −∞
        step = torch.exp(math.log(0.001) + draw[1] * math.log(100))
        self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [.., heads] → step and log-decay, in single precision at least."""
        bias, x = precise(self.dt_bias, x)
        step = softplus(x + bias)
        return step, -self.A_log.to(step.dtype).exp() * step


def along(
    layer: nn.Module | None, x: Tensor, cache: dict[str, Any] | None, name: str, documents: Tensor | None
) -> Tensor:
    """x through a Canon layer, if there is one; what it has to remember is in cache[name]. cache None: all is in x."""
    if layer is None:
        return x
    if cache is None:
        return layer(x, documents)
    x, cache[name] = layer.step(x, cache.get(name), documents)  # type: ignore[operator]
    return x


def carried(
    operator: Callable[..., tuple[Tensor, Tensor]],
    cache: dict[str, Any] | None,
    documents: Tensor | None,
    chunk: int,
    *inputs: Tensor,
) -> Tensor:
    """An operator's output on inputs [B, t, ..], from the state in `cache` and leaving its own there; cache None: from
    the beginning. documents [B, T], of all positions up to the last of the inputs."""
    state = None if cache is None else cache.get("state")
    documents = None if documents is None else documents[:, -inputs[0].shape[1] - 1 :]
    output, state = operator(*inputs, state, documents, chunk)
    if cache is not None:
        cache["state"] = state
    return output


def shares(width: int, heads: int, **expansions: float) -> list[int]:
    """Dimensions of a head, one for each expansion of the width; raises ValueError where they are no whole number.

    >>> shares(32, 2, expand_k=0.5, expand_v=1.0)
    [8, 16]
    >>> shares(32, 3, expand_v=1.0)
    Traceback (most recent call last):
    ValueError: expand_v 1 of width 32 is 32, which 3 heads cannot share: choose another width, expand_v or heads
    """
    sizes = []
    for name, expansion in expansions.items():
        size = round(expansion * width / heads, 6)  # a third of 48 is 16, and a little in floating point
        if size % 1 or not size:
            fact = f"{name} {expansion:g} of width {width} is {expansion * width:g}, which {heads} heads cannot share"
            raise ValueError(f"{fact}: choose another width, {name} or heads")
        sizes.append(int(size))
    return sizes


class Inputs(nn.Module):
    """x → q, k [B, T, heads, K] and v [B, T, heads, V]: the projection, Canon-B if asked for, then the model's own
    short convolution or, without one, SiLU."""

    def __init__(self, width: int, heads: int, sizes: list[int], conv: Any, canon: Horizontal | None) -> None:
        super().__init__()
        self.heads, (K, V) = heads, sizes
        self.sizes = [heads * K, heads * K, heads * V]
        self.qkv = nn.Linear(width, sum(self.sizes), bias=False)
        self.canon = canon(sum(self.sizes)) if canon else None
        self.conv: nn.Module | None = conv.build(sum(self.sizes)) if conv else None

    def forward(self, x: Tensor, cache: dict[str, Any] | None, documents: Tensor | None) -> list[Tensor]:
        qkv = along(self.canon, self.qkv(x), cache, "canon", documents)
        qkv = silu(qkv) if self.conv is None else along(self.conv, qkv, cache, "conv", documents)
        return [part.unflatten(-1, (self.heads, -1)) for part in qkv.split(self.sizes, -1)]

    def flops(self, length: int) -> int:
        return 2 * length * self.qkv.weight.numel() + sum(layer.flops(length) for layer in self._layers())

    def state_size(self, length: int) -> int:
        return sum(layer.state_size(length) for layer in self._layers())

    def _layers(self) -> list[Any]:
        return [layer for layer in (self.canon, self.conv) if layer is not None]


class Output(nn.Module):
    """o [B, T, heads, V] → W (RMSNorm of each head · SiLU(gate(x))), the gate's map of full rank or of `rank`."""

    def __init__(self, width: int, heads: int, size: int, rank: int | None, eps: float) -> None:
        super().__init__()
        inner = heads * size
        self.gate = nn.Linear(width, inner, bias=False) if rank is None else LowRank(width, rank, inner)
        self.norm, self.out = nn.RMSNorm(size, eps), nn.Linear(inner, width, bias=False)

    def forward(self, o: Tensor, x: Tensor) -> Tensor:
        o = self.norm(o.to(self.norm.weight.dtype))  # under autocast the gain is in single precision
        return self.out(o.flatten(2) * silu(self.gate(x)))

    def flops(self, length: int) -> int:
        return 2 * length * sum(p.numel() for p in self.parameters() if p.ndim == 2)


def kernel(module: str, name: str, x: Tensor) -> Callable[..., Any] | None:
    """fla's kernel for x; None where x is in no half precision on a GPU, or fla is not installed."""
    if not x.is_cuda or x.dtype not in (torch.float16, torch.bfloat16):
        return None  # some kernels refuse single precision
    try:
        return getattr(import_module(f"fla.ops.{module}"), name)
    except ImportError:
        return None


def launch(
    call: Callable[..., Any], state: Tensor | None, documents: Tensor | None, **tensors: Tensor
) -> tuple[Tensor, Tensor]:
    """fla's kernel on tensors [B, T, ..]; packed documents become sequences of a single row, as it wants them."""
    B, T = next(iter(tensors.values())).shape[:2]
    if documents is None:
        return call(**tensors, initial_state=state, output_final_state=True)
    begins = documents[:, -T:].diff(dim=1, prepend=documents[:, :1] - 1) != 0  # every row begins one
    first, count = begins.flatten().nonzero().flatten(), begins.sum(1).cumsum(0)
    if state is not None:
        same = documents[:, 0] == documents[:, 1]
        before, state = state, state.new_zeros(len(first), *state.shape[1:])
        state[count - begins.sum(1)] = before * same.view(-1, 1, 1, 1)
    flat = {name: x.flatten(0, 1).unsqueeze(0) for name, x in tensors.items()}
    ends = pad(first, (0, 1), value=B * T)
    o, states = call(**flat, initial_state=state, output_final_state=True, cu_seqlens=ends)
    return o.unflatten(1, (B, T)).squeeze(0), states[count - 1]
