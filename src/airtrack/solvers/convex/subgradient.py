"""The subgradient method: what lingering is measured against."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import Floats, Pieces
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.gd_lin import descend


@part("solver")
class Subgradient:
    """x ← x − ηₜ g with g a full subgradient, n component gradients a step. Steps and answers are those of `gd_lin`.

    params  "theory": ηₜ = 1/(σt) or D/(G√t), averaged; "practical": stages, each half as long a way as the one before
    step    multiplies every step

    >>> from airtrack.tasks.convex.revenue import Revenue
    >>> given, judge = Revenue(n=500, d=4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 500)
    >>> given.metered(meter)
    >>> 1e-6 < judge(Subgradient().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-2
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
        return descend(given, meter, self.params, self.step, lingers=False)
