"""Completion: a matrix of low rank from weighted entries, all of them or some, whose best fit is known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le
from scipy import sparse

from airtrack.core.answers import array
from airtrack.core.given import Entries, Floats
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams

FLOOR = 1e-16  # readings below it are rounding errors


@part("task")
class Completion:
    """Minimise ½ Σ wᵢⱼ (Xᵢⱼ − yᵢⱼ)² over the observed entries, subject to ‖X‖* ≤ ‖X*‖*, where X* has low rank.

        y   . 3 . 1       w   . 2 . 1       . was not observed
            2 . . 4           5 . . 1       X* = U diag(1 … ½) Vᵀ, U and V uniform among orthonormal columns
            . 1 6 .           . 1 3 .       gap(X) = (f(X) − f*) / (f(0) − f*),   distance(X) = ‖X − X*‖ / ‖X*‖

    rows, columns  of the matrix
    rank      of X*
    kappa     κ, weights are drawn log-uniformly from [1, κ]
    observed  chance that an entry is observed
    tension   λ ≥ 0. Where all entries are observed, y = X* + λ (U Vᵀ + Q) / w, with Q orthogonal to U and V and
              ‖Q‖₂ = ½: then −∇f(X*) = λ (U Vᵀ + Q) is λ times a subgradient of ‖·‖* at X*, so that X* is the one
              optimum and f* = Σ (λ (U Vᵀ + Q))² / 2w is known without solving anything. With 0, y = X* and f* = 0: with
              all entries observed nothing is hidden, and only the way to the optimum is judged

    An answer is X [m, n], or its factors, stacked: [m + n, r]. The judge scales what is outside the ball back into it.
    The unit of work is a product of the gradient with a vector: one pass over the observed entries.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Completion(rows=8, columns=6, rank=2).pose(Streams(0))
    >>> given.observed, judge(np.zeros((8, 6)))["gap"], judge(judge.truth["optimum"])["gap"]
    (48, 1.0, 1e-16)
    """

    rows: Annotated[int, Ge(2)] = 60
    columns: Annotated[int, Ge(2)] = 60
    rank: Annotated[int, Ge(1)] = 4
    kappa: Annotated[float, Ge(1)] = 5.0
    observed: Annotated[float, Gt(0), Le(1)] = 1.0
    tension: Annotated[float, Ge(0)] = 0.0

    unit: ClassVar[str] = "matvecs"
    gives: ClassVar[type] = Entries
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gap": Metric("low", (FLOOR, 1.0), "log"),  # (f(X) − f*) / (f(0) − f*)
        "distance": Metric("low", (FLOOR, 1.0), "log"),  # ‖X − X*‖ / ‖X*‖, Frobenius
    }
    example: ClassVar[dict[str, Any]] = {"rows": 8, "columns": 7, "rank": 2, "tension": 0.05}

    def check(self) -> None:
        if self.rank >= min(self.rows, self.columns):
            raise ValueError(f"rank: {self.rank} is not low for a {self.rows} × {self.columns} matrix")
        if self.tension > 0 and self.observed < 1:
            raise ValueError("tension: the optimum is known only where every entry is observed; take observed: 1")

    def pose(self, streams: Streams) -> Problem:
        left, right = (self._basis(streams / side, size) for side, size in (("u", self.rows), ("v", self.columns)))
        u, v = left[:, : self.rank], right[:, : self.rank]
        sizes = np.linspace(1, 0.5, self.rank)
        best = u * sizes @ v.T  # [m, n]
        weights = self.kappa ** (streams / "weights").rng().random(best.shape)
        force = self.tension * (u @ v.T + self._slack(streams, left[:, self.rank :], right[:, self.rank :]))
        if self.observed < 1:
            mask = (streams / "observed").rng().random(best.shape) < self.observed
            mask.flat[0] |= not mask.any()  # one entry at least
            seen = np.where(mask, weights, 0)
            stored = sparse.csr_matrix(mask, dtype=np.float64)
            at = stored.tocoo().row, stored.tocoo().col
            given = Entries(
                sparse.csr_matrix((best[at], stored.indices, stored.indptr), shape=best.shape),
                sparse.csr_matrix((weights[at], stored.indices, stored.indptr), shape=best.shape),
                radius=sizes.sum(),
            )
        else:
            given, seen = Entries(best + force / weights, weights, radius=sizes.sum()), weights
        scale = _excess(-best, seen, force)

        def score(answer: Any) -> dict[str, float]:
            x = _matrix(answer, best.shape)
            largest = np.abs(x).max()
            norm = np.linalg.svd(x / largest, compute_uv=False).sum() if largest > 0 else 0.0
            x = x * min(1.0, sizes.sum() / norm / largest) if norm > 0 else x
            distance = float(np.linalg.norm(x - best) / np.linalg.norm(best))
            return {"gap": _excess(x - best, seen, force) / scale, "distance": distance}

        return Problem(given, Judge(score, self.metrics, truth={"optimum": best}))

    def _basis(self, streams: Streams, size: int) -> Floats:
        basis, triangle = np.linalg.qr(streams.rng().standard_normal((size, size)))
        return basis * np.sign(np.diag(triangle))

    def _slack(self, streams: Streams, left: Floats, right: Floats) -> Floats:
        core = (streams / "slack").rng().standard_normal((left.shape[1], right.shape[1]))
        return left @ (0.5 * core / np.linalg.norm(core, 2)) @ right.T


def _matrix(answer: Any, shape: tuple[int, int]) -> Floats:
    """X [m, n], from itself or from stacked factors [m + n, r]."""
    m, n = shape
    size = getattr(answer, "shape", ())
    if len(size) != 2 or size[0] != m + n:
        return array(answer, shape)
    factors = array(answer, (m + n, size[1]))
    largest = [np.abs(side).max(initial=0) or 1.0 for side in (factors[:m], factors[m:])]  # 1e300 has a product too
    product = (factors[:m] / largest[0]) @ (factors[m:] / largest[1]).T
    with np.errstate(over="ignore", invalid="ignore"):
        return array(np.clip(product * largest[0] * largest[1], -1e300, 1e300), shape)


def _excess(step: Floats, weights: Floats, force: Floats) -> float:
    """f(X) − f*, X = X* + step: the quadratic part and the linear one, −⟨force, step⟩ ≥ 0 within the ball."""
    return float((weights * step**2).sum() / 2 + max(-(force * step).sum(), 0.0))
