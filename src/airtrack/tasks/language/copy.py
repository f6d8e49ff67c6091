"""Copy: the same sequence once more."""

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
from airtrack.tasks.language.draw import place, put, shuffle, state_of, windows
from airtrack.tasks.language.scoring import Scored, metrics


@part("task")
class Copy:
    """Distinct items in random order, and the same items in the same order again.

    With `n=6, length=4`, one sample reads

        BOS 5 0 3 2 COPY 5 0 3 2
                    ^ ^ ^ ^         these predictions count

    Every item occurs once, so that a model may find the next one by its content (what followed this item before) or
    by its position (what stood `length` + 1 tokens ago). Only the copy is trained on. Without a context, a window is
    exactly one sample; else samples follow each other, the first is whole and the last may be cut.

    n           different items, ids 0 … n − 1; BOS is n, COPY n + 1
    length      items of a sequence, at most n; all of them, a permutation, if None
    context     T, tokens a window; one sample, 2 length + 2, if None
    evaluation  windows that the judge draws, once a problem

    `accuracy` is over all copied tokens, each after the right ones before it; `whole` is the share of windows without
    a fault. `chance`, 1 / length, is what naming any item of the sequence scores. A model that also avoids those it
    has copied already, and knows nothing of their order, reaches H / length, H = 1 + 1/2 + … + 1/length (.21 for 16).

    `preset` gives the published setting. Source: Allen-Zhu, Physics of Language Models: Part 4.1 (arXiv 2512.17351),
    Figure 5. Trained there with context 1024, batch 32, weight decay .03, 50 thousand steps and the best learning rate
    from 5 · 10⁻⁴ to 5 · 10⁻³: one layer with rotary positions needs width 128, with a Canon layer 16 is enough.

    >>> from airtrack.core.streams import Streams
    >>> task = Copy(n=16)
    >>> given, judge = task.pose(Streams(0))
    >>> given.length, given.vocab
    (34, 18)
    >>> before = lambda ids: np.eye(18)[np.roll(ids, 16, axis=1)]  # what stood 17 tokens before the next one
    >>> readings = judge(before)
    >>> readings["accuracy"], readings["whole"]
    (1.0, 1.0)
    """

    n: Annotated[int, Ge(2)]
    length: Annotated[int, Ge(1)] | None = None
    context: Annotated[int, Ge(1)] | None = None
    evaluation: Annotated[int, Ge(1)] = 128

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    example: ClassVar[dict[str, Any]] = {"n": 12, "evaluation": 8}

    @classmethod
    def preset(cls, name: Literal["copy", "small"], **fields: Any) -> Copy:
        """The published setting, permutations of 500 items; small, of 64, is for two cores.

        >>> Copy.preset("copy").n
        500
        """
        settings = {"copy": {"n": 500, "context": 1024, "evaluation": 32}, "small": {"n": 64}}
        if name not in settings:
            raise ValueError(f"{name!r} is no preset; there are copy and small")
        return cls(**{**settings[name], **fields})

    def check(self) -> None:
        if self._length > self.n:
            raise ValueError(f"length: {self.length} distinct items asked for, there are n = {self.n}; take fewer")
        if self.context is not None and self.context < self._sample:
            fact = f"a sample takes {self._sample} tokens and the first of a window is never cut"
            raise ValueError(f"context: {fact}; take at least that many, not {self.context}")

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy of the copied tokens, share of faultless windows, loss in nats; the judge's windows are a sample."""
        return metrics(1 / self._length, whole=True)

    @property
    def _length(self) -> int:
        return self.length or self.n

    @property
    def _sample(self) -> int:
        return 2 * self._length + 2

    def text(self, ids: Ints) -> str:
        """Token ids in words, to look at."""
        return " ".join({self.n: "BOS", self.n + 1: "COPY"}.get(int(i), str(i)) for i in ids)

    def pose(self, streams: Streams) -> Problem:
        length = self.context or self._sample

        def make(branch: Streams, i: int, n: int) -> tuple[Ints, Ints, Ints]:
            return windows(lambda x, y, group: _fill(x, y, group, state_of(branch, i), self.n, self._length), n, length)

        train, vocab = streams / "train", self.n + 2
        start = None if length == self._sample else self.n
        given = Corpus(lambda i, n: Batch(*make(train, i, n)[:2]), vocab=vocab, length=length, start=start)
        exam = Scored.of(*make(streams / "evaluation", 0, self.evaluation), vocab)
        return Problem(given, Judge(lambda answer: exam.readings(answer, whole=True), self.metrics, exam.truth))


@njit(cache=True, nogil=True)
def _fill(x, y, group, state, n, length):  # pragma: no cover  (compiled)
    """Write windows of packed samples into x, y and group [N, T]; group is 1 where a copied item is predicted."""
    order = np.empty(n, np.int64)
    sample, marks = np.empty(2 * length + 2, np.int64), np.empty(2 * length + 2, np.int64)
    for row in range(len(x)):
        t = 0
        while t < x.shape[1]:
            shuffle(state, order)
            size = put(sample, marks, 0, n, 0)
            for item in order[:length]:
                size = put(sample, marks, size, item, 0)
            size = put(sample, marks, size, n + 1, 0)
            for item in order[:length]:
                size = put(sample, marks, size, item, 1)
            t = place(x, y, group, row, t, sample, marks, size)
