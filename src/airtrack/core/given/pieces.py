"""Sums of piecewise linear functions, whose gradients stay what they were until a point has moved far enough."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from airtrack.core.given.oracle import Floats, Ints, Oracle

SHORT = 1 - 1e-9  # radii are shortened by this much, so that rounding never makes one too long


class Pieces(Oracle):
    """F(x) = (1/n) Σ fᵢ(x) + ⟨c, x⟩ + (l2/2) ‖x‖², each fᵢ the maximum of a few linear pieces, possibly with x ≥ 0.

    The gradient of fᵢ at x is the slope of its active piece, and it *lingers*: it is the same at every point within
    the radius δᵢ(x) in ℓ₂. The linear term and the regulariser cost nothing. The unit of work is one component
    gradient; a call of `look` that asks for none is charged one, so that no step is free (it moves d numbers, which is
    what a component gradient costs).

    n, d      components, dimensions
    l2        strength of the regulariser, whose gradient does not linger
    linear    c [d]
    positive  whether x ≥ 0 is asked for
    steepest  bound on ‖∇fᵢ‖
    reach     bound on ‖x*‖, hence on the way from 0
    """

    n: int
    d: int
    l2: float
    linear: Floats
    positive: bool
    steepest: float
    reach: float

    def look(self, x: Floats, which: Ints) -> tuple[Ints, Floats]:
        """Active pieces [c] of the components `which` [c] at x, and their radii [c]; charges c, one at least."""
        self._charge(max(len(which), 1), gradients=len(which), looks=1)
        pieces, radii = self._look(x, which)
        return pieces, radii * SHORT

    @abstractmethod
    def slope(self, pieces: Ints, which: Ints) -> Floats:
        """Σ of the gradients of these pieces of the components `which` [c], an array [d]: paid for when looked at."""

    @abstractmethod
    def value(self, x: Floats) -> float:
        """F(x): for certificates and judges; costs nothing, and no solver steers by it."""

    @abstractmethod
    def _look(self, x: Floats, which: Ints) -> tuple[Ints, Floats]: ...

    def zero(self) -> Floats:
        """x = 0, as an answer."""
        return np.zeros(self.d)

    def smooth(self, x: Floats) -> Floats:
        """c + l2 x: the part of the gradient [d] that costs nothing."""
        return self.linear + self.l2 * x

    def within(self, x: Floats) -> Floats:
        """x, or the nearest point with x ≥ 0 where that is asked for."""
        return np.maximum(x, 0) if self.positive else x
