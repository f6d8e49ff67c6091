"""Two views: data sets of the same things, whose canonical correlations are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt
from scipy.linalg import solve_triangular

from airtrack.core.answers import array
from airtrack.core.given import Floats, Views
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.spiked import orthonormal

FLOOR = 1e-12  # whitening costs as many digits as the covariances' condition has


@part("task")
class TwoViews:
    """Find the k leading canonical pairs of X [n, p] and Y [n, q].

        X = Z_x C_x    Z_xᵀ Z_x = Z_yᵀ Z_y = n I       C mixes the columns; its condition is √condition
        Y = Z_y C_y    Z_xᵀ Z_y = n diag(ρ)            ρᵢ = strength · i^−decay, exactly, with ridge 0

    n, p, q    rows; columns of either view
    strength   the largest correlation
    condition  of XᵀX/n and of YᵀY/n
    ridge      that the problem adds to both covariances; it lowers the correlations, and the truth is found with it

    The unit of work is a product of X, Xᵀ, Y or Yᵀ with one vector. An answer is [p + q, k], φ above ψ; what counts are
    the spans of the two, and the correlations between them.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = TwoViews(n=50, p=4, q=3, k=2).pose(Streams(0))
    >>> judge.truth["correlations"].round(4), judge(judge.truth["pairs"])
    (array([0.95  , 0.7716]), {'sin2': 1e-16, 'correlation': 1e-12})
    """

    n: Annotated[int, Ge(2)] = 2000
    p: Annotated[int, Ge(1)] = 60
    q: Annotated[int, Ge(1)] = 40
    k: Annotated[int, Ge(1)] = 4
    strength: Annotated[float, Gt(0), Lt(1)] = 0.95
    decay: Annotated[float, Gt(0)] = 0.3
    condition: Annotated[float, Ge(1)] = 100.0
    ridge: Annotated[float, Ge(0)] = 0.0

    unit: ClassVar[str] = "matvecs"
    gives: ClassVar[type] = Views
    metrics: ClassVar[Mapping[str, Metric]] = {
        "sin2": Metric("low", (1e-16, 1.0), "log"),  # mean over both views, in whitened coordinates
        "correlation": Metric("low", (FLOOR, 1.0), "log"),  # max (ρᵢ − found ρᵢ) / ρᵢ
    }
    example: ClassVar[dict[str, Any]] = {"n": 30, "p": 5, "q": 4, "k": 2, "condition": 4.0}

    def check(self) -> None:
        if self.n < self.p + self.q:
            raise ValueError(f"n: {self.n} rows cannot hold {self.p} + {self.q} columns at will; take n ≥ p + q")
        if self.k > min(self.p, self.q):
            raise ValueError(f"k: there are {min(self.p, self.q)} pairs; take k ≤ p and k ≤ q")

    def pose(self, streams: Streams) -> Problem:
        n, p, q, k = self.n, self.p, self.q, self.k
        latent = np.linalg.qr((streams / "latent").rng().standard_normal((n, p + q)))[0] * np.sqrt(n)
        pairs = min(p, q)
        rho = np.zeros(q)
        rho[:pairs] = self.strength * np.arange(1.0, pairs + 1) ** -self.decay
        shared = np.zeros((n, q))
        shared[:, :pairs] = latent[:, :pairs]
        x = latent[:, :p] @ self._mixing(streams / "x", p)
        y = (shared * rho + latent[:, p:] * np.sqrt(1 - rho**2)) @ self._mixing(streams / "y", q)
        given = Views(x, y, k=k, ridge=self.ridge)

        low_x, low_y = (np.linalg.cholesky(a.T @ a / n + self.ridge * np.eye(a.shape[1])) for a in (x, y))
        half = solve_triangular(low_x, x.T @ y / n, lower=True)
        cross = solve_triangular(low_y, half.T, lower=True).T  # [p, q], in whitened coordinates
        u, correlations, vt = np.linalg.svd(cross)
        u, v, correlations = u[:, :k], vt[:k].T, correlations[:k]

        def score(answer: Any) -> dict[str, float]:
            w = array(answer, (p + q, k))
            phi, psi = (orthonormal(low.T @ (part / _size(part))) for low, part in ((low_x, w[:p]), (low_y, w[p:])))
            found = np.zeros(k)
            between = np.linalg.svd(phi.T @ cross @ psi, compute_uv=False)
            found[: len(between)] = between
            missed = ((u - phi @ (phi.T @ u)) ** 2).sum() + ((v - psi @ (psi.T @ v)) ** 2).sum()
            return {
                "sin2": float(missed / (2 * k)),
                "correlation": float(((correlations - found) / correlations).max()),
            }

        truth = np.vstack([solve_triangular(low_x.T, u), solve_triangular(low_y.T, v)])
        return Problem(given, Judge(score, self.metrics, truth={"pairs": truth, "correlations": correlations}))

    def _mixing(self, streams: Streams, size: int) -> Floats:
        rng = streams.rng()
        left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(2))
        return left * np.geomspace(1, self.condition**-0.5, size) @ right


def _size(columns: Floats) -> Floats:
    """The largest entry of each column, 1 for zero columns: divided by it, no square overflows."""
    largest = np.abs(columns).max(0)
    return np.where(largest > 0, largest, 1.0)
