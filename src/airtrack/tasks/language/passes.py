"""Streams of documents in which every person is seen once a pass, packed into windows, at any place at once."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from airtrack.core.given import Batch, Ints
from airtrack.core.streams import Streams
from airtrack.tasks.language.draw import shuffle, state_of


def check_people(task: Any) -> None:
    """Refuse more people, junk people or people to judge than there are, for tasks that have such fields."""
    if task.people > task.most_people:
        raise ValueError(f"people: {task.most_people:,} full names are no names for {task.people:,}; take fewer")
    if task.junk_people is not None and not task.junk:
        raise ValueError(f"junk_people: there is no junk for {task.junk_people} people; set its share, junk")
    if task.junk and task.people + (task.junk_people or 1) > task.most_people:
        raise ValueError(f"junk_people: {task.most_people:,} names are too few for junk too; take fewer people")
    if task.evaluation is not None and task.evaluation > task.people:
        raise ValueError(f"evaluation: {task.evaluation} of {task.people} people; take at most all of them")


class Documents(Protocol):
    """A text about person k for his or her e-th exposure."""

    def lengths(self, people: Ints, exposures: Ints) -> Ints: ...

    def write(self, out: npt.NDArray[np.int32], starts: Ints, people: Ints, exposures: Ints) -> None: ...


class Layout(NamedTuple):
    """One pass: who is written about, in the order of the stream."""

    people: Ints  # [D]
    exposures: Ints  # [D]
    starts: Ints  # [D + 1] of the documents, counted from the start of the pass; the last is the length of the pass


class Passes:
    """The endless stream of tokens of pass 0, pass 1, …; each is all documents in an order drawn for this pass.

    documents    what is written about a person
    people       N; pass e holds exposure e of person 0 … N − 1, once each
    junk         share of documents about junk people, strewn among them uniformly
    junk_people  number of junk people, N, N + 1, …, each exposed in turn
    streams      the order of the documents

    Documents are shuffled before they are packed: texts about one person in one window would teach nothing (the
    replication in arXiv 2309.14316's setting that did so extracts 7 % in place of 97 %).

    Any token is found without rendering those before it. What a pass needs is computed when it is first asked for; the
    lengths of passes are kept, so memory is O(N + passes).
    """

    def __init__(
        self, documents: Documents, people: int, streams: Streams, *, junk: Fraction = Fraction(0), junk_people: int = 1
    ) -> None:
        self._documents, self._people, self._streams = documents, people, streams
        self._rate, self._junk_people = junk / (1 - junk) * people, junk_people
        self._ends = [0]  # tokens before pass 0, 1, …
        self.layout = lru_cache(maxsize=2)(self._layout)

    @classmethod
    def of(cls, task: Any, documents: Documents, streams: Streams) -> Passes:
        """The stream of a task that has people and junk."""
        share, others = Fraction(task.junk).limit_denominator(10**6), task.junk_people or task.most_people - task.people
        return cls(documents, task.people, streams, junk=share, junk_people=others)

    def _layout(self, e: int) -> Layout:
        """Pass number e. (`layout` keeps the latest two.)"""
        junk = np.arange(int(self._rate * e), int(self._rate * (e + 1)))
        people = np.concatenate((np.arange(self._people), self._people + junk % self._junk_people))
        exposures = np.concatenate((np.full(self._people, e), junk // self._junk_people))
        order = np.empty(len(people), np.int64)
        shuffle(state_of(self._streams, e), order)
        people, exposures = people[order], exposures[order]
        lengths = self._documents.lengths(people, exposures)
        return Layout(people, exposures, np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths))))

    def start(self, e: int) -> int:
        """Tokens before pass number e."""
        while len(self._ends) <= e:
            self._ends.append(self._ends[-1] + int(self.layout(len(self._ends) - 1).starts[-1]))
        return self._ends[e]

    def tokens(self, start: int, count: int) -> npt.NDArray[np.int32]:
        """Tokens [count] of the stream from position `start`."""
        out, done = np.empty(count, np.int32), 0
        while self._ends[-1] <= start:
            self.start(len(self._ends))
        e = bisect_right(self._ends, start) - 1
        while done < count:
            layout, here = self.layout(e), start + done - self.start(e)
            size = min(count - done, int(layout.starts[-1]) - here)
            first, last = np.searchsorted(layout.starts, (here, here + size - 1), side="right")
            which = slice(first - 1, last)
            places = layout.starts[which] - here
            self._documents.write(out[done : done + size], places, layout.people[which], layout.exposures[which])
            done, e = done + size, e + 1
        return out

    def batch(self, i: int, n: int, length: int) -> Batch:
        """Windows [n, length] number i · n … i · n + n − 1, and the token after each of theirs."""
        stream = self.tokens(i * n * length, n * length + 1).astype(np.int64)
        return Batch(stream[:-1].reshape(n, length), stream[1:].reshape(n, length))
