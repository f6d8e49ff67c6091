"""What a decoder asks of the layer that lets positions see each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

from torch import nn


class Mixer(Protocol):
    """A part of the family `net` that fills the mixer's place in a decoder's block.

    The module that `build` makes maps x [B, T, width] → [B, T, width], position t seeing nothing behind t.

    The least that a mixer has is `build(self, width, heads)` and `forward(self, x)`. Whatever else it can do, it says
    by taking the argument: `rotary` (the fraction of every head's dimensions that rotary positions turn), `canon`
    (a Canon layer on q, k and v), and, in `forward`, `documents` ([B, T], which packed document a position is in, or
    None). A decoder that needs what a mixer cannot take refuses it.

    For generation without recomputing, the module may have `step(x, cache)`: x [B, t, width] are the next positions,
    `cache` a dict of its own that it fills, empty at the start.
    """

    def build(self, width: int, heads: int, *, rotary: float = 0.0, canon: bool = False) -> nn.Module: ...


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function can be called with the argument `name`.

    >>> takes(lambda x, documents=None: x, "documents"), takes(lambda x: x, "documents")
    (True, False)
    """
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
