"""HingeSvm: the linear support vector machine, whose optimum is known to rounding error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.answers import array
from airtrack.core.given import Floats, Hinges
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.convex.margins import dual_optimum, excess

FLOOR = 1e-14  # F is a mean of n terms of size one: differences below it are rounding errors


@part("task")
class HingeSvm:
    """Minimise F(x) = (1/n) Σ max(0, 1 − bᵢ⟨aᵢ, x⟩) + (l2/2) ‖x‖²; Gaussian rows, E‖aᵢ‖² = 1, labels ±1.

            ·  o | x  x          labels from a hyperplane, a share `noise` of them turned round
          o  o · | ·  x  x       margin bᵢ⟨aᵢ, x⟩; gradient −bᵢ aᵢ where it is < 1, else 0
         o   o   |   x           gap(x) = (F(x) − F*) / (F(0) − F*)

    n, d   components, dimensions
    l2     strength of the regulariser
    noise  chance that a label is turned round

    F* is the dual optimum of an interior point method, certified by its duality gap. The unit of work is the gradient
    of one component.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = HingeSvm(n=60, d=4).pose(Streams(0))
    >>> given.n, judge(np.zeros(4))["gap"], judge(judge.truth["optimum"])["gap"] < 1e-12
    (60, 1.0, True)
    """

    n: Annotated[int, Ge(4)] = 4000
    d: Annotated[int, Ge(1)] = 20
    l2: Annotated[float, Gt(0)] = 1e-3
    noise: Annotated[float, Ge(0)] = 0.1

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = Hinges
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gap": Metric("low", (FLOOR, 1.0), "log"),  # (F(x) − F*) / (F(0) − F*)
        "distance": Metric("low", (FLOOR, 1.0), "log"),  # ‖x − x*‖ / ‖x*‖
    }
    example: ClassVar[dict[str, Any]] = {"n": 60, "d": 4, "l2": 0.01}

    def check(self) -> None:
        if self.noise > 0.5:
            raise ValueError(f"noise: {self.noise} turns most labels round; take at most 0.5")

    def pose(self, streams: Streams) -> Problem:
        rows, labels = two_sides(streams, self.n, self.d, self.noise)
        return Problem(Hinges(rows, labels, l2=self.l2), svm_judge(rows, labels, self.l2, self.metrics))


def two_sides(streams: Streams, n: int, d: int, noise: float) -> tuple[Floats, Floats]:
    """Rows [n, d] and labels ±1 [n]."""
    rng = (streams / "data").rng()
    rows = rng.standard_normal((n, d)) / np.sqrt(d)
    labels = np.where(rows @ rng.standard_normal(d) > 0, 1.0, -1.0)
    labels = np.where(rng.random(n) < noise, -labels, labels)
    labels[:2] = 1, -1  # both classes are there
    return rows, labels


def svm_judge(rows: Floats, labels: Floats, l2: float, metrics: Mapping[str, Metric]) -> Judge:
    """Scores x [d] by its gap and its distance from the optimum."""
    signed = rows * labels[:, None]
    alpha, _ = dual_optimum(signed, l2)
    best, above = excess(signed, alpha, l2)
    scale = above(np.zeros_like(best))

    def score(answer: Any) -> dict[str, float]:
        x = array(answer, best.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            return {
                "gap": above(x) / scale,
                "distance": float(np.linalg.norm(x - best) / np.linalg.norm(best)),
            }

    return Judge(score, metrics, truth={"optimum": best})
