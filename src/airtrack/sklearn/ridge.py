"""Ridge regression."""

from __future__ import annotations

from typing import Any

from airtrack.sklearn.linear import Regressor


class AirtrackRidge(Regressor):
    """Minimises Σ sᵢ (yᵢ − ⟨xᵢ, w⟩ − b)² + alpha ‖w‖², as scikit-learn's `Ridge` does; sᵢ is `sample_weight`.

    alpha          strength of the regulariser
    fit_intercept  whether there is b, which is not regularised
    solver         "auto", or a name, {"name": …, field: …} or part that `airtrack.solvers.solve` takes
    tol            stops when it is proved that the objective is within tol · (its fall from w = 0) of the least
    max_iter       passes over the data at most; None: 1000, more for small data
    warm_start     begin at the last `coef_`
    random_state   None is 0: the same data give the same numbers

    Attributes: coef_ [d], intercept_, n_iter_ (passes), dual_gap_ (what is proved, in the objective's units),
    solver_used_.

    >>> import numpy as np
    >>> AirtrackRidge(alpha=1.0, fit_intercept=False).fit(np.eye(2), [2.0, 4.0]).coef_.round(6).tolist()
    [1.0, 2.0]
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        solver: Any = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.alpha, self.fit_intercept, self.solver, self.tol = alpha, fit_intercept, solver, tol
        self.max_iter, self.warm_start, self.random_state = max_iter, warm_start, random_state

    def _law(self, n: int, share: float) -> tuple[float, Any, float]:
        if not self.alpha >= 0:
            raise ValueError(f"alpha is {self.alpha}; the strength of a regulariser is at least 0")
        return self.alpha / n, None, 2 * n
