"""P-packSVM: the kernel Pegasos with r steps a round."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numba import njit

from airtrack.core.given import Floats, Ints, Kernel
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams

BLOCK = 4096  # indices that are drawn together: they depend on the number of the step alone, not on the pack
LEAST = 1e-100  # scale of w at which it is multiplied out


@part("solver")
class PackSvm:
    """Stochastic subgradient steps on F(w) = (1/n) Σ max(0, 1 − bᵢ⟨w, φ(aᵢ)⟩) + (λ/2) ‖w‖², i uniform:

        w ← (1 − 1/t) w,   and w ← w + bᵢ φ(aᵢ) / (λt) if bᵢ⟨w, φ(aᵢ)⟩ was < 1

    and, if `project`, w ← w · min(1, 1 / (√λ ‖w‖)). Steps are packed: r indices are drawn, their kernel rows against
    the support vectors and the r × r block among themselves come in one round, and then the r steps are taken one after
    the other, each correcting the scores of the later ones by its row of the block. That changes no step, only the
    order in which sums are added up: r is how many rounds are saved and nothing else. No row is asked for beyond the
    support vectors.

    pack     r, steps a round; 1 is the kernel Pegasos
    project  as Pegasos was first published; the bound on the error holds with and without

    Source: Zhu, Chen, Wang, Zhu, Chen (ICDM 2009); Shalev-Shwartz, Singer, Srebro (ICML 2007).

    >>> from airtrack.tasks.convex.kernel_svm import KernelSvm
    >>> given, judge = KernelSvm(n=100).pose(Streams(0) / "task")
    >>> meter = Meter(budget=4000)
    >>> given.metered(meter)
    >>> judge(PackSvm(pack=50).answer(given, meter, Streams(0) / "recipe"))["gap"] < 0.01, given.counts["rounds"]
    (True, 80)
    """

    pack: Annotated[int, Ge(1)] = 64
    project: bool = False

    accepts: ClassVar[type] = Kernel
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"pack": 8}

    def answer(self, given: Kernel, meter: Meter, streams: Streams) -> Floats:
        return walk(given, meter, streams, self.pack, self.project)


def walk(given: Kernel, meter: Meter, streams: Streams, pack: int, project: bool) -> Floats:
    """Packs of steps until the budget is spent; α [n]."""

    @lru_cache(maxsize=2)
    def drawn(block: int) -> Ints:
        return (streams / "indices").rng(block).integers(0, given.n, BLOCK)

    state = meter.resume() or {"t": 0, "beta": np.zeros(given.n), "scale": 1.0, "norm": 0.0}  # w = scale · Σ β b φ
    t, beta, scale, norm = state["t"], state["beta"].copy(), state["scale"], state["norm"]
    while meter.live():
        size = pack
        while not meter.live(size):  # the end of the budget
            size //= 2
        blocks = [drawn(i) for i in range(t // BLOCK, (t + size - 1) // BLOCK + 1)]
        which = np.concatenate(blocks)[t % BLOCK :][:size]
        support = np.flatnonzero(beta)
        rows = given.rows(which, np.concatenate([support, which]))  # [r, s + r]
        scores = rows[:, : len(support)] @ (beta * given.labels)[support]
        signs, block = given.labels[which], np.ascontiguousarray(rows[:, len(support) :])
        scale, norm = _steps(beta, scores, block, which, signs, t, scale, norm, given.l2, project)
        t += size
        meter.offer(scale * beta)
        meter.save(lambda: {"t": t, "beta": beta, "scale": scale, "norm": norm})
    return scale * beta


@njit(cache=True, nogil=True)
def _steps(beta, scores, block, which, signs, t, scale, norm, l2, project):  # pragma: no cover  (compiled)
    """Steps along `which` [r]; changes beta [n] and scores [r], and returns the scale and ‖w‖²."""
    for j in range(len(which)):
        t += 1
        keep, eta = 1 - 1 / t, 1 / (l2 * t)
        margin = signs[j] * scale * scores[j]
        norm *= keep**2
        if t > 1:  # before that, w is 0
            scale *= keep
        if margin < 1:
            norm += 2 * eta * keep * margin + eta**2 * block[j, j]
            beta[which[j]] += eta / scale
            for k in range(j + 1, len(which)):
                scores[k] += eta / scale * signs[j] * block[j, k]
        if project and norm * l2 > 1:
            scale /= np.sqrt(norm * l2)
            norm = 1 / l2
        if scale < LEAST:
            beta *= scale
            scores *= scale
            scale = 1.0
    return scale, norm
