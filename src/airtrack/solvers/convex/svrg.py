"""SVRG: stochastic gradients whose variance shrinks as the snapshot improves."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams


@part("solver")
class Svrg:
    """Stochastic variance-reduced gradient for F(x) = (1/n) Σ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖².

    An epoch takes the full gradient μ at a snapshot x̃ and then m = 2n steps

        x ← x − η (φ'(⟨aᵢ, x⟩) aᵢ − φ'(⟨aᵢ, x̃⟩) aᵢ + μ + σ x),   i uniform.

    It costs 3n gradients: the scalars φ'(⟨aᵢ, x̃⟩) are kept from the full gradient.

    params  "theory": η = 1/(7L), the next snapshot is the epoch's average, the next epoch starts where this one ended;
            "practical": η = 1/L, which no proof covers, and the last iterate
    step    multiplies η

    Source: Johnson, Zhang (NIPS 2013); the constants of Allen-Zhu, Yuan (ICML 2016). L = maxᵢ Lᵢ.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=100.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=60 * 100)
    >>> given.metered(meter)
    >>> judge(Svrg(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of the snapshot and of one step: the least budget that does anything."""
        return given.n + 1

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        if given.loss != "logistic":
            raise SpecError(f"svrg knows the logistic loss, not {given.loss!r}; take a task that has it")
        indices = streams / "indices"
        theory = self.params == "theory"
        eta = self.step / (given.smoothness.max() * (7 if theory else 1))
        state = meter.resume() or {"epoch": 0, "x": np.zeros(given.d), "snapshot": np.zeros(given.d)}
        epoch, x, snapshot = state["epoch"], state["x"].copy(), state["snapshot"].copy()
        while meter.live(self.step_cost(given)):
            full, scalars = given.gradient(snapshot)
            last = not meter.live(3 * given.n + 1)  # no further epoch fits after this one: it takes what is left
            rows, labels, count = given.components((3 if last else 2) * given.n)
            order = indices.rng(epoch).integers(0, given.n, count)
            average = _epoch(x, full, scalars, rows, labels, order, eta, given.l2)
            snapshot = average if theory else x.copy()
            if not np.isfinite(snapshot).all():
                raise Diverged(f"svrg left the finite numbers in epoch {epoch}, with a step of {eta:.3g}")
            epoch += 1
            meter.offer(snapshot)
            meter.save(lambda: {"epoch": epoch, "x": x, "snapshot": snapshot})
        return snapshot


@njit(cache=True, nogil=True)
def _epoch(x, full, scalars, rows, labels, order, eta, l2):  # pragma: no cover  (compiled)
    """Steps along `order`; changes x [d] in place and returns the average of the iterates."""
    d = len(x)
    total = np.zeros(d)
    for i in order:
        u = 0.0
        for j in range(d):
            u += rows[i, j] * x[j]
        change = -labels[i] / (1 + np.exp(labels[i] * u)) - scalars[i]
        for j in range(d):
            x[j] -= eta * (change * rows[i, j] + full[j] + l2 * x[j])
            total[j] += x[j]
    return total / len(order)
