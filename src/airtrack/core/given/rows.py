"""Rows of data as finite sums hold them: checked, read-only, and never copied where a view will do."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from airtrack.core.given.blocks import Blocks
from airtrack.core.given.oracle import Floats
from airtrack.core.part import SpecError

FEW = 1 << 12  # entries of vectors that are worked on at a time: 32 KiB, a first-level cache


class Sparse(NamedTuple):
    """Compressed sparse rows, as compiled loops take them."""

    data: Floats  # [nnz]
    columns: Any  # [nnz] uint32 or uint64
    starts: Any  # [n + 1]


def matrix(rows: Any) -> tuple[Any, bool]:
    """Read-only rows, and whether they are sparse; raises `SpecError` for what is no finite matrix."""
    if isinstance(rows, Blocks):
        if 0 in rows.shape:
            raise SpecError(_no_matrix(rows.shape))
        return rows, False
    if np.ma.isMaskedArray(rows):
        raise SpecError("rows are a masked array, and a sum knows no missing entries; fill them in: rows.filled(0)")
    sparse = hasattr(rows, "tocsr")
    if not sparse:
        rows = np.ascontiguousarray(rows)
    elif rows.format != "csr":
        raise SpecError(f"sparse rows are in the format {rows.format!r}; convert them: rows.tocsr()")
    if len(rows.shape) != 2 or 0 in rows.shape:
        raise SpecError(_no_matrix(rows.shape))
    if rows.dtype not in (np.float32, np.float64):
        if rows.dtype.kind not in "biuf":
            raise SpecError(f"rows hold {rows.dtype}, and real numbers are needed; convert them: rows.astype(float)")
        rows = rows.astype(np.float64)
    held = rows.data if sparse else rows
    with np.errstate(all="ignore"):
        total = held.sum()  # it is quick, and finite sums are the rule
    if not np.isfinite(total) and not np.isfinite(held).all():
        bad = np.flatnonzero(~np.isfinite(held))[0]
        where = np.searchsorted(rows.indptr, bad, "right") - 1 if sparse else bad // rows.shape[1]
        raise SpecError(_not_finite(where, held.flat[bad]))
    if sparse:
        _refuse_overflow(rows)
        if not rows.has_canonical_format:  # an entry in two parts would spoil the length of its row
            rows = rows.copy()
            rows.sum_duplicates()
        rows = type(rows)((rows.data.view(), rows.indices, rows.indptr), shape=rows.shape, copy=False)
        rows.data.flags.writeable = False
    else:
        rows = rows.view()
        rows.flags.writeable = False
    return rows, sparse


def _no_matrix(shape: Any) -> str:
    return f"rows have the shape {tuple(shape)}; a matrix [n, d] with n, d > 0 is needed"


def _not_finite(where: Any, number: Any) -> str:
    return f"row {where} is not finite: it holds {number}; drop the row, or fill it in"


def refuse_nonfinite(rows: Any, start: int) -> None:
    """Of rows that are not in memory, as they are met."""
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        raise SpecError(_not_finite(start + bad[0, 0], rows[tuple(bad[0])]))


def _refuse_overflow(rows: Any) -> None:
    """Indices of 32 bits wrap around above 2³¹ entries; scipy leaves that to whoever builds the arrays."""
    starts, columns = rows.indptr, rows.indices
    if starts[0] != 0 or starts[-1] != len(rows.data) or (np.diff(starts) < 0).any():
        fact = f"the row starts run from {starts[0]} to {starts[-1]} for {len(rows.data)} entries"
        raise SpecError(f"{fact}: 32-bit indices have overflowed; build indptr and indices with int64")
    if len(columns) and (columns.min() < 0 or columns.max() >= rows.shape[1]):
        fact = f"column {columns.min() if columns.min() < 0 else columns.max()} is outside 0 … {rows.shape[1] - 1}"
        raise SpecError(f"{fact}: 32-bit indices may have overflowed; build indptr and indices with int64")


def vector(name: str, values: Any, n: int) -> Floats:
    try:
        vector = np.asarray(values, np.float64).view()
    except (ValueError, TypeError):
        raise SpecError(f"{name} are no numbers: {np.ravel(values)[0]!r}; number the classes, or convert") from None
    if vector.shape != (n,):
        raise SpecError(f"{name} have the shape {vector.shape}, and there are {n} rows; one for every row is needed")
    if not np.isfinite(vector).all():
        raise SpecError(
            f"{name}[{np.flatnonzero(~np.isfinite(vector))[0]}] is not finite; drop that row, or fill it in"
        )
    vector.flags.writeable = False
    return vector


def refuse_labels(loss: Any, labels: Floats) -> None:
    allowed, (low, high) = getattr(loss, "labels", None), getattr(loss, "between", (-np.inf, np.inf))
    outside = np.flatnonzero((labels < low) | (labels > high))
    if len(outside):
        fact = f"labels[{outside[0]}] is {labels[outside[0]]:g}"
        raise SpecError(
            f"{fact}; {type(loss).__name__.lower()} takes numbers from {low:g} to {high:g}; rescale the rows"
        )
    if allowed is None:
        return
    wrong = np.flatnonzero(~np.isin(labels, allowed))
    if len(wrong):
        shown = " and ".join(f"{b:g}" for b in allowed) if len(allowed) == 2 else f"{allowed[0]} … {allowed[-1]}"
        fact = f"labels[{wrong[0]}] is {labels[wrong[0]]:g}"
        raise SpecError(f"{fact}; {type(loss).__name__.lower()} takes {shown}; number the classes so")


def refuse_one_class(loss: Any, labels: Floats) -> None:
    """Where nothing holds x back, a class without rows sends it to infinity."""
    allowed = getattr(loss, "labels", None)
    missing = [] if allowed is None or loss.bounds[0] < 0 else sorted(set(allowed) - set(np.unique(labels)))
    if missing and np.isfinite(loss.bounds[1]):
        fact = f"no row is labelled {missing[0]:g}, so that {type(loss).__name__.lower()} without l2 has no minimum"
        raise SpecError(f"{fact}; give rows of every class, or l2 above 0")


def part(rows: Any, where: slice) -> Any:
    """Some rows of a sparse matrix, whose entries are not copied."""
    first, last = rows.indptr[where.start], rows.indptr[where.stop]
    starts = rows.indptr[where.start : where.stop + 1] - first
    shape = (where.stop - where.start, rows.shape[1])
    return _made(type(rows), shape, rows.data[first:last], rows.indices[first:last], starts)


def turn(rows: Any) -> Any:
    """rowsᵀ, of which nothing is copied."""
    if not hasattr(rows, "indptr"):
        return rows.T
    return _made(_kind_of_columns(type(rows)), rows.shape[::-1], rows.data, rows.indices, rows.indptr)


@cache
def _kind_of_columns(kind: Any) -> Any:
    """SciPy's class of sparse columns that goes with one of sparse rows; the core does not import SciPy."""
    return type(kind((1, 1)).T)


def _made(kind: Any, shape: tuple[int, int], data: Any, indices: Any, starts: Any) -> Any:
    """A sparse matrix of these arrays, which SciPy would copy if they are parts of larger ones, and check each time."""
    matrix = kind(shape, dtype=data.dtype)
    matrix.data, matrix.indices, matrix.indptr = data, indices, starts
    return matrix


def squares(rows: Any) -> Floats:
    """‖aᵢ‖² of some rows."""
    if not hasattr(rows, "indptr"):
        return np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    return squared(rows) @ np.ones(rows.shape[1])


def squared(rows: Any) -> Any:
    """The entries' squares, in float64 if they are sparse."""
    if not hasattr(rows, "indptr"):
        return rows * rows
    entries = np.square(rows.data, dtype=np.float64)
    return _made(type(rows), rows.shape, entries, rows.indices, rows.indptr)


def pieces(n: int) -> Iterator[slice]:
    """Of vectors of n numbers: what is worked out of a piece takes little room, and stays near the processor."""
    for start in range(0, n, FEW):
        yield slice(start, min(start + FEW, n))


def dot(v: Floats, x: Floats) -> float:
    """⟨v, x⟩, summed in pairs, without an array of all products."""
    return float(sum((v[few] * x[few]).sum() for few in pieces(len(v))))


def add(total: Floats, factor: Any, v: Floats) -> None:
    """total += factor · v, without a third array as large; the factor is a number, or one for every v."""
    for few in pieces(len(v)):
        total[few] += (factor if np.size(factor) == 1 else factor[few]) * v[few]
