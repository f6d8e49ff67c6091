"""What the methods share that take a full gradient now and then, and many single ones in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit

from airtrack.core.given import FiniteSum, Floats, Ints
from airtrack.core.meter import Meter, State
from airtrack.core.part import SpecError
from airtrack.core.penalties import Nothing, separable
from airtrack.core.problem import Diverged
from airtrack.solvers.rules import unfit

CHUNK = 1 << 13  # indices that are drawn at a time


def smooth(given: FiniteSum, name: str) -> None:
    """Raises `SpecError` for a sum that is not one of smooth functions of one prediction each."""
    if len(given.shape) > 1:
        raise unfit(given, f"{name} takes losses of one prediction, not softmax")
    if not np.isfinite(given.loss.bounds[1]):
        raise unfit(given, f"{name} needs smooth components, and {type(given.loss).__name__} has a corner")


def check(given: FiniteSum, name: str) -> None:
    """Raises `SpecError` for a sum whose components a compiled loop cannot visit one by one."""
    smooth(given, name)
    if not separable(given.penalty):
        raise unfit(given, f"{name} takes penalties that go by coordinates, not {type(given.penalty).__name__}")
    if given.sparse and not isinstance(given.penalty, Nothing):
        fact = f"{name} catches up with the coordinates that sparse rows leave behind, which takes l2 and no penalty"
        raise unfit(given, fact)


def epochs(given: FiniteSum, meter: Meter, state: State, steps: Any, name: str) -> Iterator[tuple[Floats, Floats, int]]:
    """Goes on while the budget lasts: the gradient at `state["snapshot"]`, its slopes, and how many steps are paid for.

    The caller takes the steps and puts the next snapshot, a new array, into `state`, which holds all that a resume
    needs. steps: epoch → how many it would take; the last epoch takes what is left of the budget.
    """
    room = None
    while meter.live(given.n + 1):
        full, slopes = room = given.gradient(state["snapshot"], room)
        meter.offer(state["snapshot"])  # here, where its certificate costs nothing
        wanted = steps(state["epoch"])
        last = not meter.live(wanted + given.n + 1)
        yield full, slopes, given.components(wanted + given.n if last else wanted)
        if not np.isfinite(state["snapshot"]).all():
            raise Diverged(f"{name} left the finite numbers in epoch {state['epoch']}; it is stable for step ≤ 1")
        state["epoch"] += 1
        meter.save(lambda: dict(state))
    meter.offer(state["snapshot"])


class Sampler:
    """Draws components, uniformly or with chances proportional to `sizes` [n] (Walker's alias method).

    >>> Sampler(4, None).draw(np.random.Generator(np.random.PCG64(0)), 3).tolist()
    [3, 2, 2]
    """

    def __init__(self, n: int, sizes: Floats | None) -> None:
        self.n, self._keep, self._other = n, None, None
        if sizes is not None:
            self._keep, self._other = _aliases(sizes * (n / sizes.sum()))

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """Indices [count]."""
        drawn = rng.integers(0, self.n, count)
        if self._keep is None or self._other is None:
            return drawn
        _give(drawn, rng.random(count), self._keep, self._other)
        return drawn

    def chunks(self, rng: np.random.Generator, count: int, batch: int = 1) -> Iterator[Ints]:
        """The same, some whole batches at a time."""
        size = max(CHUNK // batch, 1) * batch
        for done in range(0, count, size):
            yield self.draw(rng, min(size, count - done))


def sampling(given: FiniteSum, by: str) -> tuple[Sampler, Floats, float]:
    """Who draws components; the factors wᵢ/(n pᵢ) of their gradients, [n] or [1]; the L that a step then has to fear.

    by  "uniform": the greatest Lᵢ; "smoothness": i with chance Lᵢ/ΣLⱼ, the mean
    """
    sizes = given.smoothness
    if not sizes.any():
        raise SpecError("every row is zero, or has the weight zero: there is nothing to learn from; check the data")
    if by == "uniform":
        return Sampler(given.n, None), given.factors, float(sizes.max())
    sampler, mean = Sampler(given.n, sizes), float(sizes.mean())
    np.divide(mean, sizes, out=sizes, where=sizes > 0)
    sizes *= given.factors
    return sampler, sizes, mean


@njit(cache=True, nogil=True)
def _aliases(share):  # pragma: no cover  (compiled)
    """Every index keeps a draw with chance keep[i], and gives it to other[i] else; share [n], changed, has mean 1."""
    keep, other = np.ones(len(share)), np.arange(len(share))
    small, large = np.flatnonzero(share < 1), np.flatnonzero(share >= 1)
    smalls, larges = len(small), len(large)
    poor = np.empty(len(share), np.int64)  # `small` with room for those that become so
    poor[:smalls] = small
    while smalls and larges:
        i, j = poor[smalls - 1], large[larges - 1]
        smalls -= 1
        keep[i], other[i] = share[i], j
        share[j] -= 1 - share[i]
        if share[j] < 1:
            poor[smalls] = j
            smalls, larges = smalls + 1, larges - 1
    return keep, other


@njit(cache=True, nogil=True)
def _give(drawn, chance, keep, other):  # pragma: no cover  (compiled)
    for t in range(len(drawn)):
        if chance[t] >= keep[drawn[t]]:
            drawn[t] = other[drawn[t]]
