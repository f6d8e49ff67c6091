"""Neon2 with gradient descent: local minima by gradients alone."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.nonconvex.curvature import SEARCHES, moved
from airtrack.solvers.nonconvex.landscape import in_memory, refuse, sharp, smooth, twist


@part("solver")
class Neon2:
    """Gradient descent until ‖∇F‖ ≤ ε; then a search for a direction v of negative curvature, and a move along ± v, or,
    where none below −δ is found, gradient descent for the rest of the budget.

    search   "det": Chebyshev polynomials of differences of full gradients, Õ(√(L/δ)) of them; "online": differences of
             single gradients, Õ(L²/δ²) of them; "svrg": shift-and-invert, n + n^¾ √(L/δ); "oja": as "online", with
             Hessian products instead of differences, the method that Neon2 replaces
    params   "theory": L the bound mean Lᵢ + l2, moves of δ/L₂; "practical": L from power iteration at the start (ten
             passes), moves twice as long while F falls
    epsilon  ε
    delta    δ; None: L/4

    Source: Allen-Zhu, Li (NeurIPS 2018), Algorithms 1 to 4. Their failure probabilities and lengths are powers of 100 d
    that are below the rounding of float64; here a direction has to grow by 10⁴ (stochastic searches: by 100) before it
    is believed, within what the cubic part of F allows, and is then measured.

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, judge = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=1000 * given.n)
    >>> given.metered(meter)
    >>> judge(Neon2(params="practical", delta=0.1).answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    search: Literal["det", "online", "svrg", "oja"] = "det"
    params: Literal["theory", "practical"] = "theory"
    epsilon: Annotated[float, Gt(0)] = 1e-3
    delta: Annotated[float, Gt(0)] | None = None

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of one step: the least budget that does anything."""
        return given.n

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        refuse(given, "neon2")
        twist(given, "neon2")
        if self.search in ("online", "oja"):
            in_memory(given, "neon2")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory, search = self.params == "theory", SEARCHES[self.search]
        state = meter.resume() or {"k": 0, "x": given.zero(), "size": 0.0, "settled": False}
        meter.offer(state["x"])
        with suppress(BudgetSpent):  # which may run out in the middle of a step
            while meter.live(given.n):
                k, x, size = state["k"], state["x"], state["size"]
                if size == 0:
                    state["size"] = smooth(given) if theory else sharp(given, streams / "power")
                    meter.offer(x)
                    meter.save(lambda: dict(state))
                    continue
                full = given.gradient(x)[0] + given.ridge * x
                if not state["settled"] and np.linalg.norm(full) <= self.epsilon:
                    delta = self.delta or size / 4
                    v = search(given, x, delta, size, streams / "search" / str(k))
                    state["settled"] = v is None
                    x = x if v is None else moved(given, x, v, delta, theory, (streams / "sign").rng(k))
                else:
                    with np.errstate(over="ignore", invalid="ignore"):  # seen below
                        x = x - full / size
                if not np.isfinite(x).all():
                    raise Diverged(
                        f"neon2 left the finite numbers after {k} steps; take params: theory, where L is a bound"
                    )
                state = state | {"k": k + 1, "x": x}
                meter.offer(x)
                meter.save(lambda: dict(state))
        return state["x"]
