"""SAGA: variance reduction with a table of slopes instead of a snapshot."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.epochs import check
from airtrack.solvers.convex.memory import remember
from airtrack.solvers.rules import unfit


@part("solver")
class Saga:
    """Steps with an unbiased gradient, F(x) = (1/n) Σ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖² + ⟨c, x⟩ + ψ(x); a baseline.

    sᵢ being the slope of component i when it was last drawn, i uniform:

        g = wᵢ (φ'(⟨aᵢ, x⟩) − sᵢ) aᵢ + (1/n) Σ wⱼ sⱼ aⱼ + c,   sᵢ ← φ'(⟨aᵢ, x⟩)
        x ← argmin ‖x' − x‖²/2η + ⟨g, x'⟩ + (σ/2) ‖x'‖² + ψ(x')

    A weight is a factor of its component's loss, in g as in the mean; L is the greatest wᵢLᵢ. One step costs one
    gradient, the first slopes n. Sparse rows are updated lazily.

    params  "theory": η = 1/(3L); "practical": η = 1/(2L)
    step    multiplies η

    Source: Defazio, Bach, Lacoste-Julien (NIPS 2014).

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=100.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=60 * 100)
    >>> given.metered(meter)
    >>> judge(Saga().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "saga")
        if given.loss.bounds[0] < 0:
            raise unfit(given, f"saga needs convex components, {type(given.loss).__name__} has none")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        eta = self.step / ((3 if self.params == "theory" else 2) * float(given.smoothness.max()))
        return remember(given, meter, streams, "saga", eta, 1.0)
