"""SGD5: local minima by SGD3 on convexified sums and Neon2."""

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
from airtrack.solvers.nonconvex.landscape import refuse, sharp, smooth, twist
from airtrack.solvers.nonconvex.stochastic import Pulls, descend, halvings, stable, stages


@part("solver")
class Sgd5:
    """Rounds of SGD3 on F(x) + σ ‖x − x_k‖², which is convex near a point where ∇²F ≥ −2σ (that alone is SGD4), and
    searches for a direction of curvature below −δ, which are followed as in `natasha2`. σ = δ.

    Õ(ε^(−3.5)) gradients for ‖∇F‖ ≤ ε and ∇²F ≥ −√ε, without variance reduction.

    params   "theory": steps of SGD^sc, searches after every round, moves of δ/L₂; "practical": L of the search measured
             at the start (ten passes), searches until one finds nothing, moves twice as long while F falls
    search   "online", "oja", "svrg", "det": see `neon2`; "none": SGD4
    delta    δ; None: L/4, L being what the search is told
    length   steps of a round; None: n, or 8 L/σ if that is more, but a tenth of the budget at most
    step     multiplies the steps

    Source: Allen-Zhu (NeurIPS 2018), SGD4 and SGD5; written down from memory of the paper.

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, judge = Saddle(d=5, copies=10, noise=0.0).pose(Streams(0) / "task")
    >>> for search in ("none", "det"):
    ...     meter = Meter(budget=400 * given.n)
    ...     given.metered(meter)
    ...     answer = Sgd5(params="practical", search=search, delta=0.1).answer(given, meter, Streams(0) / "recipe")
    ...     judge(answer)["gap"] < 0.5
    False
    True
    """

    params: Literal["theory", "practical"] = "theory"
    search: Literal["online", "oja", "svrg", "det", "none"] = "online"
    delta: Annotated[float, Gt(0)] | None = None
    length: Annotated[int, Ge(1)] | None = None
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        refuse(given, "sgd5", dense=self.search in ("online", "oja"))
        twist(given, "sgd5")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory = self.params == "theory"
        state = meter.resume() or {"round": 0, "x": given.zero(), "large": 0.0, "next": "sgd4", "settled": False}
        meter.offer(state["x"])
        with suppress(BudgetSpent):  # which may run out in the middle of a round
            while meter.live():
                k, x, large = state["round"], state["x"], state["large"]
                if large == 0:
                    state["large"] = smooth(given) if theory else sharp(given, streams / "power")
                    meter.offer(x)
                    meter.save(lambda: dict(state))
                    continue
                delta = self.delta or large / 4
                if state["next"] == "sgd4":
                    x = self._round(given, x, delta, meter, streams / "round" / str(k))
                    searches = self.search != "none" and not state["settled"]
                    state |= {"next": "search" if searches else "sgd4"}
                else:
                    v = SEARCHES[self.search](given, x, delta, large, streams / "search" / str(k))
                    x = x if v is None else moved(given, x, v, delta, theory, (streams / "sign").rng(k))
                    state |= {"next": "sgd4", "settled": v is None and not theory}
                state = state | {"round": k + 1, "x": x}
                meter.offer(x)
                meter.save(lambda: dict(state))
        return state["x"]

    def _round(self, given: FiniteSum, center: Floats, sigma: float, meter: Meter, streams: Streams) -> Floats:
        """SGD3 on F + σ ‖x − center‖², which is σ-strongly convex where ∇²F ≥ −σ."""
        smoothness = float(given.smoothness.max()) + given.l2
        wanted = int(np.clip(8 * smoothness / sigma, given.n, max(meter.budget / 10, given.n)))
        length = self.length or wanted
        count = stages(smoothness / sigma, int(np.log2(max(length, 2))))
        pulls, x, strong = Pulls(0.0, np.zeros(given.d)).joined(2 * sigma, center), center, sigma
        for s in range(count):
            for r, (alpha, steps) in enumerate(halvings(max(length // count, 1), smoothness / strong)):
                size = float(self.step * alpha / (smoothness + pulls.total))
                x = descend(given, x, pulls, size, steps, (streams / str(s)).rng(r), True)
                if lost(x):
                    fact = f"sgd5 left the finite numbers in stage {s} of a round"
                    raise Diverged(f"{fact}; {stable(given, 4.0, sigma)} where ∇²F ≥ −{sigma:.2g}")
            strong *= 2
            pulls = pulls.joined(strong, x)
        return x
