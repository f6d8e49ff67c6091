"""What methods for sums that are not convex know of the landscape: its constants, and estimates of its gradient."""

from __future__ import annotations

import numpy as np

from airtrack.core.given import FiniteSum, Floats, Ints
from airtrack.core.part import SpecError
from airtrack.core.penalties import Nothing
from airtrack.core.streams import Streams
from airtrack.solvers.convex.agd import SAFETY, top_curvature
from airtrack.solvers.convex.epochs import Sampler, check
from airtrack.solvers.rules import unfit

PROBE = 1e-6  # length of a difference of gradients, relative to 1 + ‖x‖


def refuse(given: FiniteSum, name: str, *, dense: bool = False) -> None:
    """Raises `SpecError` for a sum that is not smooth everywhere, or whose coordinates are not all alike."""
    check(given, name)
    if not isinstance(given.penalty, Nothing):
        fact = f"{name} looks for points where a gradient is 0, and {type(given.penalty).__name__} has none"
        raise unfit(given, fact)
    even(given, name)
    if dense:
        in_memory(given, name)


def even(given: FiniteSum, name: str) -> None:
    """Raises `SpecError` for a sum some of whose coordinates are free of l2."""
    if given.free:
        raise SpecError(f"{name} holds all coordinates back alike, and {given.free} are free; append a 1 to every row")


def in_memory(given: FiniteSum, name: str) -> None:
    if given.sparse:
        raise SpecError(f"{name} takes dense rows; give rows.toarray()")
    _ = given.rows  # refuses rows that are not in memory


# --------------------------------------------------------------------------------------------------------- constants


def slope(given: FiniteSum, x: Floats) -> Floats:
    """∇F(x) of the smooth part, l2 included; charges n."""
    return given.gradient(x)[0] + given.ridge * x


def smooth(given: FiniteSum) -> float:
    """L of F: the mean of Lᵢ, plus l2. An upper bound, up to d times too large."""
    return float(given.smoothness.mean()) + given.l2


def twist(given: FiniteSum, name: str) -> float:
    """L₂, by which the Hessian is Lipschitz: max |φ'''| · (1/n) Σ wᵢ ‖aᵢ‖³, an upper bound."""
    if not hasattr(given.loss, "third"):
        fact = (
            f"{name} needs the greatest third derivative of the loss, and {type(given.loss).__name__} does not tell it"
        )
        raise SpecError(f"{fact}; give the loss an attribute `third`")
    low, high = given.loss.bounds
    weights = given.weights
    squares = given.smoothness / (max(-low, high) * np.where(weights > 0, weights, np.inf))
    return float(given.loss.third * (weights * squares**1.5).mean())


def dip(given: FiniteSum) -> float:
    """σ: no eigenvalue of the Hessian is below −σ. An upper bound, from the least φ''; at least a thousandth of L."""
    low, high = given.loss.bounds
    bound = float(given.smoothness.mean()) * max(-low, 0.0) / max(-low, high) - given.l2
    return max(bound, 1e-3 * smooth(given))


def difference(given: FiniteSum, x: Floats, full: Floats, v: Floats) -> Floats:
    """∇²F(x) v for a unit vector v [d], as a difference of gradients, full = ∇F(x); charges n."""
    length = PROBE * (1 + float(np.linalg.norm(x)))
    return (slope(given, x + length * v) - full) / length


def sharp(given: FiniteSum, streams: Streams) -> float:
    """L of F, measured: the greatest eigenvalue of max |φ''| (1/n) Σ wᵢ aᵢaᵢᵀ by power iteration, a fifth more, + l2.

    It holds everywhere, where the curvature at one point does not: a sum of sigmoids is flat at 0. Charges ten passes.
    """
    return max(SAFETY * top_curvature(given, streams), 1e-12) + given.l2


# --------------------------------------------------------------------------------------------------------- estimates


class Listed(Sampler):
    """Draws the components that it was told to."""

    def __init__(self, ids: Ints) -> None:
        super().__init__(len(ids), None)
        self._ids, self._next = ids, 0

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        self._next += count
        return self._ids[self._next - count : self._next]


def batch(given: FiniteSum, rng: np.random.Generator, size: int) -> Ints:
    """Components without repetition; all of them, in order, where `size` is n."""
    return np.arange(given.n) if size >= given.n else rng.choice(given.n, size, replace=False)


def sampled(given: FiniteSum, x: Floats, ids: Ints, more: Ints) -> tuple[Floats, Floats]:
    """Mean gradient of the components `ids`, without l2, and slopes [n] that hold those of `ids` and `more`.

    Rows are dense, and the caller pays.
    """
    rows, slopes = given.rows, np.zeros(given.n)
    wanted = np.union1d(ids, more)
    with np.errstate(over="ignore", invalid="ignore"):
        slopes[wanted] = given.loss.slope(rows[wanted] @ x, given.labels[wanted])
    mean = rows[ids].T @ (slopes * given.weights)[ids] / len(ids)
    return (mean if given.linear is None else mean + given.linear), slopes


def held(given: FiniteSum, step: float, pull: float) -> tuple[float, float]:
    """(α, l2) with which a proximal step is the explicit one on F + (pull/2) ‖x − x̂‖², of size `step`:

    x ← prox(x − step (g + pull (x − x̂))), g having −pull x̂ added to its constant part

    A step of more than 1/(2 pull), which would move x towards x̂ by more than half, is cut to that.
    """
    step = min(step, 0.5 / pull)
    return step / (1 - step * pull), given.l2 + pull
