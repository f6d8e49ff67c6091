"""The gated MLP (Shazeer, GLU variants improve Transformer, 2020)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Gt

from airtrack.core.part import part
from airtrack.nets.mlps.activation import Activation
from airtrack.nets.mlps.plain import FeedForward
from airtrack.nets.protocols import Horizontal


@part("mlp")
class Gated:
    """down(activation(gate(x)) · up(x)): SwiGLU.

    expand      hidden width, in widths; 8/3 gives the plain MLP's number of weights
    multiple    the hidden width is rounded down to a multiple of this
    activation  as in `plain`
    bias        whether the three maps have one

    Gate and up are one map, [.., 2 · hidden]; Canon-D lies on both.

    >>> [Gated().build(width).down.in_features for width in (32, 64, 128)]
    [80, 168, 336]
    """

    example: ClassVar[dict[str, Any]] = {}

    expand: Annotated[float, Gt(0)] = 8 / 3
    multiple: Annotated[int, Gt(0)] = 8
    activation: Activation = "silu"
    bias: bool = False

    def build(self, width: int, *, canon: Horizontal | None = None) -> FeedForward:
        """A module, x [B, T, width] → [B, T, width]; `canon` makes the Canon layer on concat(gate, up) ("Canon-D")."""
        return FeedForward(width, self.hidden(width), self.activation, self.bias, canon, gated=True)

    def hidden(self, width: int) -> int:
        """The hidden width."""
        return max(1, int(self.expand * width + 1e-6) // self.multiple) * self.multiple  # 8/3 · 3 is just below 8
