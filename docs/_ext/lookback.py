"""A language model that sees only the last few tokens of a string: what structure adds must show beyond it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

import airtrack as at

BOS = 0


class Lookback:
    """How often each id followed the last k of its string; one more count is shared out as the last k − 1 have it.

    task    one whose strings begin with the id 0, such as lano
    k       ids that are looked at
    tokens  of training data that are counted
    """

    def __init__(self, task: Any, k: int, *, tokens: float, seed: int = 0, rows: int = 64) -> None:
        given = next(at.batches(task, rows, seed=seed))
        self.k, self.vocab = k, int(task.pose(at.Streams(seed) / "task").given.vocab)
        counts = [np.zeros(((self.vocab + 1) ** j, self.vocab)) for j in range(k + 1)]
        for x, y in islice(at.batches(task, rows, seed=seed), int(tokens // given.x.size)):
            for j, table in enumerate(counts):
                code, known = self._last(x, j)
                np.add.at(table, (code[known], y[known]), 1)
        self.table = np.full((1, self.vocab), 1 / self.vocab)
        for table in counts:
            before = np.tile(self.table, (len(table) // len(self.table), 1))
            self.table = (table + before) / (table.sum(1, keepdims=True) + 1)

    def _last(self, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """[n, T] the last k ids of the string at each place as one number, and whether the window shows them all."""
        place = np.arange(x.shape[1])
        start = np.maximum.accumulate(np.where(x == BOS, place, -1), axis=1)  # of the string, −1 if it is cut off
        code = np.zeros_like(x)
        for j in range(k):
            there = np.take(x, np.maximum(place - j, 0), axis=1)
            code += np.where(place - j >= np.maximum(start, 0), there, self.vocab) * (self.vocab + 1) ** j
        return code, (start >= 0) | (place >= k - 1)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        return np.log(self.table[self._last(np.asarray(ids), self.k)[0]])  # [n, T, V]
