"""Principal component regression from ridge regressions, by the first polynomial that was proposed for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt, Lt

from airtrack.core.given import Floats, Regression
from airtrack.core.meter import Meter, State
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.quick_pcr import Save, degree_within, margin, regress


@part("solver")
class TaylorPcr:
    """As `quick_pcr`, with the Taylor series of (1 − (1 − x²))^−½, sgn x ≈ x Σ_{k ≤ n} (2k choose k) 4^−k (1 − x²)^k.

    A baseline. Its error is (1 − α²)ⁿ, α = γ / (2 + γ), so that 1/γ² · log(1/ε) calls are needed; 2n + 1 of them for
    degree n. All terms are positive, and the recurrence is stable.

    gap  γ: no eigenvalue of AᵀA within λ (1 ± γ); it only shares the budget between projection and regression

    Source: Frostig, Musco, Musco, Sidford (ICML 2016).

    >>> from airtrack.tasks.spectral.pcr import Pcr
    >>> given, judge = Pcr(n=60, d=30, kept=10, gap=0.5).pose(Streams(0) / "task")
    >>> meter = Meter(budget=1000)
    >>> given.metered(meter)
    >>> judge(TaylorPcr(gap=0.5).answer(given, meter, Streams(0) / "recipe"))["error"] < 1e-4
    True
    """

    gap: Annotated[float, Gt(0), Lt(1)] = 0.1

    accepts: ClassVar[type] = Regression
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Regression, meter: Meter, streams: Streams) -> Floats:
        degree = degree_within(meter.budget, margin(self.gap) ** 2)

        def sign(multiply: Callable[[Floats], Floats], v: Floats, begun: State, save: Save) -> Floats:
            return taylor_sign(multiply, v, degree, begun=begun, save=save)

        return regress(given, meter, sign)


def taylor_sign(
    multiply: Callable[[Floats], Floats],
    v: Floats,
    degree: int,
    *,
    begun: State | None = None,
    save: Save = lambda state: None,
) -> Floats:
    """sgn(M) v, for a symmetric M with eigenvalues in [−1, 1], from 2 · degree + 1 products; see `matrix_sign`."""
    now = begun or {"k": 0, "term": v, "total": v}
    k, term, total = now["k"], now["term"], now["total"]
    while k < degree:
        k += 1
        term = (term - multiply(multiply(term))) * ((2 * k - 1) / (2 * k))
        total = total + term
        save(lambda: {"k": k, "term": term, "total": total})
    return multiply(total)
