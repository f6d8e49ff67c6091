"""The multilayer perceptron."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import Tensor, nn

from airtrack.core.part import Slot, part
from airtrack.core.streams import Streams
from airtrack.nets.images import Shape, sizes
from airtrack.nets.mlps.activation import ACTIVATIONS, Activation
from airtrack.nets.start import HeLinear, initialise, scoped


@part("net")
class Perceptron:
    """Linear maps with an activation after each but the last: a multilayer perceptron on images or plain features.

    widths      of the hidden layers, from the first; none: a linear classifier
    activation  as in the mlp `plain`
    norm        a norm part, between a hidden layer's map and its activation; null: none

    Weights start with the variance 2 / inputs (He et al., 2015), whatever the activation; biases are zero.

    >>> Perceptron(widths=[300, 100]).count((1, 28, 28), 10)
    266610
    """

    example: ClassVar[dict[str, Any]] = {"widths": [32, 16]}
    inputs: ClassVar[str] = "images"

    widths: tuple[Annotated[int, Gt(0)], ...]
    activation: Activation = "relu"
    norm: Annotated[Any, Slot("norm")] | None = None

    def build(self, shape: Shape, classes: int, streams: Streams) -> nn.Module:
        """A module, x [B, *shape] → logits [B, classes], its parameters drawn each from `streams / its name`.

        shape  (channels, height, width), or any other: the numbers of one input in a row
        """
        with scoped(streams):
            model = Layers(self, shape, classes)
        initialise(model, streams)
        return model

    def count(self, shape: Shape, classes: int) -> int:
        """Number of parameters."""
        with scoped(Streams(0)):
            return sum(p.numel() for p in Layers(self, shape, classes).parameters())

    def flops(self, shape: Shape, classes: int) -> int:
        """Floating-point operations of the matrix products of a forward pass for one input, a multiply-add being
        two."""
        return sum(2 * a * b for a, b in pairwise((math.prod(shape), *self.widths, classes)))

    def describe(self) -> list[str]:
        """Its size, in sentences."""
        return sizes(self)


class Layers(nn.Module):
    """The module of a `Perceptron`."""

    def __init__(self, spec: Perceptron, shape: Shape, classes: int) -> None:
        super().__init__()
        self.act = ACTIVATIONS[spec.activation]
        self.maps, self.norms = nn.ModuleList(), nn.ModuleList()
        for a, b in pairwise((math.prod(shape), *spec.widths)):
            self.maps.append(HeLinear(a, b))
            self.norms.append(nn.Identity() if spec.norm is None else spec.norm.build(b))
        self.head = HeLinear((math.prod(shape), *spec.widths)[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, …] → logits [B, classes]."""
        x = x.flatten(1)
        for linear, norm in zip(self.maps, self.norms):
            x = self.act(norm(linear(x)))
        return self.head(x)
