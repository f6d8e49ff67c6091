"""Principal components of data that come in pieces, in memory of the size of the components."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from airtrack.core.given import Floats
from airtrack.core.part import SpecError, build
from airtrack.core.streams import Streams
from airtrack.sklearn.centring import centred
from airtrack.sklearn.linear import seed_of
from airtrack.solvers.spectral.history_pca import History, HistoryPca
from airtrack.solvers.spectral.oja import Oja, OjaState


class StreamingPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The leading directions of variance about the mean, from one pass over samples that are not kept.

    n_components  k
    solver        "history_pca", which needs no step size; {"name": "oja", "gap": λ_k − λ_{k+1}, …}, Oja's rule
    passes        over the data of `fit`
    batch_size    samples that are taken at a time; sparse ones are filled up so many at a time
    random_state  of the first basis; None is 0: the same data give the same numbers

    A call of `partial_fit` takes any number of samples, one too. Memory: d (2k + 5) numbers and a batch.

    Nothing is proved of the components: a proof takes products with all samples, and these are gone. For who still has
    them there is `airtrack.core.given.Matrix(X − mean_, k=…).certificate(components_.T)`.

    Attributes: components_ [k, d], explained_variance_ [k] (an estimate), explained_variance_ratio_ [k], mean_ [d] and
    total_variance_ (both exact), n_samples_seen_, solver_used_.

    >>> x = np.random.default_rng(0).standard_normal((2000, 3)) * [3.0, 1.0, 0.5] + 7
    >>> pca = StreamingPCA(n_components=1)
    >>> for batch in np.split(x, 100):
    ...     _ = pca.partial_fit(batch)
    >>> abs(pca.components_.round(1)).tolist(), pca.explained_variance_.round().tolist(), pca.n_samples_seen_
    ([[1.0, 0.0, 0.0]], [9.0], 2000)
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        solver: Any = "history_pca",
        passes: int = 1,
        batch_size: int = 1024,
        random_state: Any = None,
    ) -> None:
        self.n_components, self.solver, self.passes = n_components, solver, passes
        self.batch_size, self.random_state = batch_size, random_state

    def fit(self, X: Any, y: Any = None) -> StreamingPCA:
        """X [n, d], dense or sparse; whatever was learnt before is forgotten."""
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32])
        self._begin(X.shape[1])
        for _ in range(self.passes):
            self._learn(X)
        return self._show()

    def partial_fit(self, X: Any, y: Any = None) -> StreamingPCA:
        """More samples X [n, d], dense or sparse."""
        first = not hasattr(self, "components_")
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=first)
        if first:
            self._begin(X.shape[1])
        self._learn(X)
        return self._show()

    def transform(self, X: Any) -> Floats:
        """Coordinates [n, k] of X [n, d] along the components."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        return centred(X, self.mean_) @ self.components_.T

    def inverse_transform(self, X: Any) -> Floats:
        """Points [n, d] of coordinates X [n, k]."""
        check_is_fitted(self)
        return np.asarray(X) @ self.components_ + self.mean_

    def _begin(self, d: int) -> None:
        k = self.n_components
        if not 1 <= k <= d:
            raise ValueError(f"n_components={k}, and n_features={d}; take 1 … {d}")
        rule, rng = build("solver", self.solver), (Streams(seed_of(self.random_state)) / "init").rng()
        if isinstance(rule, HistoryPca):
            self._held: Any = History(d, k, rule=rule, rng=rng, centre=True)
        elif isinstance(rule, Oja):
            self._held = CentredOja(rule, k, np.linalg.qr(rng.standard_normal((d, k)))[0])
        else:
            raise SpecError(f"StreamingPCA holds what history_pca or oja hold, not {type(rule).__name__}; give one")
        self.solver_used_ = "oja" if isinstance(rule, Oja) else "history_pca"
        self._scatter, self.n_samples_seen_ = 0.0, 0

    def _learn(self, X: Any) -> None:
        for start in range(0, X.shape[0], self.batch_size):
            batch = X[start : start + self.batch_size]
            samples = np.asarray(batch.toarray() if issparse(batch) else batch, np.float64)
            before, mean, n, seen = self._held.mean, samples.mean(0), len(samples), self.n_samples_seen_
            self._scatter += float(((samples - mean) ** 2).sum())
            if seen:
                self._scatter += seen * n / (seen + n) * float(((mean - before) ** 2).sum())
            self.n_samples_seen_ += n
            self._held.update(samples)

    def _show(self) -> StreamingPCA:
        components = self._held.components().T
        largest = np.abs(components).argmax(1)
        self.components_ = components * np.sign(components[np.arange(len(components)), largest])[:, None]
        self.mean_, self.explained_variance_ = self._held.mean, self._held.variances()
        self.total_variance_ = self._scatter / self.n_samples_seen_
        self.explained_variance_ratio_ = self.explained_variance_ / (self.total_variance_ or 1.0)
        return self

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class CentredOja:
    """Oja's rule about the running mean, and the variance along its directions."""

    def __init__(self, rule: Oja, k: int, basis: Floats) -> None:
        self._held, self.mean = OjaState(rule, k, basis=basis), np.zeros(len(basis))
        self._seen, self._squares, self._weight = 0, np.zeros(k), 0.0

    def update(self, samples: Floats) -> None:
        """Learn from samples [n, d]."""
        n = len(samples)
        self._seen += n
        self.mean = self.mean + (samples.mean(0) - self.mean) * (n / self._seen)
        centred = samples - self.mean
        keep = 0.5 if self._weight else 0.0  # squares along older directions count half, call by call
        if centred.any():  # Oja's step is relative to the variance, which may be 0 so far
            self._held.update(centred)
        self._squares = keep * self._squares + ((centred @ self._held.basis) ** 2).sum(0)
        self._weight = keep * self._weight + n

    def components(self) -> Floats:
        """Orthonormal [d, k], the direction of most variance first."""
        return self._held.basis[:, np.argsort(-self._squares, kind="stable")]

    def variances(self) -> Floats:
        """Estimates [k], in descending order."""
        return np.sort(self._squares)[::-1] / max(self._weight, 1.0)
