"""Softmax attention with several heads."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention

from airtrack.core.part import part
from airtrack.nets.mixers.window import extended, seen
from airtrack.nets.protocols import Horizontal


@part("mixer")
class Attention:
    """Softmax attention, the mixer of a Transformer.

    groups   key-value heads, each shared by heads / groups query heads (grouped-query attention); null: one each
    window   how many positions one sees, itself included (sliding window); null: all before it
    qk_norm  "head": RMSNorm over each head's q and k, before they are turned; "vector": over all of q and all of k,
             before Canon-B, as PhysicsLM4's code has it; null: none
    bias     whether the projections have one
    eps      of the norms of q and k

    >>> Attention(groups=1).build(32, 2)(torch.zeros(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    example: ClassVar[dict[str, Any]] = {}

    groups: Annotated[int, Gt(0)] | None = None
    window: Annotated[int, Gt(0)] | None = None
    qk_norm: Literal["head", "vector"] | None = None
    bias: bool = False
    eps: Annotated[float, Gt(0)] = 1e-6

    def refuse(self, width: int, heads: int) -> None:
        """Raises ValueError where heads cannot be shared out among the groups."""
        if heads % (self.groups or heads):
            raise ValueError(f"{heads} heads are no multiple of {self.groups} groups")

    def build(
        self,
        width: int,
        heads: int,
        *,
        positions: Any = None,
        canon: Horizontal | None = None,
        causal: bool = True,
    ) -> SelfAttention:
        """A module, x [B, T, width] → [B, T, width]; arguments as in `airtrack.nets.protocols.Mixer`."""
        return SelfAttention(self, width, heads, positions, canon, causal)


class SelfAttention(nn.Module):
    """The module of `spec`."""

    def __init__(
        self, spec: Attention, width: int, heads: int, positions: Any, canon: Horizontal | None, causal: bool
    ) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, spec.groups or heads, width // heads
        self.window, self.causal = spec.window, causal
        self.sizes = [heads * self.size, self.groups * self.size, self.groups * self.size]  # of q, k, v
        self.qkv = nn.Linear(width, sum(self.sizes), bias=spec.bias)
        self.canon = canon(sum(self.sizes)) if canon else None
        q, k = self.sizes[:2] if spec.qk_norm == "vector" else (self.size, self.size)
        self.q_norm = nn.RMSNorm(q, spec.eps) if spec.qk_norm else None
        self.k_norm = nn.RMSNorm(k, spec.eps) if spec.qk_norm else None
        self.whole_norm = spec.qk_norm == "vector"
        place = positions.attach(heads, self.groups, self.size) if hasattr(positions, "attach") else None
        self.place: nn.Module | None = place
        self.turns, self.biased = hasattr(place, "turn"), hasattr(place, "bias")
        self.out = nn.Linear(width, width, bias=spec.bias)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width]; documents [B, T], which document a position is in: no position sees another document."""
        qkv = self._project(x)
        if self.canon is not None:
            qkv = self.canon(qkv, documents)
        q, k, v = self._split(qkv)
        return self._attend(q, k, v, self._mask(x.shape[1], x.shape[1], documents, q))

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache` holds the keys and values, [B, groups, room, size], of those
        before. With a window it forgets the ones that nobody will see again, now and then. documents [B, T]: of all
        positions so far.
        """
        qkv = self._project(x)
        if self.canon is not None:
            qkv, cache["canon"] = self.canon.step(qkv, cache.get("canon"), documents)  # type: ignore[operator]
        q, k, v = self._split(qkv, cache.get("done", 0))
        cache["done"] = cache.get("done", 0) + x.shape[1]
        k, v = extended(cache, self.window, k=k, v=v)
        if self.window is not None:  # what none of these positions sees
            k, v = (kept[:, :, -(self.window + x.shape[1] - 1) :] for kept in (k, v))
        if documents is not None:
            documents = documents[:, -k.shape[2] :]
        return self._attend(q, k, v, self._mask(x.shape[1], k.shape[2], documents, q))

    def flops(self, length: int) -> int:
        """Of matrix products and Canon, over one row of so many tokens; the products of attention in full, T²."""
        own = 2 * length * (self.qkv.weight.numel() + self.out.weight.numel())
        own += 4 * length**2 * self.sizes[0]
        return own if self.canon is None else own + self.canon.flops(length)  # type: ignore[operator]

    def state_size(self, length: int) -> int:
        """Numbers that a step needs of a row: the keys and values that the next position sees, and Canon's."""
        own = 2 * self.sizes[1] * min(length, length if self.window is None else self.window - 1)
        return own if self.canon is None else own + self.canon.state_size(length)  # type: ignore[operator]

    def _project(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        if not self.whole_norm:
            return qkv
        q, k, v = qkv.split(self.sizes, -1)
        return torch.cat((_normed(q, self.q_norm), _normed(k, self.k_norm), v), -1)

    def _split(self, qkv: Tensor, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, q + k + v] → q [B, heads, T, size], k, v [B, groups, T, size]; column 0 has the position `first`."""
        qkv = qkv.unflatten(-1, (-1, self.size))
        if self.q_norm is not None and not self.whole_norm:
            q, k, v = qkv.split((self.heads, self.groups, self.groups), 2)
            qkv = torch.cat((_normed(q, self.q_norm), _normed(k, self.k_norm), v), 2)
        if not self.turns:
            q, k, v = qkv.split((self.heads, self.groups, self.groups), 2)
        else:
            qk, v = qkv.split((self.heads + self.groups, self.groups), 2)
            q, k = self.place.turn(qk, first).split((self.heads, self.groups), 2)  # type: ignore[union-attr, operator]
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def _sees_all(self, columns: int) -> bool:
        """Whether the last position sees all of `columns` alike."""
        return not self.biased and (self.window is None or columns <= self.window)

    def _mask(self, rows: int, columns: int, documents: Tensor | None, q: Tensor) -> Tensor | None:
        """What the last `rows` of `columns` positions see: true or a bias, [.., rows, columns]; None: all, or all up to
        itself where all columns are asked about."""
        if documents is None and self._sees_all(columns) and (rows in (1, columns) or not self.causal):
            return None
        mask = seen(rows, columns, causal=self.causal, window=self.window, documents=documents, device=q.device)
        if not self.biased:
            return mask
        # four axes: with three, torch 2.13 takes a path of its own on a CPU that is half as fast
        bias = self.place.bias(rows, columns).to(q)[None]  # type: ignore[union-attr, operator]
        return bias.masked_fill(~mask, -torch.inf)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        shared, causal = self.groups < self.heads, mask is None and self.causal and q.shape[2] > 1
        heads = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=shared)
        return self.out(heads.transpose(1, 2).flatten(2))


def _normed(x: Tensor, norm: Any) -> Tensor:
    return rms_norm(
        x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps
    )  # under autocast x is in half precision
