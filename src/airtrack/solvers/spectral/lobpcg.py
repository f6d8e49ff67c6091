"""LOBPCG: block conjugate gradients on the Rayleigh quotient, as SciPy has it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from scipy.sparse.linalg import lobpcg

from airtrack.core.given import Floats, Matrix
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.library import CountedGram, repeated


@part("solver")
class Lobpcg:
    """`scipy.sparse.linalg.lobpcg(AᵀA, X)` from a Gaussian block X [d, k], without a preconditioner.

    iterations  of a run; the next one goes on from its answer, and forgets its directions
    tol         residual at which a vector is left alone, relative to the largest Ritz value of the run's start

    Source: Knyazev (SIAM J. Sci. Comput. 2001).

    >>> from airtrack.tasks.spectral.spectrum import Spectrum
    >>> given, judge = Spectrum(n=60, d=40, k=3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=1000)
    >>> given.metered(meter)
    >>> judge(Lobpcg().answer(given, meter, Streams(0) / "recipe"))["eigenvalue"] < 1e-3
    True
    """

    iterations: Annotated[int, Ge(1)] = 20
    tol: Annotated[float, Gt(0)] = 1e-6

    accepts: ClassVar[type] = Matrix
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Matrix, meter: Meter, streams: Streams) -> Floats:
        def run(tol: float, number: int, answer: Floats, show: Callable[[], None]) -> Floats:
            scale = float(np.linalg.norm(given.apply(answer), 2)) ** 2
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns of every run that does not reach its tolerance
                operator, most = CountedGram(given, show), self.iterations
                try:
                    _, vectors = lobpcg(operator, answer.copy(), tol=tol * scale, maxiter=most)
                except Exception as error:  # where d < 5 k it wraps all that its one product raises
                    if isinstance(error.__context__, BudgetSpent):
                        raise BudgetSpent from None
                    raise
            return vectors

        return repeated(given, meter, streams, self.tol, run)
