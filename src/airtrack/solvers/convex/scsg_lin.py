"""SCSGlin: SVRGlin that starts with few of the components, for sums too long to pass over once."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import Floats, Pieces
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.svrg_lin import epochs


@part("solver")
class ScsgLin:
    """`svrg_lin` on a growing sample: the first epoch takes the mean gradient of `first` components in place of all n,
    every further one of twice as many, until all belong. What was looked at before still lingers.

    first    components of the first epoch
    lingers, batch, params, step  as in `svrg_lin`

    Source: Allen-Zhu, Simchi-Levi, Wang (NeurIPS 2018), after Lei, Jordan (AISTATS 2017). Samples that contain one
    another, so that gradients can be kept from one to the next, and doubling, are not theirs.

    >>> from airtrack.tasks.convex.revenue import Revenue
    >>> given, judge = Revenue(n=500, d=4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=500)  # one pass
    >>> given.metered(meter)
    >>> judge(ScsgLin(first=50, params="theory").answer(given, meter, Streams(0) / "recipe"))["gap"] < 0.2
    True
    """

    first: Annotated[int, Ge(1)] = 64
    lingers: bool = True
    batch: Annotated[int, Ge(1)] = 16
    params: Literal["theory", "practical"] = "practical"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = Pieces
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"batch": 4, "first": 10}

    def step_cost(self, given: Pieces) -> int:
        return min(self.first, given.n) + self.batch

    def answer(self, given: Pieces, meter: Meter, streams: Streams) -> Floats:
        order = (streams / "order").rng().permutation(given.n)
        return epochs(self, given, meter, streams, order, min(self.first, given.n), "scsg_lin")
