"""Matrices too large for memory, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from airtrack.core.given.oracle import Floats, Ints
from airtrack.core.part import SpecError


class Blocks:
    """A matrix [n, d] of which one block of rows is in memory at a time: mapped from a file, or made on request.

    make    number → rows [≤ block, d]: a function of its argument alone
    shape   (n, d)
    block   rows a block; the last may be shorter

    `blocks @ x` and `blocks.T @ s` go through all of it once; `take` gathers single rows.

    >>> halves = Blocks(lambda i: np.full((2, 3), float(i)), (4, 3), 2)
    >>> (halves @ np.ones(3)).tolist(), (halves.T @ np.ones(4)).tolist(), halves.take(np.array([3, 0]))[:, 0].tolist()
    ([0.0, 0.0, 3.0, 3.0], [2.0, 2.0, 2.0], [1.0, 0.0])
    """

    def __init__(self, make: Callable[[int], Floats], shape: tuple[int, int], block: int) -> None:
        self._make, self.shape, self.block = make, shape, block

    @classmethod
    def open(cls, file: str | Path, room: int = 1 << 26) -> Blocks:
        """The two-dimensional array of an `.npy` file, mapped `room` bytes at a time: less address space is enough."""
        size = Path(file).stat().st_size
        with Path(file).open("rb") as stream:
            try:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, kind = read(stream)
            except ValueError as error:
                raise SpecError(f"{file} is no .npy file: {error}; write it by numpy.save") from None
            offset = stream.tell()
        if len(shape) != 2 or fortran or kind not in (np.float32, np.float64):
            fact = f"{file} holds an array of shape {shape} and type {kind}{', column by column' if fortran else ''}"
            raise SpecError(f"{fact}; save a matrix of float32 or float64 row by row: numpy.ascontiguousarray")
        needed = offset + shape[0] * shape[1] * kind.itemsize
        if size < needed:
            fact = f"{file} is {size} bytes long, and its header asks for {needed}"
            raise SpecError(f"{fact}: it is truncated; write it again")
        whole = np.lib.format.open_memmap(file, "r") if size <= room else None
        width = shape[1] * kind.itemsize
        block = max(1, room // max(width, 1))

        def window(i: int) -> Any:
            if whole is not None:
                return whole
            rows = min(block, shape[0] - i * block)
            return np.memmap(file, kind, "r", offset + i * block * width, (rows, shape[1]))

        return cls(window, shape, block)

    def __iter__(self) -> Iterator[tuple[slice, Floats]]:
        for i in range(-(-self.shape[0] // self.block)):
            rows = self._make(i)
            where = slice(i * self.block, i * self.block + len(rows))
            yield where, rows
            del rows  # before the next one is made

    def __matmul__(self, x: Floats) -> Floats:
        out = np.empty((self.shape[0], *x.shape[1:]))
        for where, rows in self:
            out[where] = rows @ x
        return out

    @property
    def T(self) -> _Transposed:
        return _Transposed(self)

    def take(self, ids: Ints) -> Floats:
        """Rows `ids` [m] → [m, d], each block touched once."""
        out: Any = None
        order = np.argsort(ids, kind="stable")
        numbers, starts = np.unique(ids[order] // self.block, return_index=True)
        for number, which in zip(numbers, np.split(order, starts[1:])):
            rows = self._make(int(number))
            out = np.empty((len(ids), self.shape[1]), rows.dtype) if out is None else out
            out[which] = rows[ids[which] - number * self.block]
        return np.empty((0, self.shape[1])) if out is None else out


class _Transposed:
    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    def __matmul__(self, s: Floats) -> Floats:
        total = np.zeros((self._blocks.shape[1], *s.shape[1:]))
        for where, rows in self._blocks:
            total += rows.T @ s[where]
        return total
