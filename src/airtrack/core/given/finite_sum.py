"""Sums of many components."""

from __future__ import annotations

import numpy as np

from airtrack.core.given.oracle import Floats, Oracle


class FiniteSum(Oracle):
    """F(x) = (1/n) Σᵢ φ(⟨aᵢ, x⟩, bᵢ) + (l2/2) ‖x‖², one gradient of a component φ being the unit of work.

    n, d        components, dimensions
    loss        name of φ: "logistic", φ(u, b) = log(1 + exp(−b u)) with b = ±1
    l2          strength of the regulariser, σ
    smoothness  [n] smoothness constants Lᵢ of the components
    """

    def __init__(self, rows: Floats, labels: Floats, *, l2: float, loss: str = "logistic") -> None:
        self._rows, self._labels = rows.view(), labels.view()
        for array in (self._rows, self._labels):  # the judge works with the same numbers
            array.flags.writeable = False
        self.n, self.d = rows.shape
        self.loss, self.l2 = loss, l2
        self.smoothness: Floats = 0.25 * np.einsum("nd,nd->n", rows, rows)  # φ'' ≤ 1/4

    def gradient(self, x: Floats) -> tuple[Floats, Floats]:
        """(1/n) Σ φ'(⟨aᵢ, x⟩) aᵢ [d], without the regulariser, and the scalars φ' [n]; charges n."""
        self._charge(self.n, gradients=self.n, full=1)
        scalars = -self._labels / (
            1 + np.exp(np.clip(self._labels * (self._rows @ x), -500, 500))
        )  # exp(710) overflows
        return self._rows.T @ scalars / self.n, scalars

    def components(self, count: int) -> tuple[Floats, Floats, int]:
        """Rows [n, d] and labels [n], to evaluate component gradients in a compiled loop, and how many are granted.

        Charges for all of them at once: `count`, or what is left of the budget if that is less.
        """
        return self._rows, self._labels, self._grant(count, "gradients")
