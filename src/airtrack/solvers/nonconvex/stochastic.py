"""Plain stochastic steps on F plus quadratics, and the recursive regularisation that SGD3 and SGD5 share."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from airtrack.core.given import FiniteSum, Floats
from airtrack.solvers.convex.coupled import Law, walk
from airtrack.solvers.convex.epochs import Sampler

SHORTEST = 200  # steps of a run: shorter ones take longer to begin than to do


class Pulls(NamedTuple):
    """F + Σ (σ_k/2) ‖x − x_k‖², known by Σ σ_k and Σ σ_k x_k [d]."""

    total: float
    toward: Floats

    def joined(self, sigma: float, x: Floats) -> Pulls:
        """One more."""
        return Pulls(self.total + sigma, self.toward + sigma * x)


def descend(
    given: FiniteSum, x: Floats, pulls: Pulls, alpha: float, count: int, rng: np.random.Generator, averaged: bool
) -> Floats:
    """The average of `count` steps of size α from x [d], or the last of them; charges them. Quadratics go by a prox."""
    count, origin, y = given.components(count), np.zeros(given.d), x.copy()
    constant = -pulls.toward if given.linear is None else given.linear - pulls.toward
    law, anchor = Law(1.0, 0.0, alpha, given.l2 + pulls.total), (origin, constant, np.zeros(given.n))
    sampler = Sampler(given.n, None)
    return walk(given, law, sampler, rng, count, given.weights, anchor, y, y.copy(), averaged=averaged)


def stable(given: FiniteSum, most: float, sigma: float = 0.0) -> str:
    """For which `step` such steps cannot blow up, where they are at most 2/L long for step = `most`, and F with its
    quadratics is σ-strongly convex.

    Steps of up to 2/L on a convex component bring no two points further apart. On others, η on average does not where
    1 − 2ησ + η²L² ≤ 1.
    """
    if given.loss.bounds[0] >= 0:
        return f"it is stable for step ≤ {most:g}"
    sure = most * max(sigma, given.convexity) / float(given.smoothness.max())
    if sure > 0:
        return f"its components are not convex, and it is stable for step ≤ {sure:.2g} on average"
    return "its components are not convex, and no step is proved to be stable; try a tenth of it"


@cache
def halvings(steps: int, ratio: float) -> list[tuple[float, int]]:
    """(α L, steps) of SGD^sc on a σ-strongly convex function, L/σ = `ratio`, within `steps` steps: half of them in runs
    of 4 L/σ with α = 1/(2L), each of which halves the error, and then runs twice as long as the last one, with half its
    α, so that the noise falls too.

    >>> halvings(100, 5.0)
    [(0.5, 25), (0.5, 25), (0.25, 50)]
    """
    run = max(int(np.ceil(4 * ratio)), min(SHORTEST, steps // 4), 1)
    early = max(steps // 2 // run, 1)
    planned = [(0.5, run)] * early + [(2.0 ** -(k + 1), run << k) for k in range(1, 64)]
    runs: list[tuple[float, int]] = []
    for alpha, wanted in planned:
        if steps > 0:
            runs.append((alpha, min(wanted, steps)))
            steps -= wanted
    return runs


def stages(ratio: float, most: int) -> int:
    """S = log₂(L/σ₀), at least one and at most `most`."""
    return int(np.clip(np.ceil(np.log2(max(ratio, 2))), 1, max(most, 1)))
