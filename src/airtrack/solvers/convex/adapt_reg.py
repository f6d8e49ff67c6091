"""AdaptReg: a sum without strong convexity, by a solver that needs it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import Slot, part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.stages import in_stages, refuse_inner
from airtrack.solvers.rules import unfit


@part("solver")
class AdaptReg:
    """Minimise F + (σₜ/2) ‖x‖² for σₜ = σ₀, σ₀/2, σ₀/4, …, each from where the last one ended, and each only until its
    duality gap is (σₜ/2) ‖x‖², which is what the regulariser adds to F there.

    A regulariser that stays needs to know the error one wants, costs a logarithm, and is biased; one that shrinks with
    the error loses nothing.

    solver  which one: anything for strongly convex sums
    sigma   σ₀; in theory the first error over the squared distance to go; None: F(0)/R² with R² = 100 n/Σ‖aᵢ‖², which
            predictions of the order of ten take. Ten times too much costs three stages

    Source: Allen-Zhu, Hazan, Optimal black-box reductions (NIPS 2016), Algorithm 1.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e6).pose(Streams(0) / "task")
    >>> given.l2 = 0.0
    >>> meter = Meter(budget=300 * 100)
    >>> given.metered(meter)
    >>> x = AdaptReg(solver="katyusha").answer(given, meter, Streams(0) / "recipe")
    >>> given.certificate(x)["gradient"] < 1e-4
    True
    """

    solver: Annotated[Any, Slot("solver")] = "katyusha"
    sigma: Annotated[float, Gt(0)] | None = None

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        if given.loss.bounds[0] < 0:
            raise unfit(given, f"adapt_reg needs a convex loss, {type(given.loss).__name__} is none")
        refuse_inner(self.solver, given, given.like(l2=given.l2 + 1))

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        first = self.sigma or first_sigma(given)

        def changed(t: int) -> FiniteSum:
            return given.like(l2=given.l2 + first * 0.5**t)

        return in_stages(given, meter, streams, self.solver, changed, lambda problem, x: added(given, problem, x))


def added(given: FiniteSum, problem: FiniteSum, x: Floats) -> float:
    """What `problem` has more than `given` of the regulariser."""
    return (problem.l2 - given.l2) / 2 * float((x[: given.d - given.free] ** 2).sum())


def first_sigma(given: FiniteSum) -> float:
    """Mean loss at 0 over R², the squared length of an x whose predictions are ten or so."""
    start = float(given.weights @ given.loss.value(np.zeros(given.n), given.labels)) / given.n
    return (start or 1.0) * float(given.squares.mean()) / 100
