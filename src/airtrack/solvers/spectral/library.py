"""What SciPy's solvers need to work on a metered matrix: an operator that charges, and one run after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, svds

from airtrack.core.given import Floats, Matrix
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.streams import Streams

LEAST = 1e-7  # svds squares a tolerance: one below it would ask for more than float64 has


class Counted(LinearOperator):
    """A as SciPy sees it. While it is at work, the answer so far is shown whenever a look is due."""

    def __init__(self, given: Matrix, show: Callable[[], None]) -> None:
        super().__init__(np.dtype(np.float64), given.shape)
        self._given, self._show = given, show

    def _matvec(self, x: Floats) -> Floats:
        self._show()
        return self._given.apply(x.ravel())

    def _rmatvec(self, x: Floats) -> Floats:
        self._show()
        return self._given.adjoint(x.ravel())


class CountedGram(LinearOperator):
    """AᵀA as SciPy sees it."""

    def __init__(self, given: Matrix, show: Callable[[], None]) -> None:
        super().__init__(np.dtype(np.float64), (given.d, given.d))
        self._given, self._show = given, show

    def _matvec(self, x: Floats) -> Floats:
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _matmat(self, X: Floats) -> Floats:
        self._show()
        return self._given.gram(X)


def right_vectors(operator: LinearOperator, k: int, **options: Any) -> Floats:
    """The k leading right singular vectors [d, k] that `scipy.sparse.linalg.svds` finds, the leading one first."""
    found: Any = svds(operator, k, **options)
    return found[2][::-1].T.copy()


Run = Callable[[float, int, Floats, Callable[[], None]], Floats]


def repeated(given: Matrix, meter: Meter, streams: Streams, tol: float, run: Run) -> Floats:
    """Runs of a solver that cannot be stopped and continued: to `tol`, then to a hundredth of it, and so on.

    run  (tolerance, number of the run, answer so far [d, k], a function that shows it) → answer [d, k]
    """
    start = np.linalg.qr((streams / "start").rng().standard_normal((given.d, given.k)))[0]
    state = meter.resume() or {"run": 0, "answer": start}
    number, answer = state["run"], state["answer"]
    while meter.live(2):
        try:
            answer = run(max(tol / 100.0 ** min(number, 9), LEAST), number, answer, lambda: meter.offer(answer))
        except BudgetSpent:
            break
        number += 1
        meter.offer(answer)
        meter.save(lambda: {"run": number, "answer": answer})
    return answer
