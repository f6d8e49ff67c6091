"""Endless samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from airtrack.core.given.oracle import Floats, Oracle
from airtrack.core.meter import Meter, State


class Stream(Oracle):
    """Endless samples in d dimensions, drawn in order. k is the rank that is asked for."""

    def __init__(self, make: Callable[[int], Floats], *, d: int, k: int, block: int) -> None:
        self._make, self.d, self.k, self._block = lru_cache(maxsize=2)(make), d, k, block
        self._position = 0

    def draw(self, count: int) -> Floats:
        """The next samples [≤ count, d]; charges one a sample, and gives fewer at the end of the budget."""
        count = self._grant(count, "samples")
        first, last = self._position // self._block, (self._position + count - 1) // self._block
        samples = np.concatenate([self._make(i) for i in range(first, last + 1)]) if last > first else self._make(first)
        start = self._position - first * self._block
        self._position += count
        return samples[start : start + count]

    def state(self) -> State:
        return {"position": self._position}

    def restore(self, state: State) -> None:
        self._position = state["position"]

    def metered(self, meter: Meter) -> None:
        super().metered(meter)
        meter.track("stream", self)
