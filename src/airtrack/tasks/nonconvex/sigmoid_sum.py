"""Sigmoid sum: the number of errors of a linear classifier, smoothed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le

from airtrack.core.answers import array
from airtrack.core.given import FiniteSum
from airtrack.core.losses import Sigmoid
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.nonconvex.stationary import Sum

FLOOR = 1e-16  # readings below it are rounding errors


@part("task")
class SigmoidSum:
    """Find a local minimum of F(x) = (1/n) Σ 1/(1 + exp(bᵢ⟨aᵢ, x⟩)) + (l2/2) ‖x‖², rows of length one, labels ±1.

              a₁ = (.81, −.52, .27)  b₁ = +1      each component lies between 0 (right) and 1 (wrong),
              a₂ = (.93, .31, −.20)  b₂ = −1      convex on one side of ½ and concave on the other
              a₃ = …                              L = √3/18 for all of them

    Labels are signs of a planted linear function; a share `flips` of them is turned round.

    n, d   components and dimensions
    flips  share of wrong labels
    l2     strength of the regulariser; with 0 every gradient vanishes at infinity, where a long step may end

    gradient   ‖∇F(x)‖
    curvature  λ_min(∇²F(x))/(L + l2): not negative at a local minimum

    >>> from airtrack.core.streams import Streams
    >>> given, judge = SigmoidSum(n=100, d=5).pose(Streams(0))
    >>> judge(np.zeros(5))["curvature"] > 0, judge(-judge.truth["planted"])["curvature"] < 0
    (True, True)
    """

    n: Annotated[int, Ge(2)] = 4000
    d: Annotated[int, Ge(1)] = 50
    flips: Annotated[float, Ge(0), Le(0.5)] = 0.1
    l2: Annotated[float, Ge(0)] = 1e-4

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = FiniteSum
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gradient": Metric("low", (FLOOR, 1e3), "log"),
        "curvature": Metric("high", (-1.0, 1.0)),
    }
    example: ClassVar[dict[str, Any]] = {"n": 40, "d": 4}

    def pose(self, streams: Streams) -> Problem:
        rows = (streams / "data").rng().standard_normal((self.n, self.d))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        planted = (streams / "planted").rng().standard_normal(self.d)
        flipped = (streams / "flips").rng().random(self.n) < self.flips
        labels = np.where(rows @ planted > 0, 1.0, -1.0) * np.where(flipped, -1.0, 1.0)
        sum_ = Sum(rows, labels, Sigmoid(), self.l2)

        def score(answer: Any) -> dict[str, float]:
            return sum_.readings(array(answer, planted.shape))

        given = FiniteSum(rows, labels, l2=self.l2, loss="sigmoid")
        return Problem(given, Judge(score, self.metrics, truth={"planted": planted}))
