"""What Newton's methods share."""

from __future__ import annotations

import numpy as np

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.penalties import Nothing
from airtrack.solvers.rules import unfit

SUFFICIENT = 1e-4  # of the decrease that the slope promises (Armijo)


def check(given: FiniteSum, name: str) -> None:
    """Raises `SpecError` for a sum that is not convex and smooth, or has no Hessian of one prediction."""
    if len(given.shape) > 1:
        raise unfit(given, f"{name} takes losses of one prediction, not softmax")
    low, high = given.loss.bounds
    if low < 0 or not np.isfinite(high):
        kind = "is not convex" if low < 0 else "has a corner"
        raise unfit(given, f"{name} needs a smooth convex loss, and {type(given.loss).__name__} {kind}")
    if not isinstance(given.penalty, Nothing):
        raise unfit(given, f"{name} takes l2 and no penalty, and this sum has {type(given.penalty).__name__}")


def look(given: FiniteSum, x: Floats) -> tuple[Floats, float]:
    """∇F(x) [d] and F(x), for n gradients."""
    g = given.gradient(x)[0] + given.ridge * x
    return g, given.value(x)


def along(given: FiniteSum, x: Floats, g: Floats, f: float, move: Floats) -> tuple[Floats, Floats, float]:
    """x − t · move, with ∇F and F there, for the first t of 1, ½, ¼ … that decreases F enough; n gradients a t.

    g and f are those at x. Near the optimum, where differences of F are rounding errors, t = 1.
    """
    slope, t = float(g @ move), 1.0
    while True:
        y = x - t * move
        ahead, value = look(given, y)
        if value <= f - SUFFICIENT * t * slope or slope <= 1e-11 * abs(f) or t < 1e-10:
            return y, ahead, value
        t /= 2
