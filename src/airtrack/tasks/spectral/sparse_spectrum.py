"""Sparse spectrum: a sparse matrix with popular and rare columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from scipy.linalg import eigh
from scipy.sparse import csr_array

from airtrack.core.given import Matrix
from airtrack.core.part import part
from airtrack.core.problem import Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.spectral.leading import METRICS, judge


@part("task")
class SparseSpectrum:
    """Find the span of the k leading right singular vectors of a sparse A [n, d] with power-law columns.

        row 1   ·.7 · · ·−1.2 · · · · · ·  ·      entries N(0, 1), `per_row` draws of a column for each row,
        row 2   ·−.1.4· · · · · · ·2.1 · ·  ·      column j with probability ∝ j^−decay,
        …                                          so that λ_j of AᵀA falls about as j^−decay

    n, d     rows and columns
    per_row  entries of a row; a column that is drawn twice holds their sum
    decay    .58 is near λ₁₁ / λ₁₀ = .946 at the default size

    The unit of work is a product of A or Aᵀ with one vector. The truth is LAPACK's, from the dense AᵀA [d, d].

    >>> from airtrack.core.streams import Streams
    >>> given, judge = SparseSpectrum(n=200, d=30, per_row=5, k=2).pose(Streams(0))
    >>> given.shape, judge(judge.truth["subspace"])["eigenvalue"]
    ((200, 30), 1e-13)
    """

    n: Annotated[int, Ge(2)] = 20_000
    d: Annotated[int, Ge(2)] = 3000
    per_row: Annotated[int, Ge(1)] = 30
    k: Annotated[int, Ge(1)] = 10
    decay: Annotated[float, Ge(0)] = 0.58

    unit: ClassVar[str] = "matvecs"
    gives: ClassVar[type] = Matrix
    metrics: ClassVar[Mapping[str, Metric]] = METRICS
    example: ClassVar[dict[str, Any]] = {"n": 40, "d": 12, "per_row": 4, "k": 2}

    def check(self) -> None:
        if self.k >= min(self.n, self.d):
            least = min(self.n, self.d)
            raise ValueError(f"k: a subspace of {self.k} dimensions is not smaller than {least}; take k < n and k < d")

    def pose(self, streams: Streams) -> Problem:
        rng = (streams / "entries").rng()
        shares = np.arange(1.0, self.d + 1) ** -self.decay
        columns = rng.choice(self.d, self.n * self.per_row, p=shares / shares.sum())
        entries = rng.standard_normal(self.n * self.per_row)
        matrix = csr_array((entries, columns, np.arange(0, len(columns) + 1, self.per_row)), shape=(self.n, self.d))
        matrix.sum_duplicates()
        gram = (matrix.T @ matrix).toarray()
        values, vectors = eigh(gram, subset_by_index=[self.d - self.k - 1, self.d - 1])
        truth = judge(gram, values[::-1].copy(), np.ascontiguousarray(vectors[:, :0:-1]))
        return Problem(Matrix(matrix, k=self.k), truth)
