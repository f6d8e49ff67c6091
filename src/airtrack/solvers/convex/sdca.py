"""SDCA: coordinate ascent on the dual, one component at a time, without a step size."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import QUICK, each, fetch, settle, shrink, slope
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
        orders, state = streams / "order", meter.resume()
        if state is None:
            slopes = np.zeros(given.n)
            state = {"epoch": 0, "slopes": slopes, "v": dual_start(given, slopes)}
        slopes, v, rates = state["slopes"], state["v"], given.factors / (given.l2 * given.n)
        x = given.prox(v, 1 / given.l2, ridge=False)
        while meter.live(1):
            _epoch(given, orders.rng(state["epoch"]), rates, slopes, v)
            x = given.prox(v.copy(), 1 / given.l2, ridge=False)
            given.propose(slopes)
            meter.offer(x)
            state["epoch"] += 1
            meter.save(lambda: dict(state))
        return x


def _epoch(given: FiniteSum, rng: np.random.Generator, rates: Floats, slopes: Floats, v: Floats) -> None:
    order: Any = np.arange(given.n, dtype=np.int32 if given.n < 2**31 else np.int64)
    rng.shuffle(order)
    walk = _sparse if given.sparse else _dense
    for rows, labels, at, ids in given.visits(order[: given.components(given.n)]):
        walk(given.loss, given.penalty, rows, labels, at, ids, rates, slopes, v, 1 / given.l2)


@njit(cache=True, nogil=True, fastmath=QUICK)
def _sparse(loss, penalty, rows, labels, at, ids, rates, slopes, v, scale):  # pragma: no cover  (compiled)
    entries, columns, starts = rows
    for t in range(len(ids)):
        fetch(rows, labels, rates, slopes, ids, t)
        i, u, square = ids[t], 0.0, 0.0
        first, last, rate = starts[i], starts[i + 1], each(rates, i)
        for k in range(first, last):
            u += entries[k] * shrink(penalty, v[columns[k]], scale)
            square += entries[k] * entries[k]
        if square * rate > 0:
            best = settle(loss, u, slopes[i], square * rate, labels[i])
            move, slopes[i] = rate * (best - slopes[i]), best
            if move != 0:
                for k in range(first, last):
                    v[columns[k]] -= move * entries[k]
        else:  # it moves nothing: what closes its own part of the gap
            slopes[i] = slope(loss, 0.0, labels[i])


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dense(loss, penalty, rows, labels, at, ids, rates, slopes, v, scale):  # pragma: no cover  (compiled)
    for t in range(len(ids)):
        i, row, u, square = ids[t], rows[at[t]], 0.0, 0.0
        rate = each(rates, i)
        for j in range(len(v)):
            u += row[j] * shrink(penalty, v[j], scale)
            square += row[j] * row[j]
        if square * rate > 0:
            best = settle(loss, u, slopes[i], square * rate, labels[i])
            move, slopes[i] = rate * (best - slopes[i]), best
            for j in range(len(v)):
                v[j] -= move * row[j]
        else:
            slopes[i] = slope(loss, 0.0, labels[i])
