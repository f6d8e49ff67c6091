"""Lasso and elastic net."""

from __future__ import annotations

from typing import Any

from airtrack.core.penalties import L1
from airtrack.sklearn.linear import Regressor


class AirtrackLasso(Regressor):
    """Minimises Σ sᵢ (yᵢ − ⟨xᵢ, w⟩ − b)² / (2 Σ sᵢ) + alpha (l1_ratio ‖w‖₁ + (1 − l1_ratio)/2 ‖w‖²).

    That is scikit-learn's `Lasso` with l1_ratio = 1, its `ElasticNet` below; sᵢ is `sample_weight`.

    alpha, l1_ratio  strength of the regulariser, and how much of it is ‖w‖₁
    others           as of `AirtrackRidge`

    Attributes: coef_ [d], intercept_, n_iter_ (passes), dual_gap_ (what is proved, in the objective's units),
    solver_used_.

    >>> import numpy as np
    >>> AirtrackLasso(alpha=1.0, fit_intercept=False).fit(np.eye(2), [4.0, 1.0]).coef_.round(2).tolist()
    [2.0, 0.0]
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        l1_ratio: float = 1.0,
        fit_intercept: bool = True,
        solver: Any = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.alpha, self.l1_ratio, self.fit_intercept, self.solver, self.tol = (
            alpha, l1_ratio, fit_intercept, solver, tol
        )  # fmt: skip
        self.max_iter, self.warm_start, self.random_state = max_iter, warm_start, random_state

    def _law(self, n: int, share: float) -> tuple[float, Any, float]:
        if not (self.alpha >= 0 and 0 <= self.l1_ratio <= 1):
            fact = f"alpha is {self.alpha} and l1_ratio is {self.l1_ratio}"
            raise ValueError(f"{fact}; take alpha at least 0, l1_ratio within [0, 1]")
        strength = self.alpha * share
        return strength * (1 - self.l1_ratio), L1(float(strength * self.l1_ratio)), 1 / share
