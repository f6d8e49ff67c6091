"""Gradients that are looked at again only once they may have changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from airtrack.core.given import Floats, Ints, Pieces

ROUNDING = 1 + 1e-13  # more than what a norm in up to a hundred thousand dimensions loses


class Lingering:
    """Σ ∇fᵢ at a point that moves, at the price of the components that have expired.

    The gradient of a component that was looked at when the path was s long, with radius δ, is the same until the path
    is s + δ long: a path is never shorter than the way back. A heap holds the components by the length at which they
    expire, so that a step costs what it refreshes and log n for each.

    lingers  False: every component is looked at in every step, which changes no iterate
    """

    def __init__(self, given: Pieces, saved: dict[str, Any] | None = None, *, lingers: bool = True) -> None:
        self._given, self._lingers = given, lingers
        self.pieces: Ints = saved["pieces"].copy() if saved else np.full(given.n, -1)  # −1: never looked at
        self.expiry: Floats = saved["expiry"].copy() if saved else np.full(given.n, -np.inf)  # length of path
        self.total: Floats = saved["total"].copy() if saved else np.zeros(given.d)  # Σ over components looked at
        self.path: float = saved["path"] if saved else 0.0
        self._heap: Ints = np.argsort(self.expiry, kind="stable")  # [n], a sorted array is a heap

    def due(self) -> Ints:
        """Components [c] whose gradients may have changed since they were looked at, in ascending order."""
        if not self._lingers:
            return np.flatnonzero(self.expiry < np.inf)
        self._places = _expired(self._heap, self.expiry, self.path)
        return np.sort(self._heap[self._places])

    def gradient(self, x: Floats, due: Ints) -> Floats:
        """Σ ∇fᵢ(x) [d], after a look at the components that are due; charges for them, one at least."""
        pieces, radii = self._given.look(x, due)
        before = self.pieces[due]
        moved = np.flatnonzero(pieces != before)
        known = moved[before[moved] >= 0]
        self.total = self.total + self._given.slope(pieces[moved], due[moved])
        self.total = self.total - self._given.slope(before[known], due[known])
        self.pieces[due], self.expiry[due] = pieces, np.nextafter(self.path + radii, -np.inf)
        if self._lingers:
            _settle(self._heap, self.expiry, self._places)
        return self.total

    def admit(self, which: Ints) -> None:
        """Add components [c] to the sum, to be looked at next. Before the first call, set all of `expiry` to ∞."""
        self.expiry[which] = -np.inf
        self._heap = np.argsort(self.expiry, kind="stable")

    def nearest(self, count: int, members: int) -> tuple[Ints, float]:
        """The `count` components that expire first, and the radius around the point within which no other does."""
        if count >= members or not self._lingers:
            return np.flatnonzero(self.expiry < np.inf), np.inf
        order = np.argpartition(self.expiry, count)
        return np.sort(order[:count]), float(self.expiry[order[count]] - self.path)

    def travel(self, length: float) -> None:
        """The point has moved by `length`; rounded up, so that nothing expires too late."""
        self.path = float(np.nextafter(self.path + length * ROUNDING, np.inf))

    def state(self) -> dict[str, Any]:
        return {"pieces": self.pieces, "expiry": self.expiry, "total": self.total, "path": self.path}


@njit(cache=True, nogil=True)
def _expired(heap, keys, path):  # pragma: no cover  (compiled)
    """Places [c] in the heap whose keys are ≤ path, ascending: the top of the heap, without what lies below others."""
    n = len(heap)
    found = np.empty(n, np.int64)
    count, done = 0, 0
    if n and keys[heap[0]] <= path:
        found[0] = 0
        count = 1
    while done < count:  # in the order of levels
        for child in (2 * found[done] + 1, 2 * found[done] + 2):
            if child < n and keys[heap[child]] <= path:
                found[count] = child
                count += 1
        done += 1
    return found[:count].copy()


@njit(cache=True, nogil=True)
def _settle(heap, keys, places):  # pragma: no cover  (compiled)
    """Make it a heap again after the keys at `places`, ascending and closed under parents, have grown."""
    n = len(heap)
    for k in range(len(places) - 1, -1, -1):
        place, item = places[k], heap[places[k]]
        while True:
            child = 2 * place + 1
            if child >= n:
                break
            if child + 1 < n and keys[heap[child + 1]] < keys[heap[child]]:
                child += 1
            if keys[heap[child]] >= keys[item]:
                break
            heap[place] = heap[child]
            place = child
        heap[place] = item
