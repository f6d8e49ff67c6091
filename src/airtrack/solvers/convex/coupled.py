"""The steps between two full gradients, a gradient step coupled with a mirror step, on dense and on sparse rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.solvers.compiled import QUICK, fetch, shrink, slope
from airtrack.solvers.convex.epochs import CHUNK, Sampler


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

    scale   s [n], wᵢ/(n pᵢ)
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
            change = scale[i] * (slope(loss, u, labels[i]) - slopes[i]) / (last - first)
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

Z, Y, SNAPSHOT, FULL, AVERAGE, LAST = range(6)  # of a coordinate's row, which is one line of cache


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
    """A coordinate that no row touches moves by an affine map: it is left behind, and caught up with by a table of that
    map's powers, at the end of every chunk of indices at the latest, so that the table is short."""
    snapshot, full, slopes = anchor
    head, pull = given.d - given.free, 1 / law.growth
    state = np.zeros((given.d, 8))
    state[:, Z], state[:, Y], state[:, SNAPSHOT], state[:, FULL] = z, y, snapshot, full
    decays = (1 / (1 + law.alpha * law.l2), 1.0)  # of coordinates under l2, and of free ones
    tables = np.zeros((2, min(count, CHUNK) + 1, 11 if averaged else 6))
    for table, decay in zip(tables, decays):
        _powers(table, decay, law.tau, law.hold, law.alpha, pull)
    steps = (law.tau, law.hold, law.alpha, decays[0])
    for order in sampler.chunks(rng, count):
        _sparse(
            given.loss, (*given.rows, given.labels, order, scale, slopes), state, tables, steps, pull, head, averaged
        )
        _catch_up(state, tables, len(order), head, averaged)
    z[:], y[:] = state[:, Z], state[:, Y]
    if not averaged:
        return y.copy()
    return state[:, AVERAGE] / (count if pull == 1 else (1 - pull**count) / (1 - pull))


@njit(cache=True, nogil=True)
def _powers(out, decay, tau, hold, alpha, pull):  # pragma: no cover  (compiled)
    """Of t steps without a row: the coefficients in z, in y, and in the sum of y, all of which each step pulls."""
    rest = 1 - tau - hold
    out[0, 0] = out[0, 2] = 1.0
    if out.shape[1] > 6:
        out[0, 10] = 1.0
    for t in range(1, len(out)):
        was, now = out[t - 1], out[t]
        now[0] = decay * was[0]  # z₀ in z
        now[1] = decay * (was[1] + alpha)  # −μ in z
        now[2] = rest * was[2]  # y₀ in y
        now[3] = rest * was[3] + tau * now[0]  # z₀ in y
        now[4] = rest * was[4] + hold  # x̃ in y
        now[5] = rest * was[5] + tau * now[1]  # −μ in y
        if len(now) > 6:
            for k in range(4):  # y₀, z₀, x̃, −μ in the sum
                now[6 + k] = pull * was[6 + k] + now[2 + k]
            now[10] = pull * was[10]  # the sum so far


@njit(cache=True, nogil=True, inline="always")
def _forward(state, j, p, averaged):  # pragma: no cover  (compiled)
    """Coordinate j, as many steps on as the table's row p stands for."""
    z, y = state[j, Z], state[j, Y]
    if averaged:
        more = p[6] * y + p[7] * z + p[8] * state[j, SNAPSHOT] - p[9] * state[j, FULL]
        state[j, AVERAGE] = p[10] * state[j, AVERAGE] + more
    state[j, Z] = p[0] * z - p[1] * state[j, FULL]
    state[j, Y] = p[2] * y + p[3] * z + p[4] * state[j, SNAPSHOT] - p[5] * state[j, FULL]


@njit(cache=True, nogil=True, fastmath=QUICK)
def _sparse(loss, data, state, tables, steps, pull, head, averaged):  # pragma: no cover  (compiled)
    entries, columns, starts, labels, ids, scale, slopes = data
    rows, facts = (entries, columns, starts), slopes.reshape(-1, 1)
    tau, hold, alpha, decay = steps
    rest = 1 - tau - hold
    for now in range(len(ids)):
        fetch(rows, facts, ids, now)
        i, u = ids[now], 0.0
        first, last = starts[i], starts[i + 1]
        for k in range(first, last):
            j = columns[k]
            late = now - int(state[j, LAST])
            if late > 0:
                _forward(state, j, tables[0 if j < head else 1, late], averaged)
            u += entries[k] * (tau * state[j, Z] + hold * state[j, SNAPSHOT] + rest * state[j, Y])
        change = scale[i] * (slope(loss, u, labels[i]) - slopes[i])
        for k in range(first, last):
            j = columns[k]
            z = state[j, Z] - alpha * (state[j, FULL] + change * entries[k])
            state[j, Z] = decay * z if j < head else z
            state[j, Y] = hold * state[j, SNAPSHOT] + rest * state[j, Y] + tau * state[j, Z]
            if averaged:
                state[j, AVERAGE] = pull * state[j, AVERAGE] + state[j, Y]
            state[j, LAST] = now + 1


@njit(cache=True, nogil=True)
def _catch_up(state, tables, now, head, averaged):  # pragma: no cover  (compiled)
    for j in range(len(state)):
        late = now - int(state[j, LAST])
        if late > 0:
            _forward(state, j, tables[0 if j < head else 1, late], averaged)
        state[j, LAST] = 0
