"""The steps of the methods that remember the last slope of every component, on dense and on sparse rows."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import QUICK, each, fetch, shrink, slope
from airtrack.solvers.convex.coupled import REACH, tables
from airtrack.solvers.convex.epochs import Sampler


def remember(given: FiniteSum, meter: Meter, streams: Streams, name: str, step: float, boost: float) -> Floats:
    """Steps of length `step` with boost · wᵢ (φ'(⟨aᵢ, x⟩) − sᵢ) aᵢ + ḡ, i uniform, ḡ = (1/n) Σ wⱼ sⱼ aⱼ + c, and then
    sᵢ ← φ'(⟨aᵢ, x⟩); an epoch is n of them. The slopes s begin as those at the start, for n gradients."""
    state = meter.resume()
    if state is None:
        x = given.zero()
        if not meter.live(given.n):
            return x
        mean, slopes = given.gradient(x)
        meter.offer(x.copy())
        state = {"epoch": 0, "x": x, "mean": mean, "slopes": slopes}
    sampler, head = Sampler(given.n, None), given.d - given.free
    law, decays = (step, boost, 1 / given.n), (1 / (1 + step * given.l2), 1.0)
    late = np.zeros(given.d, np.int32 if given.n < 2**31 else np.int64)  # steps after which a coordinate was up to date
    x, mean, slopes, weights = state["x"], state["mean"], state["slopes"], given.factors
    maps = tables([_one_step(decay) for decay in decays], given.n if given.sparse else 0)
    while meter.live(1):
        rng, count = (streams / "indices").rng(state["epoch"]), given.components(given.n)
        orders = iter([sampler.draw(rng, count)]) if given.sparse else sampler.chunks(rng, count)
        for rows, labels, at, ids in chain.from_iterable(map(given.visits, orders)):
            if given.sparse:
                late[:] = 0
                _sparse(given.loss, rows, labels, ids, weights, slopes, x, mean, late, maps, law, decays[0], head)
            else:
                data = (rows, labels, at, ids, weights)
                _dense(given.loss, given.penalty, data, slopes, x, mean, law, decays[0], head)
        orders = at = ids = None  # before the next are drawn
        if not np.isfinite(x).all():
            raise Diverged(f"{name} left the finite numbers in epoch {state['epoch']}; it is stable for step ≤ 1")
        meter.offer(x.copy())
        state["epoch"] += 1
        meter.save(lambda: dict(state))
    return x


def _one_step(decay: float) -> Floats:
    """Of a step without a row, for `tables`: x becomes the first number times x less the second times step · ḡ."""
    return np.array([decay, decay, *[0.0] * 9])


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dense(loss, penalty, data, slopes, x, mean, law, decay, head):  # pragma: no cover  (compiled)
    rows, labels, at, ids, weights = data
    step, boost, share = law
    for t in range(len(ids)):
        i, row, u = ids[t], rows[at[t]], 0.0
        for j in range(len(x)):
            u += row[j] * x[j]
        now = slope(loss, u, labels[i])
        change, slopes[i] = each(weights, i) * (now - slopes[i]), now
        for j in range(head):
            x[j] = shrink(penalty, decay * (x[j] - step * (mean[j] + boost * change * row[j])), step * decay)
            mean[j] += share * change * row[j]
        for j in range(head, len(x)):
            x[j] -= step * (mean[j] + boost * change * row[j])
            mean[j] += share * change * row[j]


@njit(cache=True, nogil=True)
def _ahead(x, pull, maps, kind, late):  # pragma: no cover  (compiled)
    """A coordinate `late` steps on, pull = step · ḡ."""
    if late >= REACH:
        p = maps[1][kind, late // REACH]
        x = p[0] * x - p[1] * pull
    p = maps[0][kind, late % REACH]
    return p[0] * x - p[1] * pull


@njit(cache=True, nogil=True, fastmath=QUICK)
def _sparse(loss, rows, labels, ids, weights, slopes, x, mean, late, maps, law, decay, head):  # pragma: no cover
    """A coordinate that no row touches moves by a fixed affine map: it is left behind, and catches up when one does."""
    entries, columns, starts = rows
    step, boost, share = law
    for t in range(len(ids)):
        fetch(rows, labels, weights, slopes, ids, t)
        i, u = ids[t], 0.0
        first, last = starts[i], starts[i + 1]
        for k in range(first, last):
            j = columns[k]
            x[j] = _ahead(x[j], step * mean[j], maps, 0 if j < head else 1, t - late[j])
            late[j] = t + 1
            u += entries[k] * x[j]
        now = slope(loss, u, labels[i])
        change, slopes[i] = each(weights, i) * (now - slopes[i]), now
        for k in range(first, last):
            j = columns[k]
            x[j] = (decay if j < head else 1.0) * (x[j] - step * (mean[j] + boost * change * entries[k]))
            mean[j] += share * change * entries[k]
    for j in range(len(x)):
        x[j] = _ahead(x[j], step * mean[j], maps, 0 if j < head else 1, len(ids) - late[j])
