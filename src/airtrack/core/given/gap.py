"""How far a point of a finite sum may be from the optimum: primal minus dual objective, free of charge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from airtrack.core.given.oracle import Floats
from airtrack.core.given.rows import dot, turn
from airtrack.core.penalties import Nothing

if TYPE_CHECKING:
    from airtrack.core.given.finite_sum import FiniteSum

ROUNDING = 1e-12  # of the slopes' mean size: what a sum of them that should be 0 may be off


def duality_gap(given: FiniteSum, x: Floats, full: Floats, plain: float) -> float:
    """At least F(x) − F*; infinite where nothing is known.

    full   the gradient at x, of the losses and the linear part
    plain  ψ and the regulariser at x
    """
    if given.loss.bounds[0] < 0:  # nothing is known of a dual, but a quadratic lies below F where it is convex
        known = given.convexity > 0 and isinstance(given.penalty, Nothing)
        return float(((full + given.ridge * x) ** 2).sum()) / (2 * given.convexity) if known else np.inf
    held = np.inf
    if given._proposed is not None and hasattr(given.loss, "inside"):
        slopes = given.loss.inside(given._proposed, given._labels)
        held = _proposed(given, x, slopes, plain)
        if np.isfinite(held):
            return held
        if given.free <= 1 and given.linear is None:
            held = _scaled(given, x, plain, slopes)
    head = given.d - given.free
    if not given.free or np.abs(full[head:]).max() <= ROUNDING * given._pull:
        most = _support(given, full[:head])
        if np.isfinite(most):  # φ(u) + φ*(φ'(u)) = u φ'(u), so that the losses cancel
            return min(held, max(dot(full, x) + plain + most, 0.0))
    if given.free > 1 or given.linear is not None or not hasattr(given.loss, "conjugate"):
        return held
    return min(held, _scaled(given, x, plain) if len(given.shape) == 1 else _mixed(given, x, full, plain))


def _support(given: FiniteSum, v: Floats) -> float:
    """max over x of −⟨v, x⟩ − ψ(x) − (l2/2) ‖x‖², without the free coordinates."""
    if not given.l2 > 0:
        return given.penalty.support(-v)
    best = given.penalty.prox(v / -given.l2, 1 / given.l2)
    inside = given.penalty.value(best)  # infinite by a rounding error only: a proximal map ends in the set
    return -dot(v, best) - given.l2 / 2 * dot(best, best) - (inside if np.isfinite(inside) else 0.0)


def _share(given: FiniteSum, v: Floats) -> float:
    """The part of v for which the support function is finite; 0 where none is known."""
    return given.penalty.scale(v) if hasattr(given.penalty, "scale") else 0.0


def _proposed(given: FiniteSum, x: Floats, slopes: Floats, plain: float) -> float:
    """The gap with these slopes [n] as dual variables."""
    both, pull, full = 0.0, 0.0, np.zeros(given.d)
    for where, rows in given._blocks():
        own, labels = slopes[where], given._labels[where]
        sums = given.loss.value(rows @ x, labels) + given.loss.conjugate(own, labels)
        if given._weights is not None:
            sums, own = sums * given._weights[where], own * given._weights[where]
        both, pull = both + float(sums.sum()), pull + float(np.abs(own).sum())
        full += turn(rows) @ own
    full, plain = full / given.n, plain if given.linear is None else plain + float(given.linear @ x)
    full = full if given.linear is None else full + given.linear
    if given.free and np.abs(full[-given.free :]).max() > ROUNDING * pull / given.n * given._reach:
        return np.inf
    return max(both / given.n + plain + _support(given, full[: given.d - given.free]), 0.0)


def _scaled(given: FiniteSum, x: Floats, plain: float, slopes: Floats | None = None) -> float:
    """The gap with dual variables sᵢ φ', or parts of `slopes` [n] instead, 0 ≤ sᵢ ≤ 1: one factor for those that pull a
    free coordinate up and one for those that pull it down, so that they cancel; a common one where ψ* is finite near 0
    only."""
    ask = np.zeros((given.d, 2))
    ask[:, 0], ask[-1, 1] = x, given.free
    margins, sums = np.empty((given.n, 2)), np.zeros((2, given.d))
    for where, rows in given._blocks():
        margins[where] = rows @ ask
        u, last = margins[where].T
        pulls = given.loss.slope(u, given._labels[where]) if slopes is None else slopes[where]  # [m]
        pulls = pulls if given._weights is None else pulls * given._weights[where]
        sums += (turn(rows) @ np.stack([pulls * (pulls * last >= 0), pulls * (pulls * last < 0)], 1)).T
    own: Floats = given.loss.slope(margins[:, 0], given._labels) if slopes is None else slopes.copy()
    share, head = np.ones(2), given.d - given.free
    if given.free:
        up, down = sums[0, -1], -sums[1, -1]
        share = np.minimum(1, [down / up, up / down]) if min(up, down) > 0 else np.zeros(2)
    full = (share @ sums)[:head] / given.n
    most = _support(given, full)
    if np.isinf(most):
        if not (part := _share(given, -full)):
            return np.inf
        share, most = share * part, given.penalty.support(-part * full)
    own *= np.where(own * margins[:, 1] >= 0, *share)
    sums = given.loss.value(margins[:, 0], given._labels) + given.loss.conjugate(own, given._labels)
    return max(float(given.weights @ sums) / given.n + plain + most, 0.0)


def _mixed(given: FiniteSum, x: Floats, full: Floats, plain: float) -> float:
    """The gap with dual variables keep · p + (1 − keep) q − y for classes, p being the probabilities at x and q the
    same for all rows, so that the intercept's sums are 0, or a part of these where ψ* is finite near 0 only; infinite
    where the free column is not constant."""
    classes, where = given.shape[1], slice(0, 1)
    ask = np.zeros((given.d, classes + 1))
    ask[:, :-1], ask[-1, -1] = x, given.free
    held, keep, spread = np.bincount(given._labels.astype(int), given.weights, classes), 1.0, np.zeros(classes)
    one = next(rows for _, rows in given._blocks())[where] @ ask[:, -1]
    if given.free and one[0] != 0:
        found = held + given.n * full[-1] / one[0]
        keep = min(1.0, float((held / found).min()))
        spread = np.maximum(held - keep * found, 0.0)
        spread = spread / max(spread.sum(), 1e-300)
    if held.min() == 0:
        return np.inf

    def both(part: float) -> tuple[float, Floats]:
        """The mean of φ + φ* with this part of the dual variables, and their sum over the rows."""
        total, pulled = 0.0, np.zeros(given.shape)
        for where, rows in given._blocks():
            seen, labels = rows @ ask, given._labels[where]
            if (seen[:, -1] != one).any():
                return np.inf, pulled
            slopes = keep * given.loss.chances(seen[:, :-1]) + (1 - keep) * spread
            slopes[np.arange(len(slopes)), labels.astype(int)] -= 1
            slopes *= part
            w = np.ones(len(slopes)) if given._weights is None else given._weights[where]
            total += float(w @ (given.loss.value(seen[:, :-1], labels) + given.loss.conjugate(slopes, labels)))
            pulled += turn(rows) @ (slopes * w[:, None])
        return total / given.n, pulled[: given.d - given.free] / given.n

    losses, pulled = both(1.0)
    most = _support(given, pulled)
    if np.isinf(most) and np.isfinite(losses):
        if not (part := _share(given, -pulled)):
            return np.inf
        losses, pulled = both(part)
        most = given.penalty.support(-pulled)
    return max(losses + plain + most, 0.0)
