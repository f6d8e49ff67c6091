"""Columns less their means, of sparse rows too, which would fill up."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.sparsefuncs import inplace_csr_column_scale, inplace_csr_row_scale

from airtrack.core.given import Floats


def means(X: Any, weights: Floats | None = None) -> Floats:
    """Weighted means [d] of columns, added up in float64 whatever they hold."""
    if issparse(X):
        weights = np.ones(X.shape[0]) if weights is None else weights
        return X.T @ weights / weights.sum()
    return X.mean(0, dtype=np.float64) if weights is None else np.average(X, axis=0, weights=weights)


def centred(X: Any, mean: Floats, *, spread: Floats | None = None, root: Floats | None = None) -> Any:
    """(X − mean) / spread for columns X [n, d], row i times root[i]: an array, of sparse rows a `Less`."""
    if issparse(X):
        ones, rows = np.ones(X.shape[0]), X.copy()
        if spread is not None:
            inplace_csr_column_scale(rows, 1 / spread)
        if root is not None:
            inplace_csr_row_scale(rows, root)
        return Less(rows, ones if root is None else root, mean if spread is None else mean / spread)
    rows = X - mean
    if spread is not None:
        rows /= spread
    if root is not None:
        rows *= root[:, None]
    return rows


class Less:
    """S − a bᵀ for a sparse matrix S [n, d], a [n] and b [d], known by its products alone.

    >>> from scipy.sparse import csr_array
    >>> ones = Less(csr_array(np.diag([3.0, 4.0])), np.ones(2), np.ones(2))
    >>> (ones @ np.eye(2)).tolist(), (ones.T @ ones).tolist()
    ([[2.0, -1.0], [-1.0, 3.0]], [[5.0, -5.0], [-5.0, 10.0]])
    """

    def __init__(self, sparse: Any, a: Floats, b: Floats) -> None:
        self.sparse, self._a, self._b = sparse, a, b
        self.shape, self.data = sparse.shape, sparse.data

    @property
    def T(self) -> Less:
        return Less(self.sparse.T, self._b, self._a)

    def __matmul__(self, other: Any) -> Any:
        """With an array; with another such matrix, an array."""
        if not isinstance(other, Less):
            return self.sparse @ other - np.multiply.outer(self._a, self._b @ other)
        product = (self.sparse @ other.sparse).toarray() - np.outer(self @ other._a, other._b)
        return product - np.outer(self._a, other.sparse.T @ self._b)
