"""Tests and estimates on paired differences: plain functions of one array, vectorised over leading axes.

Every function takes differences `d` of shape [..., n], one for each seed, and returns shape [...].
scipy is imported when a function first needs a t distribution, never at import.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ENUMERATED = 12  # up to this many seeds all 2^n sign vectors are used
DRAWS = 4096  # above it: this many, the identity included
UNSEEN = 14.0  # about the least that keeps 5 %, two-sided, for centred exponential differences, n >= 6 (simulation)
UNSEEN_ONE_SIDED = 60.0  # the same for 5 %, one-sided, at which equivalence is tested
_TIE = 1e-12  # sums closer than this share of the total are ties


def _special() -> Any:
    try:
        from scipy import special  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise ImportError(
            "the t distribution needs scipy, which is not installed; remedy: pip install scipy"
        ) from error
    return cast(Any, special)


def t_quantile(q: float, df: int) -> float:
    """The q-quantile of Student's t with `df` degrees of freedom."""
    return float(_special().stdtrit(df, q))


def t_statistic(d: npt.ArrayLike) -> Array:
    """mean / (sd / sqrt n); 0 where all differences are 0, signed infinity where they are equal and not 0."""
    d, constant = _scaled(d)
    mean, sd = d.mean(-1), d.std(-1, ddof=1)
    limit = np.where(mean == 0, 0.0, np.copysign(np.inf, mean))
    return np.where(constant, limit, mean * math.sqrt(d.shape[-1]) / np.where(constant, 1.0, sd))


def _scaled(d: npt.ArrayLike) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Differences divided by the largest, so that no square overflows, and whether they are all equal."""
    d = np.asarray(d, dtype=np.float64)
    size = np.abs(d).max(-1, keepdims=True)
    d = d / np.where(size > 0, size, 1.0)
    return d, np.ptp(d, axis=-1) <= _TIE


def t_p(d: npt.ArrayLike) -> Array:
    """Two-sided p of the paired t test (Student 1908).

    >>> round(float(t_p([0.9, 1.1, 1.3, 0.7, 1.0, 1.2])), 6)
    8e-05
    """
    d = np.asarray(d, dtype=np.float64)
    return np.asarray(2 * _special().stdtr(d.shape[-1] - 1, -np.abs(t_statistic(d))))


def skewness(d: npt.ArrayLike) -> Array:
    """Sample skewness sqrt(n (n-1)) / (n-2) · m3 / m2^1.5 (Joanes & Gill 1998); 0 for n < 3 or equal differences."""
    d, constant = _scaled(d)
    n = d.shape[-1]
    if n < 3:
        return np.zeros(d.shape[:-1])
    z = d - d.mean(-1, keepdims=True)
    m2, m3 = (z**2).mean(-1), (z**3).mean(-1)
    return np.where(constant, 0.0, math.sqrt(n * (n - 1)) / (n - 2) * m3 / np.where(constant, 1.0, m2) ** 1.5)


def skew_p(d: npt.ArrayLike, *, unseen: float = UNSEEN) -> Array:
    """Two-sided p of the paired t test after a correction for skewness that speaks against the observed sign.

    The correction is the first-order one of Johnson (1978) and Hall (1992): under skewness g the critical value
    of t moves by g (1 + 2 t²) / (6 sqrt n). Here it is applied only where the long tail lies on the side of zero,
    so the p is never below that of the t test; and the sample skewness, which is too small when the tail has not
    been seen yet, is multiplied by 1 + unseen / n.

    >>> symmetric, tailed = [0.5, 0.7, 0.9, 1.1, 1.3, 1.5], [0.1, 0.9, 1.0, 1.1, 1.1, 1.2]
    >>> bool(skew_p(symmetric) == t_p(symmetric)), bool(skew_p(tailed) > 5 * t_p(tailed))
    (True, True)
    """
    d = np.asarray(d, dtype=np.float64)
    n = d.shape[-1]
    t = t_statistic(d)
    adverse = np.maximum(0.0, -np.sign(t) * skewness(d))
    k = (1 + unseen / n) * adverse / (6 * math.sqrt(n))
    t = np.abs(t)
    finite = np.where(np.isfinite(t), t, 0.0)
    root = np.sqrt(np.maximum(0.0, 1 + 8 * k * (finite - k)))
    moved = np.where(np.isfinite(t), np.maximum(0.0, 2 * (finite - k) / (1 + root)), t)
    return np.asarray(2 * _special().stdtr(n - 1, -moved))


@functools.lru_cache(maxsize=16)
def _signs(n: int) -> Array:
    """Sign vectors, shape [vectors, n]; the first is the identity."""
    if n <= ENUMERATED:
        return np.array(list(itertools.product((1.0, -1.0), repeat=n)))
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(b"sign-flip", "big")))
    signs = rng.choice(np.array([-1.0, 1.0]), size=(DRAWS, n))
    signs[0] = 1.0
    return signs


def sign_flip_p(d: npt.ArrayLike, *, side: str = "both") -> Array:
    """p of the sign-flip test of differences symmetric about 0 (Fisher 1935): all 2^n sign vectors for n <= 12,
    otherwise 4,096 drawn from a fixed named stream, the identity included.

    `side`: "both", or "upper" for the alternative that the differences lie above 0. Does not depend on the order
    of the seeds: the sign vectors meet the differences sorted by size.

    >>> float(sign_flip_p([1, 2, 3, 4, 5, 6, 7, 8])) == 2 / 2**8
    True
    """
    d = np.asarray(d, dtype=np.float64)
    n = d.shape[-1]
    rows = d.reshape(-1, n)
    size = np.sort(np.abs(rows), axis=1)
    total = rows.sum(1)
    seen = (np.abs(total) if side == "both" else total) - _TIE * size.sum(1)
    signs = _signs(n).T
    p = np.empty(len(rows))
    for start in range(0, len(rows), 256):
        block = slice(start, start + 256)
        sums = size[block] @ signs
        if side == "both":
            np.abs(sums, out=sums)
        hits = (sums >= seen[block, None]).sum(1)
        if n > ENUMERATED:  # the identity stands for the observed signs
            hits = hits - (sums[:, 0] >= seen[block]) + 1
        p[block] = hits / signs.shape[1]
    return p.reshape(d.shape[:-1])


def decision_p(d: npt.ArrayLike) -> Array:
    """The p by which two arms are told apart: the larger of `skew_p` (never below `t_p`) and `sign_flip_p`,
    so that the t test, its skewness-corrected form and the sign-flip test must all reject."""
    return np.maximum(skew_p(d), sign_flip_p(d))


def equivalence_p(d: npt.ArrayLike, margin: float) -> Array:
    """p of two one-sided tests of |mean| < margin (Schuirmann 1987), each by skewness-corrected t and by sign-flip.

    >>> bool(equivalence_p([0.1, -0.2, 0.0, 0.2, -0.1, 0.1], margin=1.0) < 0.05)
    True
    """
    d = np.asarray(d, dtype=np.float64)
    return np.maximum(_upper_p(margin + d), _upper_p(margin - d))


def _upper_p(d: Array) -> Array:
    p = skew_p(d, unseen=UNSEEN_ONE_SIDED) / 2
    return np.maximum(np.where(t_statistic(d) > 0, p, 1 - p), sign_flip_p(d, side="upper"))


def least_seeds(alpha: float) -> int:
    """The fewest seeds with which the two-sided sign-flip test can reject at `alpha`: 2 / 2^n <= alpha.

    >>> least_seeds(0.05), least_seeds(0.02)
    (6, 7)
    """
    return math.ceil(1 - math.log2(alpha) - _TIE)


def signed_ranks(d: npt.ArrayLike) -> Array:
    """Ranks of |d| with the signs of d; ties share the mean rank, zeros get 0, infinities the highest ranks.

    >>> signed_ranks([0.5, -2.0, 0.0, np.inf, 0.5]).tolist()
    [1.5, -3.0, 0.0, 4.0, 1.5]
    """
    d = np.asarray(d, dtype=np.float64)
    size = np.abs(d[d != 0])
    _, group, count = np.unique(size, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    ranks = np.zeros(d.shape)
    ranks[d != 0] = rank[group]
    return ranks * np.sign(d)


def walsh_averages(d: npt.ArrayLike) -> Array:
    """All (d_i + d_j) / 2 with i <= j, sorted. Opposite infinities average to 0."""
    d = np.asarray(d, dtype=np.float64)
    i, j = np.triu_indices(len(d))
    opposite = np.isinf(d[i]) & np.isinf(d[j]) & (d[i] != d[j])
    return np.sort((np.where(opposite, 0.0, d[i]) + np.where(opposite, 0.0, d[j])) / 2)


def hodges_lehmann(d: npt.ArrayLike) -> float:
    """Median of the Walsh averages (Hodges & Lehmann 1963); infinite where failures reach the middle.

    >>> hodges_lehmann([1.0, 2.0, 9.0])
    3.5
    """
    w = walsh_averages(d)
    low, high = float(w[(len(w) - 1) // 2]), float(w[len(w) // 2])
    return low if low == high else 0.0 if math.isinf(low) and math.isinf(high) else (low + high) / 2


def rank_interval(d: npt.ArrayLike, alpha: float) -> tuple[float, float]:
    """Interval of level at least 1 - alpha for the Hodges-Lehmann estimate: the Walsh averages that the exact
    signed-rank test does not reject (Tukey 1949). Unbounded where n is too small or failures reach the ends."""
    w = walsh_averages(d)
    n = np.asarray(d).shape[-1]
    ways = np.zeros(n * (n + 1) // 2 + 1)  # P(signed-rank statistic = w) under the null
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] = (ways[rank:] + ways[:-rank]) / 2
        ways[:rank] /= 2
    k = int((np.cumsum(ways) <= alpha / 2 * (1 + _TIE)).sum())
    return (-math.inf, math.inf) if k == 0 else (float(w[k - 1]), float(w[-k]))


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided exact p of McNemar's test (1947) from the two counts of discordant pairs.

    >>> mcnemar_p(6, 0)
    0.03125
    """
    n, k = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def paired_share_interval(only_a: int, only_b: int, n: int, alpha: float) -> tuple[float, float]:
    """Interval for a difference of paired proportions, (only_a - only_b) / n (Bonett & Price 2012)."""
    x, y = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = _normal(1 - alpha / 2) * math.sqrt((x + y - (x - y) ** 2) / (n + 2))
    return max(-1.0, x - y - half), min(1.0, x - y + half)


def t_power(effect: float, n: int, alpha: float) -> float:
    """Power of the two-sided paired t test; `effect` in sd of the differences.

    >>> round(t_power(1.0, 10, 0.05), 2)
    0.8
    """
    special = _special()
    critical, shift = t_quantile(1 - alpha / 2, n - 1), abs(effect) * math.sqrt(n)
    missed = float(special.nctdtr(n - 1, shift, critical)) if shift < 38 else 0.0
    wrong_side = float(special.nctdtr(n - 1, shift, -critical)) if shift < 5 else 0.0  # nan far out, where it is 0
    return 1 - missed + wrong_side


def seeds_for_power(effect: float, alpha: float, power: float = 0.8, most: int = 100_000) -> int | None:
    """The fewest seeds with which a verdict has `power`; None above `most`. `effect` in sd of the differences.

    That is what the t test needs, by the noncentral t distribution, and two more: what its skewness correction and
    the sign-flip test cost (simulation, effects of 0.5 to 3 sd; docs/statistics.md).

    >>> seeds_for_power(1.0, 0.05), seeds_for_power(0.3, 0.05), seeds_for_power(10.0, 0.05)
    (12, 92, 6)
    """
    low = high = 2
    while t_power(effect, high, alpha) < power:
        if high >= most:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if t_power(effect, middle, alpha) >= power else (middle, high)
    return max(least_seeds(alpha), high + 2)


def seeds_for_ranks(d: npt.ArrayLike, alpha: float) -> int | None:
    """About how many seeds give the signed-rank test 80 % power at the observed share of positive Walsh averages
    (Noether 1987); None where that share is a half."""
    d = np.asarray(d, dtype=np.float64)
    i, j = np.triu_indices(len(d), 1)
    opposite = np.isinf(d[i]) & (d[i] == -d[j])
    above = np.sign(np.where(opposite, 0.0, d[i]) + np.where(opposite, 0.0, d[j]))
    excess = abs(float(above.mean())) / 2
    return (
        None
        if excess == 0
        else max(least_seeds(alpha), math.ceil((_normal(1 - alpha / 2) + _normal(0.8)) ** 2 / (3 * excess**2)))
    )


def seeds_for_success(only_a: int, only_b: int, n: int, alpha: float) -> int | None:
    """About how many seeds give McNemar's test 80 % power at the observed discordant shares (Connor 1987)."""
    apart, gap = (only_a + only_b) / n, abs(only_a - only_b) / n
    if gap == 0:
        return None
    spread = _normal(1 - alpha / 2) * math.sqrt(apart) + _normal(0.8) * math.sqrt(apart - gap**2)
    return max(math.ceil(least_seeds(alpha) / apart), math.ceil((spread / gap) ** 2))


def _normal(q: float) -> float:
    return NormalDist().inv_cdf(q)


def holm_adjust(p: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the family-wise error (Holm 1979).

    >>> [round(x, 3) for x in holm_adjust([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    m, running = len(p), 0.0
    adjusted = [0.0] * m
    for rank, i in enumerate(sorted(range(m), key=lambda i: p[i])):
        running = max(running, min(1.0, (m - rank) * p[i]))
        adjusted[i] = running
    return adjusted
