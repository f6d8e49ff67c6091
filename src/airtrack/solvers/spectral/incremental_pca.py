"""Incremental PCA: a singular value decomposition of what was kept and what is new, truncated, batch after batch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from airtrack.core.given import Floats, Stream
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams


@part("solver")
class IncrementalPca:
    """S [k, d] ← the k leading singular values times right singular vectors of S and the batch, stacked: a baseline.

    batch  samples a decomposition; 5 d if None. What is cut off is gone, so the fewer cuts the better, in batch · d
           numbers of memory and batch · d² work

    The samples of a `Stream` have mean zero and are not centred.

    Source: Ross, Lim, Lin, Yang (IJCV 2008); the default batch is scikit-learn's.

    >>> from airtrack.tasks.spiked import Spiked
    >>> given, judge = Spiked(d=10, k=2).pose(Streams(0) / "task")
    >>> meter = Meter(budget=5000)
    >>> given.metered(meter)
    >>> judge(IncrementalPca().answer(given, meter, Streams(0) / "recipe"))["sin2"] < 0.01
    True
    """

    batch: Annotated[int, Ge(1)] | None = None

    accepts: ClassVar[type] = Stream
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"batch": 16}

    def answer(self, given: Stream, meter: Meter, streams: Streams) -> Floats:
        kept = (meter.resume() or {"kept": np.zeros((0, given.d))})["kept"]  # [≤ k, d]
        while meter.live():
            samples = given.draw(self.batch or 5 * given.d)
            _, sizes, right = np.linalg.svd(np.vstack([kept, samples]), full_matrices=False)
            kept = sizes[: given.k, None] * right[: given.k]
            meter.offer(_columns(kept, given.k))
            meter.save(lambda: {"kept": kept})
        return _columns(kept, given.k)


def _columns(kept: Floats, k: int) -> Floats:
    """An answer [d, k]; before k samples have come, some columns are zero, and span nothing."""
    return np.pad(kept.T, ((0, 0), (0, k - len(kept))))
