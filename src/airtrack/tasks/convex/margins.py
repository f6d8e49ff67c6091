"""The optimum of a support vector machine, by an interior point method and a last exact step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from airtrack.core.given import Floats

ROUNDS = 100
CLOSE = 1e-12  # complementarity at which the last step takes over: bounds and free components are told apart by then


def dual_optimum(signed: Floats, l2: float) -> tuple[Floats, float]:
    """(α [n], its duality gap) of max Σ α/n − (l2/2) ‖x(α)‖², x(α) = Σ αᵢ zᵢ / (n l2), 0 ≤ α ≤ 1.

    signed  zᵢ = bᵢ aᵢ [n, p]; the primal is (1/n) Σ max(0, 1 − ⟨zᵢ, x⟩) + (l2/2) ‖x‖²

    A primal-dual interior point method (Mehrotra), p × p systems by Woodbury's identity, then the solution with the
    active set that it found, kept if its gap is smaller.
    """
    n, p = signed.shape
    z = signed / np.sqrt(n * l2)  # the dual times n: max Σ α − ½ ‖Σ αᵢ zᵢ‖²
    alpha, room, low, high = np.full(n, 0.5), np.full(n, 0.5), np.ones(n), np.ones(n)  # multipliers of α ≥ 0, α ≤ 1
    for _ in range(ROUNDS):
        mu = float(alpha @ low + room @ high) / (2 * n)
        if mu < CLOSE:
            break
        fault = z @ (z.T @ alpha) - 1 - low + high
        spread = 1 / (low / alpha + high / room)  # D⁻¹ of (Z Zᵀ + D) step = …
        factor = cho_factor(np.eye(p) + (z * spread[:, None]).T @ z)

        def towards(centre_low: Floats, centre_high: Floats) -> tuple[Floats, Floats, Floats]:
            step = spread * (-fault + centre_low / alpha - centre_high / room)
            step = step - spread * (z @ cho_solve(factor, z.T @ step))
            return step, (centre_low - low * step) / alpha, (centre_high + high * step) / room

        step, a, b = towards(-alpha * low, -room * high)  # predictor
        length = min(_most(alpha, step), _most(room, -step), _most(low, a), _most(high, b))
        after = (alpha + length * step) @ (low + length * a) + (room - length * step) @ (high + length * b)
        centre = (after / (2 * n * mu)) ** 3 * mu
        step, a, b = towards(centre - alpha * low - step * a, centre - room * high + step * b)
        length = 0.995 * min(_most(alpha, step), _most(room, -step), _most(low, a), _most(high, b))
        alpha, room, low, high = alpha + length * step, room - length * step, low + length * a, high + length * b
    best = np.clip(alpha, 0, 1)
    least = gap(signed, best, l2)
    polished = _polished(z, best)
    sharper = gap(signed, polished, l2)
    return (polished, sharper) if sharper <= least else (best, least)


def excess(signed: Floats, alpha: Floats, l2: float) -> tuple[Floats, Callable[[Floats], float]]:
    """(x* [p], x → F(x) − F*), from the dual optimum α [n].

    The difference is a sum of what the hinges gain over their tangents, which α weighs, and the quadratic part: terms
    that are not negative.
    """
    best = signed.T @ alpha / (len(alpha) * l2)
    short = 1 - signed @ best

    def measure(x: Floats) -> float:
        moved = short - signed @ (x - best)
        hinges = np.maximum(moved, 0) - np.maximum(short, 0) - alpha * (moved - short)
        return float(hinges.mean() + l2 / 2 * ((x - best) @ (x - best)))

    return best, measure


def gap(signed: Floats, alpha: Floats, l2: float) -> float:
    """F(x(α)) minus the dual value of α, as a sum of terms that are not negative.

    α (margin − 1)₊ and (1 − α)(1 − margin)₊ a component: nothing is lost by cancellation.
    """
    short = 1 - signed @ (signed.T @ alpha) / (len(alpha) * l2)
    return float((alpha * np.maximum(-short, 0) + (1 - alpha) * np.maximum(short, 0)).mean())


def _most(at: Floats, step: Floats) -> float:
    """The longest step, up to 1, that keeps `at` ≥ 0."""
    return float(min(1.0, np.min(-at[step < 0] / step[step < 0], initial=1.0)))


def _polished(z: Floats, alpha: Floats) -> Floats:
    """α with every component at a bound put there, and those between solved for margin 1 exactly."""
    short = 1 - z @ (z.T @ alpha)
    free = (alpha > 1e-6) & (alpha < 1 - 1e-6) & (np.abs(short) < 1e-5)
    exact = np.where(free, 0, np.round(alpha))
    rows = z[free]
    exact[free] = np.linalg.lstsq(rows @ rows.T, 1 - rows @ (z.T @ exact))[0]
    return np.clip(exact, 0, 1)
