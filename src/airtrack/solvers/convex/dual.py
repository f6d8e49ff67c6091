"""What the methods share whose variables are the slopes of the components."""

from __future__ import annotations

import numpy as np

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.part import SpecError
from airtrack.core.penalties import separable
from airtrack.solvers.rules import unfit


def check(given: FiniteSum, name: str) -> None:
    """Raises `SpecError` for a sum that has no dual with one free number a component."""
    if len(given.shape) > 1:
        raise unfit(given, f"{name} takes losses of one prediction, not softmax")
    if given.loss.bounds[0] < 0:
        raise unfit(given, f"{name} needs convex components, {type(given.loss).__name__} has none")
    if given.free:
        raise unfit(given, f"{name} needs l2 on every coordinate, and {given.free} are free of it")
    if not separable(given.penalty):
        raise unfit(given, f"{name} takes penalties that go by coordinates, not {type(given.penalty).__name__}")
    if given.l2 == 0:
        fact = f"{name} needs l2 > 0, for x to follow from the dual"
        raise SpecError(f"{fact}; use the reduction adapt_reg with solver: {name}")


def dual_start(given: FiniteSum, slopes: Floats) -> Floats:
    """v [d] to begin with, for slopes of 0 [n], which stay so for nothing, or for n gradients become those at `start`
    where that is not 0."""
    if not given.start.any():
        return np.zeros(given.d) if given.linear is None else -given.linear / given.l2
    full, slopes[:] = given.gradient(given.start)
    return -full / given.l2
