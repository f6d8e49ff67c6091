"""A decoder-only language model, in Llama's form, whose parts can be taken away or exchanged one at a time."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from pydantic import AfterValidator
from torch import Tensor, nn

from airtrack.core.part import Slot, part
from airtrack.core.streams import Streams
from airtrack.nets.block import Blocks, places, through
from airtrack.nets.documents import numbered, offsets
from airtrack.nets.generation import generate
from airtrack.nets.presets import preset
from airtrack.nets.start import imagined, initialise, scoped


@part("net")
class Decoder:
    """Embedding; blocks of x + mixer(norm(x)), then x + mlp(norm(x)); a last norm; the head. No dropout.

    layers       number of blocks
    width        dimensions of the residual stream
    heads        heads of the mixer, each of width / heads dimensions
    positions    a position part: rope (all, or a fraction of the dimensions or heads), alibi, learned, none, …
    mlp          an mlp part: gated (SwiGLU), plain, moe, none, …
    canon        any of the letters A (before the mixer), B (on q, k, v), C (before the MLP), D (in the MLP, before the
                 activation): where a Canon layer lies (Allen-Zhu, Physics of Language Models 4.1, section 4)
    canon_layer  how these are made: kernel, residual, activation, …
    mixer        what lets positions see each other: attention, or any after `airtrack.nets.protocols.Mixer`
    norm         rmsnorm, layernorm, …
    parallel     x + mixer(norm(x)) + mlp(norm(x)), as in GPT-NeoX
    tied         the head is the transposed token embedding
    apart        documents that are packed into one row do not see each other; false: a row is one text, whose
                 documents only their first token tells apart, as in the Physics of Language Models series

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
    positions: Annotated[Any, Slot("position")] = "rope"
    mlp: Annotated[Any, Slot("mlp")] = "gated"
    canon: Annotated[str, AfterValidator(places)] = ""
    canon_layer: Annotated[Any, Slot("canon")] = "canon"
    mixer: Annotated[Any, Slot("mixer")] = "attention"
    norm: Annotated[Any, Slot("norm")] = "rmsnorm"
    parallel: bool = False
    tied: bool = False
    apart: bool = True

    @classmethod
    def preset(cls, name: str, **fields: Any) -> Decoder:
        """A published size, with some fields replaced: see `airtrack.nets.presets`.

        >>> Decoder.preset("llama-8L512D", canon="ABCD").heads
        8
        """
        return cls(**(preset(name) | fields))

    def check(self) -> None:
        self.blocks().check()

    def blocks(self) -> Blocks:
        """What its blocks are made of."""
        return Blocks.of(self)

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
        """Number of parameters. `length` matters to learned positions only."""
        return sum(p.numel() for p in self._model(vocab, length).parameters())

    def flops(self, vocab: int, length: int) -> int:
        """Floating-point operations of the matrix products and convolutions of a forward pass over one row of `length`
        tokens, a multiply-add being two; a backward pass takes twice as many. Softmax attention is counted in full,
        T², causal or not, as it is computed without a kernel that leaves half of it out."""
        model = self._model(1, length)
        return 2 * length * self.width * vocab + sum(block.flops(length) for block in model.blocks)  # type: ignore[operator]

    def state_size(self, length: int) -> int:
        """Numbers that generation keeps of a row after so many tokens: keys and values, states, Canon's last inputs."""
        return sum(block.state_size(length) for block in self._model(1, length).blocks)  # type: ignore[operator]

    def describe(self) -> list[str]:
        """Its size, in sentences."""
        one, two = self.count(1), self.count(2)
        lines = [f"{2 * one - two:,} parameters, and {two - one:,} more for every token of the vocabulary"]
        T = 128
        lines.append(f"{self.flops(0, T) // T:,} FLOPs a token forward, at {T} tokens a row, without the head")
        return [*lines, f"{self.state_size(T):,} numbers kept of a row while generating, after {T} tokens"]

    def _model(self, vocab: int, length: int) -> Transformer:
        with imagined(self.layers * self.width**2 + vocab * self.width):
            return Transformer(self, vocab, length, None, Streams(0))


class Transformer(nn.Module):
    """The model of a `Decoder`."""

    def __init__(self, spec: Decoder, vocab: int, length: int, start: int | None, streams: Streams) -> None:
        super().__init__()
        self.start = start
        self.recompute = False  # activations of a block are made again for its backward pass, not kept
        self.tokens = nn.Embedding(vocab, spec.width)
        embedding = getattr(spec.positions, "embedding", None)
        self.positions: nn.Module | None = None if embedding is None else embedding(length, spec.width)
        self.blocks = spec.blocks().stack(spec.layers, streams)
        self.norm = spec.norm.build(spec.width)
        self.head = None if spec.tied else nn.Linear(spec.width, vocab, bias=False)

    def forward(self, ids: Tensor, at: tuple[Tensor, Tensor] | None = None, pads: Tensor | None = None) -> Tensor:
        """Logits of the next token, [B, T, vocab], from ids [B, T].

        at    (rows [m], columns [m]): only these positions go through the head; the result is [m, vocab]
        pads  [B], how many of a row's first columns only fill it up: what follows does not see them
        """
        documents = self._documents(ids, pads)
        x = self._embed(ids, documents)
        x = through(self.blocks, x, documents, self.recompute)
        if at is not None:
            x = x.flatten(0, 1).index_select(0, at[0] * ids.shape[1] + at[1])
        return self._read(x)

    def generate(
        self, ids: Tensor, steps: int, temperature: float = 0.0, generator: torch.Generator | None = None, **more: Any
    ) -> Tensor:
        """`steps` more ids for every row of ids [B, T] → [B, T + steps].

        temperature  0 takes the likeliest id; otherwise ids are drawn from softmax(logits / temperature)
        more         top_k, top_p, beams, stop, …: see `airtrack.nets.generation.generate`
        """
        return generate(self, ids, steps, temperature=temperature, generator=generator, **more)

    def advance(
        self, ids: Tensor, cache: dict[str, Any] | None = None, pads: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Logits [B, vocab] after the next columns ids [B, t], and the cache for the columns that follow them. `pads`
        as in `forward`, with the first columns.

        Every column is read once, unless a mixer has no step form, or one that cannot keep apart documents where a
        row begins another: then all that was read before is read again.
        """
        if cache is None:
            cache = {"ids": ids[:, :0], "blocks": [{} for _ in self.blocks], "pads": pads}
        done, cache["ids"] = cache["ids"].shape[1], torch.cat((cache["ids"], ids), 1)
        documents = self._documents(cache["ids"], cache["pads"])
        if all(block.steps(documents) for block in self.blocks):  # type: ignore[operator]
            x = self._embed(cache["ids"], documents, done)
            for block, own in zip(self.blocks, cache["blocks"]):
                x = block.step(x, own, documents)  # type: ignore[operator]
            return self._read(x[:, -1]), cache
        rows = torch.arange(len(ids), device=ids.device)
        return self(cache["ids"], (rows, torch.full_like(rows, done + ids.shape[1] - 1)), cache["pads"]), cache

    def _documents(self, ids: Tensor, pads: Tensor | None) -> Tensor | None:
        """[B, T], the number of the document that each position is in; None if every row is a single one."""
        documents = numbered(ids, self.start)
        if pads is None or not bool(pads.any()):
            return documents
        real = torch.arange(ids.shape[1], device=ids.device) >= pads[:, None]
        return torch.where(real, 0 if documents is None else documents, -1)

    def _embed(self, ids: Tensor, documents: Tensor | None, first: int = 0) -> Tensor:
        """[B, T − first, width] of ids [B, T] from column `first` on."""
        x = self.tokens(ids[:, first:])
        if self.positions is None:
            return x
        return x + self.positions(offsets(ids, documents)[:, first:])

    def _read(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return nn.functional.linear(x, self.tokens.weight) if self.head is None else self.head(x)
