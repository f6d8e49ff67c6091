"""Logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from airtrack.core.given import Floats
from airtrack.core.losses import Softmax
from airtrack.core.penalties import L1
from airtrack.sklearn.linear import Classifier


class AirtrackLogisticRegression(Classifier):
    """Minimises C Σ sᵢ log(1 + exp(−yᵢ (⟨xᵢ, w⟩ + b))) + l1_ratio ‖w‖₁ + (1 − l1_ratio)/2 ‖w‖², yᵢ = ±1.

    It is the objective of scikit-learn's `LogisticRegression`; sᵢ is `sample_weight` times the class's weight. Of more
    than two classes, the cross-entropy of softmax(W xᵢ + b) takes the place of the logarithm.

    C              inverse strength of the regulariser
    l1_ratio       0: ridge; 1: lasso; in between: elastic net
    multi_class    of more than two classes: "multinomial", or "ovr", each against the rest
    fit_intercept  whether there is b, which is not regularised
    class_weight   {class: weight}; "balanced": inversely to the classes' total weights; None: 1
    solver         "auto", or a name, {"name": …, field: …} or part that `airtrack.solvers.solve` takes
    tol            stops when it is proved that the objective is within tol · (its fall from w = 0) of the least; where
                   nothing can be proved (a class without weight), at a small gradient
    max_iter       passes over the data at most; None: 1000, more for small data
    warm_start     begin at the last `coef_`
    random_state   None is 0: the same data give the same numbers

    Attributes: coef_ [1 or classes, d], intercept_ [1 or classes], classes_, solver_used_; for each problem that was
    solved, n_iter_ (passes) and dual_gap_ (what is proved, in the objective's units).

    >>> import numpy as np
    >>> found = AirtrackLogisticRegression().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])
    >>> found.predict(np.array([[0.4], [2.2]])).tolist(), bool(found.dual_gap_ < 1e-5)
    ([0, 1], True)
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        l1_ratio: float = 0.0,
        multi_class: str = "multinomial",
        fit_intercept: bool = True,
        class_weight: Any = None,
        solver: Any = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.C, self.l1_ratio, self.multi_class, self.fit_intercept = C, l1_ratio, multi_class, fit_intercept
        self.class_weight, self.solver, self.tol, self.max_iter = class_weight, solver, tol, max_iter
        self.warm_start, self.random_state = warm_start, random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AirtrackLogisticRegression:
        """X [n, d], dense or sparse; y [n] any labels; sample_weight [n]: a row of weight 2 is the row twice."""
        if not (self.C > 0 and 0 <= self.l1_ratio <= 1):
            raise ValueError(f"C is {self.C} and l1_ratio is {self.l1_ratio}; take C above 0, l1_ratio within [0, 1]")
        if self.multi_class not in ("multinomial", "ovr"):
            raise ValueError(f"multi_class is {self.multi_class!r}; give 'multinomial' or 'ovr'")
        X, codes, weights = self._check(X, y, sample_weight)
        unit = 1 / (self.C * len(codes))
        penalty = L1(float(self.l1_ratio * unit)) if self.l1_ratio > 0 else None
        law = {"l2": (1 - self.l1_ratio) * unit, "penalty": penalty, "weights": weights}
        classes = len(self.classes_)
        if classes > 2 and self.multi_class == "multinomial":
            self._fit(X, [codes], Softmax(classes), law, unit)
        else:
            sides = [codes == 1] if classes == 2 else [codes == c for c in range(classes)]
            self._fit(X, [np.where(side, 1.0, -1.0) for side in sides], "logistic", law, unit)
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities [n, classes]."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.stack([expit(-scores), expit(scores)], 1)
        if self.multi_class == "multinomial":
            return Softmax(scores.shape[1]).chances(scores)
        each = expit(scores)
        return each / each.sum(1, keepdims=True)

    def predict_log_proba(self, X: Any) -> Floats:
        """Their logarithms."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))
