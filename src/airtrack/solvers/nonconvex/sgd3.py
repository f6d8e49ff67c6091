"""SGD3: recursive regularisation, so that the gradient and not only the value gets small."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError, part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.nonconvex.landscape import refuse
from airtrack.solvers.nonconvex.stochastic import Pulls, descend, halvings, stable, stages


@part("solver")
class Sgd3:
    """For a convex F: x̂_s ≈ argmin F^(s−1) by SGD from x̂_s−1, and F^(s) = F^(s−1) + (σ_s/2) ‖x − x̂_s‖², σ_s = 2 σ_s−1,
    for S = log₂(L/σ₀) stages that share the budget T; F^(0) = F + (σ₀/2) ‖x − x₀‖².

    The stronger the quadratic, the better F^(s) is minimised, and the less it moves x: ‖∇F(x̂_S)‖ ≤ ε after
    (V/ε²) log³ gradients, where the average of plain SGD needs ε^(−8/3).

    params  "theory": a stage runs 4 L/σ steps of 1/(2L) as often as fits into half of its share, then runs twice as
            long with half the step, and averages each; "practical": the same with steps twice as long
    sigma   σ₀; None: the strong convexity of F where there is one, otherwise L S/T, the least that T steps allow for
    step    multiplies the steps

    A sum that is not convex may be given too, without any promise. Work is counted against the budget that the meter
    names, which fixes T.

    Source: Allen-Zhu (NeurIPS 2018), SGD3 and SGD^sc; written down from memory of the paper and checked for its shape.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=200, d=5, kappa=100.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 200)
    >>> given.metered(meter)
    >>> judge(Sgd3().answer(given, meter, Streams(0) / "recipe"))["gap"] < 0.1
    True
    """

    params: Literal["theory", "practical"] = "theory"
    sigma: Annotated[float, Gt(0)] | None = None
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        refuse(given, "sgd3")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        if not np.isfinite(meter.budget):
            raise SpecError(
                "sgd3 shares its budget out among its stages, and there is no end to it; give a finite budget"
            )
        budget, smoothness = int(meter.budget), float(given.smoothness.max()) + given.l2
        long = self.step * (1.0 if self.params == "theory" else 2.0)
        most = max(int(np.log2(max(budget, 2))) - 1, 1)
        sigma = self.sigma or given.convexity or smoothness * most / max(budget, 1)
        count = stages(smoothness / sigma, most)
        share, zero = max(budget // count, 1), given.zero()
        first = Pulls(0.0, np.zeros(given.d)).joined(0.0 if given.convexity >= sigma else sigma, zero)
        state = meter.resume() or {"stage": 0, "run": 0, "x": zero, "total": first.total, "toward": first.toward}
        meter.offer(zero)
        with suppress(BudgetSpent):  # which may run out in the middle of a stage
            while meter.live():
                s, r, pulls = state["stage"], state["run"], Pulls(state["total"], state["toward"])
                strong = max(given.convexity, sigma) * 2.0 ** min(s, count - 1)
                runs = halvings(share, smoothness / strong)
                alpha, steps = runs[r]
                rng = (streams / "indices" / str(s)).rng(r)
                x = descend(
                    given, state["x"], pulls, float(long * alpha / (smoothness + pulls.total)), steps, rng, True
                )
                if not np.isfinite(x).all():
                    raise Diverged(f"sgd3 left the finite numbers in stage {s}; {stable(given, 4 * self.step / long)}")
                if r + 1 < len(runs):
                    state = state | {"run": r + 1, "x": x}
                else:
                    more = pulls.joined(strong * 2 if s + 1 < count else 0.0, x)
                    state = {"stage": s + 1, "run": 0, "x": x, "total": more.total, "toward": more.toward}
                meter.offer(x)
                meter.save(lambda: dict(state))
        return state["x"]
