"""Losses φ(u, b) of a linear prediction u: formulas that numpy evaluates on arrays and solvers compile as they are.

A loss is a `NamedTuple` of its parameters. Anybody's class with these methods is one:

    value(u, b)      φ
    slope(u, b)      φ' in u; a subgradient where φ has a corner
    curve(u, b)      φ''
    conjugate(a, b)  φ*(a) = max over u of a u − φ(u), for slopes a; convex losses only
    inside(a, b)     losses with a corner only: the slope nearest to a for which φ*(a) is finite
    bounds           class variable or property: the least and the greatest value of φ''
    bend(c, v)       losses of several predictions only: their Hessians, of which c are the curves, times v
    third            the greatest |φ'''|, for cubic models and for settling by Newton's method; smooth losses only
    settle(t, q, b)  the slope s with s = φ'(t − q s), for dual methods; optional: else Newton's method finds it

They use numpy's universal functions alone, so that a line is right for a number, an array and a compiled loop.
Arguments of exp are cut at 500: exp(710) overflows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from airtrack.core.part import SpecError, nearest

SIGNS = (-1, 1)


def _entropy(p: Any) -> Any:
    """p log p + (1 − p) log(1 − p), 0 at both ends."""
    tiny = np.finfo(float).tiny
    return p * np.log(np.maximum(p, tiny)) + (1 - p) * np.log(np.maximum(1 - p, tiny))


class Logistic(NamedTuple):
    """log(1 + exp(−b u)), b = ±1."""

    labels = SIGNS
    bounds = (0.0, 0.25)
    third = 3**0.5 / 18

    def value(self, u: Any, b: Any) -> Any:
        return np.logaddexp(0.0, -b * u)

    def slope(self, u: Any, b: Any) -> Any:
        return -b / (1 + np.exp(np.minimum(b * u, 500.0)))

    def curve(self, u: Any, b: Any) -> Any:
        p = 1 / (1 + np.exp(np.minimum(b * u, 500.0)))
        return p * (1 - p)

    def conjugate(self, a: Any, b: Any) -> Any:
        return _entropy(-a * b)


class Squared(NamedTuple):
    """½ (u − b)²."""

    bounds = (1.0, 1.0)
    third = 0.0

    def value(self, u: Any, b: Any) -> Any:
        return (u - b) ** 2 / 2

    def slope(self, u: Any, b: Any) -> Any:
        return u - b

    def curve(self, u: Any, b: Any) -> Any:
        return 1.0 + 0.0 * u

    def conjugate(self, a: Any, b: Any) -> Any:
        return a * a / 2 + a * b

    def settle(self, t: Any, q: Any, b: Any) -> Any:
        return (t - b) / (1 + q)


class Hinge(NamedTuple):
    """max(0, 1 − b u), b = ±1: a corner at 1, so that only methods for non-smooth sums take it."""

    labels = SIGNS
    bounds = (0.0, np.inf)

    def smoothed(self, width: float) -> Any:
        """Without its corner."""
        return SmoothedHinge(width)

    def value(self, u: Any, b: Any) -> Any:
        return np.maximum(0.0, 1 - b * u)

    def slope(self, u: Any, b: Any) -> Any:
        return -b * (b * u < 1)

    def curve(self, u: Any, b: Any) -> Any:
        return 0.0 * u

    def conjugate(self, a: Any, b: Any) -> Any:
        return a * b

    def settle(self, t: Any, q: Any, b: Any) -> Any:
        return -b * np.minimum(np.maximum((1 - b * t) / q, 0.0), 1.0)

    def inside(self, a: Any, b: Any) -> Any:
        """The nearest slope to a for which φ* is finite."""
        return -b * np.minimum(np.maximum(-a * b, 0.0), 1.0)


class SmoothedHinge(NamedTuple):
    """The hinge, rounded off over a stretch of `width` below 1: its Fenchel smoothing max over c in [0, 1] of
    c (1 − b u) − width c²/2."""

    width: float = 1.0
    labels = SIGNS

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, 1 / self.width

    def check(self) -> None:
        if not 0 < self.width < np.inf:
            raise SpecError(f"a smoothed hinge's width is {self.width:g}; take a finite one above 0")

    def value(self, u: Any, b: Any) -> Any:
        c = np.minimum(np.maximum((1 - b * u) / self.width, 0.0), 1.0)
        return c * (1 - b * u) - self.width * c * c / 2

    def slope(self, u: Any, b: Any) -> Any:
        return -b * np.minimum(np.maximum((1 - b * u) / self.width, 0.0), 1.0)

    def curve(self, u: Any, b: Any) -> Any:
        return (b * u < 1) * (b * u > 1 - self.width) / self.width

    def conjugate(self, a: Any, b: Any) -> Any:
        return a * b + self.width * a * a / 2

    def settle(self, t: Any, q: Any, b: Any) -> Any:
        return -b * np.minimum(np.maximum((1 - b * t) / (q + self.width), 0.0), 1.0)


class SquaredHinge(NamedTuple):
    """½ max(0, 1 − b u)², b = ±1."""

    labels = SIGNS
    bounds = (0.0, 1.0)

    def value(self, u: Any, b: Any) -> Any:
        return np.maximum(0.0, 1 - b * u) ** 2 / 2

    def slope(self, u: Any, b: Any) -> Any:
        return -b * np.maximum(0.0, 1 - b * u)

    def curve(self, u: Any, b: Any) -> Any:
        return 1.0 * (b * u < 1)

    def conjugate(self, a: Any, b: Any) -> Any:
        return a * b + a * a / 2

    def settle(self, t: Any, q: Any, b: Any) -> Any:
        return -b * np.maximum(0.0, 1 - b * t) / (1 + q)


class Huber(NamedTuple):
    """½ r² for |r| ≤ width, then straight lines; r = u − b."""

    width: float = 1.0
    bounds = (0.0, 1.0)

    def check(self) -> None:
        if not 0 < self.width < np.inf:
            raise SpecError(f"huber's width is {self.width:g}; take a finite one above 0")

    def value(self, u: Any, b: Any) -> Any:
        c = np.minimum(np.maximum(u - b, -self.width), self.width)
        return c * (u - b) - c * c / 2

    def slope(self, u: Any, b: Any) -> Any:
        return np.minimum(np.maximum(u - b, -self.width), self.width)

    def curve(self, u: Any, b: Any) -> Any:
        return 1.0 * (np.abs(u - b) <= self.width)

    def conjugate(self, a: Any, b: Any) -> Any:
        return a * a / 2 + a * b

    def settle(self, t: Any, q: Any, b: Any) -> Any:
        return np.minimum(np.maximum((t - b) / (1 + q), -self.width), self.width)


class Bowl(NamedTuple):
    """r²/(1 + r²), r = u − b: convex near 0 and concave from |r| = 1/√3 on; outliers hardly count."""

    bounds = (-0.5, 2.0)  # least at |r| = 1
    third = 4.66856  # 24 r (1 − r²)/(1 + r²)⁴ at r² = (5 − √20)/5

    def value(self, u: Any, b: Any) -> Any:
        r = (u - b) ** 2
        return r / (1 + r)

    def slope(self, u: Any, b: Any) -> Any:
        return 2 * (u - b) / (1 + (u - b) ** 2) ** 2

    def curve(self, u: Any, b: Any) -> Any:
        r = (u - b) ** 2
        return (2 - 6 * r) / (1 + r) ** 3


class Sigmoid(NamedTuple):
    """1/(1 + exp(b u)), b = ±1: a smooth count of errors, not convex."""

    labels = SIGNS
    # φ'' = p (1 − p) (1 − 2p) with p = φ, greatest at p = (3 − √3)/6
    bounds = (-(3**0.5) / 18, 3**0.5 / 18)
    third = 0.125  # p (1 − p) |1 − 6p (1 − p)| at p = ½

    def value(self, u: Any, b: Any) -> Any:
        return 1 / (1 + np.exp(np.minimum(b * u, 500.0)))

    def slope(self, u: Any, b: Any) -> Any:
        p = 1 / (1 + np.exp(np.minimum(b * u, 500.0)))
        return -b * p * (1 - p)

    def curve(self, u: Any, b: Any) -> Any:
        p = 1 / (1 + np.exp(np.minimum(b * u, 500.0)))
        return p * (1 - p) * (1 - 2 * p)


class Signed(NamedTuple):
    """b u²/2: curvature b, negative where b is. Sums of them may be convex though no part is (shift-and-invert)."""

    between = (-1.0, 1.0)
    bounds = (-1.0, 1.0)  # as |b| ≤ 1
    third = 0.0

    def value(self, u: Any, b: Any) -> Any:
        return b * u * u / 2

    def slope(self, u: Any, b: Any) -> Any:
        return b * u

    def curve(self, u: Any, b: Any) -> Any:
        return b + 0.0 * u


class Well(NamedTuple):
    """u⁴/4 − u²/2 − b u, two valleys at u = ±1, a hill between, tilted by b; beyond |u| = reach its parabola."""

    reach: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        return -1.0, 3 * self.reach**2 - 1

    @property
    def third(self) -> float:
        return 6 * self.reach

    def value(self, u: Any, b: Any) -> Any:
        c = np.minimum(np.maximum(u, -self.reach), self.reach)
        e = u - c
        return c**4 / 4 - c * c / 2 + (c**3 - c) * e + (3 * c * c - 1) * e * e / 2 - b * u

    def slope(self, u: Any, b: Any) -> Any:
        c = np.minimum(np.maximum(u, -self.reach), self.reach)
        return c**3 - c + (3 * c * c - 1) * (u - c) - b

    def curve(self, u: Any, b: Any) -> Any:
        c = np.minimum(np.maximum(u, -self.reach), self.reach)
        return 3 * c * c - 1


class Softmax(NamedTuple):
    """Cross-entropy of `classes` linear predictions u [n, classes] with labels b = 0 … classes − 1; x is [d, classes].

    Its `bounds` are of the Hessian diag(p) − p pᵀ, whose greatest eigenvalue is ½ (Böhning, 1992).
    """

    classes: int
    bounds = (0.0, 0.5)

    @property
    def labels(self) -> range:
        return range(self.classes)

    def check(self) -> None:
        if self.classes < 2:
            raise SpecError(f"softmax of {self.classes} classes; two at least are needed")

    def value(self, u: Any, b: Any) -> Any:
        top = u.max(-1)
        return top + np.log(np.exp(u - top[:, None]).sum(-1)) - np.take_along_axis(u, b[:, None].astype(int), 1)[:, 0]

    def slope(self, u: Any, b: Any) -> Any:
        p = self.chances(u)
        p[np.arange(len(p)), b.astype(int)] -= 1
        return p

    def curve(self, u: Any, b: Any) -> Any:
        return self.chances(u)

    def bend(self, curves: Any, v: Any) -> Any:
        """(diag(p) − p pᵀ) v for every row, p a multiple of `curves`: they may hold a weight."""
        total = np.maximum(curves.sum(-1, keepdims=True), np.finfo(float).tiny)
        return curves * (v - (curves * v).sum(-1, keepdims=True) / total)

    def conjugate(self, a: Any, b: Any) -> Any:
        p = a + 0.0
        p[np.arange(len(p)), b.astype(int)] += 1
        return (p * np.log(np.maximum(p, np.finfo(float).tiny))).sum(-1)

    def chances(self, u: Any) -> Any:
        """Probabilities [n, classes]."""
        p = np.exp(u - u.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True)


LOSSES: dict[str, Any] = {
    "logistic": Logistic,
    "squared": Squared,
    "hinge": Hinge,
    "smoothed_hinge": SmoothedHinge,
    "squared_hinge": SquaredHinge,
    "huber": Huber,
    "bowl": Bowl,
    "sigmoid": Sigmoid,
    "signed": Signed,
    "well": Well,
    "softmax": Softmax,
}


def loss_of(given: Any) -> Any:
    """A loss from its name, or as it is.

    >>> loss_of("huber"), loss_of(SmoothedHinge(0.5)).bounds
    (Huber(width=1.0), (0.0, 2.0))
    """
    if not isinstance(given, str):
        return given
    if given not in LOSSES:
        raise SpecError(f"no loss is named {given!r}{nearest(given, LOSSES)}")
    return LOSSES[given]()
