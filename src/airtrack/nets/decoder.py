"""A decoder-only language model, in Llama's form, whose parts can be taken away or exchanged one at a time."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt, Le
from pydantic import AfterValidator
from torch import Tensor, nn

from airtrack.core.part import Slot, SpecError, part
from airtrack.core.problem import Junk
from airtrack.core.streams import Streams
from airtrack.nets.attention import Attention
from airtrack.nets.canon import Canon
from airtrack.nets.mixer import takes
from airtrack.nets.mlp import Gated, Plain
from airtrack.nets.start import initialise, scoped

EPS = 1e-6  # of RMSNorm: the default of Hugging Face's LlamaConfig
MLPS = {"gated": Gated, "plain": Plain}


def _places(letters: str) -> str:
    """Canon's places in the order of the alphabet; refuses what is none."""
    for letter in letters:
        if letter not in "ABCD":
            places = "A is before attention, B on its q, k and v, C before the MLP, D within it"
            raise ValueError(f"there is no Canon {letter!r}: {places}")
    if len(set(letters)) < len(letters):
        raise ValueError("a Canon place is named twice")
    return "".join(sorted(letters))


@part("net")
class Decoder:
    """Embedding; blocks of x + mixer(norm(x)), then x + mlp(norm(x)); a last norm; the head. No biases, no dropout.

    layers     number of blocks
    width      dimensions of the residual stream
    heads      attention heads, each of width / heads dimensions
    positions  "rope": rotary; "none": what the causal mask tells; "learned": an embedding of every position
    rotary     fraction of each head's dimensions that rope turns, the first ones
    mlp        "gated": SwiGLU, hidden 8/3 · width; "plain": SiLU, hidden 4 · width; "none"
    canon      any of the letters A (before the mixer), B (on q, k, v), C (before the MLP), D (in the MLP, before the
               activation): where a Canon layer lies (Allen-Zhu, Physics of Language Models 4.1, section 4)
    mixer      what lets positions see each other: a mixer part, after `airtrack.nets.mixer.Mixer`
    tied       the head is the transposed token embedding
    apart      documents that are packed into one row do not see each other; false: a row is one text, whose documents
               only their first token tells apart, as in the Physics of Language Models series

    >>> Decoder(layers=1, width=32, heads=2, mlp="none", canon="A").count(vocab=36)
    6592
    >>> Decoder(layers=1, width=32, heads=5)
    Traceback (most recent call last):
    airtrack.core.part.SpecError: width 32 is no multiple of 5 heads
    """

    example: ClassVar[dict[str, Any]] = {"layers": 1, "width": 32, "heads": 2}

    layers: Annotated[int, Gt(0)]
    width: Annotated[int, Gt(0)]
    heads: Annotated[int, Gt(0)]
    positions: Literal["rope", "none", "learned"] = "rope"
    rotary: Annotated[float, Gt(0), Le(1)] = 1.0
    mlp: Literal["gated", "plain", "none"] = "gated"
    canon: Annotated[str, AfterValidator(_places)] = ""
    mixer: Annotated[Any, Slot("mixer")] = Attention()
    tied: bool = False
    apart: bool = True

    def check(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        dims = self.rotary * self.width / self.heads
        if self.positions == "rope" and (dims % 2 or not dims):
            size = self.width // self.heads
            fact = f"rotary positions turn pairs of dimensions, and {self.rotary:g} of a head's {size} is {dims:g}"
            raise ValueError(f"{fact}: choose an even number")
        if self.positions != "rope" and self.rotary != 1:
            raise ValueError(f"rotary: {self.rotary:g} does nothing with positions: {self.positions}; leave it out")
        if self.mlp == "none" and set(self.canon) & set("CD"):
            fact = f"canon: {self.canon} names a place in the MLP, and mlp: none leaves none"
            raise ValueError(f"{fact}; choose A and B only, or another mlp")
        name, build = type(self.mixer).__name__, self.mixer.build
        if not (takes(build, "width") and takes(build, "heads")):
            raise ValueError(f"mixer {name} cannot be built: give it a method build(self, width, heads)")
        if self.positions == "rope" and not takes(build, "rotary"):
            raise ValueError(f"mixer {name} has no rotary positions; set positions: none")
        if "B" in self.canon and not takes(build, "canon"):
            raise ValueError(f"mixer {name} has no place for Canon B, on its q, k and v; leave B out of canon")

    def build(self, vocab: int, streams: Streams, *, length: int, start: int | None = None) -> Transformer:
        """The model, its parameters drawn each from `streams / its name`.

        vocab   number of token ids
        length  positions, T at most (only learned positions are bound to it)
        start   the id that begins a document: what follows one sees nothing before it. None: a row is one document
        """
        with scoped(streams):
            model = Transformer(self, vocab, length, start if self.apart else None, streams)
        initialise(model, streams)
        return model

    def count(self, vocab: int, length: int = 0) -> int:
        """Number of parameters, of a model made for this and dropped. `length` matters to learned positions only."""
        with scoped(Streams(0)):  # on torch's meta device nothing would be allocated, and three seconds imported
            return sum(p.numel() for p in Transformer(self, vocab, length, None, Streams(0)).parameters())


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)), with the Canon layers of `spec`."""

    def __init__(self, spec: Decoder) -> None:
        super().__init__()
        options: dict[str, Any] = {"rotary": spec.rotary} if spec.positions == "rope" else {}
        options |= {"canon": True} if "B" in spec.canon else {}
        self.norm = nn.RMSNorm(spec.width, EPS)
        self.canon_a = Canon(spec.width) if "A" in spec.canon else None
        self.mixer: nn.Module = spec.mixer.build(spec.width, spec.heads, **options)
        self.mlp: Plain | None = None
        if spec.mlp != "none":
            self.mlp_norm = nn.RMSNorm(spec.width, EPS)
            self.canon_c = Canon(spec.width) if "C" in spec.canon else None
            self.mlp = MLPS[spec.mlp](spec.width, canon="D" in spec.canon)
        self._packs = takes(self.mixer.forward, "documents")

    def forward(self, x: Tensor, documents: Tensor | None) -> Tensor:
        h = self.norm(x)
        if self.canon_a is not None:
            h = self.canon_a(h, documents)
        if documents is not None and not self._packs:
            fact = f"mixer {type(self.mixer).__name__} cannot keep packed documents apart"
            raise SpecError(f"{fact}: its forward takes no `documents`; put one document in a row")
        x = x + (self.mixer(h) if documents is None else self.mixer(h, documents=documents))
        if self.mlp is None:
            return x
        h = self.mlp_norm(x)
        if self.canon_c is not None:
            h = self.canon_c(h, documents)
        return x + self.mlp(h, documents)

    def steps(self, documents: Tensor | None) -> bool:
        """Whether `step` can be used."""
        step = getattr(self.mixer, "step", None)
        return step is not None and (documents is None or takes(step, "documents"))

    def step(self, x: Tensor, cache: dict[str, Any], documents: Tensor | None) -> Tensor:
        """The next positions x [B, t, width]; documents [B, T]: which one each position so far is in."""
        apart = {} if documents is None else {"documents": documents}
        h = self.norm(x)
        if self.canon_a is not None:
            h, cache["a"] = self.canon_a.step(h, cache.get("a"), documents)
        x = x + self.mixer.step(h, cache.setdefault("mixer", {}), **apart)  # type: ignore[operator]
        if self.mlp is None:
            return x
        h = self.mlp_norm(x)
        if self.canon_c is not None:
            h, cache["c"] = self.canon_c.step(h, cache.get("c"), documents)
        return x + self.mlp.step(h, cache.setdefault("mlp", {}), documents)


class Transformer(nn.Module):
    """The model of a `Decoder`."""

    def __init__(self, spec: Decoder, vocab: int, length: int, start: int | None, streams: Streams) -> None:
        super().__init__()
        self.start = start
        self.tokens = nn.Embedding(vocab, spec.width)
        self.positions = nn.Embedding(length, spec.width) if spec.positions == "learned" else None
        self.blocks = nn.ModuleList()
        for number in range(spec.layers):
            with scoped(streams / f"blocks.{number}"):  # a user's mixer may draw in its constructor
                self.blocks.append(Block(spec))
        self.norm = nn.RMSNorm(spec.width, EPS)
        self.head = None if spec.tied else nn.Linear(spec.width, vocab, bias=False)

    def forward(self, ids: Tensor, at: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Logits of the next token, [B, T, vocab], from ids [B, T].

        at  (rows [m], columns [m]): only these positions go through the head; the result is [m, vocab]
        """
        documents = self._documents(ids)
        x = self._embed(ids, documents)
        for block in self.blocks:
            x = block(x, documents)
        if at is not None:
            x = x.flatten(0, 1).index_select(0, at[0] * ids.shape[1] + at[1])
        return self._read(x)

    @torch.no_grad()
    def generate(
        self, ids: Tensor, steps: int, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """`steps` more ids for every row of ids [B, T] → [B, T + steps].

        temperature  0 takes the likeliest id; otherwise ids are drawn from softmax(logits / temperature)
        """
        cache, columns = None, ids
        for _ in range(steps):
            logits, cache = self.advance(columns, cache)
            if temperature > 0:
                columns = (logits / temperature).softmax(-1).multinomial(1, generator=generator)
            else:
                columns = logits.argmax(-1, keepdim=True)
            ids = torch.cat((ids, columns), 1)
        return ids

    def advance(self, ids: Tensor, cache: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Logits [B, vocab] after the next columns ids [B, t], and the cache for the columns that follow them.

        Every column is read once, unless a mixer has no step form, or one that cannot keep apart documents where a
        row begins another: then all that was read before is read again.
        """
        if cache is None:
            cache = {"ids": ids[:, :0], "blocks": [{} for _ in self.blocks]}
        done, cache["ids"] = cache["ids"].shape[1], torch.cat((cache["ids"], ids), 1)
        documents = self._documents(cache["ids"])
        if all(block.steps(documents) for block in self.blocks):  # type: ignore[operator]
            x = self._embed(cache["ids"], documents, done)
            for block, own in zip(self.blocks, cache["blocks"]):
                x = block.step(x, own, documents)  # type: ignore[operator]
            return self._read(x[:, -1]), cache
        rows = torch.arange(len(ids), device=ids.device)
        return self(cache["ids"], (rows, torch.full_like(rows, done + ids.shape[1] - 1))), cache

    def _documents(self, ids: Tensor) -> Tensor | None:
        """[B, T], the number of the document that each position is in; None if every row is a single one."""
        if self.start is None:
            return None
        begins = ids == self.start
        return begins.cumsum(1) if bool(begins[:, 1:].any()) else None

    def _embed(self, ids: Tensor, documents: Tensor | None, first: int = 0) -> Tensor:
        """[B, T − first, width] of ids [B, T] from column `first` on."""
        x = self.tokens(ids[:, first:])
        if self.positions is None:
            return x
        place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        if documents is not None:  # count from each document's start, so that a document does not know where it lies
            place = place - torch.where(ids == self.start, place, 0).cummax(1).values
        there = self.positions.num_embeddings
        if ids.shape[1] > there and (longest := int(place.max()) + 1) > there:
            fact = f"there are {there} learned positions, and a document of {longest} tokens"
            raise Junk(f"{fact}; build the model with a larger length")
        return x + self.positions(place[:, first:])

    def _read(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return nn.functional.linear(x, self.tokens.weight) if self.head is None else self.head(x)
