"""Follow the leader: play what would have been best so far."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from airtrack.core.given import Floats, Rounds
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.online.gains import play_by_sum


@part("solver")
class FollowLeader:
    """Play the leading eigenvector of Σ x xᵀ so far, and a random direction in the first round: a baseline.

    Without a gap to be found it has linear regret where rounds are adversarial.

    >>> from airtrack.tasks.spectral.online_eigenvector import OnlineEigenvector
    >>> given, judge = OnlineEigenvector(d=8, stream="alternating").pose(Streams(0) / "task")
    >>> meter = Meter(budget=300)
    >>> given.metered(meter)
    >>> judge(FollowLeader().answer(given, meter, Streams(0) / "recipe"))["regret"] > 0.4
    True
    """

    accepts: ClassVar[type] = Rounds
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Rounds, meter: Meter, streams: Streams) -> Floats:
        first = (streams / "first").rng().standard_normal((given.d, 1))
        last = np.eye(given.d)[:, -1:]
        return play_by_sum(given, meter, lambda values, t: last if t else first)
