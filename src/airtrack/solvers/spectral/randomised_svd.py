"""Randomised SVD: a random block under a few powers of AᵀA, of which the last one alone is kept."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from airtrack.core.given import Floats, Matrix
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams


@part("solver")
class RandomisedSvd:
    """Q = orth(A X), X ← orth(Aᵀ Q), …, from a Gaussian X [d, k + extra]; the answer are the k leading right singular
    vectors of Qᵀ A.

    extra  columns beyond k, to which the error goes: after q steps it falls as (σ_{k+extra+1} / σ_k)^{2q}

    A step costs 2 (k + extra) matvecs.

    Source: Halko, Martinsson, Tropp (SIAM Review 2011), Algorithms 4.4 and 5.1.

    >>> from airtrack.tasks.spectral.spectrum import Spectrum
    >>> given, judge = Spectrum(n=60, d=40, k=3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=500)
    >>> given.metered(meter)
    >>> judge(RandomisedSvd().answer(given, meter, Streams(0) / "recipe"))["eigenvalue"] < 1e-6
    True
    """

    extra: Annotated[int, Ge(0)] = 10

    accepts: ClassVar[type] = Matrix
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"extra": 2}

    def answer(self, given: Matrix, meter: Meter, streams: Streams) -> Floats:
        width = min(given.k + self.extra, *given.shape)
        start = np.linalg.qr((streams / "start").rng().standard_normal((given.d, width)))[0]
        block = (meter.resume() or {"block": start})["block"]
        meter.offer(block[:, : given.k])
        while meter.live(2 * width):
            basis = np.linalg.qr(given.apply(block))[0]  # [n, width]
            # the right singular vectors of QᵀA: a basis of the span of AᵀQ, in descending order
            block = np.linalg.svd(given.adjoint(basis), full_matrices=False)[0]
            meter.offer(block[:, : given.k])
            meter.save(lambda: {"block": block})
        return block[:, : given.k]
