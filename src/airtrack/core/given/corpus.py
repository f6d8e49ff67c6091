"""Endless sequences of token ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from airtrack.core.given.oracle import Bools, Ints, Oracle
from airtrack.core.part import SpecError, nearest

IGNORE = -100  # label of a position without loss; the value that torch's cross-entropy ignores


class Batch(NamedTuple):
    x: Ints  # [n, T] token ids
    y: Ints  # [n, T] the id to predict at each position, IGNORE where there is no loss


class Corpus(Oracle):
    """Endless sequences of token ids.

    make    (i, n) → Batch of n sequences: a function of its arguments alone
    vocab   number of ids
    length  T, tokens a sequence
    start   the id that begins a document; None: every sequence is one
    treat   fields → `make` of other training data about the same problem, for tasks that have `treatments`
    words   ids [n, T] → bool [n, T], the tokens that begin a word; None: every token is a word
    """

    def __init__(
        self,
        make: Callable[[int, int], Batch],
        *,
        vocab: int,
        length: int,
        start: int | None = None,
        treat: Callable[[Mapping[str, Any]], Callable[[int, int], Batch]] | None = None,
        words: Callable[[Ints], Bools] | None = None,
    ) -> None:
        self._make, self.vocab, self.length, self.start, self._treat = make, vocab, length, start, treat
        self._words = words

    def treated(self, fields: Mapping[str, Any]) -> Corpus:
        """Other training data about the same problem, on the same meter: fields of the task, of its `treatments`."""
        if self._treat is None:
            raise SpecError(f"these data come in one form only; leave out {', '.join(fields)}", "data")
        kept = {"vocab": self.vocab, "length": self.length, "start": self.start, "words": self._words}
        other = Corpus(self._treat(fields), treat=self._treat, **kept)
        other._meter = self._meter
        return other

    def words(self, ids: Ints) -> Bools:
        """Which tokens of ids [n, T] begin a word [n, T]; all of them where tokens are words. Costs nothing."""
        return np.ones(ids.shape, np.bool_) if self._words is None else self._words(ids)

    def batch(self, i: int, n: int) -> Batch:
        """Batch number i, n sequences; charges n · T tokens."""
        self._charge(n * self.length, tokens=n * self.length)
        return self._make(i, n)


def treated(task: Any, fields: Mapping[str, Any]) -> Any:
    """The task with other training data: some of its fields, which must be among its `treatments`, take other values.

    Treatments change what a learner is shown and nothing that the judge asks, so that a study may compare them.
    """
    there: tuple[str, ...] = getattr(task, "treatments", ())
    for name in fields:
        if name not in there:
            fact = f"{type(task).__name__} cannot be shown with another {name!r}"
            raise SpecError(f"{fact}{nearest(name, there)}", "data")
    try:
        return dataclasses.replace(task, **fields)
    except SpecError as error:
        raise error.below("data") from None
