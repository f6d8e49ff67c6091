"""Spiked: a stream of samples whose covariance has a known leading subspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from airtrack.core.answers import array
from airtrack.core.given import Floats, Stream
from airtrack.core.part import part
from airtrack.core.problem import Judge, Junk, Metric, Problem
from airtrack.core.streams import Streams

BLOCK = 1024  # samples that are drawn together
FLOOR = 1e-16


@part("task")
class Spiked:
    """Find the span of the k leading eigenvectors of a covariance, from samples x ~ N(0, U diag(λ) Uᵀ) in d dimensions.

        λ  1 ┤ ■ ■ ■                            ■ the subspace that is asked for, k = 3
             │       ↕ gap
             │       □
             │         □ □ □ □ □ □ □ □ □ …      □ tail: (1 − gap) j^−decay, j = 1 … d − k

    spectrum  "spiked": as drawn; "power": λ_j = j^−decay throughout, so that no eigenvalue stands out
    gap       λ_k − λ_{k+1} of a spiked spectrum, whose first k eigenvalues are 1; a power law has its own
    decay     of the tail, or of the power law; with 0 a tail is flat, and noise is everywhere

    U is uniform among orthogonal matrices. An answer is any [d, k] matrix: only the span of its columns counts.

    sin2      ‖(I − QQᵀ)U‖²_F / k, the mean squared sine of the angles between the subspaces
    variance  1 − tr(Qᵀ U diag(λ) Uᵀ Q) / (λ₁ + … + λ_k), the share of the variance within reach that is not explained

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Spiked(d=10, k=2).pose(Streams(0))
    >>> given.draw(3).shape, judge(judge.truth["subspace"])["sin2"]
    ((3, 10), 1e-16)
    """

    d: Annotated[int, Ge(2)] = 50
    k: Annotated[int, Ge(1)] = 3
    spectrum: Literal["spiked", "power"] = "spiked"
    gap: Annotated[float, Gt(0), Le(1)] = 0.5
    decay: Annotated[float, Ge(0)] = 0.5

    unit: ClassVar[str] = "samples"
    gives: ClassVar[type] = Stream
    metrics: ClassVar[Mapping[str, Metric]] = {
        "sin2": Metric("low", (FLOOR, 1.0), "log"),
        "variance": Metric("low", (FLOOR, 1.0), "log"),
    }
    example: ClassVar[dict[str, Any]] = {"d": 6, "k": 2}

    def check(self) -> None:
        if self.k >= self.d:
            raise ValueError(f"k: a subspace of {self.k} dimensions is not smaller than d = {self.d}; take k < d")
        if self.spectrum == "power" and self.decay == 0:
            raise ValueError("decay: with 0 all eigenvalues of a power law are equal, and no subspace leads; take more")

    @property
    def eigenvalues(self) -> Floats:
        """λ [d], in descending order."""
        if self.spectrum == "power":
            return np.arange(1.0, self.d + 1) ** -self.decay
        tail = (1 - self.gap) * np.arange(1.0, self.d - self.k + 1) ** -self.decay
        return np.concatenate([np.ones(self.k), tail])

    def pose(self, streams: Streams) -> Problem:
        gaussian = (streams / "basis").rng().standard_normal((self.d, self.d))
        basis, triangle = np.linalg.qr(gaussian)
        basis = basis * np.sign(np.diag(triangle))  # otherwise the signs of LAPACK, and U would not be uniform
        root = basis * np.sqrt(self.eigenvalues) @ basis.T  # the symmetric one: the learner's side holds no U
        samples, subspace = streams / "samples", basis[:, : self.k].copy()
        given = Stream(
            lambda i: samples.rng(i).standard_normal((BLOCK, self.d)) @ root, d=self.d, k=self.k, block=BLOCK
        )

        def score(answer: Any) -> dict[str, float]:
            span = orthonormal(array(answer, subspace.shape))
            missed = subspace - span @ (span.T @ subspace)
            return {"sin2": float((missed**2).sum() / self.k), "variance": self.unexplained(basis.T @ span)}

        return Problem(given, Judge(score, self.metrics, truth={"subspace": subspace}))

    def unexplained(self, span: Floats) -> float:
        """The metric `variance` of an orthonormal basis [d, ≤ k] given in coordinates of U, where the covariance is λ.

        Written as what the span misses of the leading directions less what it gains of the others, each weighed by its
        distance from λ_k: no digits are lost where the span is nearly right.
        """
        values, held = self.eigenvalues, (span**2).sum(1)
        pivot, k = values[self.k - 1], self.k
        lost = ((values[:k] - pivot) * (1 - held[:k])).sum() + ((pivot - values[k:]) * held[k:]).sum()
        return float((lost + pivot * (k - span.shape[1])) / values[:k].sum())


def orthonormal(answer: Floats) -> Floats:
    """A basis [d, ≤ k] of the span of the columns of `answer` [d, k]; zero and parallel columns add nothing."""
    largest = np.abs(answer).max(0)
    if not largest.any():
        raise Junk("the answer is zero and spans nothing")
    columns = answer[:, largest > 0] / largest[largest > 0]  # first, so that 1e300 has a finite norm
    left, sizes, _ = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), full_matrices=False)
    return left[:, sizes > 1e-12 * sizes[0]]
