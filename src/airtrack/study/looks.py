"""Planned looks: stop as soon as the readings so far give a verdict, without more false verdicts than one look has.

Testing again and again at .05 gives far more than 5 % of false verdicts. Looks at sizes planned beforehand, each at
one constant stricter level (Pocock 1977), give 5 % again; the level is found by simulation.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from airtrack.study import paired
from airtrack.study.compare import compare
from airtrack.study.statement import Verdict

PLANNED = (8, 12, 20)
# what `calibrate` finds for a total of .05 with a million repetitions
LEVELS: dict[tuple[int, ...], float] = {(8, 12, 20): 0.0180, (9, 12, 20): 0.0200, (10, 12, 20): 0.0225}


@dataclass(frozen=True)
class Plan:
    """Sizes at which a study is looked at, and how strictly.

    sizes        paired seeds at each look, increasing
    total        level of all looks together
    comparisons  how many comparisons Holm's procedure joins at each look; it then shares out the level of the look

    Raises ValueError where the sign-flip test can never reject at the first look.

    >>> Plan((8, 12, 20)).alpha
    0.018
    """

    sizes: tuple[int, ...] = PLANNED
    total: float = 0.05
    comparisons: int = 1

    def __post_init__(self) -> None:
        if not self.sizes or self.sizes[0] < 2 or any(a >= b for a, b in itertools.pairwise(self.sizes)):
            raise ValueError(f"planned sizes {self.sizes} must increase, from two seeds or more")
        if self.sizes[0] < (least := paired.least_seeds(self.alpha / self.comparisons)):
            cannot = f"a look at {self.sizes[0]} seeds can never reject at {self.alpha / self.comparisons:.2g}"
            raise ValueError(f"{cannot}, its share of the level; start at {least} seeds or more")

    @property
    def alpha(self) -> float:
        """The level of each look, to be given to `compare`."""
        return _level(self.sizes, self.total)


def planned(comparisons: int = 1, total: float = 0.05) -> Plan:
    """The default plan for so many comparisons: looks at 8, 12 and 20 seeds, the first one later where Holm's
    procedure could not reject at 8.

    >>> planned().sizes, planned(3).sizes
    ((8, 12, 20), (9, 12, 20))
    """
    sizes = PLANNED
    while sizes[0] < (least := paired.least_seeds(_level(sizes, total) / comparisons)):
        sizes = (least, *(n for n in PLANNED if n > least))
    return Plan(sizes, total, comparisons)


@dataclass(frozen=True)
class Look:
    """What one look says: the verdict so far, whether to stop, and the number of seeds of the next look."""

    verdict: Verdict
    stop: bool
    next: int | None


def look(a: npt.ArrayLike, b: npt.ArrayLike, *, plan: Plan | None = None, **options: Any) -> Look:
    """Compare the readings so far at the level of a planned look.

    a, b       shape [seeds], seeds being one of the planned sizes
    options    of `airtrack.study.compare.compare`, without alpha

    Raises ValueError at a size that is not planned, and for what `compare` refuses.

    >>> a, b = [3.1, 2.9, 3.3, 3.0, 3.2, 3.1, 2.8, 3.0], [2.9, 3.0, 3.2, 3.1, 3.1, 3.0, 2.8, 3.1]
    >>> (now := look(a, b)).stop, now.next
    (False, 12)
    """
    plan = plan or Plan()
    n = np.size(np.asarray(a))
    if n not in plan.sizes:
        sizes = ", ".join(map(str, plan.sizes))
        raise ValueError(f"{n} seeds are no planned look; look at {sizes} seeds, or use compare for a fixed number")
    at = plan.sizes.index(n)
    verdict = dataclasses.replace(compare(a, b, alpha=plan.alpha, **options), look=at + 1, planned=plan.sizes)
    stop = verdict.outcome != "no verdict yet" or n == plan.sizes[-1]
    return Look(verdict, stop, None if stop else plan.sizes[at + 1])


def calibrate(sizes: tuple[int, ...], alpha: float = 0.05, repetitions: int = 400_000, seed: int = 0) -> float:
    """The level of each look at which all looks together give a false verdict with probability `alpha`.

    Simulated for normal differences judged by the t test alone, and for centred exponential differences judged by
    the whole rule; the stricter of the two. Relative Monte-Carlo error: about 1 / sqrt(alpha · repetitions).

    >>> 0.014 < calibrate((8, 12, 20), repetitions=5_000) < 0.023
    True
    """
    rng = np.random.Generator(np.random.Philox(key=[int.from_bytes(b"looks", "big"), seed]))
    levels: list[float] = []
    for draw, rule in ((rng.standard_normal, paired.t_p), (rng.standard_exponential, _screened(alpha))):
        p = np.ones(repetitions)
        for start in range(0, repetitions, 20_000):
            block = slice(start, min(start + 20_000, repetitions))
            d = draw((block.stop - start, sizes[-1])) - (draw == rng.standard_exponential)
            p[block] = np.min([rule(d[:, :n]) for n in sizes], axis=0)
        levels.append(float(np.sort(p)[int(alpha * repetitions)]))
    return min(levels)


def _screened(alpha: float) -> Any:
    def rule(d: paired.Array) -> paired.Array:
        p = paired.skew_p(d)
        low = p <= alpha  # larger ones can never matter: spare them the sign vectors
        p[low] = np.maximum(p[low], paired.sign_flip_p(d[low]))
        return p

    return rule


@functools.lru_cache(maxsize=32)
def _level(sizes: tuple[int, ...], total: float) -> float:
    return LEVELS[sizes] if total == 0.05 and sizes in LEVELS else calibrate(sizes, total)
