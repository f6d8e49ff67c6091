"""Depo: how many steps along a cycle can a language model take in one look at it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numba import njit

from airtrack.core.given import Batch, Corpus, Ints
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.language.draw import (
    ALWAYS,
    below,
    check_names,
    draw_names,
    draw_size,
    forget,
    packed,
    pick,
    predict,
    put_name,
    size_law,
    state_of,
)
from airtrack.tasks.language.scoring import Scored, metrics


@part("task")
class Depo:
    """The k-th successor on one random cycle, after its edges were listed in random order.

    With `n=4, hops=2, separator=True` and items a … h, one sample reads

        BOS | g a | c g | d c | a d  Q2 c a  Q1 d c  Q1 a d  Q2 g d
                                        ^       ^       ^       ^     these predictions count

    for the cycle g → a → d → c → g. With names of several tokens every token of the answer counts, and the last
    token of a name comes from a second alphabet that marks its end. Windows are packed: samples follow each other,
    the first is whole and the last may be cut. With n fixed and names of one token, a window is exactly one sample.

    n            nodes of the cycle; the most, if `drawn`
    hops         K; k is uniform on 1 … K in training, on the powers of two up to K, and K, in evaluation
    drawn        n ~ p(n) ∝ 1 / (n + √N) on 3 … N in training; evaluation keeps n = N
    alphabet     V, tokens that names are made of; 2 n if None
    name_length  least and most tokens of a name
    separator    a token before every edge; without it the end of an edge cannot be told from its start
    answer_mark  a token between question and answer, as published; it is predicted too, but not scored
    queries      on distinct nodes, at most n a sample; every node once if None
    context      T, tokens a window; the longest sample if None
    evaluation   windows that the judge draws, once a problem

    The defaults are the one-minute form of Figure 5 of the source; `preset` gives the published Depo1 and Depo2.
    A model that only avoids items it has answered before reaches Hₙ/n (.21 for n = 16) where every node is asked once.

    Source: Allen-Zhu, Physics of Language Models: Part 4.1 (arXiv 2512.17351), Appendix A.1.

    >>> from airtrack.core.streams import Streams
    >>> task = Depo(n=16, hops=1, separator=True)
    >>> given, judge = task.pose(Streams(0))
    >>> given.length, given.vocab, given.batch(0, 32).x.shape
    (97, 35, (32, 97))
    >>> judge(lambda ids: np.zeros((*ids.shape, 35)))["accuracy"] < 0.1
    True
    """

    n: Annotated[int, Ge(3)]
    hops: Annotated[int, Ge(1)] = 1
    drawn: bool = False
    alphabet: Annotated[int, Ge(2)] | None = None
    name_length: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]] = (1, 1)
    separator: bool = False
    answer_mark: bool = False
    queries: Annotated[int, Ge(1)] | None = None
    context: Annotated[int, Ge(1)] | None = None
    evaluation: Annotated[int, Ge(1)] = 128

    version: ClassVar[int] = 3

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    example: ClassVar[dict[str, Any]] = {"n": 5, "hops": 2, "separator": True, "evaluation": 8}

    @classmethod
    def preset(cls, name: Literal["depo1", "depo2", "small"], *, n: int, hops: int, **fields: Any) -> Depo:
        """The published settings: depo1 with n = 225, 300, 375 and 8 hops, depo2 with n = 75, 100, 125 and 16 hops.
        With small, n = 8 and 2 hops, say, two layers learn on two cores within minutes.

        >>> Depo.preset("depo1", n=225, hops=8).name_length
        (1, 2)
        """
        published = {"drawn": True, "answer_mark": True, "queries": 10, "context": 2048}
        settings: dict[str, dict[str, Any]] = {
            "depo1": {**published, "alphabet": 50, "name_length": (1, 2)},
            "depo2": {**published, "alphabet": 4, "name_length": (5, 7)},  # the released code says 3, the paper 4
            "small": {"separator": True},
        }
        if name not in settings:
            raise ValueError(f"{name!r} is no preset; there are depo1, depo2 and small")
        return cls(**{"n": n, "hops": hops, **settings[name], **fields})

    def check(self) -> None:
        if self.hops > self.n:
            raise ValueError(f"hops: {self.hops} steps go round a cycle of n = {self.n}; take hops ≤ n")
        check_names(self._letters, self.name_length, self.n)
        if self.queries is not None and self.queries > self.n:
            raise ValueError(f"queries: {self.queries} distinct nodes asked for, there are n = {self.n}; take fewer")
        if self.context is not None and self.context < self._longest:
            fact = f"a sample may take {self._longest} tokens and the first of a window is never cut"
            raise ValueError(f"context: {fact}; take at least that many, not {self.context}")

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy over all answer tokens, by hop where several are tested, and the loss on them in nats.

        Every answer is scored exactly, on windows that are a sample: hence the standard error of the accuracy.
        """
        return metrics(1 / self.n if self.name_length == (1, 1) else None, self._groups)

    @property
    def tested(self) -> tuple[int, ...]:
        """The hops that the judge asks for."""
        powers = {2**j for j in range(self.hops.bit_length())}
        return tuple(sorted(powers | {self.hops} | ({24} if self.hops == 32 else set())))

    @property
    def _groups(self) -> dict[str, int]:
        return {f"k{k}": k for k in self.tested} if len(self.tested) > 1 else {}

    @property
    def _letters(self) -> int:
        return 2 * self.n if self.alphabet is None else self.alphabet

    @property
    def _longest(self) -> int:
        most, queries = self.name_length[1], self.queries or self.n
        return 1 + self.n * (2 * most + self.separator) + queries * (1 + 2 * most + self.answer_mark)

    def text(self, ids: Ints) -> str:
        """Token ids in words, to look at.

        >>> Depo(n=4, hops=2, separator=True).text(np.array([8, 9, 3, 0, 11, 3, 6]))
        'BOS | 3 0 Q2 3 6'
        """
        words = ["BOS", *["|"] * self.separator, *["ANS"] * self.answer_mark]
        words += [f"Q{k}" for k in range(1, self.hops + 1)]
        words = dict(enumerate(words, self._letters * (1 + (self.name_length[1] > 1))))
        return " ".join(words.get(int(i), str(i)) for i in ids)

    def pose(self, streams: Streams) -> Problem:
        (least, most), several = self.name_length, self.name_length[1] > 1
        length, queries = self.context or self._longest, self.queries or self.n
        bos = self._letters * (1 + several)  # ids: [letters] [last letters] bos [separator] [mark] queries
        separator = bos + 1 if self.separator else -1
        mark = bos + 1 + self.separator if self.answer_mark else -1
        query = bos + self.separator + self.answer_mark  # of one hop is the next id
        vocab = query + self.hops + 1
        layout = np.array(
            [self.n, queries, self._letters, least, most, bos, separator, mark, query, length, self._longest], np.int64
        )

        def make(branch: Streams, law: Ints, hops: Ints, i: int, n: int) -> tuple[Ints, Ints, Ints]:
            state = state_of(branch, i)
            return packed(lambda x, y, hop: _fill(x, y, hop, state, layout, law, hops), n, length, self._longest)

        train, law = streams / "train", size_law(self.n) if self.drawn else ALWAYS
        alone = least == most and not self.drawn and length == self._longest  # one sample a window
        given = Corpus(
            lambda i, n: Batch(*make(train, law, np.arange(1, self.hops + 1), i, n)[:2]),
            vocab=vocab,
            length=length,
            start=None if alone else bos,
        )
        exam = Scored.of(*make(streams / "evaluation", ALWAYS, np.array(self.tested), 0, self.evaluation), vocab)
        return Problem(given, Judge(lambda answer: exam.readings(answer, self._groups), self.metrics, exam.truth))


@njit(cache=True, nogil=True)
def _fill(x, y, hop, state, layout, law, hops):  # pragma: no cover  (compiled)
    """Write samples into x, y and hop of `packed`; hop is k where an answer of k steps is predicted."""
    n, queries, letters, least, most, bos, separator, answer_mark, query, length, longest = layout
    seen = np.zeros(2 * letters**most, np.int32)
    names, lengths = np.empty((n, most), np.int64), np.empty(n, np.int64)
    number = t = 0
    for end in range(length, len(x) - longest + 1, length):
        while t < end:
            number += 1
            if len(law) > 0:
                n = draw_size(state, law)
            draw_names(state, names, lengths, n, letters, least, most, seen, number)  # in the order of the cycle
            order = np.arange(n)
            x[t] = bos
            t += 1
            for edge in range(n):
                i = pick(state, order, edge)
                if separator >= 0:
                    x[t] = separator
                    t += 1
                for node in (i, (i + 1) % n):
                    t = put_name(x, t, names, lengths, node)
            for asked in range(min(n, queries)):
                i, k = pick(state, order, asked), hops[below(state, len(hops))]
                x[t] = query + k
                t = put_name(x, t + 1, names, lengths, i)
                if answer_mark >= 0:
                    x[t] = answer_mark
                    predict(x, y, hop, t, t + 1, 0)
                    t += 1
                begin, t = t, put_name(x, t, names, lengths, (i + k) % n)
                predict(x, y, hop, begin, t, k)
        forget(y, hop, end - 1, t)
        t = end
