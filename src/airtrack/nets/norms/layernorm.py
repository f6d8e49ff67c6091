"""Layer normalisation (Ba, Kiros and Hinton, 2016), torch's own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import nn

from airtrack.core.part import part


@part("norm")
class LayerNorm:
    """(x − mean) / √(variance + eps) · gain + bias, mean and variance over the channels of a token.

    eps   keeps the root from nought; the default is that of GPT-2 and GPT-NeoX
    bias  whether there is one

    >>> [p.shape for p in LayerNorm(bias=False).build(8).parameters()]
    [torch.Size([8])]
    """

    example: ClassVar[dict[str, Any]] = {}

    eps: Annotated[float, Gt(0)] = 1e-5
    bias: bool = True

    def build(self, width: int) -> nn.Module:
        return nn.LayerNorm(width, self.eps, bias=self.bias)
