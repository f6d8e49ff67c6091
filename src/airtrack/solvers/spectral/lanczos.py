"""Lanczos: the leading eigenvector from a Krylov space, and what chance alone leaves of a bound on the eigenvalue."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log, sqrt

import numpy as np
from scipy.linalg import eigh_tridiagonal

from airtrack.core.given import Floats


def lanczos(
    product: Callable[[Floats], Floats], start: Floats, steps: int, tolerance: float = 0.0
) -> tuple[Floats, float]:
    """The leading Ritz vector [d] and value of symmetric M ≥ 0 after `steps` products x → M x, or fewer.

    Stops when the residual ‖M w − θ w‖ is at most `tolerance` θ, or the Krylov space is exhausted. All its vectors are
    kept and orthogonalised against, twice.

    >>> w, value = lanczos(lambda x: np.array([3.0, 2.0, 1.0]) * x, np.ones(3), 3)
    >>> round(value, 12), abs(w).round(6).tolist()
    (3.0, [1.0, 0.0, 0.0])
    """
    basis = (start / np.linalg.norm(start))[:, None]  # [d, steps so far]
    diagonal: list[float] = []
    off: list[float] = []
    while True:
        v = product(basis[:, -1])
        diagonal.append(float(basis[:, -1] @ v))
        for _ in range(2):
            v = v - basis @ (basis.T @ v)
        off.append(float(np.linalg.norm(v)))
        values, vectors = eigh_tridiagonal(diagonal, off[:-1])
        largest, last = float(values[-1]), abs(float(vectors[-1, -1]))
        exhausted = off[-1] <= 1e-14 * max(largest, 1e-300) or len(off) == len(start)
        if exhausted or len(off) >= steps or off[-1] * last <= tolerance * largest:
            w = basis @ vectors[:, -1]
            return w / np.linalg.norm(w), largest
        basis = np.column_stack([basis, v / off[-1]])


def steps_for(d: int, delta: float, p: float) -> int:
    """Steps from a random start after which the Ritz value is below (1 − δ) λ₁ with probability p at most.

    Source: Kuczyński, Woźniakowski (SIAM J. Matrix Anal. Appl. 1992), Theorem 4.2: 1.648 √d exp(−√δ (2q − 1)).

    >>> steps_for(3000, 1 / 3, 0.1), steps_for(3000, 0.01, 0.1)
    (7, 35)
    """
    return ceil((log(1.648 * sqrt(d) / p) / sqrt(delta) + 1) / 2)
