"""SVRG: stochastic gradients whose variance shrinks as the snapshot improves."""

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
class Svrg:
    """Stochastic variance-reduced gradient for F(x) = (1/n) Σ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖² + ψ(x).

    An epoch takes the full gradient μ at a snapshot x̃ and then m = 2n steps, i uniform:

        g = φ'(⟨aᵢ, x⟩) aᵢ − φ'(⟨aᵢ, x̃⟩) aᵢ + μ
        x ← argmin ‖x' − x‖²/2η + ⟨g, x'⟩ + (σ/2) ‖x'‖² + ψ(x')

    It costs 3n gradients: the slopes φ'(⟨aᵢ, x̃⟩) are kept from the full gradient.

    params    "theory": η = 1/(7L), the next snapshot is the epoch's average, the next epoch starts where this one
              ended; 1/(2L√n) and m = n where only the sum is convex, and not its components;
              "practical": η = 1/L, which no proof covers, and the last iterate
    step      multiplies η
    sampling  "uniform", L the greatest Lᵢ; "smoothness": i with chance Lᵢ/ΣLⱼ, L the mean

    Source: Johnson, Zhang (NIPS 2013); the constants of Allen-Zhu, Yuan (ICML 2016), whose sections 4 and 5 treat sums
    of non-convex components.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=100.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=60 * 100)
    >>> given.metered(meter)
    >>> judge(Svrg(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0
    sampling: Literal["uniform", "smoothness"] = "uniform"

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}
    version: ClassVar[int] = 3

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of the snapshot and of one step: the least budget that does anything."""
        return given.n + 1

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "svrg")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory, convex = self.params == "theory", given.loss.bounds[0] >= 0
        sampler, scale, smoothness = sampling(given, self.sampling)
        steps = 2 * given.n if convex else given.n
        slow = 1.0 if not theory else 7.0 if convex else 2 * np.sqrt(steps)
        law = Law(1.0, 0.0, self.step / (slow * smoothness), given.l2)
        state = meter.resume() or {"epoch": 0, "x": given.zero(), "snapshot": given.zero()}
        x = state["x"]
        for full, slopes, count in epochs(given, meter, state, lambda epoch: steps, "svrg"):
            rng, around = (streams / "indices").rng(state["epoch"]), (state["snapshot"], full, slopes)
            state["snapshot"] = walk(given, law, sampler, rng, count, scale, around, x, x.copy(), averaged=theory)
            del around  # the old snapshot
        return state["snapshot"]
