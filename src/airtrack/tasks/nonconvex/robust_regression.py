"""Robust regression: a loss that forgets outliers, and is therefore not convex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Lt

from airtrack.core.answers import array
from airtrack.core.given import FiniteSum
from airtrack.core.losses import Bowl
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.nonconvex.stationary import Sum

FLOOR = 1e-16  # readings below it are rounding errors


@part("task")
class RobustRegression:
    """Minimise F(x) = (1/n) Σ φ(⟨aᵢ, x⟩ − bᵢ), φ(r) = r²/(1 + r²), where some of the labels are lies.

        φ │ ╲                       ____       b = ⟨a, x₀⟩ + noise for most rows
        1 │‾‾‾╲_               _/‾‾‾           b = ⟨a, x₀⟩ ± uniform up to `size` for outliers
          │     ‾╲_    0    _/‾                convex for |r| < 1/√3 only
          └────────‾‾‾‾‾‾‾‾────────── r

    Rows are Gaussian with unit coordinates. The minimum that is known, x̂, is the one below the planted x₀, by Newton's
    method to rounding error; far from it F is flat and has a Hessian with negative eigenvalues.

    n, d      components and dimensions
    signal    ‖x₀‖: at the start, 0, residuals have this size
    noise     standard deviation of an honest label's error
    outliers  share of the labels that lie
    size      greatest error of a lie

    distance   ‖x − x̂‖ / ‖x̂‖
    gap        (F(x) − F(x̂)) / (F(0) − F(x̂))
    gradient   ‖∇F(x)‖
    curvature  λ_min(∇²F(x))/L, L the mean of 2 ‖aᵢ‖²

    >>> from airtrack.core.streams import Streams
    >>> given, judge = RobustRegression(n=200, d=5).pose(Streams(0))
    >>> readings = judge(judge.truth["minimum"])
    >>> readings["gap"], readings["gradient"] < 1e-14, readings["curvature"] > 0, judge(np.zeros(5))["curvature"] < 0
    (1e-16, True, True, True)
    """

    n: Annotated[int, Ge(2)] = 2000
    d: Annotated[int, Ge(1)] = 20
    signal: Annotated[float, Ge(0)] = 2.0
    noise: Annotated[float, Ge(0)] = 0.1
    outliers: Annotated[float, Ge(0), Lt(1)] = 0.3
    size: Annotated[float, Ge(0)] = 10.0

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = FiniteSum
    metrics: ClassVar[Mapping[str, Metric]] = {
        "distance": Metric("low", (FLOOR, 1.0), "log"),
        "gap": Metric("low", (FLOOR, 1.0), "log"),
        "gradient": Metric("low", (FLOOR, 1e3), "log"),
        "curvature": Metric("high", (-1.0, 1.0)),
    }
    example: ClassVar[dict[str, Any]] = {"n": 40, "d": 4}

    def pose(self, streams: Streams) -> Problem:
        rows = (streams / "data").rng().standard_normal((self.n, self.d))
        way = (streams / "planted").rng().standard_normal(self.d)
        planted = self.signal * way / np.linalg.norm(way)
        errors = (streams / "errors").rng()
        honest = self.noise * errors.standard_normal(self.n)
        lies = errors.uniform(-self.size, self.size, self.n)
        labels = rows @ planted + np.where(errors.random(self.n) < self.outliers, lies, honest)
        sum_ = Sum(rows, labels, Bowl())
        best = sum_.minimum(planted)
        least, scale = sum_.value(best), sum_.value(np.zeros(self.d)) - sum_.value(best)

        def score(answer: Any) -> dict[str, float]:
            x = array(answer, best.shape)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                distance = float(np.linalg.norm(x - best) / np.linalg.norm(best))
                gap = (sum_.value(x) - least) / scale
            return {"distance": distance, "gap": gap, **sum_.readings(x)}

        return Problem(
            FiniteSum(rows, labels, l2=0.0, loss="bowl"), Judge(score, self.metrics, truth={"minimum": best})
        )
