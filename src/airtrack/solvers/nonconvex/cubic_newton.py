"""Newton's method with a cubic term, the dense baseline of second-order methods."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.nonconvex.cubic import minimiser, model
from airtrack.solvers.nonconvex.landscape import refuse, twist
from airtrack.solvers.rules import unfit

SMALLEST = 1e-8  # of the practical L₂, relative to its bound


@part("solver")
class CubicNewton:
    """x ← x + argmin ⟨g, h⟩ + ½ ⟨h, H h⟩ + (L₂/6) ‖h‖³, g and H being gradient and Hessian at x, exactly, by an
    eigendecomposition. It leaves strict saddles, and converges quadratically to a minimum that is not degenerate.

    A Hessian is charged as two Gram matrices, of its positive and its negative part, n ⌈d/4⌉ each.

    params     "theory": L₂ of the sum, a bound, max |φ'''| · mean wᵢ ‖aᵢ‖³; "practical": it begins at a hundredth of
               that, is four times as large after a step that lowers F by less than a tenth of what the model promised,
               which is not taken, and half as large after one that lowers it by more than nine tenths
    lipschitz  L₂ instead of the bound

    Source: Nesterov, Polyak (2006); the adaptation is that of Cartis, Gould, Toint (2011).

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, judge = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=100 * given.n)
    >>> given.metered(meter)
    >>> judge(CubicNewton(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-12
    True
    """

    params: Literal["theory", "practical"] = "theory"
    lipschitz: Annotated[float, Gt(0)] | None = None

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Work of one step: the least budget that does anything."""
        return 2 * given.n + 2 * given.n * -(-given.d // 4)

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        refuse(given, "cubic_newton")
        curved(given, "cubic_newton", self.lipschitz)

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        bound = curved(given, "cubic_newton", self.lipschitz)
        state = meter.resume() or {"k": 0, "x": given.zero(), "bend": bound * (1 if self.params == "theory" else 0.01)}
        meter.offer(state["x"])
        with suppress(BudgetSpent):  # which may run out in the middle of a step
            while meter.live(given.n):
                x, bend = state["x"], state["bend"]
                g = given.gradient(x)[0] + given.ridge * x
                value = given.value(x)
                hessian = dense(given, x)
                h = minimiser(g, hessian, bend)
                if self.params == "practical":
                    h, bend = adapted(given, x, h, value, -model(g, hessian @ h, h, bend), bend, bound)
                state = {"k": state["k"] + 1, "x": x + h, "bend": bend}
                meter.offer(state["x"])
                meter.save(lambda: dict(state))
        return state["x"]


def curved(given: FiniteSum, name: str, lipschitz: float | None) -> float:
    """L₂; refuses a quadratic, which has none."""
    bound = lipschitz or twist(given, name)
    if bound == 0:
        raise unfit(given, f"{name} models the change of a Hessian, and that of a quadratic does not change")
    return bound


def adapted(
    given: FiniteSum, x: Floats, h: Floats, value: float, promised: float, bend: float, bound: float
) -> tuple[Floats, float]:
    """(h, or 0 where F(x + h) disappoints; the next L₂), from F(x) = value and −m(h) = promised; charges n."""
    if promised <= 1e-15 * max(abs(value), 1e-300):  # no more than rounding errors
        return h, bend
    kept = (value - given.value(x + h)) / promised
    bend = max(bend * (4.0 if not kept >= 0.1 else 0.5 if kept > 0.9 else 1.0), SMALLEST * bound)
    return (h if kept >= 0.1 else np.zeros_like(h)), bend


def dense(given: FiniteSum, x: Floats) -> Floats:
    """∇²F(x) [d, d], from its positive and its negative part; charges n + 2 n ⌈d/4⌉."""
    curves = given.curvature(x)
    return given.gram(np.maximum(curves, 0)) - given.gram(np.maximum(-curves, 0)) + np.diag(np.full(given.d, given.l2))
