"""What Newton's methods share."""

from __future__ import annotations

import numpy as np

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.given.rows import add
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
    """∇F(x) [d], without that of l2, and F(x), for n gradients."""
    g = given.gradient(x)[0]
    return g, given.value(x)


def along(given: FiniteSum, x: Floats, f: float, move: Floats, slope: float) -> tuple[Floats, Floats, float]:
    """x − t · move, with what `look` finds there, for the first t of 1, ½, ¼ … that decreases F enough.

    A t costs n gradients; f is F(x), slope = ⟨∇F(x), move⟩. Near the optimum, where differences of F are rounding
    errors, t = 1.
    """
    t = 1.0
    while True:
        y = x.copy()
        add(y, -t, move)
        ahead, value = look(given, y)
        if value <= f - SUFFICIENT * t * slope or slope <= 1e-11 * abs(f) or t < 1e-10:
            return y, ahead, value
        t /= 2
