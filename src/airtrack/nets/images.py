"""What nets on images share. Their inputs are [B, channels, height, width], their outputs logits [B, classes]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from airtrack.core.part import SpecError

Shape = Sequence[int]  # (channels, height, width)


class ImageNet(Protocol):
    """A net on images: a part of the family `net` that says `inputs: ClassVar[str] = "images"`."""

    def build(self, shape: Shape, classes: int, streams: Any) -> Any: ...

    def count(self, shape: Shape, classes: int) -> int: ...

    def flops(self, shape: Shape, classes: int) -> int: ...


def image(shape: Shape) -> tuple[int, int, int]:
    """Channels, height and width; raises SpecError for what is no shape of images.

    >>> image([1, 28, 28])
    (1, 28, 28)
    """
    if len(shape) != 3 or min(shape) < 1:
        raise SpecError(f"{tuple(shape)} is no shape of images: give (channels, height, width)")
    channels, height, width = shape
    return channels, height, width


def sizes(net: ImageNet, side: int = 32) -> list[str]:
    """A net's size, in sentences: for images as of CIFAR-10, or with other sides."""
    shape = 3, side, side
    return [
        f"{net.count(shape, 10):,} parameters, for images of 3 × {side} × {side} and 10 classes",
        f"{net.flops(shape, 10):,} FLOPs forward for one of them",
    ]
