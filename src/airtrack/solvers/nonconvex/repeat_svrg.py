"""Repeated convex problems: the other side of Natasha's dichotomy."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.coupled import Law, walk
from airtrack.solvers.convex.epochs import check, epochs, sampling
from airtrack.solvers.nonconvex.landscape import dip, even


@part("solver")
class RepeatSvrg:
    """x_k+1 ≈ argmin F(x) + σ ‖x − x_k‖², a σ-strongly convex sum of parts that are not convex, by a few epochs of
    Katyusha X: n^¾ √(Lσ)/ε² gradients for ‖∇F‖ ≤ ε, which beats `natasha` where σ < L/√n.

    params  "theory": η = 1/(2L√n), τ = ½ √(nησ), and ⌈2/√(nησ)⌉ epochs to a problem; "practical": η = 1/(2L), four
            epochs
    sigma   σ: no eigenvalue of the Hessian is below −σ; None: the bound that the loss gives, or L/1000 if that is more
    rounds  epochs to a problem; None: as above
    step    multiplies η

    Source: Allen-Zhu (ICML 2017), section 1, "repeatSVRG"; the accelerated inner method is that of Allen-Zhu (ICML
    2018). The number of epochs is derived from the rate of the inner method.

    >>> from airtrack.tasks.nonconvex.sigmoid_sum import SigmoidSum
    >>> given, judge = SigmoidSum(n=200, d=5).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 200)
    >>> given.metered(meter)
    >>> judge(RepeatSvrg(params="practical", sigma=0.01).answer(given, meter, Streams(0) / "recipe"))["gradient"] < 0.02
    True
    """

    params: Literal["theory", "practical"] = "theory"
    sigma: Annotated[float, Gt(0)] | None = None
    rounds: Annotated[int, Ge(1)] | None = None
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of the snapshot and of one step: the least budget that does anything."""
        return given.n + 1

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "repeat_svrg")
        even(given, "repeat_svrg")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory, n, sigma = self.params == "theory", given.n, self.sigma or dip(given)
        sampler, scale, smoothness = sampling(given, "uniform")
        eta = self.step / ((2 * np.sqrt(n) if theory else 2) * smoothness)
        tau = min(0.5, 0.5 * float(np.sqrt(n * eta * sigma)))
        rounds = self.rounds or (int(np.ceil(1 / tau)) if theory else 4)
        law, zero = Law(1.0, 0.0, float(eta), given.l2 + 2 * sigma), given.zero()
        state = meter.resume() or {"epoch": 0, "snapshot": zero, "center": zero, "y": zero}
        for full, slopes, count in epochs(given, meter, state, lambda epoch: n, "repeat_svrg"):
            first = state["epoch"] % rounds == 0
            x = state["snapshot"]
            center, before = (x, x) if first else (state["center"], state["y"])
            y, rng = x.copy(), (streams / "indices").rng(state["epoch"])
            walk(given, law, sampler, rng, count, scale, (x, full - 2 * sigma * center, slopes), y, y.copy(), 1, False)
            moved = y.copy() if first else (1.5 * y + 0.5 * x - (1 - tau) * before) / (1 + tau)
            last = (state["epoch"] + 1) % rounds == 0  # the next problem begins at y
            state |= {"y": y, "center": center, "snapshot": y.copy() if last else moved}
        return state["y"]
