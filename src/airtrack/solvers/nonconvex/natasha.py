"""Natasha: variance reduction for sums that are only a little non-convex."""

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
from airtrack.solvers.nonconvex.landscape import dip, even, held


@part("solver")
class Natasha:
    """An epoch takes the full gradient μ at x̃ and then p sub-epochs of m = n/p steps of SVRG on F(x) + σ ‖x − x̂‖²,
    x̂ being where the sub-epoch began: the quadratic makes it convex, and p > 1 lets it move on within an epoch.

        x ← prox_αψ(x − α (∇fᵢ(x) − ∇fᵢ(x̃) + μ + 2σ (x − x̂)))

    For σ ≥ L/√n it needs n + n^⅔ (L²σ)^⅓/ε² gradients for ‖∇F‖ ≤ ε; below, `repeat_svrg` is the faster one.

    params   "theory": p = (σ²n/L²)^⅓, α = 1/(2 max(σm, L)), and the next x̂ is a random iterate of the sub-epoch;
             "practical": α = 1/(2L) and the last iterate
    sigma    σ: no eigenvalue of the Hessian is below −σ; None: the bound that the loss gives, or L/1000 if that is more
    pieces   p; None: as above, between 1 and n
    step     multiplies α

    Source: Allen-Zhu (ICML 2017), Algorithm 1; the constants of p and α are those of the orders that it gives. A
    sub-epoch ends at its random iterate, for the steps after that would be thrown away. The answer is the last x̂
    and not a random one; the polishing by Prox-SGD is left out.

    >>> from airtrack.tasks.nonconvex.sigmoid_sum import SigmoidSum
    >>> given, judge = SigmoidSum(n=200, d=5).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 200)
    >>> given.metered(meter)
    >>> judge(Natasha(params="practical", sigma=0.01).answer(given, meter, Streams(0) / "recipe"))["gradient"] < 0.02
    True
    """

    params: Literal["theory", "practical"] = "theory"
    sigma: Annotated[float, Gt(0)] | None = None
    pieces: Annotated[int, Ge(1)] | None = None
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of the snapshot and of one step: the least budget that does anything."""
        return given.n + 1

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "natasha")
        even(given, "natasha")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory, n, sigma = self.params == "theory", given.n, self.sigma or dip(given)
        sampler, scale, smoothness = sampling(given, "uniform")
        p = self.pieces or int(np.clip(np.cbrt(sigma**2 * n / smoothness**2), 1, n))
        m = max(n // p, 1)
        alpha = self.step / (2 * max(sigma * m, smoothness) if theory else 2 * smoothness)
        step, l2 = held(given, alpha, 2 * sigma)
        law, zero = Law(1.0, 0.0, step, l2), given.zero()

        def lengths(epoch: int) -> list[int]:
            return (streams / "lengths").rng(epoch).integers(1, m + 1, p).tolist() if theory else [m] * p

        state = meter.resume() or {"epoch": 0, "snapshot": zero}
        for full, slopes, count in epochs(given, meter, state, lambda epoch: sum(lengths(epoch)), "natasha"):
            x, snapshot, rng = state["snapshot"], state["snapshot"], (streams / "indices").rng(state["epoch"])
            planned = lengths(state["epoch"])
            for length in [*planned, max(count - sum(planned), 0)]:  # the last of all takes what is left of the budget
                length = min(length, count)
                if length:
                    anchor, x = (snapshot, full - 2 * sigma * x, slopes), x.copy()
                    walk(given, law, sampler, rng, length, scale, anchor, x, x.copy(), averaged=False)
                count -= length
            state["snapshot"] = x
        return state["snapshot"]
