"""Learned absolute positions."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from airtrack.core.part import part
from airtrack.core.problem import Junk


@part("position")
class Learned:
    """An embedding of every position, added to the token's, as in GPT-2. Positions count from a document's start.

    >>> import torch
    >>> Learned().embedding(8, 4)(torch.zeros(1, 3, dtype=torch.long)).shape
    torch.Size([1, 3, 4])
    """

    example: ClassVar[dict[str, Any]] = {}

    def embedding(self, length: int, width: int) -> nn.Module:
        """A module from places [B, T] below `length` to [B, T, width]."""
        return PositionEmbedding(length, width)


class PositionEmbedding(nn.Embedding):
    """Refuses places that it has not learned."""

    def forward(self, input: Tensor) -> Tensor:
        place = input  # [B, T]
        there = self.num_embeddings
        if place.shape[1] > there and (longest := int(place.max()) + 1) > there:
            fact = f"there are {there} learned positions, and a document of {longest} tokens"
            raise Junk(f"{fact}; build the model with a larger length")
        return super().forward(place)
