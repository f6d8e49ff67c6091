"""Matrix multiplicative weights: a density matrix that is the exponential of what was gained."""

from __future__ import annotations

from math import log
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import Floats, Rounds
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.online.gains import play_by_sum


@part("solver")
class Mmwu:
    """Play from W = exp(ηΣ) / tr exp(ηΣ), Σ = Σ x xᵀ so far.

    params  "theory": η = √(log d / T), T being the budget, with regret at most 2 √(T log d); "practical": η = ½, which
            no proof covers in adversarial rounds
    step    multiplies η

    Source: Arora, Kale (STOC 2007); Warmuth, Kuzmin (COLT 2006).

    >>> from airtrack.tasks.spectral.online_eigenvector import OnlineEigenvector
    >>> given, judge = OnlineEigenvector(d=8).pose(Streams(0) / "task")
    >>> meter = Meter(budget=300)
    >>> given.metered(meter)
    >>> judge(Mmwu().answer(given, meter, Streams(0) / "recipe"))["regret"] < 0.1
    True
    """

    params: Literal["theory", "practical"] = "practical"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = Rounds
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Rounds, meter: Meter, streams: Streams) -> Floats:
        eta = self.step * (0.5 if self.params == "practical" else (log(given.d) / max(meter.budget, 1)) ** 0.5)

        def choose(values: Floats, t: int) -> Floats:
            return np.diag(np.exp(eta / 2 * (values - values[-1])))  # of any length: the exponential of half the sum

        return play_by_sum(given, meter, choose)
