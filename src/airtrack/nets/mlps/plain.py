"""The plain MLP of a Transformer block."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

from airtrack.core.part import part
from airtrack.nets.mlps.activation import ACTIVATIONS, Activation
from airtrack.nets.protocols import Horizontal


@part("mlp")
class Plain:
    """down(activation(up(x))).

    expand      hidden width, in widths; 1 is the quarter-width MLP of Physics of Language Models 3.3
    activation  silu, which makes of a Llama what Physics of Language Models 4.1 calls GPT2(RoPE), gelu, gelu_tanh,
                relu, or relu2, its square
    bias        whether the two maps have one

    >>> sum(p.numel() for p in Plain().build(32).parameters())
    8192
    """

    example: ClassVar[dict[str, Any]] = {}

    expand: Annotated[float, Gt(0)] = 4.0
    activation: Activation = "silu"
    bias: bool = False

    def build(self, width: int, *, canon: Horizontal | None = None) -> FeedForward:
        """A module, x [B, T, width] → [B, T, width].

        canon  makes the Canon layer on the hidden values, before the activation ("Canon-D")
        """
        return FeedForward(width, max(1, round(self.expand * width)), self.activation, self.bias, canon)


class FeedForward(nn.Module):
    """The module; `gated`: `up` makes gate and value side by side."""

    def __init__(
        self, width: int, hidden: int, activation: str, bias: bool, canon: Horizontal | None, gated: bool = False
    ) -> None:
        super().__init__()
        self.act, self.gated = ACTIVATIONS[activation], gated
        self.up = nn.Linear(width, (1 + gated) * hidden, bias=bias)
        self.canon = canon((1 + gated) * hidden) if canon else None
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width]; documents [B, T], which one a position is in."""
        hidden = self.up(x)
        return self._close(hidden if self.canon is None else self.canon(hidden, documents))

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache` holds Canon's last inputs. documents [B, T]: of all so far."""
        hidden = self.up(x)
        if self.canon is not None:
            hidden, cache["canon"] = self.canon.step(hidden, cache.get("canon"), documents)  # type: ignore[operator]
        return self._close(hidden)

    def flops(self, length: int) -> int:
        """Of matrix products and Canon, over one row of so many tokens."""
        own = 2 * length * (self.up.weight.numel() + self.down.weight.numel())
        return own if self.canon is None else own + self.canon.flops(length)  # type: ignore[operator]

    def state_size(self, length: int) -> int:
        return 0 if self.canon is None else self.canon.state_size(length)  # type: ignore[operator]

    def _close(self, hidden: Tensor) -> Tensor:
        if not self.gated:
            return self.down(self.act(hidden))
        gate, value = hidden.chunk(2, -1)
        return self.down(self.act(gate) * value)
