"""Depo: how many steps along a cycle can a language model take in one look at it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numba import njit

from airtrack.core.answers import language_model
from airtrack.core.given import IGNORE, Batch, Corpus, Floats, Ints
from airtrack.core.part import part
from airtrack.core.problem import Judge, Junk, Metric, Problem
from airtrack.core.streams import Streams

LOSSES = (1e-9, 50.0)  # nats; a model that rules out the right token scores 50, not infinity
MOST_NAMES = 10**6  # size of the table that keeps names distinct


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

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    example: ClassVar[dict[str, Any]] = {"n": 5, "hops": 2, "separator": True, "evaluation": 8}

    @classmethod
    def preset(cls, name: Literal["depo1", "depo2"], *, n: int, hops: int, **fields: Any) -> Depo:
        """The published settings: depo1 with n = 225, 300, 375 and 8 hops, depo2 with n = 75, 100, 125 and 16 hops.

        >>> Depo.preset("depo1", n=225, hops=8).name_length
        (1, 2)
        """
        published = {
            "depo1": {"alphabet": 50, "name_length": (1, 2)},
            "depo2": {"alphabet": 4, "name_length": (5, 7)},  # the released code says 3, the paper 4
        }
        if name not in published:
            raise ValueError(f"{name!r} is no published setting; there are depo1 and depo2")
        common = {"drawn": True, "answer_mark": True, "queries": 10, "context": 2048}
        return cls(**{"n": n, "hops": hops, **common, **published[name], **fields})

    def check(self) -> None:
        least, most = self.name_length
        if self.hops > self.n:
            raise ValueError(f"hops: {self.hops} steps go round a cycle of n = {self.n}; take hops ≤ n")
        if least > most:
            raise ValueError(f"name_length: {least} is more than {most}; give the least, then the most")
        if most * math.log(self._letters) > math.log(MOST_NAMES):
            fact = f"{self._letters} tokens make more than {MOST_NAMES:,} names of up to {most} tokens"
            raise ValueError(f"alphabet: {fact}; take fewer or shorter ones")
        names = sum(self._letters**length for length in range(least, most + 1))
        if names < self.n:
            raise ValueError(f"alphabet: {self._letters} tokens make {names} names for n = {self.n} nodes; take more")
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
        chance = 1 / self.n if self.name_length == (1, 1) else None
        accuracy = Metric("high", (0.0, 1.0), "logit", exact=False, chance=chance)
        by_hop = {f"accuracy_k{k}": accuracy for k in self.tested} if len(self.tested) > 1 else {}
        error = Metric("low", (0.0, 0.5))
        return {"accuracy": accuracy, "accuracy_se": error, **by_hop, "loss": Metric("low", LOSSES, "log", exact=False)}

    @property
    def tested(self) -> tuple[int, ...]:
        """The hops that the judge asks for."""
        powers = {2**j for j in range(self.hops.bit_length())}
        return tuple(sorted(powers | {self.hops} | ({24} if self.hops == 32 else set())))

    @property
    def _letters(self) -> int:
        return 2 * self.n if self.alphabet is None else self.alphabet

    @property
    def _longest(self) -> int:
        most, queries = self.name_length[1], self.queries or self.n
        return 1 + self.n * (2 * most + self.separator) + queries * (1 + 2 * most + self.answer_mark)

    def pose(self, streams: Streams) -> Problem:
        least, most = self.name_length
        length, queries = self.context or self._longest, self.queries or self.n
        bos = self._letters * (1 if most == 1 else 2)  # ids: [letters] [last letters] bos [separator] [mark] queries
        separator = bos + 1 if self.separator else -1
        mark = bos + 1 + self.separator if self.answer_mark else -1
        query = bos + self.separator + self.answer_mark  # of one hop is the next id
        vocab = query + self.hops + 1
        layout = np.array([self.n, queries, self._letters, least, most, bos, separator, mark, query], np.int64)

        def make(branch: Streams, sizes: Ints, hops: Ints, i: int, n: int) -> tuple[Ints, Ints, Ints]:
            x, hop = np.empty((n, length), np.int64), np.zeros((n, length), np.int64)
            y = np.full((n, length), IGNORE, np.int64)
            state = branch.rng(i).integers(0, 2**64, 1, np.uint64)
            _fill(x, y, hop, state, layout, sizes, hops)
            return x, y, hop

        nodes = np.arange(3, self.n + 1)
        weights = np.cumsum(1 / (nodes + np.sqrt(self.n)))
        sizes = (weights / weights[-1] * 2**32).astype(np.int64) if self.drawn else np.zeros(0, np.int64)
        train, hops = streams / "train", np.arange(1, self.hops + 1)
        alone = least == most and not self.drawn and length == self._longest  # one sample a window
        given = Corpus(
            lambda i, n: Batch(*make(train, sizes, hops, i, n)[:2]),
            vocab=vocab,
            length=length,
            start=None if alone else bos,
        )
        x, y, hop = make(streams / "evaluation", np.zeros(0, np.int64), np.array(self.tested), 0, self.evaluation)
        at = np.argwhere(hop)  # the positions that are scored: rows, columns
        at = (at[:, 0], at[:, 1])
        target, hop = y[at], hop[at]

        def score(answer: Any) -> dict[str, float]:
            scores = _normalised(language_model(answer).log_probs(x, at), len(target), vocab)
            right = scores.argmax(-1) == target
            by_hop = {f"accuracy_k{k}": right[hop == k].mean() if (hop == k).any() else 0.0 for k in self.tested}
            loss = -np.maximum(scores[np.arange(len(target)), target], -LOSSES[1]).mean()
            return {"accuracy": right.mean(), "accuracy_se": _standard_error(right, at[0]), "loss": loss, **by_hop}

        return Problem(given, Judge(score, self.metrics, truth={"x": x, "y": y, "target": target, "hop": hop}))


def _standard_error(right: Any, window: Ints) -> float:
    """Of the share of right answers, of which those of one window are not independent. NaN for one window."""
    missed = np.bincount(window, right - right.mean())
    windows = len(missed)
    return float(np.sqrt((missed**2).sum() * windows / (windows - 1)) / len(right)) if windows > 1 else float("nan")


def _normalised(scores: Any, count: int, vocab: int) -> Floats:
    """Log-probabilities [count, V ≥ vocab] that sum to one whatever the model says; raises `Junk` otherwise."""
    try:
        numbers = np.asarray(scores, np.float64)
    except (TypeError, ValueError):
        raise Junk(f"log-probabilities are a {type(scores).__name__}, no array of numbers") from None
    if numbers.ndim != 2 or len(numbers) != count or numbers.shape[1] < vocab:
        raise Junk(f"log-probabilities have the shape {numbers.shape}, not ({count}, {vocab})")
    if np.isnan(numbers).any() or np.isposinf(numbers).any() or np.isneginf(numbers).all(-1).any():
        raise Junk("log-probabilities are not numbers")
    shifted = numbers - numbers.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@njit(cache=True, nogil=True)
def _below(state, bound):  # pragma: no cover  (compiled)
    """A random integer of 0 … bound − 1: SplitMix64 (Steele, Lea, Flood 2014), the same on every platform."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.int64(((z >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@njit(cache=True, nogil=True)
def _shuffle(state, order):  # pragma: no cover
    for i in range(len(order)):
        order[i] = i
    for i in range(len(order) - 1, 0, -1):
        j = _below(state, i + 1)
        order[i], order[j] = order[j], order[i]


@njit(cache=True, nogil=True)
def _fill(x, y, hop, state, layout, sizes, hops):  # pragma: no cover
    """Write windows of packed samples into x, y and hop [n, T]; hop is k where an answer of k steps is predicted."""
    largest, most_queries, letters, least, most, bos, separator, mark, query = layout
    length = x.shape[1]
    last = letters if most > 1 else 0  # ids of last letters start here
    names = np.empty((largest, most), np.int64)
    lengths = np.empty(largest, np.int64)
    order = np.empty(largest, np.int64)
    seen = np.zeros(2 * letters**most, np.int32)  # the number of the sample that used a name last
    sample = 0
    for row in range(len(x)):
        t = 0
        while t < length:
            sample += 1
            n = largest
            if len(sizes) > 0:
                n = 3 + np.searchsorted(sizes, _below(state, 2**32), side="right")
            for i in range(n):  # names in the order of the cycle: distinct by rejection, so the cycle is uniform
                while True:
                    lengths[i] = least + _below(state, most - least + 1)
                    code = 1
                    for j in range(lengths[i]):
                        letter = _below(state, letters)
                        code = code * letters + letter
                        names[i, j] = letter
                    if seen[code] != sample:
                        break
                seen[code] = sample
                names[i, lengths[i] - 1] += last
            t = _put(x, row, t, bos)
            _shuffle(state, order[:n])
            for i in order[:n]:
                if separator >= 0:
                    t = _put(x, row, t, separator)
                for node in (i, (i + 1) % n):
                    for j in range(lengths[node]):
                        t = _put(x, row, t, names[node, j])
            _shuffle(state, order[:n])
            for i in order[: min(n, most_queries)]:
                k = hops[_below(state, len(hops))]
                t = _put(x, row, t, query + k)
                for j in range(lengths[i]):
                    t = _put(x, row, t, names[i, j])
                if mark >= 0:
                    if t < length:
                        y[row, t - 1] = mark
                    t = _put(x, row, t, mark)
                node = (i + k) % n
                for j in range(lengths[node]):
                    if t < length:
                        y[row, t - 1] = names[node, j]
                        hop[row, t - 1] = k
                    t = _put(x, row, t, names[node, j])


@njit(cache=True, nogil=True)
def _put(x, row, t, token):  # pragma: no cover
    if t < x.shape[1]:
        x[row, t] = token
    return t + 1
