"""SAG: the mean of the last slope of every component, stepped along."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.penalties import Nothing
from airtrack.core.streams import Streams
from airtrack.solvers.convex.epochs import check
from airtrack.solvers.convex.memory import remember
from airtrack.solvers.rules import unfit


@part("solver")
class Sag:
    """Steps along the mean of remembered slopes, F(x) = (1/n) Σ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖² + ⟨c, x⟩; a baseline.

    sᵢ being the slope of component i when it was last drawn, i uniform:

        sᵢ ← φ'(⟨aᵢ, x⟩),   g = (1/n) Σ wⱼ sⱼ aⱼ + c,   x ← argmin ‖x' − x‖²/2η + ⟨g, x'⟩ + (σ/2) ‖x'‖²

    SAGA with a small, biased correction. One step costs one gradient, the first slopes n. Sparse rows are lazy.

    params  "theory": η = 1/(16L), L the greatest wᵢLᵢ; "practical": η = 1/L
    step    multiplies η

    Source: Schmidt, Le Roux, Bach (Math. Program. 2017), Theorem 1 and section 4.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=100.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=60 * 100)
    >>> given.metered(meter)
    >>> judge(Sag(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "sag")
        if given.loss.bounds[0] < 0:
            raise unfit(given, f"sag needs convex components, {type(given.loss).__name__} has none")
        if not isinstance(given.penalty, Nothing):
            raise unfit(given, f"sag takes no penalty, and this sum has {type(given.penalty).__name__}")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        eta = self.step / ((16 if self.params == "theory" else 1) * float(given.smoothness.max()))
        return remember(given, meter, streams, "sag", eta, 1 / given.n)
