"""Attention that asks how far, never what ("GPT_pos" of Allen-Zhu and Li, Physics of Language Models 1, 2023)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from airtrack.core.part import part
from airtrack.nets.mixers.window import extended, seen
from airtrack.nets.protocols import Horizontal


@part("mixer")
class Distance:
    """Softmax attention whose logits are a learned table of i − j, one a head; content is in the values only.

    reach  distances from 0 to reach − 1 have a logit each, and farther ones share the last

    Canon-B lies on the values: there is no q or k.

    >>> Distance().build(32, 2)(torch.zeros(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    example: ClassVar[dict[str, Any]] = {"reach": 6}

    reach: Annotated[int, Gt(0)] = 128

    def build(
        self, width: int, heads: int, *, canon: Horizontal | None = None, causal: bool = True
    ) -> DistanceAttention:
        """A module, x [B, T, width] → [B, T, width]; arguments as in `airtrack.nets.protocols.Mixer`. Where it is not
        causal, distances ahead have logits of their own."""
        return DistanceAttention(width, heads, self.reach, canon, causal)


class DistanceAttention(nn.Module):
    """The module; `distances` [distances, heads] begins with the farthest position ahead."""

    def __init__(self, width: int, heads: int, reach: int, canon: Horizontal | None, causal: bool) -> None:
        super().__init__()
        self.heads, self.ends, self.causal = heads, (0 if causal else 1 - reach, reach - 1), causal
        self.v = nn.Linear(width, width, bias=False)
        self.canon = canon(width) if canon else None
        self.distances = nn.Embedding(self.ends[1] - self.ends[0] + 1, heads)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width]; documents [B, T], which document a position is in: no position sees another document."""
        v = self.v(x)
        v = self._split(v if self.canon is None else self.canon(v, documents))
        return self._attend(x.shape[1], v, documents)

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache` holds the values, [B, heads, room, size], of those before.
        documents [B, T]: of all positions so far."""
        v = self.v(x)
        if self.canon is not None:
            v, cache["canon"] = self.canon.step(v, cache.get("canon"), documents)  # type: ignore[operator]
        (v,) = extended(cache, v=self._split(v))
        return self._attend(x.shape[1], v, documents)

    def flops(self, length: int) -> int:
        """Of matrix products and Canon, over one row of so many tokens; that of attention in full, T²."""
        own = 2 * length * 2 * self.v.weight.numel() + 2 * length**2 * self.v.out_features
        return own if self.canon is None else own + self.canon.flops(length)  # type: ignore[operator]

    def state_size(self, length: int) -> int:
        """Numbers that a step needs of a row: values and Canon's."""
        own = self.v.out_features * length
        return own if self.canon is None else own + self.canon.state_size(length)  # type: ignore[operator]

    def _split(self, v: Tensor) -> Tensor:
        """[B, T, width] → [B, heads, T, size]."""
        return v.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _attend(self, rows: int, v: Tensor, documents: Tensor | None) -> Tensor:
        """For the last `rows` positions; v [B, heads, columns, size] of all."""
        columns = v.shape[2]
        distance = columns - 1 - torch.arange(max(rows + columns - 1, 0), device=v.device)
        line = self.distances(distance.clamp(*self.ends) - self.ends[0]).T  # [heads, rows + columns − 1]
        logits = line.unfold(-1, columns, 1).flip(-2) if rows else line[:, None, :0].expand(-1, 0, 0)
        mask = seen(rows, columns, causal=self.causal, documents=documents, device=v.device)
        weights = logits.masked_fill(~mask, -torch.inf).softmax(-1)  # [heads, rows, columns], or with documents [B, ..]
        return self.out((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))
