"""Neon2: directions of negative curvature, found by gradients alone; and Oja's rule, which takes Hessian products.

Each search returns a unit vector v [d] with vᵀ∇²F(x)v ≤ −δ/2, as measured, or None: probably ∇²F(x) ≥ −δ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import QUICK, curve
from airtrack.solvers.compiled import slope as slope_of
from airtrack.solvers.convex.coupled import Law, walk
from airtrack.solvers.convex.epochs import CHUNK, sampling
from airtrack.solvers.nonconvex.landscape import difference, held, slope, twist

GROWTH = 1e4  # r/s, by which a random start has to grow before it is believed; (100 d)^C₀ in the paper
UNLUCKY = 200  # share of the direction sought in a random one: below 2/(200 √d) with chance .008
FEW = 100  # the same where growth is dear, in stochastic searches
NEAREST = 1e-9  # least s, relative to 1 + ‖x‖: below it differences of gradients are rounding errors
TESTED = 4  # samples of a test of v, in units of (L/δ)²
SHIFTS = 6  # of shift-and-invert
POWERS = 4  # power iterations to a shift
EPOCHS = 2  # of SVRG to a power iteration
PAID = 1024  # steps that are paid for at a time
TRIES = 40  # doublings of a move

Search = Callable[[FiniteSum, Floats, float, float, Streams], Floats | None]


def radii(given: FiniteSum, x: Floats, delta: float) -> tuple[float, float]:
    """(s, r), lengths of the first and of the last displacement: at r the cubic part of F is δ/4 of the quadratic one
    at most, and s is as far above rounding as that leaves it."""
    bend = twist(given, "neon2")
    r = min(delta / (4 * bend), 1e-3) if bend > 0 else 1e-3
    return max(r / GROWTH, NEAREST * (1 + float(np.linalg.norm(x)))), r


def lost(x: Floats) -> bool:
    """Whether the length of x, which a search needs, is no finite number."""
    with np.errstate(over="ignore", invalid="ignore"):
        return not np.isfinite(x @ x)


def unit(rng: np.random.Generator, d: int) -> Floats:
    way = rng.standard_normal(d)
    return way / np.linalg.norm(way)


def believed(given: FiniteSum, x: Floats, full: Floats, v: Floats, delta: float) -> Floats | None:
    """v, if its curvature is measured to be at most −δ/2; charges n."""
    return v if v @ difference(given, x, full, v) <= -delta / 2 else None


def moved(given: FiniteSum, x: Floats, v: Floats, delta: float, theory: bool, rng: np.random.Generator) -> Floats:
    """x ± (δ/L₂) v, the sign at random: ⟨∇F, v⟩ is then 0 on average, and F falls by δ³/(12 L₂²) in expectation.

    Without `theory` the length is doubled as long as F falls, for L₂ is a worst case; n gradients each time. Raises
    `Diverged` for a quadratic, along which F falls without end.
    """
    v, bend = v if rng.random() < 0.5 else -v, twist(given, "a move along negative curvature")
    if bend == 0:
        fact = f"F is a quadratic with a curvature below −{delta / 2:.2g}, so that it has no minimum"
        raise Diverged(f"{fact}; raise l2 until it is convex")
    length = delta / bend
    if theory:
        return x + length * v
    length, least = min(length, 1.0), np.inf
    for _ in range(TRIES):
        value = given.value(x + length * v)
        if not value < least:
            break
        least, length = value, 2 * length
    return x + length / 2 * v


# ------------------------------------------------------------------------------------------------------ deterministic


def det(given: FiniteSum, x: Floats, delta: float, size: float, streams: Streams) -> Floats | None:
    """Neon2^det: Chebyshev polynomials T_t of M(y) = (1 − 3δ/4L) y − (∇F(x + y) − ∇F(x))/L, which grow as
    exp(t √(δ/2L)) where the Hessian is below −δ and are bounded where it is above −3δ/4.

    size  L, at least the greatest eigenvalue of ∇²F near x; charges n an iteration, O(√(L/δ)) of them

    The recurrence y ← 2 M(y) − y₋ is the one that is stable backwards.

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, _ = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0))
    >>> v = det(given, given.start, 0.1, 4.0, Streams(0))
    >>> bool(v @ difference(given, given.start, slope(given, given.start), v) < -0.05)
    True
    """
    s, r = radii(given, x, delta)
    full = slope(given, x)
    last, now = np.zeros(given.d), s * unit(streams.rng(), given.d)
    rounds = int(np.ceil(np.log(r / s * UNLUCKY * np.sqrt(given.d)) * np.sqrt(2 * size / delta)))
    for _ in range(rounds):
        image = (1 - 3 * delta / (4 * size)) * now - (slope(given, x + now) - full) / size
        last, now = now, 2 * image - last
        far = now - image  # T_{t+1}(M) ξ
        if np.linalg.norm(far) >= r:
            return believed(given, x, full, far / np.linalg.norm(far), delta)
    return None


# --------------------------------------------------------------------------------------------------------- stochastic


def sampled(given: FiniteSum, x: Floats, delta: float, size: float, streams: Streams) -> Floats | None:
    """Neon2^online: x_t+1 = x_t − η (∇fᵢ(x_t) − ∇fᵢ(x)), the same i in both, until ‖x_t − x‖ ≥ r; then a sample tells
    whether the direction is one of negative curvature. Two gradients a step; dense rows.

    size  L of F; η = δ/(L max Lᵢ), which keeps the noise, η² E(∇²fᵢ)²/2, below half of the growth ηδ

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, _ = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0))
    >>> v = sampled(given, given.start, 0.1, 4.0, Streams(0))
    >>> bool(v @ difference(given, given.start, slope(given, given.start), v) < -0.05)
    True
    """
    _, r = radii(given, x, delta)
    eta = delta / (size * float(given.smoothness.max()))
    steps = int(np.ceil(np.log(FEW * UNLUCKY * np.sqrt(given.d)) / (eta * delta / 2)))
    y, rng = r / FEW * unit(streams.rng(), given.d), streams.rng(1)
    for done in range(0, steps, PAID):
        order = rng.integers(0, given.n, min(PAID, steps - done))
        order = order[: given.components(2 * len(order)) // 2]
        data = (given.rows, given.labels, order, given.weights)
        if _drift(given.loss, data, x, y, eta, given.l2, r) < len(order):
            return _tested(given, x, y / np.linalg.norm(y), delta, size, streams.rng(2))
    return None


def oja(given: FiniteSum, x: Floats, delta: float, size: float, streams: Streams) -> Floats | None:
    """Oja's rule on I − η ∇²fᵢ(x), with `sampled`'s step and number of steps; two gradients a step; dense rows.

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, _ = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0))
    >>> v = oja(given, given.start, 0.1, 4.0, Streams(0))
    >>> bool(v @ difference(given, given.start, slope(given, given.start), v) < -0.05)
    True
    """
    eta = delta / (size * float(given.smoothness.max()))
    steps = int(np.ceil(np.log(FEW * UNLUCKY * np.sqrt(given.d)) / (eta * delta)))
    v, rng = unit(streams.rng(), given.d), streams.rng(1)
    for done in range(0, steps, CHUNK):
        order = rng.integers(0, given.n, min(CHUNK, steps - done))
        order = order[: given.components(2 * len(order)) // 2]
        _oja(given.loss, (given.rows, given.labels, order, given.weights), x, v, eta)
    return _tested(given, x, v / np.linalg.norm(v), delta, size, streams.rng(2))


def _tested(
    given: FiniteSum, x: Floats, v: Floats, delta: float, size: float, rng: np.random.Generator
) -> Floats | None:
    """v, if the mean of vᵀ∇²fᵢ(x)v over a sample, with twice its standard error added, is at most −δ/2."""
    count = int(np.ceil(TESTED * size * float(given.smoothness.max()) / delta**2))
    order = np.arange(given.n) if count >= given.n else rng.integers(0, given.n, count)
    order = order[: given.components(2 * len(order)) // 2]
    if len(order) == 0:
        return None
    length = 1e-6 * (1 + float(np.linalg.norm(x)))
    rows, labels = given.rows[order], given.labels[order]
    along, at = rows @ v, rows @ x
    change = given.loss.slope(at + length * along, labels) - given.loss.slope(at, labels)
    curves = given.weights[order] * change * along / length + given.l2
    error = 0.0 if count >= given.n else 2 * float(curves.std()) / np.sqrt(len(order))
    return v if curves.mean() + error <= -delta / 2 else None


@njit(cache=True, nogil=True, fastmath=QUICK)
def _drift(loss, data, x, y, eta, l2, far):  # pragma: no cover  (compiled)
    """Moves the displacement y [d] in place; returns the steps that it took."""
    rows, labels, order, weights = data
    d, decay = len(y), 1 - eta * l2
    for t in range(len(order)):
        i, u, v, size = order[t], 0.0, 0.0, 0.0
        for j in range(d):
            u += rows[i, j] * x[j]
            v += rows[i, j] * y[j]
        change = eta * weights[i] * (slope_of(loss, u + v, labels[i]) - slope_of(loss, u, labels[i]))
        for j in range(d):
            y[j] = decay * y[j] - change * rows[i, j]
            size += y[j] * y[j]
        if size >= far * far:
            return t
    return len(order)


@njit(cache=True, nogil=True, fastmath=QUICK)
def _oja(loss, data, x, v, eta):  # pragma: no cover  (compiled)
    """v ← v − η ∇²fᵢ(x) v, in place; l2 scales v and changes nothing."""
    rows, labels, order, weights = data
    d, size = len(v), 0.0
    for t in range(len(order)):
        i, u, w = order[t], 0.0, 0.0
        for j in range(d):
            u += rows[i, j] * x[j]
            w += rows[i, j] * v[j]
        change = eta * weights[i] * curve(loss, u, labels[i]) * w
        size = 0.0
        for j in range(d):
            v[j] -= change * rows[i, j]
            size += v[j] * v[j]
        if size > 1e200 or size < 1e-200:
            for j in range(d):
                v[j] /= np.sqrt(size)


# --------------------------------------------------------------------------------------------------- shift-and-invert


def svrg(given: FiniteSum, x: Floats, delta: float, size: float, streams: Streams) -> Floats | None:
    """Neon2^svrg: the power method on (∇²F(x) + λ I)⁻¹, each product being the minimiser of

        F(x + y) − ⟨∇F(x) + s w, y⟩ + (λ/2) ‖y‖²

    by SVRG, which is a sum of gradients again. λ begins at L and goes down as long as the inverse says that it may
    (AppxPCA), which ends close above −λ_min.

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, _ = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0))
    >>> v = svrg(given, given.start, 0.1, 4.0, Streams(0))
    >>> bool(v @ difference(given, given.start, slope(given, given.start), v) < -0.05)
    True
    """
    s, r = radii(given, x, delta)
    short = np.sqrt(s * r)  # displacements are of this size
    full, w = slope(given, x), unit(streams.rng(), given.d)
    sampler, scale, roughest = sampling(given, "uniform")
    number, shift = 0, size
    for _ in range(SHIFTS):
        for _ in range(POWERS):
            y, number = w * (short / shift), number + 1
            step, l2 = held(given, 1 / (2 * (roughest + given.l2 + shift)), shift)
            for epoch in range(EPOCHS):
                at = x + y
                plain, slopes = given.gradient(at)
                anchor = (at, plain - full - shift * x - short * w, slopes)
                count = given.components(2 * given.n)
                z, rng = at.copy(), (streams / "steps").rng(number * EPOCHS + epoch)
                walk(given, Law(1.0, 0.0, step, l2), sampler, rng, count, scale, anchor, z, z.copy(), averaged=False)
                y = z - x
            inverse = y / short  # about (H + λ)⁻¹ w
            largest = float(w @ inverse)
            if not np.isfinite(largest) or largest <= 0:
                return None
            w = inverse / np.linalg.norm(inverse)
        curved = float(w @ difference(given, x, full, w))
        if curved <= -3 * delta / 4:
            return w
        shift = max((shift - curved) / 2, 1.25 * delta) if shift > 1.25 * delta else 0.0
        if shift == 0.0:
            break
    return believed(given, x, full, w, delta)


SEARCHES: dict[str, Search] = {"online": sampled, "svrg": svrg, "det": det, "oja": oja}
