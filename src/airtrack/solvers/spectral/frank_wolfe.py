"""Frank and Wolfe's method over a ball of the nuclear norm: one singular pair a step."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from airtrack.core.given import Entries, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.block_fw import OVER, line_search
from airtrack.solvers.spectral.lowrank import LowRank, leading, zero


@part("solver")
class FrankWolfe:
    """X ← X + η (θ u vᵀ − X), with u and v the leading singular pair of −∇f(X): the baseline of rank one.

    params  "theory": η = 2 / (t + 2); "practical": η from an exact line search. Either way the error falls as 1/t
    rounds  of the power iteration on three vectors that finds u and v, from where the last one ended

    Source: Frank, Wolfe (1956); Jaggi (ICML 2013).

    >>> from airtrack.tasks.spectral.completion import Completion
    >>> given, judge = Completion(rows=12, columns=10, rank=2).pose(Streams(0) / "task")
    >>> meter = Meter(budget=3000)
    >>> given.metered(meter)
    >>> 1e-5 < judge(FrankWolfe(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-1
    True
    """

    params: Literal["theory", "practical"] = "theory"
    rounds: Annotated[int, Ge(1)] = 2

    accepts: ClassVar[type] = Entries
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: Entries) -> int:
        return 2 * self.rounds * min(1 + OVER, *given.shape) + 1

    def answer(self, given: Entries, meter: Meter, streams: Streams) -> Floats:
        width = min(1 + OVER, *given.shape)
        state = meter.resume() or {
            **zero(given.shape)._asdict(),
            "shown": np.zeros(given.observed),
            "start": (streams / "start").rng().standard_normal((given.shape[1], width)),
            "t": 0,
        }
        x = LowRank(state["left"], state["sizes"], state["right"])
        shown, start, t = state["shown"], state["start"], state["t"]
        while meter.live(self.step_cost(given)):
            residual = given.residual(shown)
            found = leading(given, residual, x, 0.0, start, width, self.rounds)
            corner = LowRank(found.left[:, :1], np.array([given.radius]), found.right[:, :1])
            step = given.read(corner.left * given.radius, corner.right) - shown
            share = 2 / (t + 2) if self.params == "theory" else line_search(given, residual, step)
            x, shown, start, t = x.towards(corner, share), shown + share * step, found.right, t + 1
            meter.offer(x.answer)
            meter.save(lambda: {**x._asdict(), "shown": shown, "start": start, "t": t})
        return x.answer
