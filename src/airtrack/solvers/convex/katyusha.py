"""Katyusha: variance reduction with momentum that is held back by the snapshot."""

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
class Katyusha:
    """Accelerated SVRG for F(x) = (1/n) Σ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖², σ > 0.

    An epoch takes the full gradient μ at a snapshot x̃ and then m steps, i uniform:

        x = τ₁ z + τ₂ x̃ + (1 − τ₁ − τ₂) y             τ₂ x̃ is the negative momentum
        g = μ + φ'(⟨aᵢ, x⟩) aᵢ − φ'(⟨aᵢ, x̃⟩) aᵢ
        z⁺ = (z − α g) / (1 + α σ)
        y⁺ = x + τ₁ (z⁺ − z)                           option II

    with τ₁ = min(√(mσ/3L), ½), τ₂ = ½, α = 1/(3 τ₁ L). It costs n + m gradients. Where σ > 3L/(4m), τ₁ is ½ and
    nothing is left to accelerate: it is SVRG at a higher price.

    params  "theory": m = 2n, the next snapshot is the average of y with weights (1 + ασ)ʲ;
            "practical": m = n and the last y
    step    divides L, in α and in τ₁

    Source: Allen-Zhu (STOC 2017, JMLR 2018), Algorithm 1. L = maxᵢ Lᵢ, of φ alone.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=200 * 100)
    >>> given.metered(meter)
    >>> judge(Katyusha().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
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
            raise SpecError(f"katyusha knows the logistic loss, not {given.loss!r}; take a task that has it")
        indices = streams / "indices"
        theory = self.params == "theory"
        steps = given.n * (2 if theory else 1)
        smoothness = given.smoothness.max() / self.step
        tau = min(float(np.sqrt(steps * given.l2 / (3 * smoothness))), 0.5)
        alpha = 1 / (3 * tau * smoothness)
        zero = np.zeros(given.d)
        state = meter.resume() or {"epoch": 0, "y": zero, "z": zero, "snapshot": zero}
        epoch, y, z, snapshot = state["epoch"], state["y"].copy(), state["z"].copy(), state["snapshot"].copy()
        while meter.live(self.step_cost(given)):
            full, scalars = given.gradient(snapshot)
            last = not meter.live(steps + given.n + 1)  # no further epoch fits after this one: it takes what is left
            rows, labels, count = given.components(steps + given.n if last else steps)
            order = indices.rng(epoch).integers(0, given.n, count)
            average = _epoch(y, z, snapshot, full, scalars, rows, labels, order, tau, alpha, given.l2)
            snapshot = average if theory else y.copy()
            if not np.isfinite(snapshot).all():
                raise Diverged(f"katyusha left the finite numbers in epoch {epoch}, with α = {alpha:.3g}")
            epoch += 1
            meter.offer(snapshot)
            meter.save(lambda: {"epoch": epoch, "y": y, "z": z, "snapshot": snapshot})
        return snapshot


@njit(cache=True, nogil=True)
def _epoch(y, z, snapshot, full, scalars, rows, labels, order, tau, alpha, l2):  # pragma: no cover  (compiled)
    """Steps along `order`; changes y and z [d] in place and returns the weighted average of y."""
    d = len(y)
    x = np.empty(d)
    average = np.zeros(d)
    growth, share = 1 + alpha * l2, 1.0  # share: weight of this y over the sum of the weights so far
    for i in order:
        u = 0.0
        for j in range(d):
            x[j] = tau * z[j] + 0.5 * snapshot[j] + (0.5 - tau) * y[j]
            u += rows[i, j] * x[j]
        change = -labels[i] / (1 + np.exp(labels[i] * u)) - scalars[i]
        for j in range(d):
            before = z[j]
            z[j] = (before - alpha * (full[j] + change * rows[i, j])) / growth
            y[j] = x[j] + tau * (z[j] - before)
            average[j] += share * (y[j] - average[j])
        share = growth * share / (1 + growth * share)
    return average
