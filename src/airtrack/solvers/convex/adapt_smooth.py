"""AdaptSmooth: a loss with corners, by a solver that needs a smooth one."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import Slot, part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.adapt_reg import added
from airtrack.solvers.convex.stages import in_stages, refuse_inner
from airtrack.solvers.rules import unfit


@part("solver")
class AdaptSmooth:
    """Minimise the sum with its loss rounded off over a width λₜ = λ₀, λ₀/2, λ₀/4, … and, where it has no strong
    convexity, with (σₜ/2) ‖x‖² more, σₜ = σ₀ 2⁻ᵗ; each from where the last one ended, until its duality gap is what
    the two changes add to that of F.

    The rounding is Fenchel's: max over c of c u − φ*(c) − λ c²/2; a loss that has one says so by `smoothed(width)`.

    solver  which one: anything for smooth, strongly convex sums
    width   λ₀
    sigma   σ₀, for sums without l2 ("JointAdaptRegSmooth"); ignored where there is one

    Source: Allen-Zhu, Hazan, Optimal black-box reductions (NIPS 2016), Algorithms 2 and 3.

    >>> from airtrack.core.given import FiniteSum
    >>> svm = FiniteSum(np.eye(3), np.array([1.0, 1.0, -1.0]), l2=0.1, loss="hinge")
    >>> meter = Meter(budget=2000)
    >>> svm.metered(meter)
    >>> AdaptSmooth(solver="katyusha").answer(svm, meter, Streams(0)).round(3).tolist()
    [1.0, 1.0, -1.0]
    """

    solver: Annotated[Any, Slot("solver")] = "katyusha"
    width: Annotated[float, Gt(0)] = 1.0
    sigma: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        if not hasattr(given.loss, "smoothed"):
            raise unfit(given, f"{type(given.loss).__name__} has no corner to round off, or no method smoothed(width)")
        refuse_inner(self.solver, given, given.like(loss=given.loss.smoothed(self.width), l2=given.l2 + 1))

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        more = self.sigma if given.l2 == 0 else 0.0

        def changed(t: int) -> FiniteSum:
            return given.like(loss=given.loss.smoothed(self.width * 0.5**t), l2=given.l2 + more * 0.5**t)

        def allowed(problem: FiniteSum, x: Floats) -> float:
            return given.mismatch(x, problem.loss) + added(given, problem, x)

        return in_stages(given, meter, streams, self.solver, changed, allowed, charged=True)
