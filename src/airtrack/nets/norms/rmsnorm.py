"""Root-mean-square normalisation (Zhang and Sennrich, 2019), torch's own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import nn

from airtrack.core.part import part


@part("norm")
class RmsNorm:
    """x / √(mean of x² over the channels + eps) · gain.

    eps  keeps the root from nought; the default is that of Hugging Face's LlamaConfig

    >>> RmsNorm().build(8).weight.shape
    torch.Size([8])
    """

    example: ClassVar[dict[str, Any]] = {}

    eps: Annotated[float, Gt(0)] = 1e-6

    def build(self, width: int) -> nn.Module:
        return nn.RMSNorm(width, self.eps)
