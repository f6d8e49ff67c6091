"""Natasha 2: local minima without a pass over the data."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.nonconvex.curvature import SEARCHES, lost, moved
from airtrack.solvers.nonconvex.landscape import dip, refuse, sharp, smooth, twist
from airtrack.solvers.nonconvex.natasha15 import Plan, epoch, planned, variance


@part("solver")
class Natasha2:
    """Rounds k of an epoch of Natasha 1.5 on F^k, and a search for a direction v of curvature below −δ where it ended,
    which is followed, if there is one, by y ← y ± (δ/L₂) v, the sign at random.

        F^k(x) = F(x) + L max(0, ‖x − y_k‖ − δ/L₂)²

    keeps the epoch where the Hessian is at least −2δ, if it is at least −δ at y_k; so σ of the epoch is of the order of
    δ and not of L. Õ(1/δ⁵ + 1/(δε³) + ε^(−10/3)) gradients for ‖∇F‖ ≤ ε and ∇²F ≥ −δ, ε^(−3.25) with δ = ε^¼.

    params   "theory": L̃ and σ̃ by L₂, V, ε, δ as in the paper (`constants`), a search every round, moves of δ/L₂, the
             fence; "practical": L = max Lᵢ, σ = δ, searches only where the batch's gradient is at most 2ε, until one
             finds nothing, moves twice as long while F falls, and no fence: δ/L₂ is a worst case, thousands of times
             shorter than the way to a valley
    search   "online", "oja", "svrg", "det": see `neon2`
    epsilon  ε
    delta    δ; None: L/4, L being what the search is told: mean Lᵢ + l2 in theory, measured in practice
    size     B of an epoch; None: min(n, V/ε²)
    step     multiplies α

    Source: Allen-Zhu (NeurIPS 2018), Algorithm 2, which begins with a search where this begins with an epoch; constants
    are those of the orders that it gives.

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, judge = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=400 * given.n)
    >>> given.metered(meter)
    >>> solver = Natasha2(params="practical", search="det", delta=0.1, epsilon=1e-3)
    >>> judge(solver.answer(given, meter, Streams(0) / "recipe"))["curvature"] > 0
    True
    """

    params: Literal["theory", "practical"] = "theory"
    search: Literal["online", "oja", "svrg", "det"] = "online"
    epsilon: Annotated[float, Gt(0)] = 1e-2
    delta: Annotated[float, Gt(0)] | None = None
    size: Annotated[int, Ge(1)] | None = None
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        refuse(given, "natasha2", dense=True)
        twist(given, "natasha2")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory, search = self.params == "theory", SEARCHES[self.search]
        state = meter.resume() or {
            "round": 0,
            "x": given.zero(),
            "V": 0.0,
            "large": 0.0,
            "next": "epoch",
            "settled": False,
        }
        meter.offer(state["x"])
        with suppress(BudgetSpent):  # which may run out in the middle of a step
            while meter.live(2):
                k, x, noise = state["round"], state["x"], state["V"]
                if noise == 0:
                    large = smooth(given) if theory else sharp(given, streams / "power")
                    state |= {"V": variance(given, x, (streams / "variance").rng()), "large": large}
                    meter.offer(x)
                    meter.save(lambda: dict(state))
                    continue
                delta = self.delta or state["large"] / 4
                if state["next"] == "epoch":
                    x, norm = epoch(given, x, self.plan(given, noise, delta), streams, k)
                    quiet = norm <= 2 * self.epsilon and not state["settled"]
                    state |= {"next": "search" if theory or quiet else "epoch"}
                else:
                    v = search(given, x, delta, state["large"], streams / "search" / str(k))
                    x = x if v is None else moved(given, x, v, delta, theory, (streams / "sign").rng(k))
                    state |= {"next": "epoch", "settled": v is None}
                if lost(x):
                    fact = f"natasha2 left the finite numbers in round {k}"
                    raise Diverged(f"{fact}; it is stable for step ≤ 1, if F has a minimum")
                state = state | {"round": k + 1, "x": x}
                meter.offer(x)
                meter.save(lambda: dict(state))
        return state["x"]

    def plan(self, given: FiniteSum, noise: float, delta: float) -> Plan:
        """How an epoch goes, where V is `noise`."""
        smoothness, theory = float(given.smoothness.max()) + given.l2, self.params == "theory"
        if not theory:
            return planned(given, noise, self.epsilon, smoothness, delta, self.size, self.step, theory)
        bend = twist(given, "natasha2")
        large, sigma = constants(smoothness, bend, noise, self.epsilon, delta)
        plan = planned(given, noise, self.epsilon, large, max(sigma, 1e-3 * dip(given)), self.size, self.step, theory)
        return plan._replace(radius=delta / bend if bend > 0 else np.inf, slack=smoothness)


def constants(smooth: float, bend: float, noise: float, epsilon: float, delta: float) -> tuple[float, float]:
    """(L̃, σ̃) of the paper's Theorem 2, from L, L₂, V, ε, δ.

    >>> constants(1.0, 100.0, 1.0, 1e-3, 0.1)  # L₂ is large: Lipschitz Hessians are of no use
    (100.0, 100.0)
    >>> constants(1.0, 0.1, 1.0, 1e-3, 0.1)
    (1.0, 0.001)
    """
    root = np.cbrt(noise * epsilon)
    if bend >= smooth * delta / root:
        return float(bend * root / delta), float(bend * root / delta)
    sigma = max(noise * epsilon * bend**3 / (smooth**2 * delta**3), epsilon * smooth / np.sqrt(noise))
    return smooth, float(min(sigma, smooth))
