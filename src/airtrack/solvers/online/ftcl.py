"""Follow the compressed leader: a regularised leader seen through three random directions."""

from __future__ import annotations

from math import log
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import Floats, Rounds
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.online.gains import play_by_sum


@part("solver")
class Ftcl:
    """Play from W = (1/m) Σⱼ X^½ uⱼ uⱼᵀ X^½, X = (cI − ηΣ)⁻¹, Σ = Σ x xᵀ so far, uⱼ Gaussian and new in every round.

    c is such that tr W = (1/m) Σⱼ uⱼᵀ X uⱼ = 1, with cI − ηΣ positive definite.

    m       3 where rounds may be adversarial, 1 where they are random; None: W = X, nothing is compressed, which is to
            follow the leader regularised by −log det W
    params  "theory": η = √(d log T / T), at which the two terms of the regret of log det, (d log T) / η and η T, are
            equal, T being the budget; derived here, the paper's own constants are not. "practical": η = d, the scale of
            the trace that c has to make up for; it suits random rounds, and in adversarial ones it is nearly greedy
    step    multiplies η

    The paper's point is that m products with X^½ cost less than X. Here X comes from an eigendecomposition: the
    question is what compression costs in regret, not what it saves in time.

    Source: Allen-Zhu, Li, "Follow the Compressed Leader" (ICML 2017).

    >>> from airtrack.tasks.spectral.online_eigenvector import OnlineEigenvector
    >>> given, judge = OnlineEigenvector(d=8).pose(Streams(0) / "task")
    >>> meter = Meter(budget=300)
    >>> given.metered(meter)
    >>> judge(Ftcl().answer(given, meter, Streams(0) / "recipe"))["regret"] < 0.1
    True
    """

    m: Annotated[int, Ge(1)] | None = 3
    params: Literal["theory", "practical"] = "practical"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = Rounds
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Rounds, meter: Meter, streams: Streams) -> Floats:
        rounds, gaussian = max(meter.budget, 2), streams / "directions"
        eta = self.step * (given.d if self.params == "practical" else (given.d * log(rounds) / rounds) ** 0.5)

        def choose(values: Floats, t: int) -> Floats:
            if self.m is None:
                directions = np.eye(given.d)
            else:  # Gaussian in any basis, hence also in that of the eigenvectors
                directions = gaussian.rng(t).standard_normal((given.d, self.m)) / self.m**0.5
            poles = eta * values
            return directions / np.sqrt(shift(poles, (directions**2).sum(1)) - poles)[:, None]

        return play_by_sum(given, meter, choose)


def shift(poles: Floats, weights: Floats) -> float:
    """The c above all poles at which Σ weightsᵢ / (c − polesᵢ) = 1, for weights ≥ 0 of which one is positive.

    The sum is convex and falls; where a single term is 1 it is at least 1, and from there no Newton step overshoots.

    >>> shift(np.array([0.0, 1.0]), np.array([2.0, 0.0]))
    2.0
    """
    held = weights > 0
    p, w = poles[held], weights[held]
    c = float((p + w).max())
    for _ in range(100):
        terms = w / (c - p)
        excess = float(terms.sum()) - 1
        step = excess / float((terms / (c - p)).sum())
        if c + step <= c or excess <= 0:
            break
        c += step
    return max(c, float(np.nextafter(poles.max(), np.inf)))
