"""The vision transformer (Dosovitskiy et al., An image is worth 16 × 16 words, 2021)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from airtrack.core.part import Slot, SpecError, part
from airtrack.core.streams import Streams
from airtrack.nets.block import Blocks
from airtrack.nets.images import Shape, image, sizes
from airtrack.nets.mixers.attention import Attention
from airtrack.nets.mlps.plain import Plain
from airtrack.nets.norms.layernorm import LayerNorm
from airtrack.nets.start import imagined, initialise, scoped


@part("net")
class Vit:
    """A transformer on the patches of an image: x + mixer(norm(x)), then x + mlp(norm(x)); a last norm; the head.

    patch   height and width of a patch
    layers  number of blocks
    width   dimensions of the residual stream
    heads   heads of the mixer, each of width / heads dimensions
    pool    what the head reads: token, one that stands before the patches and holds nothing of the image; mean, over
            the patches
    mlp     an mlp part
    mixer   attention, or any whose `build` takes `causal`
    norm    layernorm, rmsnorm, …

    A patch and its position are linear maps, every position learned. No dropout.

    >>> Vit(patch=4, layers=1, width=32, heads=2).count((3, 32, 32), 10)
    16778
    """

    example: ClassVar[dict[str, Any]] = {"patch": 4, "layers": 1, "width": 32, "heads": 2}
    inputs: ClassVar[str] = "images"

    patch: Annotated[int, Gt(0)]
    layers: Annotated[int, Gt(0)]
    width: Annotated[int, Gt(0)]
    heads: Annotated[int, Gt(0)]
    pool: Literal["token", "mean"] = "token"
    mlp: Annotated[Any, Slot("mlp")] = Plain(activation="gelu", bias=True)
    mixer: Annotated[Any, Slot("mixer")] = Attention(bias=True)
    norm: Annotated[Any, Slot("norm")] = LayerNorm(eps=1e-6)  # the paper's code

    def check(self) -> None:
        self.blocks().check()

    def blocks(self) -> Blocks:
        """What its blocks are made of."""
        return Blocks.of(self, positions=None, causal=False)

    def build(self, shape: Shape, classes: int, streams: Streams) -> VisionTransformer:
        """A module, x [B, channels, height, width] → logits [B, classes], its parameters drawn each from
        `streams / its name`; shape (channels, height, width), in whole patches: `SpecError` otherwise."""
        with scoped(streams):
            model = VisionTransformer(self, shape, classes, streams)
        initialise(model, streams)
        return model

    def count(self, shape: Shape, classes: int) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self._model(shape, classes).parameters())

    def flops(self, shape: Shape, classes: int) -> int:
        """Floating-point operations of the matrix products of a forward pass over one image, a multiply-add being
        two."""
        model = self._model(shape, classes)
        length = model.positions.num_embeddings
        patches = length - (model.token is not None)
        ends = 2 * patches * model.patches.weight.numel() + 2 * model.head.weight.numel()
        return ends + sum(block.flops(length) for block in model.blocks)  # type: ignore[operator]

    def describe(self) -> list[str]:
        """Its size, in sentences."""
        return sizes(self, self.patch * -(-32 // self.patch))  # whole patches

    def _model(self, shape: Shape, classes: int) -> VisionTransformer:
        with imagined(self.layers * self.width**2):
            return VisionTransformer(self, shape, classes, Streams(0))


class VisionTransformer(nn.Module):
    """The module of a `Vit`."""

    def __init__(self, spec: Vit, shape: Shape, classes: int, streams: Streams) -> None:
        super().__init__()
        channels, height, width = image(shape)
        self.patch = spec.patch
        if height % self.patch or width % self.patch:
            fact = f"images of {height} × {width} pixels are not made of whole patches of {self.patch} × {self.patch}"
            raise SpecError(f"{fact}; choose a patch that divides height and width")
        self.patches = nn.Linear(channels * self.patch**2, spec.width)
        self.token = nn.Parameter(torch.zeros(spec.width)) if spec.pool == "token" else None
        count = height // self.patch * (width // self.patch) + (self.token is not None)
        self.positions = nn.Embedding(count, spec.width)
        self.blocks = spec.blocks().stack(spec.layers, streams)
        self.norm = spec.norm.build(spec.width)
        self.head = nn.Linear(spec.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, height, width] → logits [B, classes]."""
        x = pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)  # [B, patches, channels · patch²]
        x = self.patches(x)
        if self.token is not None:
            x = torch.cat((self.token.expand(len(x), 1, -1), x), 1)
        x = x + self.positions.weight
        for block in self.blocks:
            x = block(x, None)
        x = self.norm(x)
        return self.head(x.mean(1) if self.token is None else x[:, 0])
