"""The linear support vector machine as a sum of hinges."""

from __future__ import annotations

from typing import Any

import numpy as np

from airtrack.core.given.oracle import Floats, Ints
from airtrack.core.given.pieces import Pieces
from airtrack.core.given.rows import matrix, squared, vector
from airtrack.core.part import SpecError

TINY = 1e-9  # distance from the margin below which components count as equally near


class Hinges(Pieces):
    """F(x) = (1/n) Σ max(0, 1 − bᵢ⟨aᵢ, x⟩) + (l2/2) ‖x‖².

    The pieces of a component are 0 (margin bᵢ⟨aᵢ, x⟩ ≥ 1, gradient 0) and 1 (gradient −bᵢ aᵢ); its gradient lingers
    within |1 − bᵢ⟨aᵢ, x⟩| / ‖aᵢ‖. Rows are dense [n, d] or a sparse matrix of SciPy.

    >>> given = Hinges(np.eye(2), np.array([1.0, -1.0]), l2=0.1)
    >>> pieces, radii = given.look(np.array([3.0, 0.0]), np.arange(2))
    >>> pieces, radii.round(6), given.slope(pieces, np.arange(2))
    (array([0, 1]), array([2., 1.]), array([0., 1.]))
    """

    def __init__(self, rows: Any, labels: Floats, *, l2: float) -> None:
        if not (np.isfinite(l2) and l2 > 0):
            raise SpecError(f"{l2} makes no strongly convex sum; give a positive number", "l2")
        rows, sparse = matrix(rows.tocsr() if hasattr(rows, "tocsr") else rows)
        rows, b = rows.astype(np.float64, copy=False), signs(labels, rows.shape[0])
        self._signed: Any = rows.multiply(b[:, None]).tocsr() if sparse else rows * b[:, None]
        self._norms: Floats = np.sqrt(np.asarray(squared(rows).sum(1)).ravel())
        if not sparse:
            self._signed.flags.writeable = False
        self.n, self.d = rows.shape
        self.l2, self.linear, self.positive = float(l2), np.zeros(self.d), False
        self.steepest = float(self._norms.max())
        self.reach = min(float(np.sqrt(2 / l2)), self.steepest / l2)  # F(x*) ≤ F(0) = 1; l2 x* is a mean of gradients

    def slope(self, pieces: Ints, which: Ints) -> Floats:
        active = which[pieces == 1]
        return 0 - np.asarray(self._signed[active].sum(0)).ravel()

    def value(self, x: Floats) -> float:
        return float(np.maximum(1 - self._signed @ x, 0).mean() + self.l2 / 2 * (x @ x))

    def certificate(self, answer: Floats) -> dict[str, float]:
        """`gap`, no less than F(x) − F*: a duality gap.

        The dual point has α = 1 within the margin and 0 beyond; the 2d components nearest to it are then changed so
        that the dual point leads to x, the nearer the more, cut to [0, 1], and all is scaled to its best.
        """
        short = 1 - self._signed @ answer  # [n]
        near = np.argsort(np.abs(short), kind="stable")[: 2 * self.d]
        alpha = (short > 0).astype(np.float64)  # [n], feasible between 0 and 1
        missing = self.n * self.l2 * answer - np.asarray(self._signed.T @ alpha).ravel()
        ease = 1 / (np.abs(short[near]) + TINY)
        rows = self._signed[near]
        rows = rows if isinstance(rows, np.ndarray) else rows.toarray()
        change = ease * np.linalg.lstsq(rows.T * ease, missing)[0]
        alpha[near] = np.clip(alpha[near] + change, 0, 1)
        x = np.asarray(self._signed.T @ alpha).ravel() / (self.n * self.l2)
        bend = self.l2 * float(x @ x)
        share = min(alpha.mean() / bend, 1 / alpha.max(), 1e300) if bend > 0 else 1.0
        return {"gap": float(self.value(answer) - share * alpha.mean() + share**2 * bend / 2)}

    def _look(self, x: Floats, which: Ints) -> tuple[Ints, Floats]:
        rows = self._signed if len(which) == self.n else self._signed[which]
        short = 1 - (rows @ x if len(which) < self.n else (rows @ x)[which])
        norms = self._norms[which]
        radii = np.divide(np.abs(short), norms, out=np.full(len(which), np.inf), where=norms > 0)
        return (short > 0).astype(np.int64), radii


def signs(labels: Any, n: int) -> Floats:
    """b [n]; raises `SpecError` for labels that are not −1 and +1, or one of them alone."""
    told = "labels are −1 and +1, both of them"
    if np.iscomplexobj(labels):
        raise SpecError(f"they are complex numbers; {told}", "labels")
    b = vector("labels", labels, n)
    if not np.isin(b, (-1, 1)).all() or np.ptp(b) == 0:
        raise SpecError(f"they hold {np.unique(b)[:3]}; {told}", "labels")
    return b
