"""Plain averages of the last tokens ("GPT_uni" of Allen-Zhu and Li, Physics of Language Models 1, 2023)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from airtrack.core.part import part
from airtrack.nets.documents import offsets
from airtrack.nets.protocols import Horizontal


@part("mixer")
class Uniform:
    """Each head gives the average of its values over the last so many tokens of the document, itself included, or over
    those that there are. Nothing is looked for: there is no q and no k.

    spans  so many, one number a head, ascending; null: 1, 2, 4, … 2^(heads − 1), up to 128 with the eight heads of the
           source

    Canon-B lies on the values.

    >>> Uniform().build(32, 2)(torch.zeros(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    example: ClassVar[dict[str, Any]] = {}

    spans: tuple[Annotated[int, Gt(0)], ...] | None = None

    def refuse(self, width: int, heads: int) -> None:
        """Raises ValueError where the spans are not those of so many heads."""
        if self.spans is None:
            return
        if len(self.spans) != heads:
            raise ValueError(f"{len(self.spans)} spans for {heads} heads: give one for each, or null")
        if list(self.spans) != sorted(self.spans):
            raise ValueError(f"spans {list(self.spans)} do not ascend: sort them, heads are alike otherwise")

    def build(self, width: int, heads: int, *, canon: Horizontal | None = None) -> Averages:
        """A module, x [B, T, width] → [B, T, width]; `canon` as in `airtrack.nets.protocols.Mixer`."""
        return Averages(width, self.spans or tuple(2**h for h in range(heads)), canon)


class Averages(nn.Module):
    """The module. Sums are doubled, those of 2n tokens from two of n: log₂(span) additions a number, no product, and
    rounding as small as theirs, where the difference of two running sums would lose digits with every token read."""

    def __init__(self, width: int, spans: tuple[int, ...], canon: Horizontal | None) -> None:
        super().__init__()
        self.spans = spans
        self.v = nn.Linear(width, width, bias=False)
        self.canon = canon(width) if canon else None
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width]; documents [B, T], which document a position is in: no average goes beyond it."""
        v = self.v(x)
        return self.out(self._average(v if self.canon is None else self.canon(v, documents), documents))

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache` holds the last values, [B, the longest span − 1, width].
        documents [B, T]: of all positions so far."""
        v = self.v(x)
        if self.canon is not None:
            v, cache["canon"] = self.canon.step(v, cache.get("canon"), documents)  # type: ignore[operator]
        v = torch.cat((cache["v"], v), 1) if "v" in cache else v
        cache["v"] = v[:, max(v.shape[1] - self.spans[-1] + 1, 0) :]
        documents = None if documents is None else documents[:, -v.shape[1] :]
        return self.out(self._average(v, documents)[:, -x.shape[1] :])

    def flops(self, length: int) -> int:
        """Of the two projections and Canon, over one row of so many tokens; averages have no products."""
        own = 2 * length * 2 * self.v.weight.numel()
        return own if self.canon is None else own + self.canon.flops(length)  # type: ignore[operator]

    def state_size(self, length: int) -> int:
        """Numbers that `step` keeps of a row: values, as many as the longest span asks for, and Canon's."""
        own = self.v.out_features * min(length, self.spans[-1] - 1)
        return own if self.canon is None else own + self.canon.state_size(length)  # type: ignore[operator]

    def _average(self, v: Tensor, documents: Tensor | None) -> Tensor:
        """[B, T, width] → the same."""
        T, heads = v.shape[1], len(self.spans)
        ids = v.new_zeros(1, T) if documents is None else documents
        place = offsets(ids, documents) + 1  # [1 or B, T], in its document, from 1 on
        within = None if documents is None else place[..., None]
        size, first, block = 1, 0, v.unflatten(-1, (heads, -1))  # sums of `size` tokens, of the heads from `first` on
        sums, done = list(block.unbind(2)), [0] * heads
        while first < heads:
            for h in range(first, heads):
                if self.spans[h] & size:
                    more = block[:, :, h - first]
                    sums[h] = _joined(sums[h], more, done[h], within) if done[h] else more
                    done[h] += size
            block = block[:, :, sum(span < 2 * size for span in self.spans[first:]) :]
            first = heads - block.shape[2]
            block = _joined(block, block, size, within if within is None else within[..., None])
            size *= 2
        counts = torch.stack([place.clamp(max=min(span, T)) for span in self.spans], -1)  # [1 or B, T, heads]
        return (torch.stack(sums, 2) / counts[..., None]).flatten(2)


def _joined(near: Tensor, far: Tensor, by: int, within: Tensor | None) -> Tensor:
    """near_t + far_(t − by), both [B, T, ..], where that lies in the same document: its place in it is `within`."""
    if by >= near.shape[1]:
        return near
    far = far[:, :-by] if within is None else far[:, :-by] * (within[:, by:] > by)
    return torch.cat((near[:, :by], near[:, by:] + far), 1)
