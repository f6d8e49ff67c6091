"""Causal softmax attention with several heads."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from airtrack.core.part import part
from airtrack.nets.canon import Canon
from airtrack.nets.rotary import Rotary


@part("mixer")
class Attention:
    """Softmax attention, the mixer of a Transformer. Projections without bias.

    base  of the rotary wavelengths

    >>> Attention().build(32, 2, rotary=0.25)(torch.zeros(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    example: ClassVar[dict[str, Any]] = {}

    base: Annotated[float, Gt(1)] = 10_000.0

    def build(self, width: int, heads: int, *, rotary: float = 0.0, canon: bool = False) -> nn.Module:
        """A module, x [B, T, width] → [B, T, width].

        rotary  fraction of every head's dimensions that rotary positions turn
        canon   a Canon layer on concat(q, k, v), after the projection and before the rotation ("Canon-B")
        """
        return SelfAttention(width, heads, rotary=round(rotary * width / heads), base=self.base, canon=canon)


class SelfAttention(nn.Module):
    """The module. rotary: number of dimensions of a head, even."""

    def __init__(self, width: int, heads: int, *, rotary: int = 0, base: float = 10_000.0, canon: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.canon = Canon(3 * width) if canon else None
        self.rotary = Rotary(rotary, base) if rotary else None
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width]; documents [B, T], which document a position is in: no position sees another document."""
        qkv = self.qkv(x)
        if self.canon is not None:
            qkv = self.canon(qkv, documents)
        q, k, v = self._heads(qkv)
        if documents is None:
            return self._join(scaled_dot_product_attention(q, k, v, is_causal=True))
        seen = (documents[:, :, None] == documents[:, None, :]).tril()  # [B, T, T]
        return self._join(scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None]))

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache` holds keys, values and Canon's last inputs.

        documents  [B, T], which document each position up to the last of x is in; None: all in one
        """
        qkv = self.qkv(x)
        if self.canon is not None:
            qkv, cache["canon"] = self.canon.step(qkv, cache.get("canon"), documents)
        before = cache.get("length", 0)
        length = cache["length"] = before + x.shape[1]
        q, k, v = self._heads(qkv, before)
        for name, new in (("k", k), ("v", v)):
            if name not in cache or cache[name].shape[2] < length:  # twice the room: copied seldom
                room = new.new_empty(*new.shape[:2], 2 * length, new.shape[3])
                room[:, :, :before] = cache[name][:, :, :before] if before else room[:, :, :0]
                cache[name] = room
            cache[name][:, :, before:length] = new
        k, v = cache["k"][:, :, :length], cache["v"][:, :, :length]
        seen = None
        if documents is not None:
            seen = (documents[:, before:, None] == documents[:, None, :]).tril(before)[:, None]  # [B, 1, t, before + t]
        elif x.shape[1] > 1:
            seen = torch.ones(x.shape[1], length, dtype=torch.bool, device=x.device).tril(before)  # [t, before + t]
        return self._join(scaled_dot_product_attention(q, k, v, attn_mask=seen))

    def _heads(self, qkv: Tensor, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, 3 · width] → q, k, v, each [B, heads, T, head_dim]."""
        qkv = qkv.unflatten(-1, (3 * self.heads, -1))
        if self.rotary is None:
            q, k, v = qkv.split(self.heads, 2)
        else:
            qk, v = qkv.split((2 * self.heads, self.heads), 2)
            q, k = self.rotary(qk, first).split(self.heads, 2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def _join(self, heads: Tensor) -> Tensor:
        return self.out(heads.transpose(1, 2).flatten(2))
