"""SDCA: coordinate ascent on the dual, one component at a time, without a step size."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import QUICK, fetch, settle, shrink
from airtrack.solvers.convex.dual import check, dual_start


@part("solver")
class Sdca:
    """Dual coordinate ascent for F(x) = (1/n) Σ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖² + ⟨c, x⟩ + ψ(x), φ smooth or not.

    The dual variables are the slopes sᵢ of the components, and x follows from them:

        v = −(1/σ) ((1/n) Σ wᵢ sᵢ aᵢ + c)             x = argmin over x of (σ/2) ‖x − v‖² + ψ(x)
        sᵢ⁺ = φ'(⟨aᵢ, x⟩ − qᵢ (sᵢ⁺ − sᵢ))             qᵢ = wᵢ ‖aᵢ‖²/(σn): the best value of sᵢ, the others held
        v⁺ = v − wᵢ (sᵢ⁺ − sᵢ)/(σn) aᵢ

    over the components in a new random order every epoch. One step touches one number for every non-zero of its row and
    takes at most a few evaluations of φ', so that it is what to try first on sparse rows with κ of a few n; beyond, its
    accelerated form needs less (`nu_acdm`). It takes the hinge as well, where x is the support vector machine's.

    Source: Shalev-Shwartz, Zhang (JMLR 2013; ψ: Math. Program. 2016); Hsieh et al. (ICML 2008) and Yu, Huang, Lin
    (Mach. Learn. 2011) for the forms of liblinear.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=100.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=30 * 100)
    >>> given.metered(meter)
    >>> judge(Sdca().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "sdca")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        facts, orders = _facts(given), streams / "order"
        state = meter.resume()
        if state is None:
            slopes, v = dual_start(given)
            state = {"epoch": 0, "slopes": slopes, "v": v}
        facts[:, SLOPE], v = state["slopes"], state["v"].copy()
        empty = facts[:, SIZE] == 0  # rows that move nothing, and whose own part of the gap is closed here
        facts[empty, SLOPE] = given.loss.slope(np.zeros(empty.sum()), given.labels[empty])
        x = given.prox(v, 1 / given.l2, ridge=False)
        while meter.live(1):
            order = orders.rng(state["epoch"]).permutation(given.n)[: given.components(given.n)]
            for rows, labels, at, ids in given.visits(order):
                walk = _sparse if given.sparse else _dense
                walk(given.loss, given.penalty, rows, labels, at, ids, facts, v, 1 / given.l2)
            x = given.prox(v.copy(), 1 / given.l2, ridge=False)
            given.propose(facts[:, SLOPE])
            meter.offer(x)
            state["epoch"] += 1
            meter.save(lambda: {"epoch": state["epoch"], "slopes": facts[:, SLOPE].copy(), "v": v})
        return x


SLOPE, SIZE, RATE, LABEL = range(4)  # of a component's row, which is half a line of cache: sᵢ, qᵢ, wᵢ/(σn), bᵢ


def _facts(given: FiniteSum) -> Floats:
    facts = np.empty((given.n, 4))
    facts[:, RATE] = given.weights / (given.l2 * given.n)
    facts[:, SIZE] = given.squares * facts[:, RATE]
    facts[:, LABEL] = given.labels
    return facts


@njit(cache=True, nogil=True, fastmath=QUICK)
def _sparse(loss, penalty, rows, labels, at, ids, facts, v, scale):  # pragma: no cover  (compiled)
    entries, columns, starts = rows
    for t in range(len(ids)):
        fetch(rows, facts, ids, t)
        i = ids[t]
        slope, size = facts[i, SLOPE], facts[i, SIZE]
        if size > 0:
            first, last, u = starts[i], starts[i + 1], 0.0
            for k in range(first, last):
                u += entries[k] * shrink(penalty, v[columns[k]], scale)
            best = settle(loss, u, slope, size, facts[i, LABEL])
            facts[i, SLOPE] = best
            move = facts[i, RATE] * (best - slope)
            if move != 0:
                for k in range(first, last):
                    v[columns[k]] -= move * entries[k]


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dense(loss, penalty, rows, labels, at, ids, facts, v, scale):  # pragma: no cover  (compiled)
    for t in range(len(ids)):
        i, row, u = ids[t], rows[at[t]], 0.0
        slope, size = facts[i, SLOPE], facts[i, SIZE]
        if size > 0:
            for j in range(len(v)):
                u += row[j] * shrink(penalty, v[j], scale)
            best = settle(loss, u, slope, size, facts[i, LABEL])
            facts[i, SLOPE] = best
            move = facts[i, RATE] * (best - slope)
            for j in range(len(v)):
                v[j] -= move * row[j]
