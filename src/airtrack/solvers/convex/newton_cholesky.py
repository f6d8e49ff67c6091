"""Newton's method with a factorised Hessian: what to use as long as d² numbers and n d² multiplications are nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import get_lapack_funcs

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError, part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.newton import along, check, look

(POSV,) = get_lapack_funcs(("posv",), dtype=np.float64)  # without the checks of cho_factor, which cost as much


@part("solver")
class NewtonCholesky:
    """x ← x − t H⁻¹ ∇F(x), F(x) = (1/n) Σ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖² + ⟨c, x⟩, φ convex; t by halving.

    A step costs n gradients for the curvatures, n ⌈d/4⌉ for H and ⌈d²/12⌉ for its factors, which are as many
    multiplications; and n for F and ∇F at every t that is tried. Where H is singular, its diagonal is raised by a
    ten-billionth of its mean.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e6).pose(Streams(0) / "task")
    >>> meter = Meter(budget=100 * 100)
    >>> given.metered(meter)
    >>> judge(NewtonCholesky().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-12
    True
    """

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of one step whose first length is taken."""
        return given.n * (2 + -(-given.d // 4)) + -(-(given.d**2) // 12)

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "newton_cholesky")
        if given.d > 20_000:
            raise SpecError(f"newton_cholesky holds d² numbers, and d is {given.d}; use newton_cg or lbfgs")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        state = meter.resume()
        x, factors = (given.zero() if state is None else state["x"]), -(-(given.d**2) // 12)
        with suppress(BudgetSpent):
            g, f = look(given, x) if state is None else (state["g"], state["f"])
            meter.offer(x)
            while meter.live(given.n):
                hessian = given.gram(given.curvature(x))
                given.components(factors)
                x, g, f = along(given, x, g, f, _solve(hessian, g))
                meter.offer(x)
                meter.save(lambda: {"x": x, "g": g, "f": f})
        return x


def _solve(hessian: Floats, g: Floats) -> Floats:
    for raised in (0.0, 1e-10):
        hessian[np.diag_indices(len(g))] += raised * np.trace(hessian) / len(g)
        _, move, failed = POSV(hessian, g)
        if not failed:
            return move
    raise SpecError("the Hessian is singular and newton_cholesky cannot factorise it; give l2 > 0")
