"""Some entries of a matrix, to be fitted by one of small nuclear norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from airtrack.core.given.oracle import Floats, Oracle
from airtrack.core.part import SpecError

DENSE = 4_000_000  # cells up to which a certificate takes a full SVD
SIDE = 4096  # the shorter side up to which it factorises a Gram matrix: 128 MiB a copy, a second or two
ROUNDS = 300  # of the power method, for larger matrices
EXCESS = (1e-9, 1e-6, 1e-3, 0.1)  # over what the power method finds, of bounds that are tried one after the other
OUTSIDE = 1e-9  # by which a point of the ball may pass its radius: rounding errors


class Entries(Oracle):
    """Minimise f(X) = ½ Σ wᵢⱼ (Xᵢⱼ − yᵢⱼ)² over the entries (i, j) that are observed, subject to ‖X‖* ≤ radius.

    A unit of work is a pass over the observed entries: the product of the gradient, an m × n matrix that is zero where
    nothing was observed, with one vector, or one matrix of rank one read at the entries. A solver that wants singular
    vectors pays for every product; one that wants the matrix itself pays for the min(m, n) products that reveal it.

    X is never held: a solver has factors, X = left rightᵀ, and `shown` [e], X at the entries in the order of this
    oracle. An answer is `np.vstack([left, right])` [m + n, r], or X [m, n].

    shape       (m, n)
    observed    e, number of entries
    radius      of the ball of the nuclear norm, ‖·‖*
    smoothness  β = max w
    convexity   α = min w where every entry is observed, otherwise 0

    Built from dense arrays [m, n], or from sparse matrices of SciPy whose stored entries, zeros too, are the observed.
    Raises `SpecError` for numbers that are not finite or not real, an entry that is stored twice, negative weights, no
    entries, a radius that is not positive.

    >>> given = Entries(np.eye(3), radius=2.0)
    >>> given.shape, given.observed, given.value(np.zeros(9))
    ((3, 3), 9, 1.5)
    >>> round(given.certificate(np.eye(3) * 2 / 3)["gap"], 12)  # this is the optimum
    0.0
    """

    def __init__(self, values: Any, weights: Any = None, *, radius: float) -> None:
        if not (np.isfinite(radius) and radius > 0):
            raise SpecError(f"the nuclear norm is to be at most {radius}; give a positive number", "radius")
        table: Any = values if hasattr(values, "tocsr") else np.asarray(values)
        if len(table.shape) != 2:
            raise SpecError(f"expected a matrix, got an array of shape {table.shape}", "values")
        self.shape: tuple[int, int] = table.shape
        self._pattern: Any = _rows(table, "values") if hasattr(values, "tocsr") else None
        if self._pattern is not None:  # an entry's row and column
            table = self._pattern
            self._at = np.repeat(np.arange(self.shape[0]), np.diff(table.indptr)), table.indices
        self._values = self._flat(table, "values")
        self._weights = np.ones(len(self._values)) if weights is None else self._flat(weights, "weights")
        self.observed, self.radius = len(self._values), float(radius)
        if not self.observed:
            raise SpecError("no entry is observed; give one at least", "values")
        if (self._weights < 0).any() or not self._weights.any():
            raise SpecError(f"the least is {self._weights.min():g}; weights are ≥ 0, and one at least > 0", "weights")
        self.smoothness = float(self._weights.max())
        self.convexity = float(self._weights.min()) if self.observed == self.shape[0] * self.shape[1] else 0.0

    def zero(self) -> Floats:
        """X = 0, as an answer."""
        return np.zeros((sum(self.shape), 1))

    def read(self, left: Floats, right: Floats) -> Floats:
        """left rightᵀ at the entries [e], from factors [m, r] and [n, r]; charges r."""
        width = left.shape[1]
        self._charge(width, matvecs=width)
        return self._read(left, right)

    def value(self, shown: Floats) -> float:
        """f, from X at the entries."""
        return float(self._weights @ (shown - self._values) ** 2) / 2

    def residual(self, shown: Floats) -> Floats:
        """The gradient at the entries [e], w (X − y); elsewhere it is zero."""
        return self._weights * (shown - self._values)

    def curvature(self, step: Floats) -> float:
        """Σ w step²: the second derivative of f along a step, given at the entries."""
        return float(self._weights @ step**2)

    def times(self, residual: Floats, block: Floats) -> Floats:
        """Gradient times block [n, c], an array [m, c]; charges c."""
        self._charge(block.shape[1], matvecs=block.shape[1])
        return self._matrix(residual) @ block

    def back(self, residual: Floats, block: Floats) -> Floats:
        """Transposed gradient times block [m, c], an array [n, c]; charges c."""
        self._charge(block.shape[1], matvecs=block.shape[1])
        return self._matrix(residual).T @ block

    def dense(self, residual: Floats) -> Floats:
        """The gradient [m, n]; charges min(m, n)."""
        self._charge(min(self.shape), matvecs=min(self.shape))
        matrix = self._matrix(residual)
        return matrix.copy() if self._pattern is None else matrix.toarray()

    def certificate(self, answer: Floats) -> dict[str, float]:
        """`gap`, no less than f(X) − min f: the duality gap ⟨X, G⟩ + radius ‖G‖₂ of Frank and Wolfe, G the gradient.

        `norm` is ‖X‖* / radius: above 1 the answer is outside the ball, and the gap infinite. ‖G‖₂ comes from an SVD of
        up to 4 million cells. For larger matrices it is a bound: where the shorter side is at most 4096, little more
        than the power method finds, and proved by a Cholesky factor; otherwise by the Frobenius norm of what eight
        singular vectors leave, which is far too large where many singular values are alike.
        """
        m, n = self.shape
        if answer.shape == (m, n):
            shown = answer.ravel() if self._pattern is None else answer[self._at]
            norm = float(np.linalg.svd(answer, compute_uv=False).sum())
        else:
            left, right = answer[:m], answer[m:]
            shown = self._read(left, right)
            inner = np.linalg.qr(left)[1] @ np.linalg.qr(right)[1].T
            norm = float(np.linalg.svd(inner, compute_uv=False).sum())
        if not norm <= self.radius * (1 + OUTSIDE):
            return {"gap": np.inf, "norm": norm / self.radius}
        residual = self.residual(shown)
        gap = float(residual @ shown) + self.radius * self._largest(self._matrix(residual))
        return {"gap": gap, "norm": norm / self.radius}

    def _flat(self, table: Any, where: str) -> Floats:
        """The numbers [e] of a table that is as dense, or stored for the same entries, as the values are."""
        if self._pattern is None:
            dense = _real(np.asarray(table), where).astype(np.float64)
            if dense.shape != self.shape:
                raise SpecError(f"an array of shape {dense.shape} does not fit values of shape {self.shape}", where)
            flat = dense.flatten()
        else:
            stored, like = table if table is self._pattern else _rows(table, where), self._pattern
            alike = stored.shape == like.shape and stored.nnz == like.nnz and (stored.indptr == like.indptr).all()
            if not (alike and (stored.indices == like.indices).all()):
                raise SpecError("they are stored for other entries than the values; store both alike", where)
            flat = stored.data.astype(np.float64)
        if not np.isfinite(flat).all():
            raise SpecError(f"entry {int(np.argmin(np.isfinite(flat)))} is not a finite number", where)
        flat.flags.writeable = False
        return flat

    def _largest(self, matrix: Any) -> float:
        """No less than ‖matrix‖₂."""
        if self.shape[0] * self.shape[1] <= DENSE:
            return float(np.linalg.norm(matrix if self._pattern is None else matrix.toarray(), 2))
        matrix = matrix if self.shape[1] <= self.shape[0] else matrix.T
        image = leading(matrix)
        found = float(np.linalg.norm(image, 2))
        if matrix.shape[1] <= SIDE:
            gram = matrix.T @ matrix
            gram = gram if isinstance(gram, np.ndarray) else gram.toarray()
            for excess in EXCESS:
                bound = found * (1 + excess)
                if _definite(bound**2 * np.eye(len(gram)) - gram):
                    return bound
        held = matrix if isinstance(matrix, np.ndarray) else matrix.data
        return float(np.sqrt(found**2 + max((held**2).sum() - (image**2).sum(), 0.0)))  # of both parts of a vector

    def _matrix(self, residual: Floats) -> Any:
        if self._pattern is None:
            return residual.reshape(self.shape)
        like = self._pattern
        return type(like)((residual, like.indices, like.indptr), shape=self.shape)

    def _read(self, left: Floats, right: Floats) -> Floats:
        if self._pattern is None:
            return (left @ right.T).ravel()
        shown, (rows, columns) = np.zeros(self.observed), self._at
        for a, b in zip(left.T, right.T):  # column by column: e numbers, not e r
            shown += a[rows] * b[columns]
        return shown


def leading(matrix: Any) -> Floats:
    """matrix Q [m, 8], Q being about its first right singular vectors: the power method."""
    block = np.random.Generator(np.random.Philox(key=0)).standard_normal((matrix.shape[1], 8))
    for _ in range(ROUNDS):
        block = matrix.T @ (matrix @ np.linalg.qr(block)[0])
    return matrix @ np.linalg.qr(block)[0]


def _rows(table: Any, where: str) -> Any:
    """Compressed sparse rows; refuses an entry that is stored twice, which SciPy would add up."""
    if not hasattr(table, "tocsr"):
        raise SpecError("they are dense and the values sparse; store both alike", where)
    stored = _real(table, where).tocoo()
    cells = np.sort(stored.row.astype(np.int64) * stored.shape[1] + stored.col)
    twice = cells[1:][cells[1:] == cells[:-1]]
    if len(twice):
        i, j = divmod(int(twice[0]), stored.shape[1])
        raise SpecError(f"the entry ({i}, {j}) is stored twice; store each once, say the mean of what was seen", where)
    return table.tocsr()


def _real(table: Any, where: str) -> Any:
    if table.dtype.kind not in "biuf":
        raise SpecError(f"they hold {table.dtype}, and real numbers are needed; convert them: astype(float)", where)
    return table


def _definite(matrix: Floats) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True
