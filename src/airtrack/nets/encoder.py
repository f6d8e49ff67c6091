"""A masked language model, in BERT's form: every position sees every other, and what is hidden is to be restored."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from airtrack.core.part import Slot, part
from airtrack.core.streams import Streams
from airtrack.nets.block import Blocks, through
from airtrack.nets.documents import numbered, offsets
from airtrack.nets.mixers.attention import Attention
from airtrack.nets.mlps.plain import Plain
from airtrack.nets.model import CHUNK
from airtrack.nets.start import imagined, initialise, scoped


@part("net")
class Encoder:
    """Embedding; a norm; blocks of norm(x + mixer(x)), then norm(x + mlp(x)); BERT's head. Sees both sides; no dropout.

    layers     number of blocks
    width      dimensions of the residual stream
    heads      heads of the mixer, each of width / heads dimensions
    positions  a position part: learned, rope, …; none with a mixer that knows places itself, as `relative` does
    mlp        an mlp part
    mixer      attention; relative (DeBERTa's); or any whose `build` takes `causal`
    norm       layernorm, rmsnorm, …
    after      the norms come after each sum, as in BERT; false: x + mixer(norm(x)), no norm on the embeddings, and one
               behind the last block, as in Megatron's BERT
    tied       the output embedding is the token embedding; either way it has a bias of its own, and
               norm(gelu(dense(x))) before it
    apart      documents that are packed into one row do not see each other

    The last id is the mask: for a corpus of V tokens it is built with V + 1. Trained by restoring masked tokens
    (Devlin et al., BERT, 2019). It has no segment embeddings, no pooler and no second task. There are no Canon layers:
    they only look back.

    A judge who asks what follows a position gets what a mask behind it hides. Training shows whole rows, so that it is
    at its best at their ends, and worse the more of a row is missing.

    >>> Encoder(layers=1, width=32, heads=2).count(vocab=37, length=16)
    15653
    """

    example: ClassVar[dict[str, Any]] = {"layers": 1, "width": 32, "heads": 2}
    objective: ClassVar[str] = "masked"  # what its logits are trained for; of a net that does not say: the next token

    layers: Annotated[int, Gt(0)]
    width: Annotated[int, Gt(0)]
    heads: Annotated[int, Gt(0)]
    positions: Annotated[Any, Slot("position")] = "learned"
    mlp: Annotated[Any, Slot("mlp")] = Plain(activation="gelu", bias=True)
    mixer: Annotated[Any, Slot("mixer")] = Attention(bias=True)
    norm: Annotated[Any, Slot("norm")] = "layernorm"
    after: bool = True
    tied: bool = True
    apart: bool = True

    def check(self) -> None:
        self.blocks().check()

    def blocks(self) -> Blocks:
        """What its blocks are made of."""
        return Blocks.of(self, causal=False)

    def build(self, vocab: int, streams: Streams, *, length: int, start: int | None = None) -> MaskedTransformer:
        """The model, its parameters drawn each from `streams / its name`.

        vocab   number of token ids, the mask among them: it is vocab − 1
        length  tokens in a row. Learned positions are one more, for the mask behind a whole row; training does not
                reach that one
        start   the id that begins a document: no document sees another. None: a row is one document
        """
        with scoped(streams):
            model = MaskedTransformer(self, vocab, length, start if self.apart else None, streams)
        initialise(model, streams)
        return model

    def count(self, vocab: int, length: int = 0) -> int:
        """Number of parameters; `vocab` and `length` as in `build`. `length` matters to learned positions only."""
        return sum(p.numel() for p in self._model(vocab, length).parameters())

    def flops(self, vocab: int, length: int) -> int:
        """Floating-point operations of the matrix products and convolutions of a forward pass over one row of `length`
        tokens with the head at all of them, a multiply-add being two; a backward pass takes twice as many. Training
        needs the head at the masked tokens only."""
        model = self._model(1, length)
        head = 2 * length * self.width * (self.width + vocab)
        return head + sum(block.flops(length) for block in model.blocks)  # type: ignore[operator]

    def describe(self) -> list[str]:
        """Its size, in sentences."""
        one, two, longer = self.count(1), self.count(2), self.count(1, 1)
        places = f", {longer - one:,} for every token of a row" if longer > one else ""
        lines = [f"{2 * one - two:,} parameters, and {two - one:,} more for every token of the vocabulary{places}"]
        T = 128
        lines.append(f"{self.flops(0, T) // T:,} FLOPs a token forward, at {T} tokens a row, without the vocabulary")
        return [*lines, "restores masked tokens; the token after a position costs a whole pass"]

    def _model(self, vocab: int, length: int) -> MaskedTransformer:
        with imagined(self.layers * self.width**2 + vocab * self.width):
            return MaskedTransformer(self, vocab, length, None, Streams(0))


class MaskedTransformer(nn.Module):
    """The model of an `Encoder`; `mask` is the id that hides a token."""

    def __init__(self, spec: Encoder, vocab: int, length: int, start: int | None, streams: Streams) -> None:
        super().__init__()
        self.start, self.mask = start, vocab - 1
        self.recompute = False  # activations of a block are made again for its backward pass, not kept
        self.tokens = nn.Embedding(vocab, spec.width)
        embedding = getattr(spec.positions, "embedding", None)
        self.positions: nn.Module | None = None if embedding is None else embedding(length + 1, spec.width)
        self.norm = spec.norm.build(spec.width)  # of the embeddings, or behind the last block
        self.after = spec.after
        self.blocks = spec.blocks().stack(spec.layers, streams)
        self.dense = nn.Linear(spec.width, spec.width)
        self.dense_norm = spec.norm.build(spec.width)
        self.head = None if spec.tied else nn.Linear(spec.width, vocab, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, ids: Tensor, at: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Logits of the token at each position itself, [B, T, vocab], from ids [B, T], some of them the mask.

        at  (rows [m], columns [m]): only these positions go through the head; the result is [m, vocab]

        A masked start token begins no document: leave it in its place.
        """
        return self._read(ids, numbered(ids, self.start), at)

    def next_logits(self, ids: Tensor, at: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Logits of the token after each position, [B, T, vocab − 1], or [m, vocab − 1] at (rows [m], columns [m]).

        What follows ids[:t + 1] is what a mask behind them hides; the mask itself follows nothing. Every position that
        is asked about costs a pass over all that is before it.
        """
        B, T = ids.shape
        if at is None:
            every = torch.arange(B * T, device=ids.device)
            return self.next_logits(ids, (every // T, every % T)).unflatten(0, (B, T))
        rows, columns = at
        result = self.bias.new_empty(len(rows), self.mask)
        for some in columns.argsort(stable=True).split(max(1, CHUNK // (T + 1))):  # rows of like length are neighbours
            if len(some):
                ends = columns[some] + 1  # where the masks stand
                result[some] = self._follow(ids[rows[some]], ends)[:, : self.mask]
        return result

    def _follow(self, ids: Tensor, ends: Tensor) -> Tensor:
        """Logits [k, vocab] of a mask in column ends[i] of row i of ids [k, T], which is read up to there."""
        least, most = int(ends.min()), int(ends.max())
        place = torch.arange(most + 1, device=ids.device).expand(len(ids), -1)
        read = torch.full_like(place, self.mask)
        read[:, :most] = torch.where(place[:, :most] < ends[:, None], ids[:, :most], self.mask)
        documents = numbered(read, self.start)
        if least < most:  # what is behind a mask is a document of its own, that nobody sees
            documents = (torch.zeros_like(read) if documents is None else documents) + (place > ends[:, None])
        return self._read(read, documents, (torch.arange(len(ids), device=ids.device), ends))

    def _read(self, ids: Tensor, documents: Tensor | None, at: tuple[Tensor, Tensor] | None) -> Tensor:
        x = self.tokens(ids)
        if self.positions is not None:
            x = x + self.positions(offsets(ids, documents))
        x = self.norm(x) if self.after else x
        x = through(self.blocks, x, documents, self.recompute)
        if at is not None:
            x = x.flatten(0, 1).index_select(0, at[0] * ids.shape[1] + at[1])
        x = x if self.after else self.norm(x)
        x = self.dense_norm(gelu(self.dense(x)))
        return linear(x, self.tokens.weight if self.head is None else self.head.weight, self.bias)
