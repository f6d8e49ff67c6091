"""Revenue: prices of options with limited capacity, the dual of a linear programme that HiGHS has solved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from scipy import sparse
from scipy.optimize import linprog

from airtrack.core.answers import array
from airtrack.core.given import Choices, Floats
from airtrack.core.part import SpecError, part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams

FLOOR = 1e-12  # HiGHS is exact to about 1e-13 here


@part("task")
class Revenue:
    """Minimise F(x) = ⟨c, x⟩ + (1/n) Σ max(0, maxⱼ (vᵢⱼ − xⱼ)) over x ≥ 0: prices x of d options, for n customers.

         customer    v = rⱼ uᵢⱼ          takes
            1       .9  .4  .7           option 3 at prices (.6, .3, .2)
            2       .5  .2  .1           none of them at prices (.6, .3, .2)
        capacity    n c₁ n c₂ n c₃       the dual: one option a customer at most, capacities kept, most value sold

    n, d      customers, options
    capacity  Σ c, share of the customers that can be served; each c is drawn uniformly and scaled

    Revenues r are uniform in [½, 1], utilities u uniform in [0, 1]. gap(x) = (F(x) − F*) / (F(0) − F*). F* comes from
    linear programming, where the value of prices and that of sales bound each other. The unit of work is the gradient
    of one component: what one customer takes.

    Source: a stand-in for the study of Allen-Zhu, Simchi-Levi, Wang (NeurIPS 2018) on 4.6 million users.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Revenue(n=50, d=3).pose(Streams(0))
    >>> given.n, judge(np.zeros(3))["gap"], judge(judge.truth["optimum"])["gap"]
    (50, 1.0, 1e-12)
    """

    n: Annotated[int, Ge(2)] = 2000
    d: Annotated[int, Ge(1)] = 10
    capacity: Annotated[float, Gt(0)] = 0.5

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = Choices
    metrics: ClassVar[Mapping[str, Metric]] = {"gap": Metric("low", (FLOOR, 1.0), "log")}
    example: ClassVar[dict[str, Any]] = {"n": 60, "d": 4}

    def check(self) -> None:
        if self.capacity >= 1:
            raise ValueError(f"capacity: with {self.capacity} prices of 0 may be best; take less than 1")

    def pose(self, streams: Streams) -> Problem:
        rng = (streams / "data").rng()
        values = rng.uniform(0.5, 1, self.d) * rng.random((self.n, self.d))
        capacity = rng.uniform(0.5, 1.5, self.d)
        capacity *= self.capacity / capacity.sum()
        given = Choices(values, capacity)
        best = optimum(values, capacity)
        least, scale = given.value(best), given.value(np.zeros(self.d)) - given.value(best)

        def score(answer: Any) -> dict[str, float]:
            x = np.maximum(array(answer, best.shape), 0)
            with np.errstate(over="ignore", invalid="ignore"):
                return {"gap": (given.value(x) - least) / scale}

        return Problem(given, Judge(score, self.metrics, truth={"optimum": best}))


def optimum(values: Floats, capacity: Floats) -> Floats:
    """Best prices [d]: the multipliers of the capacities in the programme of sales, n d variables."""
    n, d = values.shape
    once = sparse.kron(sparse.identity(n), np.ones((1, d)))  # one option a customer
    kept = sparse.kron(np.ones((1, n)), sparse.identity(d))
    limits = np.concatenate([np.ones(n), n * capacity])
    found = linprog(-values.ravel(), A_ub=sparse.vstack([once, kept]).tocsr(), b_ub=limits, method="highs-ds")
    if found.status != 0:
        raise SpecError(f"HiGHS gave up: {found.message}")
    return np.maximum(-found.ineqlin.marginals[n:], 0)
