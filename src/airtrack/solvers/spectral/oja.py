"""Oja's rule: the leading subspace of a stream in one pass, holding k vectors and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import Floats, Stream
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams


@part("solver")
class Oja:
    """Q ← QR(Q + η_t Σ x xᵀ Q) over the samples of a batch; t counts samples, Q [d, k] starts Gaussian.

    gap     λ_k − λ_{k+1}, as far as the experimenter knows it: it sets the scale of η
    params  "theory": η = log d / (gap T₀) up to T₀ = k R² log d / gap², then falling as t^−power;
            "practical": η = 2 / (gap T₀) · (T₀ / (T₀ + t))^power with T₀ = 10 R / gap, so that η R starts at .2
            (1 / (gap t) has the least error in the end, and forgets the start too slowly to get there);
            R is the mean of ‖x‖² so far
    power   1: the error falls as 1/T, which is optimal; 0: a constant step, and the error stalls at its size
    step    multiplies η; with power 1 and a step under ¼ · gap / true gap the rate is lost
    batch   samples a QR

    Source: Allen-Zhu, Li (FOCS 2017), Theorem 1, whose constants are hidden in Θ̃ and where E‖x‖² ≤ 1.

    >>> from airtrack.tasks.spiked import Spiked
    >>> given, judge = Spiked(d=10, k=2).pose(Streams(0) / "task")
    >>> meter = Meter(budget=5000)
    >>> given.metered(meter)
    >>> judge(Oja().answer(given, meter, Streams(0) / "recipe"))["sin2"] < 0.01
    True
    """

    gap: Annotated[float, Gt(0)] = 0.5
    params: Literal["theory", "practical"] = "practical"
    power: Annotated[float, Ge(0)] = 1.0
    step: Annotated[float, Gt(0)] = 1.0
    batch: Annotated[int, Ge(1)] = 32

    accepts: ClassVar[type] = Stream
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"batch": 4}

    def answer(self, given: Stream, meter: Meter, streams: Streams) -> Floats:
        start = (streams / "init").rng().standard_normal((given.d, given.k))
        state = meter.resume() or {"t": 0, "energy": 0.0, "basis": np.linalg.qr(start)[0]}
        t, energy, basis = state["t"], state["energy"], state["basis"]
        while meter.live():
            samples = given.draw(self.batch)  # [≤ batch, d]
            energy += float((samples * samples).sum())
            eta = self.rate(t, energy / (t + len(samples)), given.d, given.k)
            with np.errstate(over="ignore", invalid="ignore"):
                moved = basis + eta * (samples.T @ (samples @ basis))
            if not np.isfinite(moved).all():
                raise Diverged(f"oja left the finite numbers after {t} samples, with a step of {eta:.3g}")
            basis = np.linalg.qr(moved)[0]
            t += len(samples)
            meter.offer(basis)
            meter.save(lambda: {"t": t, "energy": energy, "basis": basis})
        return basis

    def rate(self, t: int, energy: float, d: int, k: int) -> float:
        """η after t samples with mean ‖x‖² = energy."""
        if self.params == "theory":
            scale = max(np.log(d), 1.0)
            flat = k * (energy / self.gap) ** 2 * scale
            return self.step * scale / (self.gap * flat) * (flat / max(t, flat)) ** self.power
        flat = 10 * energy / self.gap
        return 2 * self.step / (self.gap * flat) * (flat / (flat + t)) ** self.power
