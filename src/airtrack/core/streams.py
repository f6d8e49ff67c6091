"""Randomness that is asked for by name, so that no two uses ever share a state."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import numpy as np


class Streams(NamedTuple):
    """A name for a source of random numbers: a seed and a path below it.

    The numbers depend on (seed, path, counter) alone: not on what was drawn before, nor on any global generator.
    Two arms of a study that share a seed share everything under `streams / "task"`.

    >>> streams = Streams(0) / "task" / "train"
    >>> bool((streams.rng(7).random(3) == streams.rng(7).random(3)).all())
    True
    >>> bool((streams.rng(7).random(3) == streams.rng(8).random(3)).any())
    False
    """

    seed: int
    path: tuple[str, ...] = ()

    def __truediv__(self, name: str) -> Streams:
        return Streams(self.seed, (*self.path, name))

    def _digest(self, size: int) -> int:
        name = "\0".join((str(self.seed), *self.path)).encode()
        return int.from_bytes(blake2b(name, digest_size=size).digest(), "little")

    def rng(self, counter: int = 0) -> np.random.Generator:
        """A fresh generator, `counter` · 2⁶⁴ blocks into the stream: `rng(i)` makes batch i without making 0 … i−1."""
        return np.random.Generator(np.random.Philox(key=self._digest(16), counter=counter << 64))

    def integer(self) -> int:
        """A 63-bit integer, to seed a generator of another library."""
        return self._digest(8) >> 1
