"""Compiled random numbers, names of several tokens, and the packing of samples into windows, for every generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

from airtrack.core.given import IGNORE, Ints
from airtrack.core.streams import Streams

State = npt.NDArray[np.uint64]
MOST_NAMES = 10**6  # size of the table that keeps names distinct
ALWAYS: Ints = np.zeros(0, np.int64)  # in place of a law of sizes: every sample has the largest


def state_of(streams: Streams, counter: int) -> State:
    """The state [2] of the compiled generator for draw number `counter`: a position and an odd step.

    >>> bool((state_of(Streams(0), 1) == state_of(Streams(0), 1)).all()), bool(state_of(Streams(0), 1)[1] % 2)
    (True, True)
    """
    state = streams.rng(counter).integers(0, 2**64, 2, np.uint64)
    state[1] |= np.uint64(1)  # each state walks its own sequence, so that no two can ever overlap
    return state


def size_law(largest: int) -> Ints:
    """Cumulative weights [N − 2] of p(n) ∝ 1 / (n + √N) on n = 3 … N, in units of 2⁻³² (PhysicsLM4, Depo and Brevo).

    >>> (size_law(5) / 2**32).round(2).tolist()
    [0.39, 0.72, 1.0]
    """
    weights = np.cumsum(1 / (np.arange(3, largest + 1) + np.sqrt(largest)))
    return (weights / weights[-1] * 2**32).astype(np.int64)


def check_names(letters: int, lengths: tuple[int, int], n: int) -> None:
    """Refuse alphabets and (least, most) lengths that cannot name n things, or whose table of names is too large."""
    least, most = lengths
    if least > most:
        raise ValueError(f"name_length: {least} is more than {most}; give the least, then the most")
    if most * math.log(letters) > math.log(MOST_NAMES):
        fact = f"{letters} tokens make more than {MOST_NAMES:,} names of up to {most} tokens"
        raise ValueError(f"alphabet: {fact}; take fewer or shorter ones")
    names = sum(letters**length for length in range(least, most + 1))
    if names < n:
        raise ValueError(f"alphabet: {letters} tokens make {names} names for n = {n} nodes; take more")


def windows(fill: Callable[[Ints, Ints, Ints], None], count: int, length: int) -> tuple[Ints, Ints, Ints]:
    """x, y and group of `place`, [count, length] each, after `fill(x, y, group)` has written them."""
    x, y, group = np.empty((3, count, length), np.int64)  # one block: freed and taken again without touching new pages
    y.fill(IGNORE)
    group.fill(0)
    fill(x, y, group)
    return x, y, group


def packed(fill: Callable[[Ints, Ints, Ints], None], count: int, length: int, longest: int) -> tuple[Ints, Ints, Ints]:
    """As `windows`, for samples written one after the other: `fill` gets flat arrays, the windows end to end.

    There is room for a sample that begins in the last window; what hangs over the end of a window is overwritten.
    """
    x, y, group = flat = np.empty((3, count * length + longest), np.int64)
    y.fill(IGNORE)
    group.fill(0)
    fill(x, y, group)
    x, y, group = flat[:, : count * length].reshape(3, count, length)
    return x, y, group


@njit(cache=True, nogil=True)
def bits(state):  # pragma: no cover  (compiled)
    """64 random bits: SplitMix64 (Steele, Lea, Flood 2014), the same on every platform."""
    state[0] += state[1]
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def below(state, bound):  # pragma: no cover
    """A random integer of 0 … bound − 1, bound ≤ 2³²; no value is favoured by more than bound / 2³²."""
    return np.int64(((bits(state) >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@njit(cache=True, nogil=True)
def uniform(state):  # pragma: no cover
    """A random float64 in [0, 1), a multiple of 2⁻⁵³."""
    return np.float64(bits(state) >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def shuffle(state, order):  # pragma: no cover
    """Make `order` a random permutation of 0 … len − 1."""
    for i in range(len(order)):
        order[i] = i
    for i in range(len(order) - 1, 0, -1):
        j = below(state, i + 1)
        order[i], order[j] = order[j], order[i]


@njit(cache=True, nogil=True)
def pick(state, order, i):  # pragma: no cover
    """Exchange order[i] with a random one from i on; returns it. Done for i = 0, 1 … this is a random order."""
    j = i + below(state, len(order) - i)
    order[i], order[j] = order[j], order[i]
    return order[i]


@njit(cache=True, nogil=True)
def draw_names(state, names, lengths, count, letters, least, most, seen, stamp):  # pragma: no cover
    """Write `count` distinct names into names [·, most] and their lengths into lengths [·].

    A length is uniform on least … most, a token uniform on 0 … letters − 1, and the last token of a name is moved up
    by `letters` where most > 1. A name is made of one random number: none is favoured by more than 2·10⁷ / 2⁴⁴, as
    `check_names` keeps letters^most ≤ 10⁶ and so most ≤ 20. `seen` [2 · letters^most] holds the stamp of the sample
    that used a name last.
    """
    low = np.uint64(2**44 - 1)  # a number of 44 bits, a fraction of 2⁴⁴: times a base, it is a digit and the rest
    for i in range(count):
        while True:
            rest = (bits(state) >> np.uint64(20)) * np.uint64(most - least + 1)
            lengths[i] = least + np.int64(rest >> np.uint64(44))
            code = 1
            for j in range(most):
                rest = (rest & low) * np.uint64(letters)
                names[i, j] = rest >> np.uint64(44)
                if j < lengths[i]:
                    code = code * letters + names[i, j]
            if seen[code] != stamp:
                break
        seen[code] = stamp
        if most > 1:
            names[i, lengths[i] - 1] += letters


@njit(cache=True, nogil=True)
def put(sample, marks, size, token, mark):  # pragma: no cover
    """Append a token to a sample of this size; returns the new size. Marks are explained at `place`."""
    sample[size], marks[size] = token, mark
    return size + 1


@njit(cache=True, nogil=True, inline="always")  # a call costs more than the few tokens it writes
def put_name(x, t, names, lengths, i):  # pragma: no cover
    """Write name i of `draw_names` at x[t:]; returns the position behind it. What stands there is overwritten."""
    for j in range(names.shape[1]):  # as many for every name: a loop whose end cannot be foretold costs more
        x[t + j] = names[i, j]
    return t + lengths[i]


@njit(cache=True, nogil=True, inline="always")
def predict(x, y, group, begin, end, mark):  # pragma: no cover
    """The tokens x[begin:end] are to be predicted, each from the one before it; scored in group `mark`, if not 0."""
    for j in range(begin, end):
        y[j - 1], group[j - 1] = x[j], mark


@njit(cache=True, nogil=True)
def forget(y, group, begin, end):  # pragma: no cover
    """What positions begin … end − 1 predict does not count."""
    y[begin:end], group[begin:end] = IGNORE, 0


@njit(cache=True, nogil=True)
def draw_size(state, law):  # pragma: no cover
    """A size n with the law of `size_law`."""
    return 3 + np.searchsorted(law, below(state, 2**32), side="right")


@njit(cache=True, nogil=True)
def place(x, y, group, row, t, sample, marks, size):  # pragma: no cover
    """Write a sample at position t of a window, cut where the window ends; returns the position behind it.

    sample  [≥ size] token ids
    marks   [≥ size] 0: the token is not to be predicted; −1: it is, and not scored; k > 0: scored, in group k
    x, y    [n, T] token ids, and the id to predict at each position
    group   [n, T] the mark of the token that a position predicts, where it is scored
    """
    for j in range(min(size, x.shape[1] - t)):
        x[row, t] = sample[j]
        if marks[j] != 0 and t > 0:
            y[row, t - 1] = sample[j]
            if marks[j] > 0:
                group[row, t - 1] = marks[j]
        t += 1
    return t
