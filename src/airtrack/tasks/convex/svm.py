"""Svm: the linear support vector machine as a sum that any solver of finite sums may take apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le

from airtrack.core.given import FiniteSum
from airtrack.core.part import part
from airtrack.core.problem import Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.convex.hinge_svm import FLOOR, svm_judge, two_sides


@part("task")
class Svm:
    """Minimise F(x) = (1/n) Σ max(0, 1 − bᵢ⟨aᵢ, x⟩) + (l2/2) ‖x‖², the data and the judge of `hinge_svm`.

        there, an answer to "which components have changed their side?"
        here,  gradients and slopes of components, rows for compiled loops, duality gaps: solvers that round the
               corner off (`adapt_smooth`), or that ascend the dual, which has none (`sdca`)

    n, d   components, dimensions
    l2     strength of the regulariser
    noise  chance that a label is turned round

    The unit of work is the gradient of one component.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Svm(n=60, d=4).pose(Streams(0))
    >>> x = judge.truth["optimum"]
    >>> type(given.loss).__name__, judge(x)["gap"] < 1e-12, judge(0 * x)["gap"]
    ('Hinge', True, 1.0)
    """

    n: Annotated[int, Ge(4)] = 4000
    d: Annotated[int, Ge(1)] = 20
    l2: Annotated[float, Gt(0)] = 1e-3
    noise: Annotated[float, Ge(0), Le(0.5)] = 0.1

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = FiniteSum
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gap": Metric("low", (FLOOR, 1.0), "log"),  # (F(x) − F*) / (F(0) − F*)
        "distance": Metric("low", (FLOOR, 1.0), "log"),  # ‖x − x*‖ / ‖x*‖
    }
    example: ClassVar[dict[str, Any]] = {"n": 60, "d": 4, "l2": 0.01}

    def pose(self, streams: Streams) -> Problem:
        rows, labels = two_sides(streams, self.n, self.d, self.noise)
        given = FiniteSum(rows, labels, l2=self.l2, loss="hinge")
        return Problem(given, svm_judge(rows, labels, self.l2, self.metrics))
