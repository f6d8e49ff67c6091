"""The steps between two full gradients, a gradient step coupled with a mirror step, on dense and on sparse rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.solvers.compiled import QUICK, each, fetch, shrink, slope
from airtrack.solvers.convex.epochs import Sampler


class Law(NamedTuple):
    """Steps with the variance-reduced gradient g = μ + sᵢ (φ'(⟨aᵢ, x⟩) − φ'(⟨aᵢ, x̃⟩)) aᵢ at x = τ z + hold x̃ + rest y:

    z ← argmin ‖z' − z‖²/2α + ⟨g, z'⟩ + (σ/2) ‖z'‖² + ψ(z'),   y ← x + τ (z⁺ − z)

    With τ = 1 and hold = 0 both are x, and this is SVRG.

    growth  weight of an iterate in the average over that of the one before
    """

    tau: float
    hold: float
    alpha: float
    l2: float
    growth: float = 1.0


def walk(
    given: FiniteSum,
    law: Law,
    sampler: Sampler,
    rng: np.random.Generator,
    count: int,
    scale: Floats,
    anchor: tuple[Floats, Floats, Floats],
    y: Floats,
    z: Floats,
    batch: int = 1,
    averaged: bool = True,
) -> Floats:
    """`count` components' worth of steps, which change y and z [d] in place; returns the average of y, or y itself.

    scale   s, wᵢ/(n pᵢ) [n], or [1] where they are all the same
    anchor  snapshot x̃ [d], μ [d], slopes there [n]
    batch   components a step; dense rows only
    """
    snapshot, full, slopes = anchor
    head, pull = given.d - given.free, 1 / law.growth
    if given.sparse:
        return _lazily(given, law, sampler, rng, count, scale, anchor, y, z, averaged)
    average, share = np.zeros(given.d), np.ones(1)
    for order in sampler.chunks(rng, count, batch):
        for rows, labels, at, ids in given.visits(order, batch):
            data = (rows, labels, at, ids, scale, slopes, snapshot, full)
            _dense(given.loss, given.penalty, data, y, z, average, share, tuple(law), pull, head, batch, averaged)
    return average if averaged else y.copy()


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dense(loss, penalty, data, y, z, average, share, law, pull, head, batch, averaged):  # pragma: no cover  (compiled)
    """share [1] is the weight of the next iterate over the sum of all up to it."""
    rows, labels, at, ids, scale, slopes, snapshot, full = data
    tau, hold, alpha, l2, _ = law
    d, rest, decay = len(y), 1 - tau - hold, 1 / (1 + alpha * l2)
    x, g = np.empty(d), np.empty(d)
    for first in range(0, len(at), batch):
        last = min(first + batch, len(at))
        for j in range(d):
            x[j] = tau * z[j] + hold * snapshot[j] + rest * y[j]
            g[j] = full[j]
        for t in range(first, last):
            i, k, u = ids[t], at[t], 0.0
            for j in range(d):
                u += rows[k, j] * x[j]
            change = each(scale, i) * (slope(loss, u, labels[i]) - slopes[i]) / (last - first)
            for j in range(d):
                g[j] += change * rows[k, j]
        for j in range(head):
            before = z[j]
            z[j] = shrink(penalty, decay * (before - alpha * g[j]), alpha * decay)
            y[j] = x[j] + tau * (z[j] - before)
        for j in range(head, d):
            z[j] -= alpha * g[j]
            y[j] = x[j] - tau * alpha * g[j]
        if averaged:
            for j in range(d):
                average[j] += share[0] * (y[j] - average[j])
            share[0] = share[0] / (pull + share[0])


# ------------------------------------------------------------------------------------------------------- sparse rows

REACH = 256  # steps that the table of single ones spans; the other one goes by so many at a time


def _lazily(
    given: FiniteSum,
    law: Law,
    sampler: Sampler,
    rng: np.random.Generator,
    count: int,
    scale: Floats,
    anchor: tuple[Floats, Floats, Floats],
    y: Floats,
    z: Floats,
    averaged: bool,
) -> Floats:
    """A coordinate that no row touches moves by an affine map: it is left behind, and catches up by powers of it."""
    snapshot, full, slopes = anchor
    head, pull, done = given.d - given.free, 1 / law.growth, 0
    average, last = np.zeros(given.d if averaged else 0), np.zeros(given.d, np.int32 if count < 2**31 else np.int64)
    place, decay = (z, y, snapshot, full, average, last), 1 / (1 + law.alpha * law.l2)
    kinds = (decay, 1.0) if given.free else (decay,)  # of coordinates under l2, and of free ones
    maps = tables([_one_step(law, decay, pull) for decay in kinds], count)
    steps = (law.tau, law.hold, law.alpha, decay)
    for order in sampler.chunks(rng, count):
        data = (given.rows, given.labels, order, scale, slopes)
        _sparse(given.loss, data, place, maps, steps, pull, head, averaged, done)
        done += len(order)
    _catch_up(place, maps, done, head, averaged)
    if not averaged:
        return y.copy()
    average /= count if pull == 1 else (1 - pull**count) / (1 - pull)
    return average


def _one_step(law: Law, decay: float, pull: float) -> Floats:
    """Of a step without a row: the coefficients of z₀, −μ in z; of y₀, z₀, x̃, −μ in y; of these in the sum of y, and of
    the sum so far, which each step pulls."""
    rest, alpha = 1 - law.tau - law.hold, decay * law.alpha
    ahead = [rest, law.tau * decay, law.hold, law.tau * alpha]
    return np.array([decay, alpha, *ahead, *ahead, pull])


def tables(maps: list[Floats], count: int) -> tuple[Floats, Floats]:
    """Powers of each map, 0 … 255 [maps, 256, 11], and those of its 256th power, up to `count` steps of the map."""
    near = np.array([_powers(one, REACH + 1) for one in maps])
    far = np.array([_powers(last, count // REACH + 1) for last in near[:, -1]])
    return near, far


@njit(cache=True, nogil=True)
def _powers(one, count):  # pragma: no cover  (compiled)
    out = np.zeros((count, 11))
    out[0, 0] = out[0, 2] = out[0, 10] = 1.0
    for t in range(1, count):
        p, r = out[t - 1], out[t]
        r[0] = one[0] * p[0]
        r[1] = one[0] * p[1] + one[1]
        r[2] = one[2] * p[2]
        r[3] = one[2] * p[3] + one[3] * p[0]
        r[4] = one[2] * p[4] + one[4]
        r[5] = one[2] * p[5] + one[3] * p[1] + one[5]
        r[6] = one[10] * p[6] + one[6] * p[2]
        r[7] = one[10] * p[7] + one[6] * p[3] + one[7] * p[0]
        r[8] = one[10] * p[8] + one[6] * p[4] + one[8]
        r[9] = one[10] * p[9] + one[6] * p[5] + one[7] * p[1] + one[9]
        r[10] = one[10] * p[10]
    return out


@njit(cache=True, nogil=True)
def _leap(place, p, j, averaged):  # pragma: no cover  (compiled)
    """Coordinate j, as many steps on as the table's row p stands for."""
    zs, ys, snapshot, full, average, _ = place
    z, y = zs[j], ys[j]
    if averaged:
        average[j] = p[10] * average[j] + p[6] * y + p[7] * z + p[8] * snapshot[j] - p[9] * full[j]
    zs[j] = p[0] * z - p[1] * full[j]
    ys[j] = p[2] * y + p[3] * z + p[4] * snapshot[j] - p[5] * full[j]


@njit(cache=True, nogil=True, fastmath=QUICK)
def _sparse(loss, data, place, maps, steps, pull, head, averaged, done):  # pragma: no cover  (compiled)
    rows, labels, ids, scale, slopes = data
    entries, columns, starts = rows
    z, y, snapshot, full, average, late = place
    near, far = maps
    tau, hold, alpha, decay = steps
    rest = 1 - tau - hold
    for t in range(len(ids)):
        fetch(rows, labels, scale, slopes, ids, t)
        i, u, now = ids[t], 0.0, done + t
        first, last = starts[i], starts[i + 1]
        for k in range(first, last):
            j = columns[k]
            behind, kind = now - late[j], 0 if j < head else 1
            if behind >= REACH:  # `_leap` twice, written out: its calls take twice as long as all the rest
                p, before, was = far[kind, behind // REACH], z[j], y[j]
                if averaged:
                    more = p[6] * was + p[7] * before + p[8] * snapshot[j] - p[9] * full[j]
                    average[j] = p[10] * average[j] + more
                z[j] = p[0] * before - p[1] * full[j]
                y[j] = p[2] * was + p[3] * before + p[4] * snapshot[j] - p[5] * full[j]
            if behind > 0:
                p, before, was = near[kind, behind % REACH], z[j], y[j]
                if averaged:
                    more = p[6] * was + p[7] * before + p[8] * snapshot[j] - p[9] * full[j]
                    average[j] = p[10] * average[j] + more
                z[j] = p[0] * before - p[1] * full[j]
                y[j] = p[2] * was + p[3] * before + p[4] * snapshot[j] - p[5] * full[j]
            u += entries[k] * (tau * z[j] + hold * snapshot[j] + rest * y[j])
        change = each(scale, i) * (slope(loss, u, labels[i]) - slopes[i])
        for k in range(first, last):
            j = columns[k]
            ahead = z[j] - alpha * (full[j] + change * entries[k])
            z[j] = decay * ahead if j < head else ahead
            y[j] = hold * snapshot[j] + rest * y[j] + tau * z[j]
            if averaged:
                average[j] = pull * average[j] + y[j]
            late[j] = now + 1


@njit(cache=True, nogil=True)
def _catch_up(place, maps, now, head, averaged):  # pragma: no cover  (compiled)
    late = place[-1]
    for j in range(len(late)):
        kind, behind = 0 if j < head else 1, now - late[j]
        _leap(place, maps[1][kind, behind // REACH], j, averaged)
        _leap(place, maps[0][kind, behind % REACH], j, averaged)
