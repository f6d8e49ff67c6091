"""Compare two arms by their readings on the same seeds, and say one of five sentences.

The differences are taken seed by seed on the metric's own scale. A verdict needs the paired t test, its
skewness-corrected form and the exact sign-flip test to reject together; equivalence needs both one-sided tests.
A failed seed is a result: it takes the worst rank, and the headline then rests on ranks. An outcome that comes in
two clusters is judged by the probability of success.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from airtrack.study import paired
from airtrack.study.readings import Array, Direction, Mask, Names, Pairs, Scale, check_options, margin, pair
from airtrack.study.statement import Outcome, Verdict, format_p, level, not_comparable

__all__ = ["Verdict", "compare", "compare_times", "holm", "not_comparable"]

ONE_SEED = "one seed is never a verdict"


def compare(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    better: Direction = "high",
    scale: Scale = "lin",
    smallest_effect: float | None = None,
    alpha: float = 0.05,
    names: Names = ("a", "b"),
    metric: str = "",
    bounds: tuple[float, float] | None = None,
    trials: float | None = None,
    floor: float | None = None,
    failed_a: npt.ArrayLike | None = None,
    failed_b: npt.ArrayLike | None = None,
) -> Verdict:
    """Compare readings of two arms, paired by position: `a[i]` and `b[i]` come from seed i.

    a, b             shape [seeds]; NaN, an infinity or a reading beyond ±1e100 is a failed seed
    better           "high" or "low" readings are better
    scale            "lin": differences; "log": log ratios, for readings >= 0; "logit": log odds ratios, for
                     proportions, as log((k + 1/2) / (m - k + 1/2)) with k = m · reading
    smallest_effect  the smallest effect of interest, declared beforehand: in units of the metric for "lin" and
                     "logit" (0.02: two points of accuracy, judged on the plain differences), a ratio above 1 for
                     "log" (1.1: ten per cent)
    alpha            two-sided level of the difference, one-sided level of each equivalence test
    bounds           (lowest, highest) possible reading; enables the check for two clusters. "logit" implies (0, 1)
    trials           m, the answers behind each proportion; unknown: 1,000, so that readings nearer to 0 or 1 than
                     about .0005 are hardly told apart
    floor            "log": smaller readings are raised to it; default: zeros to half the smallest positive reading
    failed_a, failed_b   flags, shape [seeds], of failed seeds besides those

    Raises ValueError for arrays that are not one number a seed (2,000 at most), for lengths that differ, and for
    readings off the scale.

    Source: Student (1908), Fisher (1935), Johnson (1978), Schuirmann (1987); measured in docs/statistics.md.

    >>> print(compare([3.1, 2.9, 3.3, 3.0, 3.2, 3.1, 2.8, 3.0], [2.0, 2.1, 2.2, 1.9, 2.1, 2.0, 2.0, 1.9]))
    a is better than b by 1.02 [0.91, 1.14] (8 paired seeds, p = .0078)
    >>> print(compare([3.1, 2.9], [2.0, 2.1], names=("new", "old")).reason)
    6 paired seeds are the least with which the sign-flip test can reject at .05
    """
    check_options(better, scale, smallest_effect, alpha, names)
    pairs = pair(a, b, (failed_a, failed_b), better=better, scale=scale, names=names, trials=trials, floor=floor)
    known = _common(pairs, better, scale, smallest_effect, alpha, names, metric)
    n, (lost_x, lost_y) = known["n"], known["failures"]
    if min(lost_x, lost_y) > n / 2:
        return not_comparable(
            f"more than half of the seeds failed in both arms ({lost_x} and {lost_y} of {n})", **known
        )
    threshold = _two_clusters(pairs, (0.0, 1.0) if scale == "logit" else bounds)
    if threshold is not None:
        return _by_success(pairs, better, threshold, known)
    if lost_x or lost_y:
        return _by_ranks(pairs, scale, known)
    return _by_mean(pairs, scale, known)


def compare_times(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    censored_a: npt.ArrayLike | None = None,
    censored_b: npt.ArrayLike | None = None,
    budget: float | None = None,
    smallest_effect: float | None = None,
    alpha: float = 0.05,
    names: Names = ("a", "b"),
    metric: str = "work to threshold",
) -> Verdict:
    """Compare the work that two arms need to reach a threshold, paired by seed and censored at the budget.

    a, b         work at which each seed got there, shape [seeds], positive
    censored_*   flags of the seeds that never got there; NaN and infinities are censored too
    budget       where censoring happened; the notes then give each arm's mean work restricted to it

    Where both seeds of a pair got there, their log ratio counts; a seed that did not takes the worst rank; two that
    did not are tied. With no censored seed this is `compare(..., better="low", scale="log")`; otherwise the exact
    signed-rank test decides (Wilcoxon 1945), and the estimate is the Hodges-Lehmann ratio.

    Raises ValueError as `compare` does, for work that is not positive, and for work above the budget.

    >>> print(compare_times([10, 12, 9, 11, 10, 13], [40, 50, 45, 41, 38, np.inf], metric="tokens"))
    a is better than b by a factor of 4.32 [3.73, unbounded] (tokens, 6 paired seeds, reached: a 6, b 5, p = .031)
    """
    check_options("low", "log", smallest_effect, alpha, names)
    pairs = pair(a, b, (censored_a, censored_b), better="low", scale="log", names=names)
    known = _common(pairs, "low", "log", smallest_effect, alpha, names, metric)
    restricted: list[str] = []
    for work, cut, name in zip((pairs.x, pairs.y), (pairs.failed_x, pairs.failed_y), names):
        if (work[~cut] <= 0).any():
            raise ValueError(f"work to threshold must be positive; {name!r} holds {np.nanmin(work):g}")
        if budget is not None:
            if (work[~cut] > budget).any():
                raise ValueError(
                    f"{name!r} holds {np.nanmax(work):g}, above the budget {budget:g}; flag it as censored"
                )
            restricted.append(f"{name} {np.where(cut, budget, work).mean():.4g}")
    if restricted:
        known["notes"] = (*known["notes"], f"mean work restricted to {budget:g}: {', '.join(restricted)}")
    known["successes"] = tuple(known["n"] - lost for lost in known["failures"])
    return _by_mean(pairs, "log", known) if pairs.finished.all() else _by_ranks(pairs, "log", known)


def holm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The same verdicts with decisions that hold for all of them together (Holm 1979).

    Each comparison enters with the p of the claim that it would make: of equivalence where it says so, of the
    difference otherwise; one that is not comparable enters with p = 1. Intervals stay as they are.

    >>> strong = compare([3.1, 2.9, 3.3, 3.0, 3.2, 3.1], [2.0, 2.1, 2.2, 1.9, 2.1, 2.0])
    >>> [v.outcome for v in holm([strong, strong])]
    ['no verdict yet', 'no verdict yet']
    """
    claims = [v.p_equivalence if v.outcome == "equivalent" else v.p for v in verdicts]
    adjusted = paired.holm_adjust([1.0 if p is None else p for p in claims])
    return [_after_holm(v, p, len(verdicts)) for v, p in zip(verdicts, adjusted)]


def _after_holm(v: Verdict, p: float, m: int) -> Verdict:
    if v.outcome == "not comparable" or v.p is None or m == 1:
        return dataclasses.replace(v, comparisons=m)
    needed = v.seeds_needed if v.effect_in_sd is None else paired.seeds_for_power(v.effect_in_sd, v.alpha / m)
    more = None if needed is None else max(0, needed - v.n)
    v = dataclasses.replace(v, p_adjusted=p, comparisons=m, seeds_needed=needed, seeds_more=more)
    if v.outcome == "no verdict yet" or p <= v.alpha:
        return v
    reason = f"{format_p(p)} after Holm over {m} comparisons is above {level(v.alpha)}"
    return dataclasses.replace(v, outcome="no verdict yet", reason=reason)


def _common(
    pairs: Pairs, better: str, scale: str, smallest: float | None, alpha: float, names: Names, metric: str
) -> dict[str, Any]:
    d, lost_x, lost_y = pairs.d, pairs.failed_x, pairs.failed_y
    return {
        "names": (str(names[0]), str(names[1])),
        "metric": metric,
        "better": better,
        "scale": scale,
        "n": len(d),
        "alpha": alpha,
        "smallest_effect": smallest,
        "differences": tuple(float(v) if math.isfinite(v) and ok else None for v, ok in zip(d, pairs.finished)),
        "hodges_lehmann": _finite(paired.hodges_lehmann(d)),
        "share_better": float(((d > 0) + 0.5 * (d == 0)).mean()),
        "failures": (int(lost_x.sum()), int(lost_y.sum())),
        "p_failures": paired.mcnemar_p(int((lost_x & ~lost_y).sum()), int((lost_y & ~lost_x).sum())),
        **pairs.summary,
    }


def _by_mean(pairs: Pairs, scale: Scale, known: dict[str, Any]) -> Verdict:
    d, shown = pairs.d, pairs.raw if scale == "logit" else pairs.d
    n, alpha, smallest = len(d), float(known["alpha"]), known["smallest_effect"]
    mean, back = float(d.mean()), _exp if scale == "log" else _finite
    known = {
        **known,
        "method": "paired t",
        "estimate": mean,
        "effect": back(float(shown.mean())),
        "effect_kind": "ratio" if scale == "log" else "difference",
        "odds_ratio": _exp(mean) if scale == "logit" else None,
    }
    if n == 1:
        return Verdict(outcome="no verdict yet", reason=ONE_SEED, **known)
    low, high = _t_interval(d, alpha)
    if scale == "logit":
        known["odds_ratio_interval"] = (_exp(low), _exp(high))
    known.update(
        interval=(low, high),
        effect_interval=tuple(back(v) for v in _t_interval(shown, alpha)),
        sd=float(d.std(ddof=1)),
        skewness=float(paired.skewness(d)),
        p_t=float(paired.t_p(d)),
        p_skew=float(paired.skew_p(d)),
        p_sign_flip=float(paired.sign_flip_p(d)),
        p=float(paired.decision_p(d)),
        p_equivalence=None if smallest is None else float(paired.equivalence_p(shown, margin(scale, smallest))),
        **(_seeds_t(d, None, alpha) if smallest is None else _seeds_t(shown, margin(scale, smallest), alpha)),
    )
    outcome, reason = _decide(known)
    return Verdict(outcome=outcome, reason=reason, **known)


def _decide(f: dict[str, Any]) -> tuple[Outcome, str]:
    alpha, p, p_t, p_flip, p_equal = f["alpha"], f["p"], f["p_t"], f["p_sign_flip"], f["p_equivalence"]
    least = paired.least_seeds(alpha)
    if f["n"] < least:
        tests = f"the least with which the sign-flip test can reject at {level(alpha)}"
        return "no verdict yet", f"{least} paired seeds are {tests}"
    if p_equal is not None and p_equal <= alpha:
        besides = ", though they differ detectably" if p <= alpha else ""
        return "equivalent", f"both one-sided tests reject a difference as large as the smallest effect{besides}"
    if p <= alpha:
        return ("a better" if f["estimate"] > 0 else "b better"), "the t test and the sign-flip test agree"
    if max(p_t, p_flip) <= alpha:
        return "no verdict yet", f"the differences have a long tail towards zero, {format_p(p)} with it corrected"
    if p_t <= alpha:
        return "no verdict yet", f"the t test rejects ({format_p(p_t)}), the sign-flip test does not"
    if p_flip <= alpha:
        return "no verdict yet", f"the sign-flip test rejects ({format_p(p_flip)}), the t test does not"
    return "no verdict yet", f"{format_p(p)} is above {level(alpha)}"


def _by_ranks(pairs: Pairs, scale: Scale, known: dict[str, Any]) -> Verdict:
    d, shown = pairs.d, pairs.raw if scale == "logit" else pairs.d
    alpha, back = float(known["alpha"]), _exp if scale == "log" else _finite
    ranks = paired.signed_ranks(d)
    p = float(paired.sign_flip_p(ranks))
    known = {
        **known,
        "method": "ranks",
        "estimate": known["hodges_lehmann"],
        "interval": tuple(_finite(v) for v in paired.rank_interval(d, alpha)),
        "effect": back(paired.hodges_lehmann(shown)),
        "effect_interval": tuple(back(v) for v in paired.rank_interval(shown, alpha)),
        "effect_kind": "ratio" if scale == "log" else "difference",
        "p_rank": p,
        "p": p,
        **_seeds(paired.seeds_for_ranks(d, alpha) if len(d) > 1 else None, len(d)),
    }
    untied, least = int((d != 0).sum()), paired.least_seeds(alpha)
    if len(d) == 1:
        return Verdict(outcome="no verdict yet", reason=ONE_SEED, **known)
    if untied < least:
        reason = f"{untied} seeds tell the arms apart, {least} are the least with which ranks can"
        return Verdict(outcome="no verdict yet", reason=reason, **known)
    if p > alpha:
        return Verdict(outcome="no verdict yet", reason=f"{format_p(p)} by ranks is above {level(alpha)}", **known)
    outcome: Outcome = "a better" if ranks.sum() > 0 else "b better"
    return Verdict(outcome=outcome, reason="exact signed-rank test, a failed seed being the worst rank", **known)


def _by_success(pairs: Pairs, better: Direction, threshold: float, known: dict[str, Any]) -> Verdict:
    n, alpha = len(pairs.d), float(known["alpha"])
    x, y = (v > threshold if better == "high" else v < threshold for v in (pairs.x, pairs.y))
    only_x, only_y = int((x & ~y).sum()), int((y & ~x).sum())
    p, share = paired.mcnemar_p(only_x, only_y), (only_x - only_y) / n
    interval = paired.paired_share_interval(only_x, only_y, n, alpha)
    known = {
        **known,
        "method": "success probability",
        "estimate": share,
        "interval": interval,
        "effect": share,
        "effect_interval": interval,
        "effect_kind": "share of seeds",
        "successes": (int(x.sum()), int(y.sum())),
        "threshold": threshold,
        "p_success": p,
        "p": p,
        **_seeds(paired.seeds_for_success(only_x, only_y, n, alpha), n),
        "notes": (*known["notes"], f"readings come in two clusters, parted at {threshold:.3g}"),
    }
    if n == 1:
        return Verdict(outcome="no verdict yet", reason=ONE_SEED, **known)
    if p > alpha:
        reason = f"{format_p(p)} by McNemar's test, {only_x + only_y} seeds succeed in one arm alone"
        return Verdict(outcome="no verdict yet", reason=reason, **known)
    outcome: Outcome = "a better" if share > 0 else "b better"
    return Verdict(outcome=outcome, reason="exact McNemar test on success", **known)


def _two_clusters(pairs: Pairs, bounds: tuple[float, float] | None) -> float | None:
    """Middle of the widest gap between the readings of both arms, if it exceeds half of the metric's range and parts
    the seeds of at least one arm. The gap is looked for in both arms together, so that exchanging the arms of a seed
    cannot move it and the test that follows keeps its level."""
    if bounds is None or not all(map(math.isfinite, bounds)):
        return None
    arms: tuple[Array, Array] = (pairs.x[~pairs.failed_x], pairs.y[~pairs.failed_y])
    both = np.sort(np.concatenate(arms))
    gaps = np.diff(both)
    if gaps.size == 0 or gaps.max() <= 0.5 * (bounds[1] - bounds[0]):
        return None
    middle = float(both[int(gaps.argmax())] + gaps.max() / 2)
    above: list[Mask] = [v > middle for v in arms]
    return middle if any(v.any() and not v.all() for v in above) else None


def _seeds_t(d: Array, target: float | None, alpha: float) -> dict[str, Any]:
    sd, effect = float(d.std(ddof=1)), abs(float(d.mean())) if target is None else target
    size = None if effect == 0 else effect / sd if sd > 1e-9 * effect else 1e9
    needed = None if size is None else paired.seeds_for_power(size, alpha)
    return {**_seeds(needed, len(d), "observed" if target is None else "smallest"), "effect_in_sd": size}


def _seeds(needed: int | None, n: int, which: str = "observed") -> dict[str, Any]:
    more = None if needed is None else max(0, needed - n)
    return {"seeds_needed": needed, "seeds_more": more, "seeds_basis": f"the {which} effect"}


def _t_interval(d: Array, alpha: float) -> tuple[float, float]:
    half = paired.t_quantile(1 - alpha / 2, len(d) - 1) * float(d.std(ddof=1)) / math.sqrt(len(d))
    return float(d.mean()) - half, float(d.mean()) + half


def _exp(x: float) -> float | None:
    """A ratio; None where it is unbounded, in favour of either arm."""
    return math.exp(x) if abs(x) < 700 else None


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None
