"""Oja's rule: the leading subspace of a stream in one pass, holding k vectors and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from numba import njit

from airtrack.core.given import Floats, Stream
from airtrack.core.given.stream import refuse_infinite, samples_of
from airtrack.core.meter import Meter, State
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

    Where the gap is unknown or far below λ_k, `history_pca` does better: one η cannot suit all directions.

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
        held = OjaState(self, given.k, **(meter.resume() or {"basis": np.linalg.qr(start)[0]}))
        while meter.live():
            held.update(given.draw(self.batch))
            meter.offer(held.basis)
            meter.save(held.state)
        return held.basis

    def flat(self, energy: Any, d: int, k: int) -> Any:
        """T₀, the samples during which η hardly falls, where the mean of ‖x‖² is `energy`.

        >>> Oja(gap=0.5).flat(4.0, d=50, k=3)
        80.0
        """
        if self.params == "theory":
            return k * (energy / self.gap) ** 2 * max(np.log(d), 1.0)
        return 10 * energy / self.gap

    def rate(self, t: Any, energy: Any, d: int, k: int) -> Any:
        """η after t samples with mean ‖x‖² = energy; of arrays, one by one.

        >>> Oja(gap=0.5).rate(np.array([0, 80, 240]), 4.0, d=50, k=3).tolist()
        [0.05, 0.025, 0.0125]
        """
        flat = self.flat(energy, d, k)
        if self.params == "theory":
            return self.step * max(np.log(d), 1.0) / (self.gap * flat) * (flat / np.maximum(t, flat)) ** self.power
        return 2 * self.step / (self.gap * flat) * (flat / (flat + t)) ** self.power


class OjaState:
    """What Oja's rule holds between samples, for use outside the bench.

    rule    an `Oja`, whose fields are the rule
    k       the rank that is asked for
    basis   [d, k] orthonormal; fewer columns than k as long as `oja_plus` wants it so
    t       samples seen
    energy  Σ ‖x‖² over them

    `wait`, samples for which the step does not begin to fall yet, is for rules that put something first.

    >>> rng = np.random.default_rng(0)
    >>> held = OjaState(Oja(gap=0.75), 1, basis=np.linalg.qr(rng.standard_normal((3, 1)))[0])
    >>> for _ in range(20):
    ...     held.update(rng.standard_normal((100, 3)) * [1.0, 0.5, 0.2])
    >>> abs(held.basis.round(1)).ravel().tolist()
    [1.0, 0.0, 0.0]
    """

    def __init__(self, rule: Oja, k: int, *, basis: Floats, t: int = 0, energy: float = 0.0) -> None:
        self.rule, self.k, self.basis, self.t, self.energy = rule, k, basis, t, energy
        self.wait = 0.0

    def update(self, samples: Floats) -> None:
        """Learn from samples [n, d], `rule.batch` at a time. What cannot be learnt from changes nothing.

        Raises `SpecError` for another shape and for rows that are not finite, `Diverged` where the step is too long.
        """
        samples = samples_of(samples, len(self.basis))
        if not len(samples):
            return
        starts = np.arange(0, len(samples), self.rule.batch)
        ends = np.append(starts[1:], len(samples))
        falling = np.maximum(self.t + starts - self.wait, 0)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            energies = self.energy + np.cumsum(np.add.reduceat(np.einsum("nd,nd->n", samples, samples), starts))
            means = energies / (self.t + ends)
            rates = self.rule.rate(falling, means, len(self.basis), self.k)
        rates = np.where(energies > 0, rates, 0.0)  # zeros say nothing, not even how long a step may be
        basis, done = _steps(self.basis, np.ascontiguousarray(samples), starts, ends, rates)
        if done < len(starts):
            refuse_infinite(samples)
            seen = self.t + starts[done]
            raise Diverged(f"oja left the finite numbers after {seen} samples; {self._remedy(means[done])}")
        self.basis, self.t, self.energy = basis, self.t + len(samples), float(energies[-1])

    def _remedy(self, energy: Any) -> str:
        with np.errstate(all="ignore"):
            most = 1 / (energy * replace(self.rule, step=1.0).rate(0, energy, len(self.basis), self.k))
        if not 0 < most < np.inf:
            return "bring the data to a scale near 1"
        return f"it is stable for step ≤ {most:.3g}, where η ≤ 1 / mean ‖x‖²"

    def widen(self, columns: Floats) -> None:
        """Take more columns [d, any] into the basis."""
        self.basis = np.linalg.qr(np.hstack([self.basis, columns]))[0]

    def state(self) -> State:
        """What the constructor takes."""
        return {"basis": self.basis, "t": self.t, "energy": self.energy}


@njit(cache=True, nogil=True)
def _steps(basis, samples, starts, ends, rates):  # pragma: no cover  (compiled)
    """A QR a batch; returns the basis [d, k] and how many batches left it finite."""
    for i in range(len(starts)):
        x = samples[starts[i] : ends[i]]
        moved = basis + rates[i] * np.dot(x.T, np.dot(x, basis))
        if not np.isfinite(moved).all():
            return basis, i
        basis = np.ascontiguousarray(np.linalg.qr(moved)[0])
    return basis, len(starts)
