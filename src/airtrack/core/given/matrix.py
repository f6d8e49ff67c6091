"""Matrices that are known by their products."""

from __future__ import annotations

from typing import Any

import numpy as np

from airtrack.core.given.oracle import Floats, Oracle
from airtrack.core.part import SpecError

SMALL = 1e-140  # its square is a float64, with room for sums


class Matrix(Oracle):
    """A matrix A [n, d] whose k leading right singular vectors are asked for, one product being the unit of work.

    array  anything with `shape`, `@` and `.T`: a dense array, a sparse one of SciPy, an operator
    k      the rank that is asked for

    A product with b vectors at once costs b matvecs, whether it is A or Aᵀ that takes part. Raises `SpecError` for what
    is no matrix of finite real numbers, and for a k that it cannot have.

    >>> given = Matrix(np.diag([3.0, 2.0, 1.0]), k=1)
    >>> given.gram(np.ones(3)), given.counts["matvecs"]
    (array([9., 4., 1.]), 2)
    >>> given.certificate(np.array([[1.0], [0.0], [0.0]]))
    {'residual': 0.0}
    """

    def __init__(self, array: Any, *, k: int) -> None:
        self._array = checked(array, "the matrix")
        self._transpose = self._array.T
        self.shape: tuple[int, int] = (int(array.shape[0]), int(array.shape[1]))
        self.n, self.d = self.shape
        if not 1 <= k <= min(self.shape):
            raise SpecError(
                f"a matrix of {self.n} × {self.d} has no {k} singular vectors; take 1 … {min(self.shape)}", "k"
            )
        entries = _entries(array)
        if entries is not None and not SMALL < (largest := float(np.abs(entries).max(initial=0))) < 1 / SMALL:
            raise SpecError(f"the largest entry is {largest:g}, and AᵀA would not fit float64; rescale the matrix")
        self.k = k
        self._seen: tuple[Floats, float] | None = None  # the last answer that was certified, and its residual

    def apply(self, x: Floats) -> Floats:
        """A x [n] for x [d], or [n, b] for [d, b]; charges one, or b."""
        self._charge(width(x), matvecs=width(x))
        return np.asarray(self._array @ x)

    def adjoint(self, y: Floats) -> Floats:
        """Aᵀ y [d] for y [n], or [d, b] for [n, b]; charges one, or b."""
        self._charge(width(y), matvecs=width(y))
        return np.asarray(self._transpose @ y)

    def gram(self, x: Floats) -> Floats:
        """AᵀA x [d] for x [d], or [d, b]; charges two, or 2 b."""
        return self.adjoint(self.apply(x))

    def certificate(self, answer: Floats) -> dict[str, float]:
        """How far the span of answer [d, k] is from being invariant: ‖(I − QQᵀ) AᵀA Q‖₂ over the largest Ritz value.

        Within `residual` · θ₁ of each Ritz value θᵢ lies an eigenvalue of AᵀA, k of them in all. That they are the k
        largest is not proved by it. Infinite for an answer that spans fewer than k dimensions, or that A maps to zero,
        unless A is zero. Costs nothing.
        """
        if self._seen is None or not np.array_equal(self._seen[0], answer):
            self._seen = np.array(answer), self._residual(np.asarray(answer, np.float64))
        return {"residual": self._seen[1]}

    def _residual(self, answer: Floats) -> float:
        basis = spanning(answer)
        if basis is None:
            return np.inf
        image = np.asarray(self._array @ basis)  # [n, k]
        moved = np.asarray(self._transpose @ image)
        outside = np.linalg.norm(moved - basis @ (basis.T @ moved), 2)
        largest = np.linalg.norm(image.T @ image, 2)
        if largest > 0:
            return float(outside / largest)
        probe = np.random.default_rng(0).standard_normal((self.d, 1))  # an operator may be zero; A · probe tells
        return np.inf if np.asarray(self._array @ probe).any() else 0.0


def width(x: Floats) -> int:
    """Vectors in x: one in [d], b in [d, b]."""
    return 1 if x.ndim == 1 else x.shape[1]


def spanning(x: Floats) -> Floats | None:
    """Orthonormal [d, k] with the span of x [d, k]; None where columns are not finite, or span fewer dimensions."""
    largest = np.abs(x).max(0)
    if not ((largest > 0) & (largest < np.inf)).all():
        return None
    basis, r = np.linalg.qr(x / largest)
    rounding = len(x) * np.finfo(float).eps * np.linalg.norm(r)
    return basis if np.linalg.matrix_rank(r, rounding) == x.shape[1] else None


def checked(array: Any, what: str) -> Any:
    """`array`, read-only if it is a dense one; refuses what is no matrix of finite real numbers."""
    shape = getattr(array, "shape", ())
    if len(shape) != 2 or min(shape) < 1:
        raise SpecError(f"{what} has the shape {tuple(shape)}; give [n, d] with n, d ≥ 1")
    entries = _entries(array)
    if entries is not None:
        if entries.dtype.kind not in "fiu":
            raise SpecError(f"{what} holds {entries.dtype}, no real numbers; convert it to float64")
        if not np.isfinite(entries).all():
            raise SpecError(f"{what} holds NaN or infinity; leave those rows out, or fill them in")
    if isinstance(array, np.ndarray):
        array = array.view()
        array.flags.writeable = False  # the judge works with the same numbers
    return array


def _entries(array: Any) -> np.ndarray[Any, Any] | None:
    """The entries of a dense array, those that are held of a sparse one, None of what shows none."""
    entries = array if isinstance(array, np.ndarray) else getattr(array, "data", None)
    return entries if isinstance(entries, np.ndarray) else None
