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

FACTORISE, SOLVE = get_lapack_funcs(("potrf", "potrs"), dtype=np.float64)  # bare: the checks of cho_factor cost as much
# Of ⟨∇F, H⁻¹ ∇F⟩, what a step may leave for the next one to take the same factors. ¼ and 1/25 are slower on digits,
# breast cancer and dense 20,000 × 100 (benchmarks/solvers.py).
AGAIN = 1 / 9


@part("solver")
class NewtonCholesky:
    """x ← x − t H⁻¹ ∇F(x), F(x) = (1/n) Σ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖² + ⟨c, x⟩, φ convex; t by halving.

    H is the Hessian at x, or still that of a step or more ago as long as every step divides ⟨∇F, H⁻¹ ∇F⟩ by 9: a fresh
    one would square that factor, for the cost of many steps. Where H is singular, its diagonal is raised by a
    ten-billionth of its mean.

    A fresh H costs n gradients for the curvatures, n ⌈d/4⌉ for H and ⌈d²/12⌉ for its factors, which are as many
    multiplications; a step ⌈d/2⌉ for H⁻¹, and n for F and ∇F at every t that is tried.

    Source: Shamanskii (Ukrainian Math. J. 1967) for steps with one Hessian.

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
    version: ClassVar[int] = 2  # checkpoints hold the gradient without that of l2

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of one step with a fresh Hessian whose first length is taken."""
        return given.n * (2 + -(-given.d // 4)) + -(-(given.d**2) // 12) + -(-given.d // 2)

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "newton_cholesky")
        if given.d > 20_000:
            raise SpecError(f"newton_cholesky holds d² numbers, and d is {given.d}; use newton_cg or lbfgs")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        state = meter.resume() or {"x": given.zero(), "g": None, "f": 0.0, "factors": None, "left": np.inf}
        x, g, f, factors, left = (state[name] for name in ("x", "g", "f", "factors", "left"))
        with suppress(BudgetSpent):
            if g is None:
                g, f = look(given, x)
                meter.offer(x)
            while meter.live(given.n):
                slope = g + given.ridge * x
                move = slope if factors is None else _move(given, factors, slope)
                if factors is None or float(slope @ move) > AGAIN * left:
                    hessian = given.gram(given.curvature(x))
                    given.components(-(-(given.d**2) // 12))
                    factors = _factors(hessian)
                    del hessian
                    move = _move(given, factors, slope)
                left = float(slope @ move)
                x, g, f = along(given, x, f, move, left)
                meter.offer(x)
                meter.save(lambda: {"x": x, "g": g, "f": f, "factors": factors, "left": left})
        return x


def _move(given: FiniteSum, factors: Floats, g: Floats) -> Floats:
    """H⁻¹ g."""
    given.components(-(-given.d // 2))
    return SOLVE(factors, g)[0]


def _factors(hessian: Floats) -> Floats:
    for raised in (0.0, 1e-10):
        hessian[np.diag_indices(len(hessian))] += raised * np.trace(hessian) / len(hessian)
        factors, failed = FACTORISE(hessian)
        if not failed:
            return factors
    raise SpecError("the Hessian is singular and newton_cholesky cannot factorise it; give l2 > 0")
