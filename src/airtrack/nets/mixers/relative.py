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
        """Of matrix products and Canon, over one row of so many tokens; those of attention in full, T², causal or not,
        and those with distances once for each that occurs."""
        width, near = self.out.in_features, min(self.reach, length)
        far = near if self.causal else max(2 * near - 1, 0)
        own = 2 * length * 4 * width**2 + 2 * far * 2 * width**2
        own += (2 * length + 2 * far) * 2 * length * width
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
        end = min(self.reach, columns) - 1  # the farthest distance that has an embedding and occurs
        back, ahead = (0, end), ((-end, 0) if self.causal else (-end, end))
        back = back if self.causal else ahead
        q, far_k, far_q = q * scale, self._project(self.far_k, back), self._project(self.far_q, ahead) * scale
        logits = q @ k.mT + _by_distance(q @ far_k.mT, columns - 1, columns, back)  # [B, heads, rows, columns]
        logits = logits + _by_distance(k @ far_q.mT, rows - 1, rows, ahead).mT
        mask = seen(rows, columns, causal=self.causal, documents=documents, device=q.device)
        heads = logits.masked_fill(~mask, -torch.inf).softmax(-1).to(v.dtype) @ v
        return self.out(heads.transpose(1, 2).flatten(2))

    def _project(self, far: nn.Module, ends: tuple[int, int]) -> Tensor:
        """[heads, distances, size], of the distances from one end to the other."""
        rows = self.distances.weight[self.reach - 1 + ends[0] : self.reach + ends[1]]
        return far(rows).unflatten(-1, (self.heads, self.size)).transpose(0, 1)


def _by_distance(scores: Tensor, farthest: int, others: int, ends: tuple[int, int]) -> Tensor:
    """scores [.., n, distances between `ends`] of n positions → [.., n, others], the score of the distance between one
    and the other, or of the nearest to it that there is. `farthest` lies between the last one and the first other."""
    count = max(scores.shape[-2] + others - 1, 0)
    distance = farthest - torch.arange(count, device=scores.device)
    return sheared(scores.index_select(-1, distance.clamp(*ends) - ends[0]), others)
