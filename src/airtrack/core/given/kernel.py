"""Labelled points that are compared by a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from airtrack.core.given.hinges import signs
from airtrack.core.given.oracle import Floats, Ints, Oracle
from airtrack.core.given.rows import matrix, squares
from airtrack.core.part import SpecError, nearest

KERNELS = ("rbf", "linear", "polynomial")
CELLS = 1 << 22  # kernel values that are held at a time when all of them are needed: 32 MB


class Kernel(Oracle):
    """F(w) = (1/n) Σ max(0, 1 − bᵢ⟨w, φ(aᵢ)⟩) + (l2/2) ‖w‖², w = Σ αᵢ bᵢ φ(aᵢ), where ⟨φ(a), φ(a')⟩ = K(a, a').

    rbf         exp(−γ ‖a − a'‖²)
    linear      ⟨a, a'⟩
    polynomial  (γ ⟨a, a'⟩ + 1)^degree

    The unit of work is a row: the kernel of one point against the others, or against some of them. The n × n matrix is
    never made: rows come as blocks on request, and each request is a round, which is what a machine among many pays
    for. An answer is α [n].

    n, d    points, dimensions
    labels  b [n], −1 or +1
    l2      strength of the regulariser, λ
    gamma   γ; None: 1/d

    >>> given = Kernel(np.array([[0.0], [1.0]]), np.array([-1.0, 1.0]), kernel="rbf", gamma=1.0, l2=0.1)
    >>> given.rows(np.array([0]), np.array([0, 1])).round(4), given.counts["rows"], given.counts["rounds"]
    (array([[1.    , 0.3679]]), 1, 1)
    >>> given.decide(np.array([1.0, 1.0]), np.array([[0.0], [2.0]])).round(4)
    array([-0.6321,  0.3496])
    """

    def __init__(
        self,
        points: Any,
        labels: Floats,
        *,
        l2: float,
        kernel: Literal["rbf", "linear", "polynomial"] = "rbf",
        gamma: float | None = None,
        degree: int = 3,
    ) -> None:
        if kernel not in KERNELS:
            raise SpecError(f"{kernel!r} is no kernel{nearest(str(kernel), KERNELS)}", "kernel")
        if not (np.isfinite(l2) and l2 > 0):
            raise SpecError(f"{l2} makes no strongly convex sum; give a positive number", "l2")
        if gamma is not None and not (np.isfinite(gamma) and gamma > 0):
            raise SpecError(f"{gamma} is no width; give a positive number, or None for 1/d", "gamma")
        points = _held(points).copy()
        self.labels = signs(labels, points.shape[0]).copy()
        self.labels.flags.writeable = False
        self._points: Any = points
        self.n, self.d = points.shape
        self.l2, self.kernel, self.gamma, self.degree = float(l2), kernel, float(gamma or 1 / self.d), degree
        self._squares = squares(points)

    def zero(self) -> Floats:
        """w = 0, as an answer."""
        return np.zeros(self.n)

    def rows(self, which: Ints, against: Ints) -> Floats:
        """K between the points `which` [r] and `against` [s], an array [r, s]; charges r and counts one round."""
        self._charge(len(which), rows=len(which), rounds=1, values=len(which) * len(against))
        return self._compare(self._points[which], self._squares[which], against)

    def diagonal(self, which: Ints) -> Floats:
        """K(a, a) of the points `which` [r]; costs nothing."""
        squares = self._squares[which]
        if self.kernel == "rbf":
            return np.ones(len(which))
        return squares if self.kernel == "linear" else (self.gamma * squares + 1) ** self.degree

    def decide(self, answer: Floats, points: Any) -> Floats:
        """⟨w, φ(a)⟩ for new points [m, d]: its sign is the class. Costs nothing: no learner needs it to learn."""
        points, support = _held(points), np.flatnonzero(answer)
        weights, sizes = (answer * self.labels)[support], squares(points)
        scores = np.zeros(len(sizes))
        for part in self._parts(len(sizes), len(support)):
            scores[part] = self._compare(points[part], sizes[part], support) @ weights
        return scores

    def value(self, answer: Floats) -> float:
        """F at α; costs nothing."""
        scores = self.labels * self.decide(answer, self._points)
        return float(np.maximum(1 - scores, 0).mean() + self.l2 / 2 * (answer @ scores))

    def certificate(self, answer: Floats) -> dict[str, float]:
        """`gap`, no less than F(w) − F*: a duality gap, from all n² kernel values, a few rows at a time.

        A dual point needs 0 ≤ αᵢ ≤ 1/(n l2). α is cut to that, and scaled to its best.
        """
        most = 1 / (self.n * self.l2)
        dual = np.clip(answer, 0, most)
        norm = float(dual @ (self.labels * self.decide(dual, self._points)))  # ‖w(dual)‖²
        share = 1.0
        if norm > 0:
            share = min(float(dual.sum()) / norm, most / float(dual.max()))
        value = self.l2 * (share * float(dual.sum()) - share**2 * norm / 2)
        return {"gap": self.value(answer) - value}

    def _parts(self, count: int, width: int) -> Iterator[slice]:
        size = max(1, CELLS // max(width, 1))
        return (slice(start, start + size) for start in range(0, count, size))

    def _compare(self, points: Any, squares: Floats, against: Ints) -> Floats:
        product = points @ self._points[against].T
        product = product if isinstance(product, np.ndarray) else product.toarray()
        if self.kernel == "linear":
            return product
        if self.kernel == "polynomial":
            return (self.gamma * product + 1) ** self.degree
        distance = np.maximum(squares[:, None] + self._squares[against] - 2 * product, 0)
        return np.exp(-self.gamma * distance)


def _held(points: Any) -> Any:
    return matrix(points.tocsr() if hasattr(points, "tocsr") else points)[0].astype(np.float64, copy=False)
