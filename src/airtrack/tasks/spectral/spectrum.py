"""Spectrum: a dense matrix whose singular values are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from airtrack.core.given import Floats, Matrix
from airtrack.core.part import part
from airtrack.core.problem import Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.spectral.leading import METRICS, judge


@part("task")
class Spectrum:
    """Find the span of the k leading right singular vectors of A = U diag(√λ) Vᵀ [n, d], U and V random.

        λ  1 ┤ ■                               ■ the k that are asked for, λᵢ = i^−power
             │    ■
             │       ■  ↕ gap · λ_k
             │          □
             │             □  □ □ □ □ □ …      □ the others: i^−power again, all moved by one factor

    n, d   rows and columns, n ≥ d
    power  of the decay; with 0 the first k eigenvalues of AᵀA are equal, and so are the others
    gap    (λ_k − λ_{k+1}) / λ_k; None: as the power has it, 1 − (k / (k + 1))^power

    The unit of work is a product of A or Aᵀ with one vector. An answer is any [d, k]: only its span counts.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Spectrum(n=30, d=20, k=2).pose(Streams(0))
    >>> given.shape, judge(judge.truth["subspace"])
    ((30, 20), {'sin2': 1e-16, 'eigenvalue': 1e-13, 'excess': 1e-13})
    """

    n: Annotated[int, Ge(2)] = 400
    d: Annotated[int, Ge(2)] = 300
    k: Annotated[int, Ge(1)] = 10
    power: Annotated[float, Ge(0)] = 0.5
    gap: Annotated[float, Gt(0), Lt(1)] | None = None

    unit: ClassVar[str] = "matvecs"
    gives: ClassVar[type] = Matrix
    metrics: ClassVar[Mapping[str, Metric]] = METRICS
    example: ClassVar[dict[str, Any]] = {"n": 20, "d": 12, "k": 2}

    def check(self) -> None:
        if self.n < self.d:
            raise ValueError(f"n: {self.n} rows cannot hold {self.d} singular vectors; take n ≥ d")
        if self.k >= self.d:
            raise ValueError(f"k: a subspace of {self.k} dimensions is not smaller than d = {self.d}; take k < d")
        if self.power == 0 and self.gap is None:
            raise ValueError("gap: equal eigenvalues have no leading ones; take a gap, or a power above 0")

    @property
    def eigenvalues(self) -> Floats:
        """Of AᵀA [d], in descending order."""
        falling = np.arange(1.0, self.d + 1) ** -self.power
        if self.gap is not None:
            falling[self.k :] *= (1 - self.gap) * falling[self.k - 1] / falling[self.k]
        return falling

    def pose(self, streams: Streams) -> Problem:
        left, right = (
            (streams / side).rng().standard_normal((m, self.d)) for side, m in (("u", self.n), ("v", self.d))
        )
        u, v = np.linalg.qr(left)[0], np.linalg.qr(right)[0]
        values = self.eigenvalues
        matrix = u * np.sqrt(values) @ v.T
        return Problem(Matrix(matrix, k=self.k), judge(v * values @ v.T, values[: self.k + 1], v[:, : self.k].copy()))
