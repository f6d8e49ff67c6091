"""Penalties ψ(x) beside the sum: a proximal map, a value, and what a duality gap needs.

A penalty is a `NamedTuple` of its parameters, with

    value(x)         ψ(x); infinite outside of a set
    prox(v, step)    argmin over x of ψ(x) + ‖x − v‖²/(2 step)
    support(v)       max over x of ⟨v, x⟩ − ψ(x), which may be infinite
    shrink(v, step)  separable penalties only: `prox` of one coordinate, in universal functions, for compiled loops
    scale(v)         the largest t ≤ 1 for which support(t v) is finite; without it no gap is known where l2 is 0 and
                     support(v) is infinite
    check()          if some parameters make no sense: raises `SpecError` for them
    fits(shape)      if x may have the wrong shape: raises `SpecError` for that
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from airtrack.core.part import SpecError

if TYPE_CHECKING:  # what is given knows the penalties
    from airtrack.core.given.oracle import Floats


class Nothing(NamedTuple):
    """ψ = 0."""

    def value(self, x: Floats) -> float:
        return 0.0

    def shrink(self, v: Any, step: Any) -> Any:
        return v

    def prox(self, v: Floats, step: float) -> Floats:
        return v

    def support(self, v: Floats) -> float:
        return np.inf if v.any() else 0.0


class L1(NamedTuple):
    """ψ = strength · ‖x‖₁; together with a sum's l2 the elastic net."""

    strength: float

    def check(self) -> None:
        if not 0 <= self.strength < np.inf:
            raise SpecError(f"l1's strength is {self.strength:g}; take a finite one, at least 0")

    def value(self, x: Floats) -> float:
        return float(self.strength * np.abs(x).sum())

    def shrink(self, v: Any, step: Any) -> Any:
        return np.maximum(v - step * self.strength, 0.0) + np.minimum(v + step * self.strength, 0.0)

    def prox(self, v: Floats, step: float) -> Floats:
        return self.shrink(v, step)

    def support(self, v: Floats) -> float:
        return 0.0 if np.abs(v).max(initial=0) <= self.strength * (1 + 1e-12) else np.inf

    def scale(self, v: Floats) -> float:
        return min(1.0, self.strength / max(float(np.abs(v).max(initial=0)), 1e-300))


class Box(NamedTuple):
    """low ≤ x ≤ high, coordinate by coordinate."""

    low: float
    high: float

    def check(self) -> None:
        if not self.low <= self.high:
            raise SpecError(f"nothing is within the box {self.low:g} … {self.high:g}; low ≤ high")

    def value(self, x: Floats) -> float:
        return 0.0 if ((x >= self.low) & (x <= self.high)).all() else np.inf

    def shrink(self, v: Any, step: Any) -> Any:
        return np.minimum(np.maximum(v, self.low), self.high)

    def prox(self, v: Floats, step: float) -> Floats:
        return self.shrink(v, step)

    def support(self, v: Floats) -> float:
        ends = np.where(v > 0, self.high, np.where(v < 0, self.low, 0.0))  # a bound may be infinite
        return float((ends * v).sum())


class Simplex(NamedTuple):
    """x ≥ 0, Σ x = total."""

    total: float = 1.0

    def check(self) -> None:
        if not 0 < self.total < np.inf:
            raise SpecError(f"the simplex has the total {self.total:g}; take a finite one above 0")

    def fits(self, shape: tuple[int, ...]) -> None:
        if len(shape) > 1:
            raise SpecError(f"a simplex is for one vector, and x has the shape {shape}; use a loss of one prediction")

    def value(self, x: Floats) -> float:
        return 0.0 if x.min() >= 0 and abs(x.sum() - self.total) <= 1e-9 * self.total else np.inf

    def prox(self, v: Floats, step: float) -> Floats:
        """The nearest point of the simplex: v − c, cut at 0, c by sorting."""
        falling = np.sort(v)[::-1]
        above = (np.cumsum(falling) - self.total) / np.arange(1, len(v) + 1)
        return np.maximum(v - above[np.count_nonzero(falling > above) - 1], 0.0)

    def support(self, v: Floats) -> float:
        return float(self.total * v.max())


class NuclearBall(NamedTuple):
    """Singular values of the matrix x, of shape [rows, d / rows], sum to at most `radius`."""

    radius: float
    rows: int

    def check(self) -> None:
        if not 0 < self.radius < np.inf:
            raise SpecError(f"the ball's radius is {self.radius:g}; take a finite one above 0")

    def fits(self, shape: tuple[int, ...]) -> None:
        if self.rows < 1 or shape[0] % self.rows or len(shape) > 1:
            fact = f"x has the shape {shape}, and no matrix of {self.rows} rows has so many entries"
            raise SpecError(f"{fact}; give the ball rows that divide them")

    def value(self, x: Floats) -> float:
        sizes = np.linalg.svd(x.reshape(self.rows, -1), compute_uv=False)
        return 0.0 if sizes.sum() <= self.radius * (1 + 1e-9) else np.inf

    def prox(self, v: Floats, step: float) -> Floats:
        left, sizes, right = np.linalg.svd(v.reshape(self.rows, -1), full_matrices=False)
        if sizes.sum() > self.radius:
            sizes = Simplex(self.radius).prox(sizes, step)
        return ((left * sizes) @ right).reshape(v.shape)

    def support(self, v: Floats) -> float:
        return float(self.radius * np.linalg.norm(v.reshape(self.rows, -1), 2))


def separable(penalty: Any) -> bool:
    """Whether its proximal map goes coordinate by coordinate.

    >>> separable(L1(0.1)), separable(Simplex())
    (True, False)
    """
    return hasattr(penalty, "shrink")
