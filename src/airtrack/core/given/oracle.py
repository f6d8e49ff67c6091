"""What everything given has in common: the meter that it charges, and what it counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from airtrack.core.meter import Meter

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Oracle:
    """Base of everything given: knows the meter it charges, once the bench has called `metered`.

    An oracle that can prove how good an answer is, without any hidden truth, has a method `certificate(answer)`, which
    returns {name: number} and costs nothing. `airtrack.solvers.solve` stops by it, relative to that of `zero()`, an
    answer to begin with, where there is such a method, and else to that of the first answer a solver shows.
    """

    _meter: Meter | None = None

    @property
    def counts(self) -> Counter[str]:
        """How often each kind of question was answered: {"gradients": …, "full": …}. Whatever a kind costs."""
        return self.__dict__.setdefault("_counts", Counter())

    def metered(self, meter: Meter) -> None:
        """Charge this meter from now on. Without one, work is free (a part used outside the bench)."""
        self._meter = meter

    def _charge(self, work: float, **counted: int) -> None:
        """Charge `work`, then count: what was refused is not counted."""
        if self._meter is not None:
            self._meter.charge(work)
        self.counts.update(counted)

    def _grant(self, work: int, kind: str) -> int:
        """Charge as much of `work` as fits, count it under `kind`, and return it."""
        granted = work if self._meter is None else self._meter.grant(work)
        self.counts[kind] += granted
        return granted
