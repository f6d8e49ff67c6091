"""Linear support vector machines."""

from __future__ import annotations

from typing import Any

import numpy as np

from airtrack.core.losses import SmoothedHinge
from airtrack.sklearn.linear import Classifier


class AirtrackLinearSVC(Classifier):
    """Minimises C Σ sᵢ φ(yᵢ (⟨xᵢ, w⟩ + b)) + ‖w‖²/2 (+ b²/2), yᵢ = ±1: each class against the rest, if there are more.

    It is the objective of scikit-learn's `LinearSVC`, in which b is the coefficient of a column of ones and regularised
    with the others, so that the hinge has a dual with one number a row; sᵢ is `sample_weight` times the class's weight.

    C               inverse strength of the regulariser
    loss            "squared_hinge", max(0, 1 − u)²; "hinge", max(0, 1 − u); "smoothed_hinge", the hinge rounded off
                    over a stretch of `width` below 1, which is within width/2 of it
    width           of "smoothed_hinge"
    regularise_intercept  False: b is free of it; "hinge" then takes thousands of passes
    others          as of `AirtrackLogisticRegression`

    Attributes: coef_ [1 or classes, d], intercept_ [1 or classes], classes_, solver_used_; for each problem that was
    solved, n_iter_ (passes) and dual_gap_ (what is proved, in the objective's units).

    >>> import numpy as np
    >>> found = AirtrackLinearSVC(loss="hinge").fit(np.array([[0.0], [1.0], [3.0], [4.0]]), ["a", "a", "b", "b"])
    >>> found.predict(np.array([[0.4], [3.2]])).tolist(), found.solver_used_
    (['a', 'b'], 'sdca')
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        loss: str = "squared_hinge",
        width: float = 0.1,
        regularise_intercept: bool = True,
        fit_intercept: bool = True,
        class_weight: Any = None,
        solver: Any = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.C, self.loss, self.width, self.regularise_intercept = C, loss, width, regularise_intercept
        self.fit_intercept, self.class_weight, self.solver, self.tol = fit_intercept, class_weight, solver, tol
        self.max_iter, self.warm_start, self.random_state = max_iter, warm_start, random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AirtrackLinearSVC:
        """X [n, d], dense or sparse; y [n] any labels; sample_weight [n]: a row of weight 2 is the row twice."""
        if not self.C > 0:
            raise ValueError(f"C is {self.C}; it is the inverse of a strength, above 0")
        if self.loss not in ("hinge", "squared_hinge", "smoothed_hinge"):
            raise ValueError(f"loss is {self.loss!r}; give 'squared_hinge', 'hinge' or 'smoothed_hinge'")
        X, codes, weights = self._check(X, y, sample_weight)
        twice = 2.0 if self.loss == "squared_hinge" else 1.0  # the sum has half the square
        unit = 1 / (twice * self.C * len(codes))
        law = {"l2": unit, "penalty": None, "weights": weights}
        sides = [codes == c for c in range(len(self.classes_))]
        signs = [np.where(side, 1.0, -1.0) for side in (sides[1:] if len(sides) == 2 else sides)]
        loss = SmoothedHinge(float(self.width)) if self.loss == "smoothed_hinge" else self.loss
        self._fit(X, signs, loss, law, unit, free=not self.regularise_intercept)
        return self
