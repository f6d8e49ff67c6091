"""QuickPCR: principal component regression from ridge regressions, by a Chebyshev polynomial for the sign."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
from annotated_types import Gt, Lt
from scipy.fft import dct

from airtrack.core.given import Floats, Regression
from airtrack.core.meter import Meter, State
from airtrack.core.part import part
from airtrack.core.streams import Streams

Save = Callable[[Callable[[], State]], None]


@part("solver")
class QuickPcr:
    """x ≈ Σ_{λⱼ ≥ λ} vⱼ vⱼᵀ Aᵀb / λⱼ from ridge calls R v = (AᵀA + λI)⁻¹ v, without any eigenvector.

        M = I − 2λR has eigenvalues of the sign of λⱼ − λ, so that P = (I + sgn M) / 2 keeps what is above λ
        sgn x ≈ x q(1 + κ − 2x²), q of degree n the Chebyshev series of ((1 + κ − y) / 2)^−½, κ = 2α²
        x₁ = R P Aᵀb,  x_{j+1} = R (P Aᵀb + λ x_j)

    With α = γ / (2 + γ) the sign has error e^(−2αn), so that 1/γ · log(1/ε) calls do, 2n + 1 of them for degree n. The
    regression halves its error with every call. The budget is shared so that both errors are equal. One more call, the
    first, gives the ridge regression for an answer in the meantime.

    gap         γ: no eigenvalue of AᵀA within λ (1 ± γ)
    recurrence  "backward": Clenshaw's, b_r = 2B b_{r+1} − b_{r+2} + c_r v with B v = (1 + κ) v − 2 M M v, which the
                paper proves stable; "forward": T_{r+1} = 2B T_r − T_{r−1}, as an instrument

    Source: Allen-Zhu, Li, "Faster Principal Component Regression and Stable Matrix Chebyshev Approximation" (ICML
    2017). Their constants are not used: degree and calls follow from the budget as above.

    >>> from airtrack.tasks.spectral.pcr import Pcr
    >>> given, judge = Pcr(n=60, d=30, kept=10, gap=0.2).pose(Streams(0) / "task")
    >>> meter = Meter(budget=200)
    >>> given.metered(meter)
    >>> judge(QuickPcr(gap=0.2).answer(given, meter, Streams(0) / "recipe"))["error"] < 1e-4
    True
    """

    gap: Annotated[float, Gt(0), Lt(1)] = 0.1
    recurrence: Literal["backward", "forward"] = "backward"

    accepts: ClassVar[type] = Regression
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Regression, meter: Meter, streams: Streams) -> Floats:
        alpha = margin(self.gap)
        series = sign_series(degree_within(meter.budget, 2 * alpha), alpha)

        def sign(multiply: Callable[[Floats], Floats], v: Floats, begun: State, save: Save) -> Floats:
            return matrix_sign(multiply, v, series, alpha, recurrence=self.recurrence, begun=begun, save=save)

        return regress(given, meter, sign)


def margin(gap: float) -> float:
    """α, the least |μ| of an eigenvalue μ = (λⱼ − λ) / (λⱼ + λ) of M."""
    return gap / (2 + gap)


def degree_within(budget: float, decay: float) -> int:
    """The degree n at which e^(−decay · n) of the sign equals 2^−J of the regression, in 2n + 2 + J = budget calls."""
    return max(0, int((budget - 2) / (2 + decay / log(2))))


def sign_series(degree: int, alpha: float) -> Floats:
    """Coefficients c₀ … c_n, n ≤ degree, of the Chebyshev series of ((1 + κ − y) / 2)^−½ on [−1, 1], κ = 2α².

    They fall as e^(−2αr). Interpolation at 20/α more points than are kept has them to rounding error; from r = 17/α on
    they are rounding errors and left out, since an eigenvalue nearer to the threshold than was said would blow them up.

    >>> y = np.linspace(-1, 1, 9)
    >>> series = np.polynomial.chebyshev.chebval(y, sign_series(60, alpha=0.3))
    >>> bool(abs(series - ((1 + 2 * 0.3**2 - y) / 2) ** -0.5).max() < 1e-12)
    True
    """
    degree = min(degree, int(17 / alpha))
    kappa, fine = 2 * alpha**2, degree + int(20 / alpha)
    y = np.cos(np.pi * (np.arange(fine + 1) + 0.5) / (fine + 1))
    series = cast(Floats, dct(((1 + kappa - y) / 2) ** -0.5)) / (fine + 1)
    series[0] /= 2
    return series[: degree + 1]


def matrix_sign(
    multiply: Callable[[Floats], Floats],
    v: Floats,
    series: Floats,
    alpha: float,
    *,
    recurrence: Literal["backward", "forward"] = "backward",
    begun: State | None = None,
    save: Save = lambda state: None,
) -> Floats:
    """sgn(M) v, for a symmetric M with eigenvalues in ±[α, 1], from 2n + 1 products.

    multiply  v → M v
    series    c₀ … c_n of `sign_series`
    save      called after each step with a function that gives the state, which `begun` takes up again

    Its error is below 10⁻³ at α n = 3:

    >>> x = np.concatenate([-np.linspace(0.1, 1, 50), np.linspace(0.1, 1, 50)])
    >>> bool(abs(matrix_sign(lambda v: x * v, np.ones(100), sign_series(30, 0.1), 0.1) - np.sign(x)).max() < 1e-3)
    True
    """
    kappa, n = 2 * alpha**2, len(series) - 1
    zero = np.zeros_like(v)

    def b(u: Floats) -> Floats:
        return (1 + kappa) * u - 2 * multiply(multiply(u))

    if recurrence == "backward":
        now = begun or {"r": n, "first": zero, "second": zero}
        r, first, second = now["r"], now["first"], now["second"]  # first = b_{r+1}, second = b_{r+2}
        while r > 0:
            first, second = series[r] * v + (2 * b(first) - second if r < n else zero), first
            r -= 1
            save(lambda: {"r": r, "first": first, "second": second})
        return multiply(series[0] * v + (b(first) - second if n > 0 else zero))
    now = begun or {"r": 0, "first": v, "second": zero, "total": series[0] * v}
    r, first, second, total = now["r"], now["first"], now["second"], now["total"]  # first = T_r v, second = T_{r−1} v
    while r < n:
        first, second = (2 * b(first) - second if r > 0 else b(first)), first
        r += 1
        total = total + series[r] * first
        save(lambda: {"r": r, "first": first, "second": second, "total": total})
    return multiply(total)


def regress(given: Regression, meter: Meter, sign: Callable[..., Floats]) -> Floats:
    """Project Aᵀb by `sign`, then regress on what is left with all calls that remain; with two, ridge regression.

    sign  (multiply, v, begun, save) → sgn(M) v, as `matrix_sign`
    """

    def multiply(v: Floats) -> Floats:
        return v - 2 * given.threshold * given.ridge(v)

    v = given.correlation()
    if (state := meter.resume()) is None:
        state = {"begun": {}, "x": given.ridge(v)}
        meter.offer(state["x"])
    x = state["x"]
    if meter.budget < 3:
        return x
    if (projected := state.get("projected")) is None:
        signed = sign(multiply, v, state["begun"], lambda now: meter.save(lambda: {"begun": now(), "x": x}))
        projected, x = (v + signed) / 2, np.zeros(given.d)
    while meter.live():
        x = given.ridge(projected + given.threshold * x)
        meter.offer(x)
        meter.save(lambda: {"projected": projected, "x": x})
    return x
