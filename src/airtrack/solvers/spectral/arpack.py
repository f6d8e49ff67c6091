"""ARPACK: implicitly restarted Lanczos, as SciPy has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import Floats, Matrix
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.library import Counted, repeated, right_vectors


@part("solver")
class Arpack:
    """`scipy.sparse.linalg.svds(A, solver="arpack")`: Lanczos on AᵀA (or AAᵀ, if that is smaller), restarted.

    tol    of the singular vectors, SciPy takes its square for the eigenvalues of AᵀA; as long as there is budget a
           further run, from a start of its own, asks for a hundredth of it
    basis  Lanczos vectors that are kept; None: SciPy's max(2k + 1, 20)

    It has no answer before it has converged: until then the one of the run before is shown, at first a random one.

    Source: Lehoucq, Sorensen, Yang, *ARPACK Users' Guide* (SIAM 1998).

    >>> from airtrack.tasks.spectral.spectrum import Spectrum
    >>> given, judge = Spectrum(n=60, d=40, k=3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=200)
    >>> given.metered(meter)
    >>> Arpack().answer(given, meter, Streams(0) / "recipe").shape
    (40, 3)
    """

    tol: Annotated[float, Gt(0)] = 1e-2
    basis: Annotated[int, Ge(2)] | None = None

    accepts: ClassVar[type] = Matrix
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Matrix, meter: Meter, streams: Streams) -> Floats:
        least = min(given.shape)
        if given.k >= least:
            raise SpecError(
                f"arpack finds fewer than {least} singular vectors of a matrix of {given.shape}; k is {given.k}"
            )

        def run(tol: float, number: int, _: Floats, show: Callable[[], None]) -> Floats:
            start = (streams / "lanczos").rng(number).standard_normal(least)
            return right_vectors(Counted(given, show), given.k, solver="arpack", tol=tol, ncv=self.basis, v0=start)

        return repeated(given, meter, streams, self.tol, run)
