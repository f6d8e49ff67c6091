"""SVRG for sums that are not convex."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.coupled import Law, walk
from airtrack.solvers.convex.epochs import check, epochs, sampling


@part("solver")
class SvrgNc:
    """SVRG with steps so short that the estimate of the gradient stays good without convexity: ‖∇F‖² ≤ ε after
    O(n + n^⅔ L/ε) gradients, where gradient descent needs O(n L/ε).

    An epoch takes the full gradient μ at a snapshot x̃, which is where the last epoch ended, and then m = n/b steps
    x ← prox(x − η (∇f_B(x) − ∇f_B(x̃) + μ)), B being b components.

    params    "theory": η = min(b/(4 n^⅔), 1)/L, and the answer is one of the iterates, drawn at random;
              "practical": η = 1/(2L), which no proof covers, and the last snapshot
    step      multiplies η
    sampling  "uniform", L the greatest Lᵢ; "smoothness": i with chance Lᵢ/ΣLⱼ, L the mean
    batch     components a step, b; more than one with dense rows only

    Source: Allen-Zhu, Hazan (ICML 2016); Reddi et al. (ICML 2016). The order of η is theirs and the ¼ is ours. The
    paper's sub-epochs are a device of its analysis: every one begins where the last one ended.

    >>> from airtrack.tasks.nonconvex.sigmoid_sum import SigmoidSum
    >>> given, judge = SigmoidSum(n=200, d=5).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 200)
    >>> given.metered(meter)
    >>> judge(SvrgNc(params="practical").answer(given, meter, Streams(0) / "recipe"))["gradient"] < 0.02
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0
    sampling: Literal["uniform", "smoothness"] = "uniform"
    batch: Annotated[int, Ge(1)] = 1

    version: ClassVar[int] = 2
    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of the snapshot and of one step: the least budget that does anything."""
        return given.n + self.batch

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "svrg_nc")
        if given.sparse and self.batch > 1:
            raise SpecError("svrg_nc takes batches of dense rows only; leave batch at 1, or give rows.toarray()")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory = self.params == "theory"
        sampler, scale, smoothness = sampling(given, self.sampling)
        slow = max(4 * given.n ** (2 / 3) / self.batch, 1.0) if theory else 2.0
        law = Law(1.0, 0.0, self.step / (slow * smoothness), given.l2)
        zero = given.zero()
        state = meter.resume() or {"epoch": 0, "snapshot": zero, "pick": zero, "steps": 0}
        for full, slopes, count in epochs(given, meter, state, lambda epoch: given.n, "svrg_nc"):
            x, anchor = state["snapshot"].copy(), (state["snapshot"], full, slopes)
            rng, coin = ((streams / name).rng(state["epoch"]) for name in ("indices", "pick"))
            first, steps = int(coin.integers(1, count + 1)), state["steps"] + count  # where the pick of this epoch lies
            for stretch in (first, count - first) if theory else (count,):
                if stretch:
                    walk(given, law, sampler, rng, stretch, scale, anchor, x, x.copy(), self.batch, averaged=False)
                if stretch == first and theory and coin.random() * steps < count:
                    state["pick"] = x.copy()
            state |= {"snapshot": x, "steps": steps}
        return state["pick"] if theory else state["snapshot"]
