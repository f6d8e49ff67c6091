"""Stochastic gradient descent, the baseline."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.convex.coupled import Law, walk
from airtrack.solvers.convex.epochs import check, sampling
from airtrack.solvers.nonconvex.stochastic import stable

STRETCHES = 10  # to a pass: the step is constant on each
SHORTEST = 200  # components of a stretch: shorter ones take longer to begin than to do


@part("solver")
class Sgd:
    """x ← prox(x − η_t g), g the mean gradient of a few components drawn at random.

    schedule  "constant": η_t = step/L; "sqrt": step/(L √(1 + t)), t in steps for theory and in passes in practice
    params    "theory": the answer is one of the iterates, drawn with chance ∝ η_t, which is what the bound on ‖∇F‖ is
              about; "practical": the last iterate
    averaged  the answer is the average of the iterates, with weights that grow in proportion to time, instead
    step      multiplies η; tune it
    batch     components a step; more than one with dense rows only

    The step is renewed ten times a pass, or every 200 components. L is the greatest Lᵢ.

    Source: Robbins, Monro (1951); Ghadimi, Lan (2013) for the random iterate; Shamir, Zhang (2013) for
    the average.

    >>> from airtrack.tasks.nonconvex.sigmoid_sum import SigmoidSum
    >>> given, judge = SigmoidSum(n=200, d=5).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 200)
    >>> given.metered(meter)
    >>> judge(Sgd(params="practical").answer(given, meter, Streams(0) / "recipe"))["gradient"] < 0.02
    True
    """

    schedule: Literal["constant", "sqrt"] = "sqrt"
    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0
    averaged: bool = False
    batch: Annotated[int, Ge(1)] = 1

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "sgd")
        if given.sparse and self.batch > 1:
            raise SpecError("sgd takes batches of dense rows only; leave batch at 1, or give rows.toarray()")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory = self.params == "theory"
        sampler, scale, smoothness = sampling(given, "uniform")
        stretch = max(given.n // STRETCHES, SHORTEST)
        origin = np.zeros(given.d)
        anchor = (origin, origin if given.linear is None else given.linear, np.zeros(given.n))
        zero = given.zero()
        state = meter.resume() or {"stretch": 0, "x": zero, "pick": zero, "mass": 0.0}
        meter.offer(zero)
        while meter.live():
            number, x = state["stretch"], state["x"].copy()
            steps = number * stretch / self.batch
            time = 0 if self.schedule == "constant" else steps if theory else steps * self.batch / given.n
            eta = self.step / (smoothness * np.sqrt(1 + time))
            count = given.components(stretch)
            rng, coin = ((streams / name).rng(number) for name in ("indices", "pick"))
            law = Law(1.0, 0.0, float(eta), given.l2)
            mean = walk(given, law, sampler, rng, count, scale, anchor, x, x.copy(), self.batch, self.averaged)
            if not np.isfinite(x).all():
                fact = f"sgd left the finite numbers after {number * stretch} gradients"
                raise Diverged(f"{fact}; {stable(given, 2.0)}")
            mass = state["mass"] + eta * count
            pick = x if not theory or coin.random() * mass < eta * count else state["pick"]
            if self.averaged:
                pick = state["pick"] + 2 / (number + 2) * (mean - state["pick"])
            state = {"stretch": number + 1, "x": x, "pick": pick, "mass": mass}
            meter.offer(pick)
            meter.save(lambda: dict(state))
        return state["pick"]
