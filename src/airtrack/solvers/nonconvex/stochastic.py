"""Plain stochastic steps on F plus quadratics, and the recursive regularisation that SGD3 and SGD5 share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.problem import Diverged
from airtrack.solvers.convex.coupled import Law, walk
from airtrack.solvers.convex.epochs import Sampler


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
    end = walk(given, law, sampler, rng, count, given.weights, anchor, y, y.copy(), averaged=averaged)
    if not np.isfinite(end).all():
        raise Diverged("stochastic steps left the finite numbers; take a smaller step")
    return end


def halvings(steps: int, ratio: float) -> Iterator[tuple[float, int]]:
    """(α L, steps) of SGD^sc on a σ-strongly convex function, L/σ = `ratio`, within `steps` steps: half of them in runs
    of 4 L/σ with α = 1/(2L), each of which halves the error, and then runs twice as long as the last one, with half its
    α, so that the noise falls too."""
    run = max(int(np.ceil(4 * ratio)), 1)
    early = max(steps // 2 // run, 1)
    left = steps
    for _ in range(early):
        if left > 0:
            yield 0.5, min(run, left)
            left -= run
    halved = 1
    while left > 0:
        yield 2.0**-halved / 2, min(run << halved, left)
        left -= run << halved
        halved += 1


def stages(ratio: float, most: int) -> int:
    """S = log₂(L/σ₀), at least one and at most `most`."""
    return int(np.clip(np.ceil(np.log2(max(ratio, 2))), 1, max(most, 1)))
