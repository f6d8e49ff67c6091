"""Activations by name."""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import Tensor
from torch.nn.functional import gelu, relu, silu

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "relu2"]


def relu2(x: Tensor) -> Tensor:
    """max(x, 0)² (So et al., Primer, 2021)."""
    return relu(x).square()


ACTIVATIONS = {"silu": silu, "gelu": gelu, "gelu_tanh": partial(gelu, approximate="tanh"), "relu": relu, "relu2": relu2}
