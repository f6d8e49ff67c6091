"""Projected gradient with a full singular value decomposition a step: what avoiding it is measured against."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from airtrack.core.given import Entries, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.lowrank import LowRank, onto_ball, zero


@part("solver")
class Svp:
    """X ← the projection of X − ∇f(X)/β on ‖X‖* ≤ θ, and on rank ≤ k if k is given (singular value projection).

    A step needs the gradient as a matrix, min(m, n) products, and makes two arrays m × n.

    k  None: the ball alone, which is convex: error (1 − 1/κ)ᵗ, proved

    Source: projected gradient; with k, Jain, Meka, Dhillon (NIPS 2010), whose guarantee needs restricted isometry.

    >>> from airtrack.tasks.spectral.completion import Completion
    >>> given, judge = Completion(rows=12, columns=10, rank=2).pose(Streams(0) / "task")
    >>> meter = Meter(budget=3000)
    >>> given.metered(meter)
    >>> judge(Svp().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-8
    True
    """

    k: Annotated[int, Ge(1)] | None = None

    accepts: ClassVar[type] = Entries
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"k": 2}

    def step_cost(self, given: Entries) -> int:
        return min(given.shape) + min(self.k or min(given.shape), *given.shape)

    def answer(self, given: Entries, meter: Meter, streams: Streams) -> Floats:
        state = meter.resume() or {**zero(given.shape)._asdict(), "shown": np.zeros(given.observed)}
        x, shown = LowRank(state["left"], state["sizes"], state["right"]), state["shown"]
        while meter.live(self.step_cost(given)):
            moved = x.left * x.sizes @ x.right.T - given.dense(given.residual(shown)) / given.smoothness
            left, sizes, right = np.linalg.svd(moved, full_matrices=False)
            sizes = onto_ball(sizes[: self.k], given.radius)
            rank = int((sizes > 0).sum())
            x = LowRank(left[:, :rank], sizes[:rank], right[:rank].T)
            shown = given.read(x.left * x.sizes, x.right)
            meter.offer(x.answer)
            meter.save(lambda: {**x._asdict(), "shown": shown})
        return x.answer
