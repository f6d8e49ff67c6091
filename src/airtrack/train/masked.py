"""Masked language modelling: predict words that are hidden, from both sides."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

from airtrack.core.given import IGNORE, Batch, Corpus
from airtrack.core.part import part
from airtrack.core.streams import Streams


@part("objective")
class Masked:
    """BERT's objective: some words of every sequence are hidden, and each of their tokens is predicted where it stands.

    Words are hidden as wholes where the corpus knows which tokens begin one; otherwise every token is a word. The
    token that begins a document is never hidden, and never put in place of another. Which words, and what is shown in
    their place, depends on the seed and the number of the batch. The net has one id more than the corpus, the mask.

    fraction  of the words of a sequence that are chosen, to the nearest whole number, one at least
    masked    share of the chosen tokens that the net sees as the mask
    random    share that it sees as some id of the corpus; the rest stay as they are

    Source: Devlin et al. (2019), appendix A.1, and whole-word masking as in the code of its May 2019 release, where
    the three cases are drawn for each token of a word by itself.

    >>> from airtrack.core.part import build
    >>> given = build("task", {"name": "depo", "n": 4, "hops": 1}).pose(Streams(0)).given
    >>> x, y = Masked(masked=1.0, random=0.0).batch(given, 0, 2, Streams(0))
    >>> (x == given.vocab).sum(1).tolist(), (y != IGNORE).sum(1).tolist()  # of 21 tokens, one begins the document
    ([3, 3], [3, 3])
    """

    kind: ClassVar[str] = "masked"
    extra_ids: ClassVar[int] = 1

    fraction: Annotated[float, Gt(0), Le(1)] = 0.15
    masked: Annotated[float, Ge(0), Le(1)] = 0.8
    random: Annotated[float, Ge(0), Le(1)] = 0.1

    def check(self) -> None:
        if self.masked + self.random > 1:
            fact = f"masked {self.masked:g} and random {self.random:g} of the chosen tokens are more than all"
            raise ValueError(f"{fact}; lower one")

    def batch(self, given: Corpus, number: int, size: int, streams: Streams) -> Batch:
        """Batch `number`, `size` sequences: what the net sees [n, T], and the ids that are to be found there [n, T]."""
        ids, rng = given.batch(number, size).x, (streams / "masking").rng(number)
        starts = ids == (-1 if given.start is None else given.start)
        begins = given.words(ids) | starts
        begins[:, 0] = True
        begins[:, 1:] |= starts[:, :-1]
        heads = begins & ~starts  # the first token of every word
        lots = np.where(heads, rng.random(ids.shape), np.inf)
        words = heads.sum(1)
        wanted = np.minimum(words, np.maximum(1, np.rint(self.fraction * words).astype(np.int64)))
        last = np.take_along_axis(np.sort(lots, 1), np.maximum(wanted - 1, 0)[:, None], 1)
        drawn = heads & (lots <= last)
        head = np.maximum.accumulate(np.where(begins, np.arange(ids.shape[1]), 0), 1)  # of the word that each is in
        chosen = np.take_along_axis(drawn, head, 1)
        case, other = rng.random(ids.shape), rng.integers(given.vocab - (given.start is not None), size=ids.shape)
        other += other >= (given.vocab if given.start is None else given.start)
        seen = np.where(case < self.masked, given.vocab, np.where(case < self.masked + self.random, other, ids))
        return Batch(np.where(chosen, seen, ids), np.where(chosen, ids, IGNORE))
