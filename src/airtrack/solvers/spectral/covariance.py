"""Covariance: add up all outer products, and take the leading eigenvectors of the sum."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from airtrack.core.given import Floats, Stream
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams


@part("solver")
class Covariance:
    """The k leading eigenvectors of Σ x xᵀ: nothing is lost, at d² numbers of memory.

    batch  samples between two answers

    Work: d² a sample, and d³ an answer. No streaming method is expected below its error; the question is how near it
    comes with d · k numbers.

    >>> from airtrack.tasks.spiked import Spiked
    >>> given, judge = Spiked(d=10, k=2).pose(Streams(0) / "task")
    >>> meter = Meter(budget=5000)
    >>> given.metered(meter)
    >>> judge(Covariance().answer(given, meter, Streams(0) / "recipe"))["sin2"] < 0.01
    True
    """

    batch: Annotated[int, Ge(1)] = 512

    accepts: ClassVar[type] = Stream
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"batch": 64}

    def answer(self, given: Stream, meter: Meter, streams: Streams) -> Floats:
        total = (meter.resume() or {"total": np.zeros((given.d, given.d))})["total"]
        leading = np.eye(given.d, given.k)
        while meter.live():
            samples = given.draw(self.batch)
            total = total + samples.T @ samples
            leading = np.linalg.eigh(total)[1][:, -given.k :]
            meter.offer(leading)
            meter.save(lambda: {"total": total})
        return np.linalg.eigh(total)[1][:, -given.k :]
