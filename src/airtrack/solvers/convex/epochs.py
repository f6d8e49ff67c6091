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

CHUNK = 1 << 12  # indices that are drawn at a time


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

    The table takes eight bytes a component; what a component gives away or takes is known to 24 bits.

    >>> Sampler(4, None).draw(np.random.Generator(np.random.PCG64(0)), 3).tolist()
    [3, 2, 2]
    """

    def __init__(self, n: int, sizes: Floats | None) -> None:
        self.n, self._keep, self._other = n, None, None
        if sizes is not None:
            share, other = sizes * (n / sizes.sum()), np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
            _aliases(share, other)
            self._keep, self._other = share.astype(np.float32), other

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
def _aliases(share, other):  # pragma: no cover  (compiled)
    """Index i is to keep a draw with chance share[i], and to give it to other[i] else; share [n], of mean 1, and
    other [n], every index's own, are changed into that.

    A share below 1 is filled up from the first large one that has something left. When that is below 1 itself, the next
    large one fills it up and goes on: one sweep, and no lists of small ones and large ones.
    """
    n, giver = len(share), 0
    while giver < n and share[giver] < 1:
        giver += 1
    for i in range(n):
        if other[i] != i:
            continue
        poor = i
        while share[poor] < 1:
            if poor == giver:
                giver += 1
                while giver < n and share[giver] < 1:
                    giver += 1
            if giver == n:  # but for rounding they are all full
                share[poor] = 1
                break
            other[poor] = giver
            share[giver] -= 1 - share[poor]
            poor = giver


@njit(cache=True, nogil=True)
def _give(drawn, chance, keep, other):  # pragma: no cover  (compiled)
    for t in range(len(drawn)):
        if chance[t] >= keep[drawn[t]]:
            drawn[t] = other[drawn[t]]
