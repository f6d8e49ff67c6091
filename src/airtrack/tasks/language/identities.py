"""Documents of bioD: names and random strings, written a person at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from airtrack.core.given import Ints
from airtrack.core.streams import Streams
from airtrack.tasks.language.biography import PEOPLE, draw_name, seek
from airtrack.tasks.language.draw import below, shuffle, state_of

NAME, FIRST, LATER = 1, 2, 3  # marks: tokens of the name, of the first chunk of a value, of its other chunks
FIXED = ("<eos>", "'s", "ID", "is", ",", ".", "Their", "<domain>")  # ids 0 … 7, then attributes, letters, names
OWNER, ID, IS, COMMA, STOP, THEIR, DOMAIN = range(1, 8)


def distinct(rng: np.random.Generator, count: int, length: int, alphabet: int) -> Ints:
    """Distinct strings [count, length] over 0 … alphabet − 1, uniform without replacement.

    >>> len(np.unique(distinct(np.random.default_rng(0), 8, 3, 2), axis=0))
    8
    """
    if alphabet**length <= 4 * count:  # as numbers in base `alphabet`
        numbers = rng.permutation(alphabet**length)[:count]
        return numbers[:, None] // alphabet ** np.arange(length) % alphabet
    found = np.zeros((0, length), np.int64)
    while len(found) < count:
        more = np.concatenate((found, rng.integers(0, alphabet, (count, length))))
        _, first = np.unique(more, axis=0, return_index=True)
        found = more[np.sort(first)]  # in the order they were drawn: uniform
    return found[:count]


def document_size(attributes: int, chunks: int, length: int) -> int:
    """Tokens of a document: EOS, the name, and of each attribute "'s ID 7 is …." or "Their ID 7 is …."."""
    return 4 + attributes * (4 + chunks * (length + 1))


class Identities:
    """Documents about people, by number; a function of (seed, person, exposure).

    sets    [K, D, L] the strings of each attribute
    chunks  C, of a value
    names   [3] how many first, middle and last names there are
    marked  people whose documents begin with the domain token: 0 … marked − 1
    """

    def __init__(
        self, sets: npt.NDArray[np.int32], chunks: int, names: Ints, alphabet: int, marked: int, streams: Streams
    ) -> None:
        letters = len(FIXED) + len(sets)  # the first of their ids
        bases = np.cumsum([letters + alphabet, *names[:2]])  # of first, middle and last names
        keys = np.stack([state_of(streams / name, 0) for name in ("names", "values", "order")])
        self._fixed, self._marked = (sets + np.int32(letters), chunks, names, bases, keys, marked), marked
        self._size = document_size(sets.shape[0], chunks, sets.shape[2])

    def lengths(self, people: Ints, exposures: Ints) -> Ints:
        """Tokens [D] of each document."""
        return self._size + (people < self._marked)

    def write(self, out: npt.NDArray[np.int32], starts: Ints, people: Ints, exposures: Ints) -> None:
        """Write documents [D] into out [m], each from its place in starts [D]; what lies outside of out is cut off."""
        _write(out, np.empty(0, np.int32), starts, people, exposures, self._size, *self._fixed)

    def rows(self, people: Ints, exposures: Ints) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Documents of one length in rows [D, T], and the mark [D, T] of every token."""
        lengths = self.lengths(people, exposures)
        out, marks = np.empty(lengths.sum(), np.int32), np.empty(lengths.sum(), np.int32)
        _write(out, marks, np.cumsum(lengths) - lengths, people, exposures, self._size, *self._fixed)
        return out.reshape(len(people), -1), marks.reshape(len(people), -1)


@njit(cache=True, nogil=True)
def _write(out, told, starts, people, exposures, size, sets, chunks, names, bases, keys, marked):  # pragma: no cover
    ids, marks = np.zeros(size + 1, np.int32), np.zeros(size + 1, np.int32)
    state, who, order = np.empty(2, np.uint64), np.empty(3, np.int64), np.empty(len(sets), np.int64)
    for i in range(len(people)):
        draw_name(who, state, keys[0], people[i], names)
        seek(state, keys[2], (people[i] + PEOPLE * exposures[i]) * len(sets))
        shuffle(state, order)
        t = 1
        if people[i] < marked:
            ids[t], marks[t], t = DOMAIN, 0, t + 1
        for j in range(3):
            ids[t], marks[t], t = bases[j] + who[j], NAME, t + 1
        for place in range(len(sets)):
            k = order[place]
            if place > 0:
                ids[t], marks[t] = THEIR, 0
            else:
                ids[t], marks[t] = OWNER, 0
            ids[t + 1], ids[t + 2], ids[t + 3] = ID, DOMAIN + 1 + k, IS
            marks[t + 1], marks[t + 2], marks[t + 3] = 0, 0, 0
            t += 4
            seek(state, keys[1], (people[i] * len(sets) + k) * chunks)
            for chunk in range(chunks):
                value = below(state, sets.shape[1])
                for j in range(sets.shape[2]):
                    ids[t], marks[t] = sets[k, value, j], FIRST if chunk == 0 else LATER
                    t += 1
                ids[t], marks[t] = COMMA if chunk < chunks - 1 else STOP, 0
                t += 1
        start = starts[i]
        for j in range(max(0, -start), min(t, len(out) - start)):
            out[start + j] = ids[j]
            if len(told) > 0:
                told[start + j] = marks[j]
