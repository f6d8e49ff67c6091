"""Katyusha X: momentum between the epochs of SVRG, for sums whose parts need not be convex."""

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
class KatyushaX:
    """y = E(x) is one epoch of SVRG from the snapshot x, where it also begins; between two of them, for F σ-convex,

        x ← ((3/2) y + (1/2) x − (1 − τ) y₋) / (1 + τ)                        τ = ½ is plain SVRG

    and without σ, after epoch k = 0, 1, …,  x ← ((3k + 4) y + (k + 2) x − 2k y₋) / (2k + 6), y₋ being the y before, at
    first the start.

    params    "theory": η = 1/(2L√m), or 1/(7L) where all components are convex; τ = min(½, ½ √(mησ)); the number of
              steps of an epoch is drawn from the geometric law with mean m = n, at most 8 n;
              "practical": η four times as large where components are not convex and 1/(2L) where they are, m = n fixed
    step      multiplies η
    sampling  "uniform", L the greatest Lᵢ; "smoothness": i with chance Lᵢ/ΣLⱼ, L the mean

    Source: Allen-Zhu (ICML 2018), Algorithm 2; the constants are derived here from its lemmas' orders.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=100 * 100)
    >>> given.metered(meter)
    >>> judge(KatyushaX(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0
    sampling: Literal["uniform", "smoothness"] = "uniform"

    version: ClassVar[int] = 2
    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of the snapshot and of one step: the least budget that does anything."""
        return given.n + 1

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "katyusha_x")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory, convex, m = self.params == "theory", given.loss.bounds[0] >= 0, given.n
        sampler, scale, smoothness = sampling(given, self.sampling)
        slow = (7.0 if convex else 2 * np.sqrt(m)) if theory else (2.0 if convex else np.sqrt(m) / 2)
        eta, sigma = self.step / (slow * smoothness), given.convexity
        tau = min(0.5, 0.5 * float(np.sqrt(m * eta * sigma)))
        law, zero = Law(1.0, 0.0, eta, given.l2), given.zero()

        def length(epoch: int) -> int:
            drawn = (streams / "lengths").rng(epoch).geometric(1 / m)
            return int(min(drawn, 8 * m)) if theory else m

        state = meter.resume() or {"epoch": 0, "snapshot": zero, "y": zero}
        for full, slopes, count in epochs(given, meter, state, length, "katyusha_x"):
            k, x, before = state["epoch"], state["snapshot"], state["y"]
            y, rng = x.copy(), (streams / "indices").rng(k)
            walk(given, law, sampler, rng, count, scale, (x, full, slopes), y, x.copy(), averaged=False)
            if sigma > 0:
                x = (1.5 * y + 0.5 * x - (1 - tau) * before) / (1 + tau)
            else:
                x = ((3 * k + 4) * y + (k + 2) * x - 2 * k * before) / (2 * k + 6)
            state |= {"y": y, "snapshot": x}
        return state["y"]
