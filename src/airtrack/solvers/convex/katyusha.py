"""Katyusha: variance reduction with momentum that is held back by the snapshot."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.coupled import Law, walk
from airtrack.solvers.convex.epochs import check, epochs, sampling
from airtrack.solvers.rules import unfit


@part("solver")
class Katyusha:
    """Accelerated SVRG for F(x) = (1/n) Σ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖² + ψ(x).

    An epoch takes the full gradient μ at a snapshot x̃ and then m steps, i uniform:

        x = τ₁ z + τ₂ x̃ + (1 − τ₁ − τ₂) y             τ₂ x̃ is the negative momentum
        g = μ + φ'(⟨aᵢ, x⟩) aᵢ − φ'(⟨aᵢ, x̃⟩) aᵢ
        z⁺ = argmin ‖z' − z‖²/2α + ⟨g, z'⟩ + (σ/2) ‖z'‖² + ψ(z')
        y⁺ = x + τ₁ (z⁺ − z)                           option II

    with τ₁ = min(√(mσ/3L), ½), τ₂ = ½, α = 1/(3 τ₁ L). It costs n + m gradients. Where σ > 3L/(4m), τ₁ is ½ and
    nothing is left to accelerate: it is SVRG at a higher price. Without σ (Katyusha^ns) τ₁ = 2/(s + 4) in epoch s. Rows
    that are sparse are updated lazily: a coordinate that no row touches catches up in closed form when one does.

    params    "theory": m = 2n, the next snapshot is the average of y with weights (1 + ασ)ʲ;
              "practical": m = n and the last y
    step      divides L, in α and in τ₁
    sampling  "uniform", L the greatest Lᵢ; "smoothness": i with chance Lᵢ/ΣLⱼ, L the mean, which wins where rows are
              of very different lengths or weights
    batch     b components a step, m/b steps. L/b takes the place of L, but nothing below L_f = mean Lᵢ, an upper bound
              of the smoothness of the mean; τ₂ = ½ (L/b)/max(L/b, L_f), τ₁ = min(√(2τ₂ (m/b) σ/3 max(L/b, L_f)), τ₂):
              as many passes as without batches up to b ≈ √n; dense rows only

    Source: Allen-Zhu (STOC 2017, JMLR 2018), Algorithms 1 and 2; the constants of batches are derived here from the
    variance bound (2L/b) that a step has to meet, so that b = 1 is Algorithm 1.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=200 * 100)
    >>> given.metered(meter)
    >>> judge(Katyusha().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0
    sampling: Literal["uniform", "smoothness"] = "uniform"
    batch: Annotated[int, Ge(1)] = 1

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}
    version: ClassVar[int] = 3

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients of the snapshot and of one step: the least budget that does anything."""
        return given.n + self.batch

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "katyusha")
        if given.sparse and self.batch > 1:
            raise SpecError("katyusha takes batches of dense rows only; leave batch at 1, or give rows.toarray()")
        if given.loss.bounds[0] < 0:
            raise unfit(given, f"katyusha needs convex components, {type(given.loss).__name__} has none")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        indices, theory = streams / "indices", self.params == "theory"
        steps = given.n * (2 if theory else 1)
        sampler, scale, smoothness = sampling(given, self.sampling)
        noise = largest = smoothness / self.batch / self.step  # L/b, and max(L/b, L_f)
        if self.batch > 1:
            largest = max(noise, given.smoothness.mean() / self.step)
        hold = noise / largest / 2
        state = meter.resume() or {"epoch": 0, **{name: given.zero() for name in ("y", "z", "snapshot")}}
        y, z = state["y"], state["z"]
        for full, slopes, count in epochs(given, meter, state, lambda epoch: steps, "katyusha"):
            tau = 2 / (state["epoch"] + 4)
            if given.l2 > 0:
                tau = min(float(np.sqrt(2 * hold * steps / self.batch * given.l2 / (3 * largest))), hold)
            alpha = 1 / (3 * tau * largest)
            law = Law(tau, hold, alpha, given.l2, 1 + alpha * given.l2)
            rng, around = indices.rng(state["epoch"]), (state["snapshot"], full, slopes)
            state["snapshot"] = walk(given, law, sampler, rng, count, scale, around, y, z, self.batch, averaged=theory)
            del around  # the old snapshot
        return state["snapshot"]
