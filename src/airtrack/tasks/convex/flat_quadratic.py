"""Flat quadratic: directions in which a gradient is small although the minimum is far, under noise that is the same
in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

from airtrack.core.answers import array
from airtrack.core.given import FiniteSum
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams

FLOOR = 1e-16  # readings below it are rounding errors


@part("task")
class FlatQuadratic:
    """Make ‖∇F(x)‖ small for F(x) = ½ Σ λ_j ⟨q_j, x − x*⟩², known by noisy components only.

        λ₁ = 1 ┤ ■                           E‖∇fᵢ(x*)‖² = noise², in all directions alike
               │   □ □                       λ₂ … λ_d fall from `second` to `last`, evenly on a logarithmic scale
               │        □ □ □ □ □ □ □

    fᵢ = ½ (⟨aᵢ, x⟩ − bᵢ)² with rows along the axes q_j of a random rotation, `copies` to an axis, ‖aᵢ‖² = d λ_j; the
    errors of labels are ± pairs, so that they cancel in F. x* has a coordinate of ±1/√d along every axis.

    d, copies     dimensions, components to an axis (even): n = d · copies
    second, last  λ₂ and λ_d
    noise         root of the variance of a component's gradient at x*

    gradient      ‖∇F(x)‖
    gap           (F(x) − F*) / (F(0) − F*)

    >>> from airtrack.core.streams import Streams
    >>> given, judge = FlatQuadratic(d=4, copies=10).pose(Streams(0))
    >>> judge(judge.truth["optimum"]), judge(np.zeros(4))["gap"]
    ({'gradient': 1e-16, 'gap': 1e-16}, 1.0)
    """

    d: Annotated[int, Ge(2)] = 20
    copies: Annotated[int, Ge(2)] = 100
    second: Annotated[float, Gt(0), Le(1)] = 1e-2
    last: Annotated[float, Gt(0), Le(1)] = 1e-4
    noise: Annotated[float, Ge(0)] = 0.3

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = FiniteSum
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gradient": Metric("low", (FLOOR, 1e3), "log"),
        "gap": Metric("low", (FLOOR, 1.0), "log"),
    }
    example: ClassVar[dict[str, Any]] = {"d": 4, "copies": 10}

    def check(self) -> None:
        if self.copies % 2:
            raise ValueError(f"copies: {self.copies} is odd, and errors come in pairs; take {self.copies + 1}")
        if self.last > self.second:
            raise ValueError(f"last: {self.last:g} is above second, {self.second:g}; eigenvalues fall")

    def pose(self, streams: Streams) -> Problem:
        sizes = np.concatenate([[1.0], np.geomspace(self.second, self.last, self.d - 1)])
        basis, triangle = np.linalg.qr((streams / "basis").rng().standard_normal((self.d, self.d)))
        basis = basis * np.sign(np.diag(triangle))  # columns are the axes
        best = basis @ np.where((streams / "optimum").rng().random(self.d) < 0.5, -1.0, 1.0) / np.sqrt(self.d)
        lengths = np.sqrt(self.d * sizes)
        half = (streams / "labels").rng().standard_normal((self.d, self.copies // 2))
        half *= self.noise / lengths[:, None]
        rows = np.repeat(basis.T * lengths[:, None], self.copies, 0)
        labels = rows @ best + np.concatenate([half, -half], 1).ravel()

        def score(answer: Any) -> dict[str, float]:
            with np.errstate(over="ignore", invalid="ignore"):  # 1e300 is an answer too
                far = basis.T @ (array(answer, (self.d,)) - best)
                gap = (sizes * far**2).sum() / (sizes.sum() / self.d)
                return {"gradient": float(np.linalg.norm(sizes * far)), "gap": float(gap)}

        given = FiniteSum(rows, labels, l2=0.0, loss="squared", convexity=self.last)
        return Problem(given, Judge(score, self.metrics, truth={"optimum": best}))
