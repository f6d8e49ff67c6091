"""L-BFGS: scipy's, on counted gradients."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from scipy.optimize import fmin_l_bfgs_b

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import part
from airtrack.core.penalties import Box, Nothing
from airtrack.core.streams import Streams
from airtrack.solvers.rules import unfit


@part("solver")
class Lbfgs:
    """Limited-memory quasi-Newton steps by `scipy.optimize.fmin_l_bfgs_b`; a baseline. F and ∇F cost n gradients.

    It takes any smooth loss, softmax too, with l2 and possibly a box. Where scipy finds nothing to improve any more, it
    starts afresh there with an empty memory.

    memory  pairs of steps and changes of the gradient that are kept

    Source: Byrd, Lu, Nocedal, Zhu (SIAM J. Sci. Comput. 1995).

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=60 * 100)
    >>> given.metered(meter)
    >>> judge(Lbfgs().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    memory: Annotated[int, Ge(1)] = 10

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        if not isinstance(given.penalty, (Nothing, Box)):
            raise unfit(given, f"lbfgs takes l2 and a box, and this sum has {type(given.penalty).__name__}")
        if not np.isfinite(given.loss.bounds[1]):
            raise unfit(given, f"lbfgs needs a smooth loss, {type(given.loss).__name__} has a corner")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        asked = _Asked(given, meter)
        options = {"m": self.memory, "bounds": asked.bounds, "factr": 0, "pgtol": 0, "maxfun": 10**9, "maxiter": 10**9}
        with suppress(BudgetSpent):
            while asked.again or meter.live(given.n):
                fmin_l_bfgs_b(asked, asked.best.ravel(), **options)
        return asked.best


class _Asked:
    """F and ∇F at what scipy asks for. Its state cannot be saved: after a resume what was asked is answered once more,
    free of charge, so that it gets to where it was."""

    def __init__(self, given: FiniteSum, meter: Meter) -> None:
        self.given, self.meter, self.calls = given, meter, 0
        self.again = int((meter.resume() or {"calls": 0})["calls"])  # answers that are paid for
        self.best, self.least = given.prox(given.zero(), 1.0, ridge=False), np.inf
        self.bounds = None
        if isinstance(given.penalty, Box):
            self.bounds = np.full((given.d, 2), (given.penalty.low, given.penalty.high))
            self.bounds[given.d - given.free :] = -np.inf, np.inf

    def __call__(self, flat: Floats) -> tuple[float, Floats]:
        paid, x = self.again > 0, flat.reshape(self.given.shape).copy()
        given = self.given.like() if paid else self.given
        g = given.gradient(x)[0] + given.ridge * x
        f = given.value(x)
        self.calls, self.again = self.calls + 1, max(self.again - 1, 0)
        if f < self.least or self.calls == 1:
            self.best, self.least = x, f
        if not paid:
            self.meter.offer(self.best)
            self.meter.save(lambda: {"calls": self.calls})
        return f, g.ravel()
