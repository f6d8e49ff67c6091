"""Disentangled attention (He et al., DeBERTa, 2021, eq. 4): content and relative position have keys of their own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from airtrack.core.part import part
from airtrack.nets.mixers.window import extended, seen, sheared
from airtrack.nets.protocols import Horizontal


@part("mixer")
class Relative:
    """Logits of content to content, content to position and position to content, over √(3 · head_dim); "GPT_rel" of
    Physics of Language Models 1.

        A_ij = Qc_i · Kc_j + Qc_i · Kr_(i−j) + Kc_j · Qr_(j−i)

    reach  distances from −(reach − 1) to reach − 1 have an embedding each, and farther ones share the last

    As in DeBERTa's first version, distances have projections of their own, and no norm; its table of them serves all
    layers, ours one. There are no biases. A causal net uses no term of a later position, so that Kr are made of the
    distances from 0 on, and Qr of those up to 0.

    >>> Relative().build(32, 2)(torch.zeros(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    example: ClassVar[dict[str, Any]] = {"reach": 6}

    reach: Annotated[int, Gt(0)] = 128

    def build(
        self, width: int, heads: int, *, canon: Horizontal | None = None, causal: bool = True
    ) -> DisentangledAttention:
        """A module, x [B, T, width] → [B, T, width]; arguments as in `airtrack.nets.protocols.Mixer`."""
        return DisentangledAttention(width, heads, self.reach, canon, causal)


class DisentangledAttention(nn.Module):
    """The module; `distances` [2 · reach − 1, width] begins with the farthest position ahead."""

    def __init__(self, width: int, heads: int, reach: int, canon: Horizontal | None, causal: bool) -> None:
        super().__init__()
        self.heads, self.size, self.reach, self.causal = heads, width // heads, reach, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.canon = canon(3 * width) if canon else None
        self.distances = nn.Embedding(2 * reach - 1, width)
        self.far_q = nn.Linear(width, width, bias=False)
        self.far_k = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width]; documents [B, T], which document a position is in: no position sees another document."""
        qkv = self.qkv(x)
        q, k, v = self._split(qkv if self.canon is None else self.canon(qkv, documents))
        return self._attend(q, k, v, documents)

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache` holds the keys and values, [B, heads, room, size], of those
        before. documents [B, T]: of all positions so far.

        Distances are projected anew in every step, which is the more part of the work where few rows are generated.
        """
        qkv = self.qkv(x)
        if self.canon is not None:
            qkv, cache["canon"] = self.canon.step(qkv, cache.get("canon"), documents)  # type: ignore[operator]
        q, k, v = self._split(qkv)
        k, v = extended(cache, k=k, v=v)
        return self._attend(q, k, v, documents)

    def flops(self, length: int) -> int:
        """Of matrix products and Canon, over one row of so many tokens; those of attention in full, T²."""
        width, far = self.out.in_features, length + 1 if self.causal else 2 * length
        own = 2 * (length + far) * width * 2 * length + 2 * far * 2 * width**2 + 2 * length * 4 * width**2
        return own if self.canon is None else own + self.canon.flops(length)  # type: ignore[operator]

    def state_size(self, length: int) -> int:
        """Numbers that a step needs of a row: keys, values and Canon's."""
        own = 2 * self.out.in_features * length
        return own if self.canon is None else own + self.canon.state_size(length)  # type: ignore[operator]

    def _split(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """[B, T, 3 · width] → q, k, v [B, heads, T, size]."""
        return tuple(x.transpose(1, 2) for x in qkv.unflatten(-1, (3, self.heads, self.size)).unbind(2))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> Tensor:
        """q [B, heads, rows, size] of the last positions, k and v [B, heads, columns, size] of all."""
        rows, columns, scale = q.shape[2], k.shape[2], (3 * self.size) ** -0.5
        count = columns if self.causal else max(rows + columns - 1, 0)  # of distances that matter
        last = 0 if self.causal else rows - 1  # the greatest j − i that matters; of i − j it is columns − 1
        q, far_k = q * scale, self._project(self.far_k, columns - 1, count)
        far_q = self._project(self.far_q, last, count) * scale
        logits = q @ k.mT + sheared(q @ far_k.mT, rows - 1, columns)  # [B, heads, rows, columns]
        logits = logits + sheared(k @ far_q.mT, columns - (rows if self.causal else 1), rows).mT
        mask = seen(rows, columns, causal=self.causal, documents=documents, device=q.device)
        heads = logits.masked_fill(~mask, -torch.inf).softmax(-1).to(v.dtype) @ v
        return self.out(heads.transpose(1, 2).flatten(2))

    def _project(self, far: nn.Module, first: int, count: int) -> Tensor:
        """[heads, count + 1, size], of the distances first, first − 1, … and one more, which `sheared` asks for."""
        distance = first - torch.arange(count + 1, device=self.distances.weight.device)
        rows = self.distances(distance.clamp(1 - self.reach, self.reach - 1) + self.reach - 1)
        return far(rows).unflatten(-1, (self.heads, self.size)).transpose(0, 1)
