"""Canonical correlations."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.sparsefuncs import mean_variance_axis
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from airtrack.core.given import Floats, Views
from airtrack.sklearn.centring import centred
from airtrack.sklearn.linear import held, seed_of
from airtrack.solvers.spectral.lazy_cca import canonical


class LazyCCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Pairs of directions along which X and Y correlate most, each pair uncorrelated with the earlier ones.

    n_components  pairs
    ridge         added to the variances, after scaling: 0 needs more samples than columns, none of which may depend on
                  the others
    scale         bring all columns to variance 1
    tol           relative residual of the pairs
    delta         the larger, the fewer steps towards a pair and the more within one
    random_state  None is 0: the same data give the same numbers

    Sparse views are centred within their products with vectors, and never filled up.

    Attributes: x_weights_ [p, k], y_weights_ [q, k] of the centred (and scaled) columns, correlations_ [k], x_mean_,
    y_mean_, x_std_, y_std_, solver_used_, residual_: 0 says that all are canonical pairs, if not the first k (the
    largest ‖A w − ρ B w‖ / ‖B w‖ over the pairs, as `airtrack.core.given.Views` certifies it).

    Source: Allen-Zhu, Li (ICML 2017): `airtrack.solvers.LazyCca`.

    >>> rng = np.random.default_rng(0)
    >>> common, x = rng.standard_normal(500), rng.standard_normal((500, 3))
    >>> x[:, 1] += 2 * common
    >>> found = LazyCCA().fit(x, common[:, None] + 0.1 * rng.standard_normal((500, 2)))
    >>> found.correlations_.round(1).tolist(), abs(found.x_weights_).argmax(0).tolist()
    ([0.9], [1])
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        ridge: float = 1e-4,
        scale: bool = True,
        tol: float = 1e-6,
        delta: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.ridge, self.scale = n_components, ridge, scale
        self.tol, self.delta, self.random_state = tol, delta, random_state

    def fit(self, X: Any, y: Any) -> LazyCCA:
        """X [n, p] and y [n, q] or [n], the same things seen otherwise; dense or sparse."""
        options: dict[str, Any] = {"dtype": np.float64, "multi_output": True, "y_numeric": True}
        X, y = validate_data(self, X, y, accept_sparse="csr", ensure_min_samples=2, **options)
        X, y = held(X), held(_columns(y))
        most = min(*X.shape, y.shape[1])
        if not 1 <= self.n_components <= most:
            shapes = f"n_samples={X.shape[0]}, n_features={X.shape[1]} and {y.shape[1]} targets"
            raise ValueError(f"n_components={self.n_components}, with {shapes}; take 1 … {most}")
        (self.x_mean_, self.x_std_), (self.y_mean_, self.y_std_) = _spread(X, self.scale), _spread(y, self.scale)
        x, z = centred(X, self.x_mean_, spread=self.x_std_), centred(y, self.y_mean_, spread=self.y_std_)
        options = {"ridge": self.ridge, "delta": self.delta, "tolerance": self.tol}
        found = canonical(x, z, self.n_components, seed=seed_of(self.random_state), **options)
        x_weights, y_weights, self.correlations_ = found
        signs = np.sign(x_weights[np.abs(x_weights).argmax(0), np.arange(self.n_components)])
        self.x_weights_, self.y_weights_, self.solver_used_ = x_weights * signs, y_weights * signs, "lazy_cca"
        views = Views(x, z, k=self.n_components, ridge=self.ridge)
        self.residual_ = views.certificate(np.concatenate([x_weights, y_weights]))["residual"]
        return self

    def transform(self, X: Any, y: Any = None) -> Any:
        """Canonical variates [n, k] of X; with y, those of both."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        of_x = centred(X, self.x_mean_, spread=self.x_std_) @ self.x_weights_
        if y is None:
            return of_x
        return of_x, centred(_columns(y), self.y_mean_, spread=self.y_std_) @ self.y_weights_

    @property
    def _n_features_out(self) -> int:
        return self.x_weights_.shape[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


def _columns(y: Any) -> Any:
    rows: Any = "csr"
    y = check_array(y, accept_sparse=rows, dtype="float64", ensure_2d=False, input_name="y")
    return y[:, None] if y.ndim == 1 else y


def _spread(columns: Any, scale: bool) -> tuple[Floats, Floats]:
    """Means and standard deviations [d], these being 1 where a column is constant."""
    if issparse(columns):
        mean, variance = cast(Any, mean_variance_axis(columns, axis=0))
        spread, largest = np.sqrt(variance), np.ravel(abs(columns).max(0).toarray())
    else:
        mean, spread, largest = columns.mean(0), columns.std(0), np.abs(columns).max(0)
    return mean, np.where((spread > 1e-12 * largest) & scale, spread, 1.0)
