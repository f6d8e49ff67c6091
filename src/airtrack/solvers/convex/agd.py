"""Accelerated gradient descent as linear coupling: gradient descent and mirror descent, each where it is good."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter, State
from airtrack.core.part import SpecError, part
from airtrack.core.penalties import Simplex
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.rules import unfit

ROUNDS = 10  # of power iteration: what it misses of the greatest eigenvalue, SAFETY makes up for
SAFETY = 1.2


@part("solver")
class Agd:
    """Full gradients g of f at x = τ z + (1 − τ) y, and then two steps with the same g, V the geometry's divergence:

        y ← argmin (L/2) ‖y' − x‖² + ⟨g, y'⟩ + ψ(y')     a gradient step: large gradients make it fall
        z ← argmin V(z', z) + α ⟨g, z'⟩ + α ψ(z')          a mirror step: small gradients make its regret small

    With α = (k + 2)/2L and τ = 1/αL the error falls as 1/k². Where f is strongly convex (σ is a part of f here), it
    starts afresh every √(8κ) steps, which halves the error. Along an intercept, which σ leaves alone, the losses are
    trusted to bend F as much.

    geometry  "euclidean": V = ½ ‖z' − z‖²; "simplex": for a sum over {x ≥ 0, Σ x = total}, V = total times the
              relative entropy, which makes it strongly convex by 1 in the gradient step's norm ‖·‖₁, L the largest
              |a_ij|² instead of an eigenvalue, and no restarts
    params    "theory": L = mean Lᵢ (an upper bound), restarts; "practical": L from power iteration, and for σ > 0 the
              constant momentum (1 − √q)/(1 + √q), q = σ/L, on y
    step      divides L

    Source: Allen-Zhu, Orecchia, Linear Coupling (ITCS 2017); the constant momentum is Nesterov's (2004).

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=300 * 100)
    >>> given.metered(meter)
    >>> judge(Agd(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    geometry: Literal["euclidean", "simplex"] = "euclidean"
    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}
    version: ClassVar[int] = 2

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        if self.geometry == "simplex" and not isinstance(given.penalty, Simplex):
            raise SpecError(f"geometry simplex needs a sum over one, not {type(given.penalty).__name__}; use euclidean")
        if not np.isfinite(given.loss.bounds[1]):
            raise unfit(given, f"agd needs a smooth loss, {type(given.loss).__name__} has a corner")
        if given.loss.bounds[0] < 0 and not given.convexity:
            raise unfit(given, f"agd needs a convex sum, and {type(given.loss).__name__} may give none")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        entropic = self.geometry == "simplex"
        begun = meter.resume() or self._begin(given, meter, streams)
        flat = given.prox(given.zero(), 1.0, ridge=False)
        state: State = begun or {"k": 0, "smooth": 1.0, "y": flat, "z": flat}  # no budget for a first look at L
        smooth, sigma = state["smooth"], given.convexity
        constant = self.params == "practical" and sigma > 0 and not entropic
        restarts = sigma > 0 and not constant and not entropic  # from a y with zeros, which tilting leaves at zero
        period = int(np.ceil(np.sqrt(8 * smooth / sigma))) if restarts else None
        root = np.sqrt(sigma / smooth)
        while meter.live(given.n):
            k, y, z = state["k"], state["y"], state["z"]
            if period and k and k % period == 0:
                z = y
            alpha = ((k % period if period else k) + 2) / (2 * smooth)
            tau = root / (1 + root) if constant else 1 / (alpha * smooth)
            x = tau * z + (1 - tau) * y
            g = given.gradient(x)[0] + given.ridge * x
            meter.offer(x)  # here, where its certificate costs nothing
            with np.errstate(over="ignore", invalid="ignore"):  # a step that is too long is found below
                if entropic:
                    y = _moved(x, g, smooth, given.penalty.total)
                    z = _tilted(z, alpha * g / given.penalty.total, given.penalty.total)
                else:
                    y = given.prox(x - g / smooth, 1 / smooth, ridge=False)
                    if constant:  # z carries the momentum: the next x is y + (1 − √q)/(1 + √q) (y − the last y)
                        z = y + (1 / root - 1) * (y - state["y"])
                    else:
                        z = given.prox(z - alpha * g, alpha, ridge=False)
            if not np.isfinite(y).all():
                raise Diverged(f"agd left the finite numbers after {k} steps; it is stable for step ≤ 1")
            state |= {"k": k + 1, "y": y, "z": z}
            meter.save(lambda: {**state})
        meter.offer(state["y"])
        return state["y"]

    def _begin(self, given: FiniteSum, meter: Meter, streams: Streams) -> dict[str, Any] | None:
        if self.geometry == "simplex":
            entries = given.rows.data if given.sparse else given.rows
            largest = float(np.abs(entries).max()) ** 2 * max(given.loss.bounds) * given.weights.max()
            start = np.full(given.d, given.penalty.total / given.d)
            return {"k": 0, "smooth": (largest + given.l2) / self.step, "y": start, "z": start}
        smooth = float(given.smoothness.mean())
        if self.params == "practical":
            if not meter.live(ROUNDS * given.n):
                return None
            smooth = SAFETY * top_curvature(given, streams / "power")
        start = given.prox(given.zero(), 1.0, ridge=False)
        return {"k": 0, "smooth": (smooth + given.l2) / self.step, "y": start, "z": start}


def top_curvature(given: FiniteSum, streams: Streams, rounds: int = ROUNDS) -> float:
    """About the greatest eigenvalue of max φ'' · (1/n) Σ wᵢ aᵢ aᵢᵀ, from below, by power iteration: a pass a round.

    >>> given = FiniteSum(np.diag([2.0, 1.0]), np.ones(2), l2=0.1, loss="squared")
    >>> round(top_curvature(given, Streams(0)), 4), given.counts["products"]
    (2.0, 20)
    """
    v = streams.rng().standard_normal(given.d)
    curves, size = given.weights * (max(given.loss.bounds) / given.n), 0.0
    for _ in range(rounds):
        v /= np.linalg.norm(v)
        v = given.hessian(curves, v) - np.ravel(given.ridge) * v
        size = float(np.linalg.norm(v))
    return size


def _tilted(z: Floats, move: Floats, total: float) -> Floats:
    """argmin over the simplex of the relative entropy to z plus ⟨move, ·⟩."""
    weight = z * np.exp(move.min() - move)
    return weight * (total / weight.sum())


def _moved(x: Floats, g: Floats, smooth: float, total: float) -> Floats:
    """argmin over the simplex of (L/2) ‖y − x‖₁² + ⟨g, y⟩: mass goes to the least gradient from the greatest ones."""
    y, best, sent = x.copy(), int(np.argmin(g)), 0.0
    for j in np.argsort(-g):
        room = (g[j] - g[best]) / (4 * smooth) - sent  # of ‖y − x‖₁ = 2 · sent, where the next bit stops to pay
        if room <= 0 or j == best:
            break
        bit = min(room, y[j])
        y[j] -= bit
        sent += bit
    y[best] += sent
    return np.maximum(y, 0.0) * (total / y.sum())
