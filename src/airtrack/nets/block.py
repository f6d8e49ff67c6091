"""A block: a mixer and an MLP, each beside the residual stream, with norms and Canon layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.nets.protocols import options, takes
from airtrack.nets.start import scoped

PLACES = "A is before the mixer, B on its q, k and v, C before the MLP, D within it"


def places(letters: str) -> str:
    """Canon's places in the order of the alphabet; raises ValueError for what is none.

    >>> places("CA")
    'AC'
    """
    for letter in letters:
        if letter not in "ABCD":
            raise ValueError(f"there is no Canon {letter!r}: {PLACES}")
    if len(set(letters)) < len(letters):
        raise ValueError("a Canon place is named twice")
    return "".join(sorted(letters))


@dataclass(frozen=True)
class Blocks:
    """What the blocks of a net are made of: parts, and how they are put together.

    canon     letters of `places`; canon_layer: how a layer there is made, if there is one
    parallel  x + mixer(norm(x)) + mlp(norm(x)) with a norm each, as in GPT-NeoX, not one after the other
    after     norm(x + mixer(x)), as in BERT, not x + mixer(norm(x))
    causal    no position sees a later one
    """

    width: int
    heads: int
    positions: Any
    mixer: Any
    mlp: Any
    norm: Any
    canon: str = ""
    canon_layer: Any = None
    parallel: bool = False
    after: bool = False
    causal: bool = True

    @classmethod
    def of(cls, net: Any, **fixed: Any) -> Blocks:
        """The blocks that the fields of a net describe, `fixed` those that it does not let choose."""
        chosen = {f.name: getattr(net, f.name) for f in fields(cls) if hasattr(net, f.name)}
        return cls(**chosen | fixed)

    def stack(self, count: int, streams: Streams) -> nn.ModuleList:
        """So many of them, what a user's part draws in its constructor coming from `streams / blocks.NUMBER`."""
        blocks = nn.ModuleList()
        for number in range(count):
            with scoped(streams / f"blocks.{number}"):
                blocks.append(Block(self, (number, count)))
        return blocks

    def check(self) -> None:
        """Raises ValueError for parts that do not go together."""
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        build, mixer = self.mixer.build, _name(self.mixer)
        if not (takes(build, "width") and takes(build, "heads")):
            raise ValueError(f"mixer {mixer} cannot be built: give it a method build(self, width, heads)")
        if hasattr(self.positions, "attach") and not takes(build, "positions"):
            raise ValueError(f"mixer {mixer} has no place for {_name(self.positions)} positions; set positions: none")
        if not self.causal and not takes(build, "causal"):
            raise ValueError(f"mixer {mixer} only looks back, and an encoder's positions see all; use attention")
        if hasattr(self.mixer, "refuse"):
            self.mixer.refuse(self.width, self.heads)
        if hasattr(self.positions, "refuse"):
            groups = getattr(self.mixer, "groups", None) or self.heads
            self.positions.refuse(self.heads, groups, self.width // self.heads)
        if hasattr(self.norm, "refuse"):
            self.norm.refuse(self.width)
        for family, part, here in (("mixer", self.mixer, "AB"), ("mlp", self.mlp, "CD")):
            offered = getattr(part, "places", here if takes(part.build, "canon") else here[0])
            for letter in self.canon:
                if letter in here and letter not in offered:
                    reason = getattr(part, "no_canon", "its build takes no canon")
                    fact = f"{family} {_name(part)} has no place for Canon {letter}: {reason}"
                    raise ValueError(f"{fact}; leave {letter} out of canon")


def _name(part: Any) -> str:
    """What a person calls a part: the name of a shipped one, the class of another."""
    cls = type(part)
    return cls.__module__.rpartition(".")[2] if cls.__module__.startswith("airtrack.") else cls.__name__


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)), or as `spec` has it; number `layer[0]` of `layer[1]`."""

    def __init__(self, spec: Blocks, layer: tuple[int, int]) -> None:
        super().__init__()
        make: Any = spec.canon_layer.build if spec.canon else None
        self.parallel, self.after = spec.parallel, spec.after
        self.norm = spec.norm.build(spec.width)
        self.canon_a = make(spec.width) if "A" in spec.canon else None
        asked: dict[str, Any] = {"layer": layer, "causal": spec.causal}
        asked |= {"positions": spec.positions} if hasattr(spec.positions, "attach") else {}
        asked |= {"canon": make} if "B" in spec.canon else {}
        self.mixer: nn.Module = spec.mixer.build(spec.width, spec.heads, **options(spec.mixer.build, **asked))
        asked = {"layer": layer} | ({"canon": make} if "D" in spec.canon else {})
        mlp: nn.Module | None = spec.mlp.build(spec.width, **options(spec.mlp.build, **asked))
        if mlp is not None:
            self.mlp_norm = spec.norm.build(spec.width)
            self.canon_c = make(spec.width) if "C" in spec.canon else None
        self.mlp = mlp
        self._packs = [m is None or takes(m.forward, "documents") for m in (self.mixer, self.mlp)]

    def forward(self, x: Tensor, documents: Tensor | None) -> Tensor:
        """x [B, T, width] → the same; documents [B, T] or None."""
        if documents is not None and not self._packs[0]:
            fact = f"mixer {type(self.mixer).__name__} cannot keep packed documents apart"
            raise SpecError(f"{fact}: its forward takes no `documents`; put one document in a row")
        apart = [{"documents": documents} if packs and documents is not None else {} for packs in self._packs]

        def mix(h: Tensor) -> Tensor:
            return self.mixer(h if self.canon_a is None else self.canon_a(h, documents), **apart[0])

        def think(h: Tensor) -> Tensor:
            return self.mlp(h if self.canon_c is None else self.canon_c(h, documents), **apart[1])  # type: ignore[misc]

        return self._join(x, mix, think)

    def steps(self, documents: Tensor | None) -> bool:
        """Whether `step` can be used."""
        step = getattr(self.mixer, "step", None)
        return step is not None and (documents is None or takes(step, "documents"))

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None) -> Tensor:
        """The next positions x [B, t, width]; documents [B, T]: which one each position so far is in."""
        apart = {} if documents is None else {"documents": documents}

        def mix(h: Tensor) -> Tensor:
            if self.canon_a is not None:
                h, cache["a"] = self.canon_a.step(h, cache.get("a"), documents)
            return self.mixer.step(h, cache.setdefault("mixer", {}), **apart)  # type: ignore[operator]

        def think(h: Tensor) -> Tensor:
            if self.canon_c is not None:
                h, cache["c"] = self.canon_c.step(h, cache.get("c"), documents)
            if not hasattr(self.mlp, "step"):
                return self.mlp(h)  # type: ignore[misc]
            return self.mlp.step(h, cache.setdefault("mlp", {}), documents)  # type: ignore[union-attr, operator]

        return self._join(x, mix, think)

    def flops(self, length: int) -> int:
        """Of the matrix products and convolutions in a forward pass over one row of so many tokens."""
        return sum(part.flops(length) for part in self._counted())

    def state_size(self, length: int) -> int:
        """Numbers that `step` keeps of a row after so many tokens."""
        return sum(part.state_size(length) for part in self._counted() if hasattr(part, "state_size"))

    def _counted(self) -> list[Any]:
        return [m for m in (self.canon_a, self.mixer, self.mlp, getattr(self, "canon_c", None)) if m is not None]

    def _join(self, x: Tensor, mix: Callable[[Tensor], Tensor], think: Callable[[Tensor], Tensor]) -> Tensor:
        if self.parallel and self.mlp is not None:
            return x + mix(self.norm(x)) + think(self.mlp_norm(x))
        if self.after:
            x = self.norm(x + mix(x))
            return x if self.mlp is None else self.mlp_norm(x + think(x))
        x = x + mix(self.norm(x))
        return x if self.mlp is None else x + think(self.mlp_norm(x))


def through(blocks: nn.ModuleList, x: Tensor, documents: Tensor | None, recompute: bool) -> Tensor:
    """x [B, T, width] behind all blocks; recompute: their activations are made again for a backward pass, not kept."""
    for block in blocks:
        again = recompute and torch.is_grad_enabled()
        x = checkpoint(block, x, documents, use_reentrant=False) if again else block(x, documents)
    return x
