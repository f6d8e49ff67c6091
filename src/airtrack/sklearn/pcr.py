"""Regression on principal components, none of which is computed."""

from __future__ import annotations

from math import ceil, inf, log
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from airtrack.core.given import Floats, Regression
from airtrack.core.meter import Meter
from airtrack.core.streams import Streams
from airtrack.sklearn.centring import centred, means
from airtrack.sklearn.linear import Linear, held, seed_of
from airtrack.solvers.spectral.lanczos import lanczos
from airtrack.solvers.spectral.quick_pcr import QuickPcr, degree_within, margin, matrix_sign, sign_series

INVERTED = 2000  # columns up to which the ridge systems are solved by an inverse, d² numbers


class PrincipalComponentRegression(RegressorMixin, Linear):
    """Least squares on the principal components whose variance is at least `threshold` times the largest.

    With A the centred columns, w = Σ_{λⱼ ≥ λ} vⱼ vⱼᵀ Aᵀy / λⱼ, λⱼ and vⱼ of AᵀA. It takes ridge regressions alone, some
    2/gap · log(1/tol) of them; an eigenvalue between λ (1 − gap) and λ (1 + gap) is kept in part. Sparse rows are
    centred within their products with vectors, and never filled up.

    threshold      λ over the largest λⱼ
    gap            where no eigenvalue is expected
    tol            error of the projection and of the regression, relative
    fit_intercept  whether columns and targets are centred
    random_state   of the search for the largest λⱼ; None is 0

    Attributes: coef_ [d], intercept_, n_iter_ (ridge regressions), threshold_ (λ/n: a variance), solver_used_,
    residual_: ‖coef_ − w‖ is at most that, give or take `tol` of it. It takes nearly as many ridge regressions again to
    know, and is large where an eigenvalue was kept in part.

    Source: Allen-Zhu, Li (ICML 2017): `airtrack.solvers.QuickPcr`.

    >>> x = np.random.default_rng(0).standard_normal((200, 3)) * [3.0, 2.0, 0.1]
    >>> abs(PrincipalComponentRegression(threshold=0.05).fit(x, x.sum(1)).coef_.round(1)).tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(
        self,
        threshold: float = 0.01,
        *,
        gap: float = 0.1,
        tol: float = 1e-6,
        fit_intercept: bool = True,
        random_state: Any = None,
    ) -> None:
        self.threshold, self.gap, self.tol = threshold, gap, tol
        self.fit_intercept, self.random_state = fit_intercept, random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> PrincipalComponentRegression:
        """X [n, d], dense or sparse; y [n]; sample_weight [n]: a row of weight 2 is the row twice."""
        if not (0 < self.threshold < 1 and 0 < self.gap < 1 and 0 < self.tol < 1):
            raise ValueError(f"threshold, gap, tol: {self.threshold}, {self.gap}, {self.tol}; take each within (0, 1)")
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, y_numeric=True)
        X, weights = held(X), self._weights(sample_weight, len(y))
        mean, offset = np.zeros(X.shape[1]), 0.0
        if self.fit_intercept:
            mean, offset = means(X, weights), float(np.average(y, weights=weights))
        root = None if weights is None else np.sqrt(weights)
        rows, targets = centred(X, mean, root=root), y - offset if root is None else (y - offset) * root
        start = (Streams(seed_of(self.random_state)) / "start").rng().standard_normal(X.shape[1])
        largest = lanczos(lambda v: rows.T @ (rows @ v), start, X.shape[1], 1e-12)[1]
        self.coef_, self.n_iter_, self.residual_ = np.zeros(X.shape[1]), 1, 0.0
        if largest > 0:
            accuracy = 0.0 if X.shape[1] <= INVERTED else self.tol / 100
            given = Regression(rows, targets, threshold=self.threshold * largest, accuracy=accuracy)
            decay, digits = 2 * margin(self.gap), log(1 / self.tol)
            self.n_iter_ = ceil(digits / decay * (2 + decay / log(2))) + 2  # the inverse of `degree_within`
            meter = Meter(self.n_iter_)
            given.metered(meter)
            self.coef_ = QuickPcr(gap=self.gap).answer(given, meter, Streams(0))
            given.metered(Meter(inf))
            self.residual_ = self._off(given, rows.T @ (targets - rows @ self.coef_))
        total = len(y) if weights is None else float(weights.sum())
        self.threshold_ = self.threshold * largest / total
        self.intercept_, self.solver_used_ = offset - float(mean @ self.coef_), "quick_pcr"
        return self

    def _off(self, given: Regression, left: Floats) -> float:
        """A bound on ‖coef_ − w‖, `left` being Aᵀ(y − A coef_) and P the projection onto what is kept.

        (I − P) coef_ should be 0, and so should P left, which is P AᵀA (w − coef_): at least λ ‖P (w − coef_)‖. Their
        signs are such that the two add up, not cancel, where P halves an eigenvector.
        """
        alpha, tested = margin(self.gap), self.coef_ - left / given.threshold
        series = sign_series(degree_within(self.n_iter_, 2 * alpha), alpha)
        signed = matrix_sign(lambda v: v - 2 * given.threshold * given.ridge(v), tested, series, alpha)
        return float(np.linalg.norm(self.coef_ - (tested + signed) / 2))

    def predict(self, X: Any) -> Floats:
        """X coef + intercept [n]."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        return X @ self.coef_ + self.intercept_
