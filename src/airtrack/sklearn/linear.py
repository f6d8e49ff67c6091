"""What the linear estimators share: rows with an intercept, weights, one solve, the warning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import ceil
from typing import Any, cast

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from airtrack.core.given import FiniteSum, Floats
from airtrack.sklearn.centring import means
from airtrack.solvers.solution import Solution, attempt

SMALL = 1 << 22  # entries, 32 MiB


def with_ones(X: Any) -> Any:
    """Sparse rows [n, d] and a column of ones, [n, d + 1]."""
    n, d = X.shape
    starts, ends = with_one_more(X.indptr)
    return csr_matrix((np.insert(X.data, ends, 1), np.insert(X.indices, ends, d), starts), shape=(n, d + 1))


def with_one_more(starts: Any) -> tuple[Any, Any]:
    """Row starts [n + 1] when each row ends in one entry more, and where the rows end without it [n].

    Both are int64: n entries more may be more than 2³¹, and `np.insert` adds as many to the second. SciPy narrows them.
    """
    return starts + np.arange(len(starts), dtype=np.int64), starts[1:].astype(np.int64)


def held(X: Any) -> Any:
    """Sparse rows as they are, or dense if there are few: they may then be centred, and every solver takes them."""
    return X.toarray() if issparse(X) and X.shape[0] * X.shape[1] <= SMALL else X


def seed_of(random_state: Any) -> int:
    """The seed of our streams; None is 0."""
    if random_state is None:
        return 0
    return int(random_state.randint(2**31 - 1)) if hasattr(random_state, "randint") else int(random_state)


class Linear(BaseEstimator):
    """Common to all: checks, weights, the solve."""

    def _weights(self, sample_weight: Any, n: int) -> Floats | None:
        if sample_weight is None:
            return None
        weights = np.asarray(sample_weight, np.float64)
        weights = np.full(n, float(weights)) if weights.ndim == 0 else weights
        if weights.shape != (n,):
            raise ValueError(f"sample_weight has the shape {weights.shape}; {n} samples need [{n}]")
        if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
            raise ValueError("sample_weight holds numbers that are negative or not finite, or zeros alone")
        return weights

    def _solve(self, given: FiniteSum, where: str = "") -> Solution:
        options = cast(Any, self)
        seed = seed_of(options.random_state)
        found = attempt(given, options.solver, tol=options.tol, passes=options.max_iter, seed=seed)
        if not found.converged:
            warnings.warn(f"{where}{found.advice}", ConvergenceWarning, stacklevel=4)
        self.solver_used_ = found.method["name"]
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class Regressor(RegressorMixin, Linear):
    """Squared loss: the targets are centred, and so are the columns unless they are sparse."""

    def _law(self, n: int, share: float) -> tuple[float, Any, float]:
        """l2 and penalty of a finite sum over n rows whose weights have the mean `share`; objective over sum."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """X [n, d], dense or sparse; y [n]; sample_weight [n]: a row of weight 2 is the row twice."""
        options = cast(Any, self)
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], y_numeric=True)
        X, y = held(X), y.astype(np.float64)
        weights = self._weights(sample_weight, len(y))
        l2, penalty, scale = self._law(len(y), 1.0 if weights is None else float(weights.mean()))
        intercept, sparse = options.fit_intercept, issparse(X)
        offset = float(np.average(y, weights=weights)) if intercept else 0.0
        mean = means(X, weights) if intercept and not sparse else np.zeros(1)
        free = intercept and sparse  # centred columns and targets leave nothing to an intercept
        rows = with_ones(X) if free else X - mean if intercept else X  # float64: rounded, they would be another problem
        start = None
        if options.warm_start and hasattr(self, "coef_") and len(self.coef_) == X.shape[1]:
            start = np.append(self.coef_, self.intercept_ - offset) if free else self.coef_
        options = {"l2": l2, "penalty": penalty, "weights": weights, "free": int(free), "start": start}
        found = self._solve(FiniteSum(rows, y - offset, loss="squared", **options))
        self.coef_, added = (found.x[:-1], float(found.x[-1])) if free else (found.x, 0.0)
        self.intercept_ = offset + added - float((mean * self.coef_).sum())
        self.n_iter_, self.dual_gap_ = max(1, ceil(found.passes)), scale * found.gap
        return self

    def predict(self, X: Any) -> Floats:
        """X coef + intercept [n]."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        return X @ self.coef_ + self.intercept_


class Classifier(ClassifierMixin, Linear):
    """One linear prediction for two classes, one a class for more."""

    classes_: Any

    def _check(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Floats | None]:
        """Checked rows, the number of each sample's class, weights with those of the classes."""
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        weights = self._weights(sample_weight, len(y))
        sampled = np.bincount(codes, weights, len(self.classes_)).astype(np.float64)
        of_class = self._of_class(sampled)
        present = sampled if of_class is None else sampled * of_class
        if not present.any():
            raise ValueError("sample_weight and class_weight leave every class out; give two of them a weight above 0")
        if np.count_nonzero(present) < 2:
            by = "sample_weight" if np.count_nonzero(sampled) < 2 else "class_weight"
            trimmed = f" after {by} has left the others out" if len(self.classes_) > 1 else ""
            fact = f"there is one class only{trimmed}, {self.classes_.tolist()[present.argmax()]!r}"
            raise ValueError(f"{fact}; a classifier needs samples of two classes at least")
        if of_class is not None:
            weights = of_class[codes] if weights is None else weights * of_class[codes]
        return held(X), codes, weights

    def _of_class(self, present: Floats) -> Floats | None:
        """Weights [classes] by `class_weight`, of classes whose samples weigh `present`."""
        chosen, classes = cast(Any, self).class_weight, self.classes_.tolist()
        if chosen is None:
            return None
        if not isinstance(chosen, Mapping):
            if not isinstance(chosen, str) or chosen != "balanced":
                raise ValueError(f"class_weight is {chosen!r}; give 'balanced', a dict {{class: weight}} or None")
            return present.sum() / (np.count_nonzero(present) * np.where(present > 0, present, 1.0))
        if unknown := set(chosen) - set(classes):
            raise ValueError(f"class_weight names {sorted(unknown, key=str)}; the classes are {classes}")
        of_class = np.array([float(chosen.get(c, 1.0)) for c in classes])
        if not (np.isfinite(of_class).all() and of_class.min() >= 0):
            raise ValueError(f"class_weight is {chosen}; the weight of a class is a finite number, at least 0")
        return of_class

    def _fit(self, X: Any, labels: list[Any], loss: Any, law: Any, unit: float, free: bool = True) -> None:
        """Solve one problem for each of `labels`, over the same rows; `unit` times the objective is the sum."""
        options = cast(Any, self)
        intercept, free = options.fit_intercept, free and options.fit_intercept
        # a free intercept makes up for centring, which makes the columns less alike; sparse rows would fill up
        centred = free and not issparse(X)
        mean = means(X, law["weights"]) if centred else np.zeros(X.shape[1])
        rows = X
        if intercept and issparse(X):
            rows = with_ones(X)
        elif intercept:
            rows = np.ones((len(X), X.shape[1] + 1), np.float64 if centred else X.dtype)
            np.subtract(X, mean, out=rows[:, :-1])
        wide = len(labels) < len(self.classes_) and len(self.classes_) > 2  # a matrix of coefficients
        starts: list[Any] = [None] * len(labels)
        if options.warm_start and hasattr(self, "coef_") and self.coef_.shape[1] == X.shape[1]:
            held = np.column_stack([self.coef_, self.intercept_ + self.coef_ @ mean]) if intercept else self.coef_
            alike = len(held) == (len(self.classes_) if wide else len(labels))  # else a class has come or gone
            starts = ([held.T] if wide else list(held)) if alike else starts
        found: list[Solution] = []
        for label, start in zip(labels, starts):
            found.append(self._solve(FiniteSum(rows, label, loss=loss, free=int(free), start=start, **law)))
        coef = found[0].x.T if wide else np.stack([one.x for one in found])  # [problems, d (+ 1)]
        self.coef_ = np.ascontiguousarray(coef[:, : X.shape[1]])
        self.intercept_ = coef[:, -1] - self.coef_ @ mean if intercept else np.zeros(len(coef))
        self.n_iter_ = np.array([max(1, ceil(one.passes)) for one in found])
        self.dual_gap_ = np.array([one.gap for one in found]) / unit

    def decision_function(self, X: Any) -> Floats:
        """X coefᵀ + intercept: [n] for two classes, else [n, classes]."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        scores = X @ self.coef_.T + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> Any:
        """The class [n] of each row."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]
