"""Mano: how long an expression can a language model evaluate in its head, operators first?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le
from numba import njit

from airtrack.core.given import Batch, Corpus, Floats, Ints
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.language.draw import below, place, put, state_of, windows
from airtrack.tasks.language.scoring import Scored, metrics

OPERATIONS = "+-*/"


@part("task")
class Mano:
    """The value of a random arithmetic expression in prefix notation, modulo a number, without intermediate steps.

    With `length=3, modulus=23`, one sample of three operations reads

        BOS | LEN3 | + * 5 4 - 2 9 | ANS3 13        for (5 · 4) + (2 − 9) = 13 modulo 23

    Every token is predicted and trained on, the random ones too; only the value is scored. A sample has l operations,
    l uniform on 1 … L in training and L in evaluation. Each operation is uniform; the operand on its left has l' of
    the l − 1 that remain, l' uniform on 0 … l − 1; numbers are uniform on 0 … modulus − 1. Windows are packed:
    samples follow each other, the first is whole and the last may be cut.

    length      L, operations of an expression, at most
    modulus     23 in the source
    division    a fourth operation, a · b⁻¹; an expression that divides by a number without inverse (for a prime
                modulus: by zero) is drawn again as a whole, with the same l
    synonyms    two ids, one of them at random, for each operation, LEN and ANS, as in the released code (which has two
                for BOS as well; here one, by which a model tells where a sample begins)
    context     T, tokens a window; the longest sample, 2 L + 5, if None
    evaluation  windows that the judge draws, once a problem

    Ids: numbers, operations, BOS, LEN1 … LEN L, ANS1 … ANS L; synonyms stand side by side.
    Values are not uniform (products are often 0): `chance` is the exact probability of the likeliest value, which a
    model reaches that evaluates nothing: .070, .071, .072 for 10, 13, 16 operations modulo 23. There are only 1,587
    expressions of one operation and 219,006 of two: a long training sees them all.

    `preset` gives the published settings. Source: Allen-Zhu, Physics of Language Models: Part 4.1 (arXiv 2512.17351),
    Appendix A. Trained there with context 1024, batch 64, weight decay .1, 80, 95 and 110 thousand steps for
    L = 10, 13, 16, and the best learning rate of 1, 2, 3, 5 · 10⁻⁴.

    >>> from airtrack.core.streams import Streams
    >>> task = Mano(length=3, context=64)
    >>> given, judge = task.pose(Streams(0))
    >>> given.length, given.vocab, given.batch(0, 32).x.shape
    (64, 33, (32, 64))
    >>> judge(lambda ids: np.eye(33)[np.zeros_like(ids)])["accuracy"] < 0.2  # always says 0
    True
    """

    length: Annotated[int, Ge(1), Le(100)]
    modulus: Annotated[int, Ge(2), Le(1000)] = 23
    division: bool = False
    synonyms: bool = False
    context: Annotated[int, Ge(1)] | None = None
    evaluation: Annotated[int, Ge(1)] = 512

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    example: ClassVar[dict[str, Any]] = {"length": 3, "context": 64, "evaluation": 8}

    @classmethod
    def preset(cls, name: Literal["mano", "small"], *, length: int, **fields: Any) -> Mano:
        """The published settings, with length = 10, 13, 16; small, with length = 3, 4, 5, learns on two cores.

        >>> Mano.preset("mano", length=10).context
        1024
        """
        settings = {
            "mano": {"synonyms": True, "context": 1024, "evaluation": 64},
            "small": {"context": 128, "evaluation": 128},
        }
        if name not in settings:
            raise ValueError(f"{name!r} is no preset; there are mano and small")
        return cls(**{"length": length, **settings[name], **fields})

    def check(self) -> None:
        if self.context is not None and self.context < self._longest:
            fact = f"a sample may take {self._longest} tokens and the first of a window is never cut"
            raise ValueError(f"context: {fact}; take at least that many, not {self.context}")
        defined = _values(self.length, self.modulus, self.division).sum()
        if defined < 1e-3:
            fact = f"only {defined:.1e} of the expressions of {self.length} operations have a value modulo"
            raise ValueError(f"division: {fact} {self.modulus}; take fewer operations or a prime modulus")

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy of the values, and the loss on them in nats; the judge's windows are a sample."""
        values = _values(self.length, self.modulus, self.division)
        return metrics(float(values.max() / values.sum()))

    @property
    def _longest(self) -> int:
        return 2 * self.length + 5

    @property
    def _words(self) -> list[str]:
        """What each id means."""
        again = 1 + self.synonyms
        numbered = [f"{word}{l}" for word in ("LEN", "ANS") for l in range(1, self.length + 1)]
        operations = [o for o in OPERATIONS[: 3 + self.division] for _ in range(again)]
        return [*map(str, range(self.modulus)), *operations, "BOS", *(w for w in numbered for _ in range(again))]

    def text(self, ids: Ints) -> str:
        """Token ids in words, to look at."""
        words = self._words
        return " ".join(words[i] for i in ids)

    def pose(self, streams: Streams) -> Problem:
        bos, length = self.modulus + (3 + self.division) * (1 + self.synonyms), self.context or self._longest
        layout = np.array([self.length, 1 + self.synonyms, bos], np.int64)
        results, vocab = _results(self.modulus, self.division), len(self._words)

        def make(branch: Streams, shortest: int, i: int, n: int) -> tuple[Ints, Ints, Ints]:
            return windows(
                lambda x, y, group: _fill(x, y, group, state_of(branch, i), layout, results, shortest), n, length
            )

        train = streams / "train"
        given = Corpus(lambda i, n: Batch(*make(train, 1, i, n)[:2]), vocab=vocab, length=length, start=bos)
        exam = Scored.of(*make(streams / "evaluation", self.length, 0, self.evaluation), vocab)
        return Problem(given, Judge(exam.readings, self.metrics, exam.truth))


@lru_cache(maxsize=8)
def _results(modulus: int, division: bool) -> npt.NDArray[np.int16]:
    """[operations, modulus, modulus] of a + b, a − b, a · b, and a · b⁻¹, −1 where that is not defined."""
    a, b = np.arange(modulus)[:, None], np.arange(modulus)
    inverses = np.array([pow(i, -1, modulus) if np.gcd(i, modulus) == 1 else 0 for i in range(modulus)])
    quotients = np.where(inverses > 0, a * inverses % modulus, -1)
    tables = [(a + b) % modulus, (a - b) % modulus, a * b % modulus, quotients]
    return np.array(tables[: 3 + division]).astype(np.int16)


@lru_cache(maxsize=64)
def _values(length: int, modulus: int, division: bool) -> Floats:
    """[modulus] probability that a random expression of `length` operations is defined and has each value.

    Exact, by recursion over the number of operations.

    >>> _values(1, 2, False)  # a + b, a − b, a · b modulo 2
    array([0.58333333, 0.41666667])
    """
    return _distribution(length, _results(modulus, division))[-1]


@njit(cache=True, nogil=True)
def _distribution(length, results):  # pragma: no cover  (compiled)
    """[length + 1, modulus] for `_values` of 0 … length operations."""
    operations, modulus, _ = results.shape
    chances = np.zeros((length + 1, modulus))
    chances[0] = 1 / modulus
    for l in range(1, length + 1):
        for a in range(modulus):
            for b in range(modulus):
                both = 0.0  # a on the left and b on the right
                for left in range(l):
                    both += chances[left, a] * chances[l - 1 - left, b]
                for operation in range(operations):
                    value = results[operation, a, b]
                    if value >= 0:
                        chances[l, value] += both / (l * operations)
    return chances


@njit(cache=True, nogil=True)
def _fill(x, y, group, state, layout, results, shortest):  # pragma: no cover
    """Write windows of packed samples into x, y and group [n, T]; group is 1 where a value is predicted."""
    length, again, bos = layout
    operations, modulus, _ = results.shape
    sample, marks = np.empty(2 * length + 5, np.int64), np.full(2 * length + 5, -1, np.int64)
    waiting, values = np.empty(length + 2, np.int64), np.empty(length + 2, np.int64)
    tree = np.empty(2 * length + 1, np.int64)  # in prefix order: a number, or −1 − an operation
    for row in range(len(x)):
        t = 0
        while t < x.shape[1]:
            l = shortest + below(state, length - shortest + 1)
            value = -1
            while value < 0:
                _draw_tree(state, tree, waiting, l, operations, modulus)
                value = _evaluate(tree[: 2 * l + 1], values, results)
            size = put(sample, marks, 0, bos, -1)
            size = put(sample, marks, size, bos + 1 + (l - 1) * again + below(state, again), -1)
            for node in tree[: 2 * l + 1]:
                token = node if node >= 0 else modulus + (-1 - node) * again + below(state, again)
                size = put(sample, marks, size, token, -1)
            size = put(sample, marks, size, bos + 1 + (length + l - 1) * again + below(state, again), -1)
            size = put(sample, marks, size, value, 1)
            t = place(x, y, group, row, t, sample, marks, size)


@njit(cache=True, nogil=True)
def _draw_tree(state, tree, waiting, l, operations, modulus):  # pragma: no cover
    """Write a random expression of l operations into tree [2 l + 1]; `waiting` holds the sizes still to be drawn."""
    waiting[0], top = l, 1
    for i in range(2 * l + 1):
        top -= 1
        rest = waiting[top]
        if rest == 0:
            tree[i] = below(state, modulus)
        else:
            tree[i] = -1 - below(state, operations)
            left = below(state, rest)
            waiting[top], waiting[top + 1] = rest - 1 - left, left
            top += 2


@njit(cache=True, nogil=True)
def _evaluate(tree, values, results):  # pragma: no cover
    """The value of an expression in prefix order, −1 where it is not defined."""
    top = 0
    for i in range(len(tree) - 1, -1, -1):
        if tree[i] >= 0:
            values[top] = tree[i]
            top += 1
        else:
            top -= 1
            values[top - 1] = results[-1 - tree[i], values[top], values[top - 1]]  # the left operand was read last
            if values[top - 1] < 0:
                return -1
    return values[0]
