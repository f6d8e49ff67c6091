"""SVRGlin: variance reduction that draws only components whose gradients can change near the snapshot."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt

from airtrack.core.given import Floats, Ints, Pieces
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.convex.lingering import Lingering
from airtrack.solvers.convex.strides import Strides


@part("solver")
class SvrgLin:
    """SVRG with small batches for a sum of pieces. An epoch at a snapshot x̃ = x:

        μ = (1/n) Σ ∇fᵢ(x̃)                      only components whose radius the way has passed are looked at again
        A = {i: ∇fᵢ may change within ρ of x̃}    ρ is such that |A| = share · n
        x ← x − ηₜ (μ + |A|/(nb) Σ_{i in batch} (∇fᵢ(x) − ∇fᵢ(x̃)) + c + σx),   b drawn from A,

    2|A|/b times, or until x is further than ρ from x̃. Up to there the estimate has no bias, since the other gradients
    stand still, and only |A|/n of the noise. The share starts at 1, which is plain SVRG; an epoch that runs its course
    halves it, one that leaves early doubles it.

    lingers  False: plain SVRG, all components looked at for a snapshot and drawn from
    batch    b
    params   of the steps ηₜ, as in `gd_lin`; t counts inner steps, and the first stage of "practical" is a pass long
    step     multiplies every step

    Source: Allen-Zhu, Simchi-Levi, Wang (NeurIPS 2018); the rule for the share is not theirs.

    >>> from airtrack.tasks.convex.revenue import Revenue
    >>> given, judge = Revenue(n=500, d=4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 500)
    >>> given.metered(meter)
    >>> judge(SvrgLin().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-4
    True
    """

    lingers: bool = True
    batch: Annotated[int, Ge(1)] = 16
    params: Literal["theory", "practical"] = "practical"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = Pieces
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"batch": 4}

    def step_cost(self, given: Pieces) -> int:
        return given.n + self.batch

    def answer(self, given: Pieces, meter: Meter, streams: Streams) -> Floats:
        return epochs(self, given, meter, streams, np.arange(given.n), given.n, "svrg_lin")


def epochs(part: Any, given: Pieces, meter: Meter, streams: Streams, order: Ints, start: int, who: str) -> Floats:
    """Epochs over the first `start` components of `order` [n], then twice as many, until all of them belong."""
    size, n = part.batch, given.n
    state = meter.resume() or {}
    strides = Strides(given, part.params, part.step, max(n // size, 1), state.get("strides"))
    kept = Lingering(given, state.get("kept"), lingers=part.lingers)
    epoch, share, members = (state.get(name, value) for name, value in (("epoch", 0), ("share", 1.0), ("members", 0)))
    if not state:
        kept.expiry[:] = np.inf  # nobody belongs yet
    while meter.live(len(due := kept.due()) + size):
        if members < n:
            before, members = members, min(2 * members or start, n)
            kept.admit(order[before:members])
            due = kept.due()
            if not meter.live(len(due) + size):
                break
        mean = kept.gradient(strides.x, due) / members
        near, radius = kept.nearest(max(int(share * members), 2 * size), members)
        steps, away, snapshot = max(2 * len(near) // size, 1), 0.0, strides.x
        draws = (streams / "draws").rng(epoch).integers(0, len(near), (steps, size))
        taken = 0
        while taken < steps and away <= radius and meter.live(size):
            batch = near[draws[taken]]
            pieces, _ = given.look(strides.x, batch)
            change = given.slope(pieces, batch) - given.slope(kept.pieces[batch], batch)
            g = mean + len(near) / (members * size) * change + given.smooth(strides.x)
            strides.take(g, who)
            taken, away = taken + 1, float(np.linalg.norm(strides.x - snapshot))
            meter.offer(strides.answer)
        kept.travel(away)
        if part.lingers:
            share = min(2 * share, 1.0) if taken < steps / 2 else max(share / 2, size / n)
        epoch += 1
        now = {"epoch": epoch, "share": share, "members": members}
        meter.save(lambda: {"strides": strides.state(), "kept": kept.state(), **now})
    return strides.answer
