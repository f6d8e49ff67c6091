"""SVRG++: SVRG for sums that are convex but not strongly so, with epochs that grow."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.coupled import Law, walk
from airtrack.solvers.convex.epochs import check, epochs, sampling


@part("solver")
class SvrgPp:
    """SVRG whose epoch s takes 2ˢ m₀ steps: the next snapshot is their average, the next epoch begins at the last one.

    Without strong convexity, O(n log(1/ε) + L/ε) gradients, where SVRG with a fixed regulariser has a product.

    params  "theory": η = 1/(7L), m₀ = n/4; "practical": η = 1/L, and no epoch longer than 8n, so that a sum that is
            strongly convex after all is solved at a linear rate
    step    multiplies η

    Source: Allen-Zhu, Yuan (ICML 2016), Algorithm 1; m₀ there is a parameter.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=300 * 100)
    >>> given.metered(meter)
    >>> judge(SvrgPp(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-4
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of the snapshot and of one step: the least budget that does anything."""
        return given.n + 1

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "svrg_pp")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory = self.params == "theory"
        sampler, scale, smoothness = sampling(given, "uniform")
        law, zero = Law(1.0, 0.0, self.step / ((7 if theory else 1) * smoothness), given.l2), given.zero()
        most = np.inf if theory else 8 * given.n

        def length(epoch: int) -> int:
            return int(min(2.0 ** min(epoch, 60) * max(given.n // 4, 1), most))

        state = meter.resume() or {"epoch": 0, "x": zero, "snapshot": zero}
        for full, slopes, count in epochs(given, meter, state, length, "svrg_pp"):
            x, rng = state["x"].copy(), (streams / "indices").rng(state["epoch"])
            average = walk(given, law, sampler, rng, count, scale, (state["snapshot"], full, slopes), x, x.copy())
            state |= {"x": x, "snapshot": average}
        return state["snapshot"]
