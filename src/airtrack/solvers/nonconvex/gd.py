"""Gradient descent, plain or perturbed."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError, part
from airtrack.core.penalties import Nothing
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.convex.epochs import smooth as smoothed
from airtrack.solvers.nonconvex.landscape import sharp, smooth

PATIENCE = 50  # steps in which a perturbation has to lower F


@part("solver")
class Gd:
    """x ← prox(x − ∇F(x)/L), ∇F without the penalty; with `noise`, where ∇F is small, first x ← x + a point of a ball.

    params   "theory": L = mean Lᵢ + l2, an upper bound; "practical": L from power iteration at the start (ten
             passes), and 1.2 times that
    step     multiplies 1/L
    noise    radius of the ball; 0: gradient descent, which has no way to leave a saddle but rounding errors
    epsilon  ‖∇F‖ below which it is perturbed; if F is no lower fifty steps later, x goes back to where it was, which is
             then taken for a minimum

    Source: Jin, Ge, Netrapalli, Kakade, Jordan (ICML 2017) for the perturbation; their constants are logarithms of the
    failure probability, here replaced by `noise`, `epsilon` and the fifty steps.

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, judge = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0) / "task")
    >>> for noise in (0.0, 1e-3):
    ...     meter = Meter(budget=1000 * given.n)
    ...     given.metered(meter)
    ...     answer = Gd(params="practical", noise=noise).answer(given, meter, Streams(0) / "recipe")
    ...     judge(answer)["gap"] < 1e-6
    False
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0
    noise: Annotated[float, Ge(0)] = 0.0
    epsilon: Annotated[float, Gt(0)] = 1e-3

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of one step: the least budget that does anything."""
        return given.n

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        smoothed(given, "gd")
        if self.noise and not isinstance(given.penalty, Nothing):
            raise SpecError("gd's noise is for sums without penalty; leave noise at 0")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        zero = given.zero()
        state = meter.resume() or {"k": 0, "x": zero, "size": 0.0, "shaken": -1, "before": zero, "value": 0.0}
        meter.offer(state["x"])
        with suppress(BudgetSpent):  # which may run out in the middle of a step
            while meter.live(given.n):
                k, x, size = state["k"], state["x"], state["size"]
                if size == 0:
                    size = smooth(given) if self.params == "theory" else sharp(given, streams / "power")
                    state["size"] = size / self.step
                    meter.offer(x)
                    meter.save(lambda: dict(state))
                    continue
                full = given.gradient(x)[0] + given.ridge * x
                if state["shaken"] >= 0 and k == state["shaken"] + PATIENCE:
                    lower = given.value(x) < state["value"]
                    state |= {"shaken": -1} if lower else {"shaken": -2, "x": state["before"]}
                    if not lower:
                        continue
                if self.noise and state["shaken"] == -1 and np.linalg.norm(full) <= self.epsilon:
                    state |= {"shaken": k, "before": x, "value": given.value(x)}
                    state["x"] = x + self.noise * ball((streams / "noise").rng(k), given.d)
                    continue
                with np.errstate(over="ignore", invalid="ignore"):  # seen below
                    x = given.prox(x - full / size, 1 / size, ridge=False)
                if not np.isfinite(x).all():
                    raise Diverged(f"gd left the finite numbers after {k} steps; with theory it is stable for step < 2")
                state |= {"k": k + 1, "x": x}
                meter.offer(x)
                meter.save(lambda: dict(state))
        return state["x"]


def ball(rng: np.random.Generator, d: int) -> Floats:
    """A uniform point [d] of the unit ball."""
    way = rng.standard_normal(d)
    return way / np.linalg.norm(way) * rng.random() ** (1 / d)
