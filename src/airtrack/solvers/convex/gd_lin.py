"""GDlin: gradient descent that looks again only at components whose gradients may have changed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import Floats, Pieces
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.lingering import Lingering
from airtrack.solvers.convex.strides import Strides

FIRST = 4  # steps of the first stage: more are wasted, since in long steps nearly every gradient expires


@part("solver")
class GdLin:
    """(Sub)gradient descent with full gradients, which keeps every component's gradient until the way travelled since
    it was looked at is longer than its radius.

    The iterates are those of `subgradient` with the same params and step; only the bill differs. Near the optimum steps
    are short and almost nothing expires: what remains are the d components or so that sit on a kink. Steps, averages
    and stages are those of `Strides`.

    params  "theory": ηₜ = 1/(σt) or D/(G√t), averaged; "practical": stages, each half as long a way as the one before
    step    multiplies every step

    Source: Allen-Zhu, Simchi-Levi, Wang (NeurIPS 2018), whose theorem is about smooth components and a count of expired
    ones that grows linearly with distance: there the error falls as exp(−T^⅓) in gradients instead of 1/T.

    >>> from airtrack.tasks.convex.revenue import Revenue
    >>> given, judge = Revenue(n=500, d=4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 500)
    >>> given.metered(meter)
    >>> judge(GdLin().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-5
    True
    """

    params: Literal["theory", "practical"] = "practical"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = Pieces
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: Pieces) -> int:
        return given.n

    def answer(self, given: Pieces, meter: Meter, streams: Streams) -> Floats:
        return descend(given, meter, self.params, self.step, lingers=True)


def descend(
    given: Pieces, meter: Meter, params: Literal["theory", "practical"], step: float, *, lingers: bool
) -> Floats:
    """Full-gradient steps until the budget is spent."""
    state = meter.resume() or {}
    strides = Strides(given, params, step, FIRST, state.get("strides"))
    kept = Lingering(given, state.get("kept"), lingers=lingers)
    while meter.live(max(len(due := kept.due()), 1)):
        g = kept.gradient(strides.x, due) / given.n + given.smooth(strides.x)
        kept.travel(strides.take(g, "gd_lin" if lingers else "subgradient"))
        meter.offer(strides.answer)
        meter.save(lambda: {"strides": strides.state(), "kept": kept.state()})
    return strides.answer
