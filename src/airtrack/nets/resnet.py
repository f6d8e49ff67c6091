"""The residual networks for small images (He, Zhang, Ren and Sun, Deep residual learning, 2016, section 4.2)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.nets.images import Shape, image, sizes
from airtrack.nets.start import HeLinear, initialise, scoped


@part("net")
class Resnet:
    """The residual network for CIFAR: three stages of blocks of two 3 × 3 convolutions, mean over the image, a head.

    depth     layers with weights, 6n + 2 for n blocks a stage: 20, 32, 44, 56, 110
    width     channels of the first stage; the second has twice, the third four times as many, on a half and a quarter
              of the height and width
    shortcut  where the size changes, A: every other row and column, zeros for the new channels; B: a 1 × 1 convolution

    Every convolution is followed by batch normalisation and has no bias. Convolutions start with the variance
    2 / (9 · outputs), the head with 2 / inputs (He et al., 2015).

    >>> Resnet(depth=20).count((3, 32, 32), 10)
    269722
    >>> Resnet(depth=21)
    Traceback (most recent call last):
    airtrack.core.part.SpecError: depth 21 is no 6n + 2 with n blocks in each of three stages; choose 20 or 26
    """

    example: ClassVar[dict[str, Any]] = {"depth": 8, "width": 4}
    inputs: ClassVar[str] = "images"

    depth: Annotated[int, Ge(8)]
    width: Annotated[int, Gt(0)] = 16
    shortcut: Literal["A", "B"] = "A"

    def check(self) -> None:
        if self.depth % 6 != 2:
            below = self.depth - (self.depth - 2) % 6
            fact = f"depth {self.depth} is no 6n + 2 with n blocks in each of three stages"
            raise ValueError(f"{fact}; choose {below} or {below + 6}")

    def build(self, shape: Shape, classes: int, streams: Streams) -> ResidualNetwork:
        """A module, x [B, channels, height, width] → logits [B, classes], its parameters drawn each from
        `streams / its name`; shape (channels, height, width)."""
        with scoped(streams):
            model = ResidualNetwork(self, shape, classes)
        initialise(model, streams)
        return model

    def count(self, shape: Shape, classes: int) -> int:
        """Number of parameters, running means and variances not among them."""
        return sum(p.numel() for p in self._model(shape, classes).parameters())

    def flops(self, shape: Shape, classes: int) -> int:
        """Floating-point operations of the convolutions and the head in a forward pass over one image, a multiply-add
        being two."""
        return self._model(shape, classes).flops(shape)

    def describe(self) -> list[str]:
        """Its size, in sentences."""
        return sizes(self)

    def _model(self, shape: Shape, classes: int) -> ResidualNetwork:
        with scoped(Streams(0)):
            return ResidualNetwork(self, shape, classes)


class ResidualNetwork(nn.Module):
    """The module of a `Resnet`."""

    def __init__(self, spec: Resnet, shape: Shape, classes: int) -> None:
        super().__init__()
        self.stem = Convolution(image(shape)[0], spec.width, 3)
        self.blocks = nn.ModuleList()
        inputs = spec.width
        for outputs in (spec.width, 2 * spec.width, 4 * spec.width):
            for _ in range((spec.depth - 2) // 6):
                self.blocks.append(ResidualBlock(inputs, outputs, spec.shortcut))
                inputs = outputs
        self.head = HeLinear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, height, width] → logits [B, classes]."""
        x = relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))

    def flops(self, shape: Shape) -> int:
        """Of one image."""
        _, height, width = image(shape)
        total = 2 * self.head.weight.numel() + self.stem.flops(height, width)
        for block in self.blocks:
            assert isinstance(block, ResidualBlock)
            height, width = -(-height // block.stride), -(-width // block.stride)
            total += sum(m.flops(height, width) for m in block.modules() if isinstance(m, Convolution))
        return total


class Convolution(nn.Module):
    """A square convolution that keeps the image's size, divided by `stride`, and batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    def flops(self, height: int, width: int) -> int:
        """For an output of this size."""
        return 2 * self.conv.weight.numel() * height * width


class ResidualBlock(nn.Module):
    """relu(shortcut(x) + second(relu(first(x)))); with more outputs than inputs, half the height and width."""

    def __init__(self, inputs: int, outputs: int, shortcut: str) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.new = outputs - inputs
        self.first = Convolution(inputs, outputs, 3, self.stride)
        self.second = Convolution(outputs, outputs, 3)
        self.shortcut = Convolution(inputs, outputs, 1, 2) if self.new and shortcut == "B" else None

    def forward(self, x: Tensor) -> Tensor:
        past = x
        if self.shortcut is not None:
            past = self.shortcut(x)
        elif self.new:
            past = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.new))
        return relu(past + self.second(relu(self.first(x))))
