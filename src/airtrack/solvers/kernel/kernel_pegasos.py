"""Kernel Pegasos: one step a round, what packing is measured against."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from airtrack.core.given import Floats, Kernel
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.kernel.pack_svm import walk


@part("solver")
class KernelPegasos:
    """`pack_svm` with packs of one: every step asks for a kernel row of its own, and waits for it.

    project  as in `pack_svm`

    Source: Shalev-Shwartz, Singer, Srebro (ICML 2007), section 4.

    >>> from airtrack.tasks.convex.kernel_svm import KernelSvm
    >>> given, judge = KernelSvm(n=100).pose(Streams(0) / "task")
    >>> meter = Meter(budget=4000)
    >>> given.metered(meter)
    >>> judge(KernelPegasos().answer(given, meter, Streams(0) / "recipe"))["gap"] < 0.02, given.counts["rounds"]
    (True, 4000)
    """

    project: bool = False

    accepts: ClassVar[type] = Kernel
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Kernel, meter: Meter, streams: Streams) -> Floats:
        return walk(given, meter, streams, 1, self.project)
