"""Least squares on some of the principal components, by way of ridge regression."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from airtrack.core.given.oracle import Floats, Oracle
from airtrack.core.given.rows import matrix, vector
from airtrack.core.part import SpecError


class Regression(Oracle):
    """Rows A [n, d], targets b [n], and a threshold λ: regress b on the eigenvectors of AᵀA with eigenvalues ≥ λ.

    The unit of work is a ridge call, (AᵀA + λI)⁻¹ v: that is what the theorems count, and how a call is made, and hence
    what it costs in products with A, is a matter of its own. `counts` has the products too, as "matvecs".

    rows       [n, d], dense, a scipy sparse matrix, or an operator with `shape`, `@` and `.T`, taken as it is
    accuracy   a call's residual over ‖v‖, by conjugate gradients; 0: by the inverse, d² numbers, made at the first call

    Raises `SpecError` for shapes that do not fit, numbers that are not finite or not real, and λ ≤ 0.

    >>> given = Regression(np.diag([2.0, 0.5]), np.ones(2), threshold=1.0)
    >>> given.ridge(given.correlation()), given.counts["ridge_calls"]
    (array([0.4, 0.4]), 1)
    """

    def __init__(self, rows: Any, targets: Floats, *, threshold: float, accuracy: float = 0.0) -> None:
        if hasattr(rows, "__array__") or not hasattr(rows, "T"):
            rows = matrix(rows)[0].astype(np.float64, copy=False)
        elif hasattr(rows, "tocsr"):
            rows = matrix(rows.tocsr())[0].astype(np.float64, copy=False)
        self.n, self.d = rows.shape
        if np.iscomplexobj(targets):
            raise SpecError("they are complex, and real numbers are needed; take their real part", "targets")
        if not 0 < threshold < np.inf:
            raise SpecError(f"the threshold is {threshold}; eigenvalues of AᵀA are compared with a positive number")
        self._rows, self._targets = rows, vector("targets", targets, self.n)
        self.threshold, self.accuracy = float(threshold), accuracy

    def correlation(self) -> Floats:
        """Aᵀb [d]; free, but counted."""
        self.counts["matvecs"] += 1
        return np.asarray(self._rows.T @ self._targets)

    def ridge(self, v: Floats) -> Floats:
        """(AᵀA + λI)⁻¹ v [d]; charges one."""
        self._charge(1, ridge_calls=1)
        if self.accuracy > 0:
            return self._iterated(v)
        return self._inverse @ v

    @cached_property
    def _inverse(self) -> Floats:
        gram = self._rows.T @ self._rows
        gram = gram.toarray() if hasattr(gram, "toarray") else gram
        return np.linalg.inv(gram + self.threshold * np.eye(self.d))

    def _iterated(self, v: Floats) -> Floats:
        """By conjugate gradients from zero."""
        x, residual = np.zeros(self.d), v.copy()
        direction, size = residual, float(residual @ residual)
        aim = (self.accuracy**2) * size
        for _ in range(10 * self.d):
            if size <= aim:
                break
            image = self._rows.T @ (self._rows @ direction) + self.threshold * direction
            self.counts["matvecs"] += 2
            step = size / float(direction @ image)
            x, residual = x + step * direction, residual - step * image
            size, before = float(residual @ residual), size
            direction = residual + size / before * direction
        return x
