"""The steps of the methods that remember the last slope of every component, on dense and on sparse rows."""

from __future__ import annotations

import numpy as np
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import QUICK, fetch, shrink, slope
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
        meter.offer(x)
        state = {"epoch": 0, "x": x, "mean": mean, "slopes": slopes}
    sampler, head = Sampler(given.n, None), given.d - given.free
    law, decays = (step, boost, 1 / given.n), (1 / (1 + step * given.l2), 1.0)
    late = np.zeros(given.d, np.int64)  # steps after which a coordinate was last up to date
    tables = np.array([_powers(given.n, decay) for decay in decays]) if given.sparse else np.zeros((2, 1, 2))
    x, mean = state["x"].copy(), state["mean"].copy()
    facts = np.column_stack([state["slopes"], given.weights, given.labels, np.zeros(given.n)])
    while meter.live(1):
        order = sampler.draw((streams / "indices").rng(state["epoch"]), given.components(given.n))
        for rows, _, at, ids in given.visits(order):
            if given.sparse:
                late[:] = 0
                _sparse(given.loss, rows, ids, facts, x, mean, late, tables, law, head)
            else:
                _dense(given.loss, given.penalty, rows, at, ids, facts, x, mean, law, decays[0], head)
        if not np.isfinite(x).all():
            raise Diverged(f"{name} left the finite numbers in epoch {state['epoch']}; it is stable for step ≤ 1")
        meter.offer(x.copy())
        state["epoch"] += 1
        meter.save(lambda: {"epoch": state["epoch"], "x": x, "mean": mean, "slopes": facts[:, SLOPE].copy()})
    return x


SLOPE, WEIGHT, LABEL = range(3)  # of a component's row, which is half a line of cache: sᵢ, wᵢ, bᵢ


def _powers(count: int, decay: float) -> Floats:
    """[count + 1, 2]: after t steps without a row, x is the first times x less the second times step · ḡ."""
    powers = decay ** np.arange(count + 1.0)
    return np.column_stack([powers, np.concatenate([[0.0], np.cumsum(powers[1:])])])


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dense(loss, penalty, rows, at, ids, facts, x, mean, law, decay, head):  # pragma: no cover  (compiled)
    step, boost, share = law
    for t in range(len(ids)):
        i, row, u = ids[t], rows[at[t]], 0.0
        for j in range(len(x)):
            u += row[j] * x[j]
        now = slope(loss, u, facts[i, LABEL])
        change, facts[i, SLOPE] = facts[i, WEIGHT] * (now - facts[i, SLOPE]), now
        for j in range(head):
            x[j] = shrink(penalty, decay * (x[j] - step * (mean[j] + boost * change * row[j])), step * decay)
            mean[j] += share * change * row[j]
        for j in range(head, len(x)):
            x[j] -= step * (mean[j] + boost * change * row[j])
            mean[j] += share * change * row[j]


@njit(cache=True, nogil=True, fastmath=QUICK)
def _sparse(loss, rows, ids, facts, x, mean, late, tables, law, head):  # pragma: no cover  (compiled)
    """A coordinate that no row touches moves by a fixed affine map: it is left behind, and catches up when one does."""
    entries, columns, starts = rows
    step, boost, share = law
    decay = tables[0, 1, 0]
    for t in range(len(ids)):
        fetch(rows, facts, ids, t)
        i, u = ids[t], 0.0
        first, last = starts[i], starts[i + 1]
        for k in range(first, last):
            j = columns[k]
            p = tables[0 if j < head else 1, t - late[j]]
            x[j] = p[0] * x[j] - p[1] * step * mean[j]
            late[j] = t + 1
            u += entries[k] * x[j]
        now = slope(loss, u, facts[i, LABEL])
        change, facts[i, SLOPE] = facts[i, WEIGHT] * (now - facts[i, SLOPE]), now
        for k in range(first, last):
            j = columns[k]
            x[j] = (decay if j < head else 1.0) * (x[j] - step * (mean[j] + boost * change * entries[k]))
            mean[j] += share * change * entries[k]
    for j in range(len(x)):
        p = tables[0 if j < head else 1, len(ids) - late[j]]
        x[j] = p[0] * x[j] - p[1] * step * mean[j]
