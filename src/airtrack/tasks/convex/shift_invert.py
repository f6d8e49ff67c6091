"""Shift-and-invert: a convex quadratic that is a sum of concave ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.answers import array
from airtrack.core.given import FiniteSum
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams

FLOOR = 1e-16  # readings below it are rounding errors


@part("task")
class ShiftInvert:
    """Minimise F(x) = ½ xᵀ(λI − C)x − ⟨b, x⟩, C = (1/n) Σ aᵢ aᵢᵀ, λ = (1 + gap) λ₁: one step of a power method on
    (λI − C)⁻¹, by which principal components are found.

        fᵢ(x) = (λ/2) ‖x‖² − ½ ⟨aᵢ, x⟩² − ⟨b, x⟩       concave along aᵢ, of length 1
        F    is σ-convex with σ = λ − λ₁ = gap λ₁       gap(x) = (F(x) − F*) / (F(0) − F*)

    n, d   rows and dimensions
    gap    of the shift, relative to the top eigenvalue λ₁ of C
    decay  of the rows' coordinates, column j scaled by j^−decay before a row gets its length

    The unit of work is the gradient of one component. b is a random unit vector.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = ShiftInvert(n=50, d=5).pose(Streams(0))
    >>> given.loss, judge(judge.truth["optimum"])["gap"] < 1e-10, judge(np.zeros(5))["gap"]
    (Signed(), True, 1.0)
    """

    n: Annotated[int, Ge(2)] = 2000
    d: Annotated[int, Ge(1)] = 50
    gap: Annotated[float, Gt(0)] = 1e-3
    decay: Annotated[float, Ge(0)] = 0.5

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = FiniteSum
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gap": Metric("low", (FLOOR, 1.0), "log"),  # (F(x) − F*) / (F(0) − F*)
        "angle": Metric("low", (FLOOR, 1.0), "log"),  # sin² of the angle between x and x*
    }
    example: ClassVar[dict[str, Any]] = {"n": 40, "d": 4, "gap": 0.5}

    def pose(self, streams: Streams) -> Problem:
        rows = (streams / "data").rng().standard_normal((self.n, self.d)) * np.arange(1.0, self.d + 1) ** -self.decay
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        b = (streams / "target").rng().standard_normal(self.d)
        b = b / np.linalg.norm(b)
        sizes, vectors = np.linalg.eigh(rows.T @ rows / self.n)
        shift = (1 + self.gap) * sizes[-1]
        curves = shift - sizes  # of F, along the eigenvectors
        best = vectors @ ((vectors.T @ b) / curves)
        scale = float(b @ best) / 2

        def score(answer: Any) -> dict[str, float]:
            x = array(answer, best.shape)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                missed = (vectors.T @ (x - best)) ** 2 @ curves / 2  # F(x) − F*, without a difference
                unit, way = x / np.linalg.norm(x), best / np.linalg.norm(best)
                side = unit - way * (way @ unit)
                return {"gap": float(missed / scale), "angle": float(side @ side)}

        labels, sigma = -np.ones(self.n), self.gap * sizes[-1]
        given = FiniteSum(rows, labels, l2=shift, loss="signed", linear=-b, convexity=sigma)
        return Problem(given, Judge(score, self.metrics, truth={"optimum": best}))
