"""Attention with linear biases (Press, Smith and Lewis, Train short, test long, 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from airtrack.core.part import part
from airtrack.nets.mixers.window import distances


@part("position")
class Alibi:
    """ALiBi: head h = 1 … H adds −|i − j| · 2^(−8h/H) to the logits: the last heads see far, the first ones near.

    Two-sided for an encoder. Heads need not be a power of two: the slopes are the formula's, not those that the paper's
    code interpolates.

    >>> Alibi().attach(2, 2, 16).bias(1, 3)
    tensor([[[-0.1250, -0.0625, -0.0000]],
    <BLANKLINE>
            [[-0.0078, -0.0039, -0.0000]]])
    """

    example: ClassVar[dict[str, Any]] = {}

    def attach(self, heads: int, groups: int, size: int) -> DistanceBias:
        return DistanceBias([2 ** (-8 * h / heads) for h in range(1, heads + 1)])


class DistanceBias(nn.Module):
    """Adds −slope · |i − j| to the logits of a head, and −∞ from the distance `span` on.

    slopes, spans  one for each head; a span of None reaches everywhere, and so do all without `spans`

    The last table is kept: in training, rows are of one length.
    """

    here: Tensor

    def __init__(self, slopes: Sequence[float], spans: Sequence[int | None] | None = None) -> None:
        super().__init__()
        self.slopes, self.spans = slopes, spans or [None] * len(slopes)
        self.register_buffer("here", torch.empty(0), persistent=False)  # says where the net is, and in what precision
        self._key: tuple[Any, ...] = ()
        self._table: Tensor | None = None  # not a buffer: `.double()` would keep the rounding of single precision

    def bias(self, rows: int, columns: int) -> Tensor:
        """[heads, rows, columns], for the last `rows` positions of `columns`."""
        key = (rows, columns, self.here.dtype, self.here.device)
        if self._table is None or key != self._key:
            with torch.inference_mode(False):  # a table made while evaluating has to serve training too
                distance = distances(rows, columns, torch.device("cpu")).abs().double()
                heads = [-slope * distance for slope in self.slopes]
                spans = [columns if span is None else span for span in self.spans]
                heads = [head.masked_fill(distance >= span, -torch.inf) for head, span in zip(heads, spans)]
                self._key, self._table = key, torch.stack(heads).to(self.here)
        return self._table
