"""PROPACK: Lanczos bidiagonalisation, as SciPy has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Gt
from numpy.linalg import LinAlgError

from airtrack.core.given import Floats, Matrix
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.library import Counted, repeated, right_vectors


@part("solver")
class Propack:
    """`scipy.sparse.linalg.svds(A, solver="propack")`: Lanczos bidiagonalisation with partial reorthogonalisation.

    tol  of the singular vectors; as long as there is budget a further run, from a start of its own, asks for a
         hundredth of it

    It has no answer before it has converged. A run that does not converge leaves the answer as it was.

    Source: Larsen, *Lanczos bidiagonalization with partial reorthogonalization* (Aarhus, DAIMI PB-357, 1998).

    >>> from airtrack.tasks.spectral.spectrum import Spectrum
    >>> given, judge = Spectrum(n=60, d=40, k=3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=200)
    >>> given.metered(meter)
    >>> Propack().answer(given, meter, Streams(0) / "recipe").shape
    (40, 3)
    """

    tol: Annotated[float, Gt(0)] = 1e-3

    accepts: ClassVar[type] = Matrix
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Matrix, meter: Meter, streams: Streams) -> Floats:
        def run(tol: float, number: int, answer: Floats, show: Callable[[], None]) -> Floats:
            draw = (streams / "lanczos").rng(number)
            operator = Enduring(given, show)
            try:
                start = draw.standard_normal(given.n)
                found = right_vectors(operator, given.k, solver="propack", tol=tol, v0=start, rng=draw)
                answer = np.linalg.qr(found)[0]  # where the rank is below k, a vector may be there twice
            except LinAlgError:  # an invariant subspace, or no convergence within 10 k steps
                pass
            if operator.spent:
                raise BudgetSpent
            return answer

        return repeated(given, meter, streams, self.tol, run)


class Enduring(Counted):
    """PROPACK's C code cannot be left by an exception: after the end of the budget it is told zeros."""

    spent = False

    def _matvec(self, x: Floats) -> Floats:
        return self._try(super()._matvec, x, self.shape[0])

    def _rmatvec(self, x: Floats) -> Floats:
        return self._try(super()._rmatvec, x, self.shape[1])

    def _try(self, product: Callable[[Floats], Floats], x: Floats, size: int) -> Floats:
        if not self.spent:
            try:
                return product(x)
            except BudgetSpent:
                self.spent = True
        return np.zeros(size)
