"""How well a subspace stands for the leading right singular vectors of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from airtrack.core.answers import array
from airtrack.core.given import Floats
from airtrack.core.problem import Judge, Metric
from airtrack.tasks.spiked import orthonormal

FLOOR = 1e-13  # relative errors of eigenvalues below it are rounding errors, of the judge too
DENSE = 500  # columns up to which a dense solver is the quicker way to one eigenvalue

METRICS: Mapping[str, Metric] = {
    "sin2": Metric("low", (1e-16, 1.0), "log"),  # ‖(I − QQᵀ)V‖²_F / k
    "eigenvalue": Metric("low", (FLOOR, 1.0), "log"),  # max (λᵢ − θᵢ) / λᵢ, θ the Ritz values of the span
    "excess": Metric("low", (FLOOR, 1e6), "log"),  # ‖A(I − QQᵀ)‖₂ / σ_{k+1} − 1
}


def judge(gram: Floats, eigenvalues: Floats, vectors: Floats) -> Judge:
    """Scores any [d, k] by the span of its columns.

    gram         AᵀA [d, d]
    eigenvalues  the k + 1 largest, descending
    vectors      [d, k], those of the first k
    """
    d, k = vectors.shape

    def score(answer: Any) -> dict[str, float]:
        basis = orthonormal(array(answer, (d, k)))
        ritz = np.zeros(k)  # columns that add nothing find nothing
        ritz[: basis.shape[1]] = np.linalg.eigvalsh(basis.T @ gram @ basis)[::-1]
        missed = vectors - basis @ (basis.T @ vectors)
        return {
            "sin2": float((missed**2).sum() / k),
            "eigenvalue": float(((eigenvalues[:k] - ritz) / eigenvalues[:k]).max()),
            "excess": float(np.sqrt(max(_outside(gram, basis), 0.0) / eigenvalues[k])) - 1,
        }

    return Judge(score, METRICS, truth={"subspace": vectors, "eigenvalues": eigenvalues})


def _outside(gram: Floats, basis: Floats) -> float:
    """The largest eigenvalue of (I − QQᵀ) AᵀA (I − QQᵀ), to rounding error."""
    d = len(gram)
    if d <= DENSE:
        half = gram - basis @ (basis.T @ gram)
        return float(np.linalg.eigvalsh(half - (half @ basis) @ basis.T)[-1])

    start = np.cos(np.arange(d) ** 2)  # any vector that no one would answer with
    return float(eigsh(_Outside(gram, basis), 1, v0=start, ncv=40, return_eigenvectors=False)[0])


class _Outside(LinearOperator):
    """(I − QQᵀ) AᵀA (I − QQᵀ)."""

    def __init__(self, gram: Floats, basis: Floats) -> None:
        super().__init__(np.dtype(np.float64), gram.shape)
        self._gram, self._basis = gram, basis

    def _matvec(self, x: Floats) -> Floats:
        x = x - self._basis @ (self._basis.T @ x)
        x = self._gram @ x
        return x - self._basis @ (self._basis.T @ x)
