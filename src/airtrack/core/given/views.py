"""Two sets of measurements of the same things."""

from __future__ import annotations

from typing import Any

import numpy as np

from airtrack.core.given.matrix import checked, spanning, width
from airtrack.core.given.oracle import Floats, Oracle
from airtrack.core.part import SpecError


class Views(Oracle):
    """Data X [n, p] and Y [n, q], whose k leading canonical directions are asked for; the unit is a product.

        S_xx = XᵀX/n + ridge · I,   S_yy = YᵀY/n + ridge · I,   S_xy = XᵀY/n
        max φᵀ S_xy ψ   over   φᵀ S_xx φ = ψᵀ S_yy ψ = 1,   each pair S-orthogonal to the earlier ones

    x, y   anything with `shape`, `@` and `.T`, as for `Matrix`; not centred here
    k      pairs of directions
    ridge  added to both covariances; without it these have to be non-singular

    An answer is one array [p + q, k]: φ above ψ. A product with X, Xᵀ, Y or Yᵀ costs one matvec for each vector.

    >>> given = Views(np.eye(2), np.array([[1.0, 0.0], [0.0, 2.0]]), k=1)
    >>> given.forward(np.ones(4)), given.counts["matvecs"]
    ((array([1., 1.]), array([1., 2.])), 2)
    """

    def __init__(self, x: Any, y: Any, *, k: int, ridge: float = 0.0) -> None:
        self._x, self._y = checked(x, "X"), checked(y, "Y")
        self._xt, self._yt = self._x.T, self._y.T
        if x.shape[0] != y.shape[0]:
            raise SpecError(f"X has {x.shape[0]} rows and Y has {y.shape[0]}; give both for the same things")
        self.n, self.p, self.q = int(x.shape[0]), int(x.shape[1]), int(y.shape[1])
        if not 1 <= k <= min(self.p, self.q, self.n):
            most = min(self.p, self.q, self.n)
            raise SpecError(f"views of {self.n} × {self.p} and × {self.q} have no {k} pairs; take 1 … {most}", "k")
        if not 0 <= ridge < np.inf:
            raise SpecError(f"{ridge} would not keep a covariance positive; take a finite number ≥ 0", "ridge")
        if ridge == 0 and self.n < max(self.p, self.q):
            fact = f"{self.n} rows leave the covariance of {max(self.p, self.q)} columns singular"
            raise SpecError(f"{fact}; take a ridge above 0", "ridge")
        self.k, self.ridge = k, float(ridge)

    def forward(self, w: Floats) -> tuple[Floats, Floats]:
        """X φ and Y ψ, [n] each, for w = (φ, ψ) [p + q], or [n, b] for [p + q, b]; charges 2, or 2 b."""
        self._charge(2 * width(w), matvecs=2 * width(w))
        return self._forward(w)

    def backward(self, a: Floats, b: Floats) -> Floats:
        """(Xᵀ a, Yᵀ b) [p + q] for a and b [n], or [p + q, b]; charges 2, or 2 b."""
        self._charge(2 * width(a), matvecs=2 * width(a))
        return self._backward(a, b)

    def _forward(self, w: Floats) -> tuple[Floats, Floats]:
        return np.asarray(self._x @ w[: self.p]), np.asarray(self._y @ w[self.p :])

    def _backward(self, a: Floats, b: Floats) -> Floats:
        return np.concatenate([np.asarray(self._xt @ a), np.asarray(self._yt @ b)])

    def certificate(self, answer: Floats) -> dict[str, float]:
        """The largest ‖A w − ρ B w‖ / ‖B w‖ over the columns w = (φ, ψ), A being (S_xy, S_yx), B (S_xx, S_yy).

        ρ is a column's own quotient wᵀAw / wᵀBw. Zero says: all are canonical pairs, up to the sign of ψ; not that they
        are the first k. Infinite where the φ, or the ψ, span fewer than k dimensions: some pair is there twice, or is
        none. Costs nothing.
        """
        w = np.asarray(answer, np.float64)
        if spanning(w[: self.p]) is None or spanning(w[self.p :]) is None:
            return {"residual": np.inf}
        x, y = self._forward(w)
        covariance = self._backward(x, y) / self.n + self.ridge * w
        crossed = self._backward(y, x) / self.n
        rho = (w * crossed).sum(0) / (w * covariance).sum(0)
        sizes = np.linalg.norm(crossed - rho * covariance, axis=0) / np.linalg.norm(covariance, axis=0)
        return {"residual": float(sizes.max())}
