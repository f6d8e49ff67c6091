"""Endless samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from airtrack.core.given.oracle import Floats, Oracle
from airtrack.core.meter import Meter, State
from airtrack.core.part import SpecError


class Stream(Oracle):
    """Endless samples in d dimensions, drawn in order. k is the rank that is asked for.

    make   the number of a block → its samples [block, d]; `SpecError` names a row that is not finite
    """

    def __init__(self, make: Callable[[int], Floats], *, d: int, k: int, block: int) -> None:
        def made(number: int) -> Floats:
            samples = make(number)
            if (row := infinite_row(samples)) is not None:
                fact = f"row {number * block + row} of the stream, the first being 0, holds NaN or infinity"
                raise SpecError(f"{fact}; leave it out, or fill it in")
            return samples

        self._make, self.d, self.k, self._block = lru_cache(maxsize=2)(made), d, k, block
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


def samples_of(array: Any, d: int) -> Floats:
    """`array` as samples [n, d] in float64; raises `SpecError` for another shape."""
    samples = np.asarray(array, np.float64)
    if samples.ndim != 2 or samples.shape[1] != d:
        raise SpecError(f"samples have the shape {samples.shape}; give [n, {d}], one sample as [1, {d}]")
    return samples


def infinite_row(samples: Floats) -> int | None:
    """The first of samples [n, d] that holds NaN or infinity."""
    finite = np.isfinite(samples)
    return None if finite.all() else int(np.argmin(finite.all(1)))


def refuse_infinite(samples: Floats) -> None:
    """Raises `SpecError` where a sample is not finite: for who has met a result that is not, and asks whose fault."""
    if (row := infinite_row(samples)) is not None:
        raise SpecError(f"samples[{row}] holds NaN or infinity; leave such rows out, or fill them in")
