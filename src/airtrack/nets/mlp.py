"""The position-wise half of a Transformer block: plain and gated."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import silu

from airtrack.nets.canon import Canon


class Plain(nn.Module):
    """down(silu(up(x))), hidden width 4 · width, without bias.

    SiLU, not GELU: it is what Physics of Language Models 4.1 calls GPT2(RoPE), a Llama with the MLP made standard.
    canon: a Canon layer on the hidden values, before the activation ("Canon-D").

    >>> sum(p.numel() for p in Plain(32).parameters())
    8192
    """

    def __init__(self, width: int, *, canon: bool = False) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.canon = Canon(4 * width) if canon else None
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """x [B, T, width] → [B, T, width]."""
        hidden = self.up(x)
        return self._close(hidden if self.canon is None else self.canon(hidden, documents))

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None = None) -> Tensor:
        """The next positions x [B, t, width]; `cache` holds Canon's last inputs. documents [B, T]: of all so far."""
        hidden = self.up(x)
        if self.canon is not None:
            hidden, cache["canon"] = self.canon.step(hidden, cache.get("canon"), documents)
        return self._close(hidden)

    def _close(self, hidden: Tensor) -> Tensor:
        return self.down(silu(hidden))


class Gated(Plain):
    """down(silu(gate(x)) · up(x)) (Shazeer, GLU variants, 2020), without bias.

    `up` makes gate and up together, [.., 2 · hidden]; Canon-D lies on both. The hidden width is 8/3 · width, which
    gives the plain MLP's number of weights, rounded down to a multiple of 8.

    >>> [Gated(width).down.in_features for width in (32, 64, 128)]
    [80, 168, 336]
    """

    def __init__(self, width: int, *, canon: bool = False) -> None:
        nn.Module.__init__(self)
        hidden = max(8, 8 * width // 3 // 8 * 8)
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.canon = Canon(2 * hidden) if canon else None
        self.down = nn.Linear(hidden, width, bias=False)

    def _close(self, hidden: Tensor) -> Tensor:
        gate, up = hidden.chunk(2, -1)
        return self.down(silu(gate) * up)
