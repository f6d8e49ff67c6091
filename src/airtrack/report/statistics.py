"""Every number behind a verdict, with the words that explain it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airtrack.report.numbers import number, percent, share, with_interval
from airtrack.study.statement import Verdict, format_p

NONE = "–"


@dataclass(frozen=True)
class Row:
    """A statistic of every comparison: `cells` in the order of the verdicts."""

    label: str
    meaning: str
    cells: tuple[str, ...]


def rows(verdicts: Sequence[Verdict]) -> list[tuple[str, list[Row]]]:
    """(group, its rows), without the rows that no comparison fills.

    >>> groups = rows([Verdict(outcome="a better", reason="", n=8, effect=1.0, effect_interval=(0.5, 1.5), p=0.0078)])
    >>> [(name, [row.label for row in its]) for name, its in groups][1]
    ('Tests', ['p of the decision'])
    """
    made: list[tuple[str, list[Row]]] = []
    for group, entries in TABLE:
        its = [Row(label, meaning, tuple(cell(v) for v in verdicts)) for label, meaning, cell in entries]
        its = [row for row in its if any(c != NONE for c in row.cells)]
        if its:
            made.append((group, its))
    return made


def p_value(p: float | None) -> str:
    """
    >>> p_value(0.0078), p_value(None)
    ('.0078', '–')
    """
    return NONE if p is None else format_p(p).removeprefix("p").removeprefix(" = ").strip()


def effect(v: Verdict) -> str:
    """The effect and its interval in words as short as a table needs."""
    if v.effect is None and v.effect_interval == (None, None):
        return NONE
    times, (low, high) = {"ratio": "× "}.get(v.effect_kind, ""), v.effect_interval
    if v.effect is None:  # half of the seeds failed in one arm: the estimate itself is out of bounds
        return f"at least {times}{number(low)}" if high is None else f"at most {times}{number(high)}"
    return times + with_interval(v.effect, low, high)


def _outcome(v: Verdict) -> str:
    return v.outcome if v.winner is None else f"{v.winner} better"


def _test_scale(v: Verdict) -> str:
    return NONE if v.scale == "lin" or v.method == "success probability" else with_interval(v.estimate, *v.interval)


def _odds(v: Verdict) -> str:
    return NONE if v.odds_ratio is None else "× " + with_interval(v.odds_ratio, *v.odds_ratio_interval)


def _hodges_lehmann(v: Verdict) -> str:
    if v.hodges_lehmann is None:
        return NONE
    if v.scale == "lin":
        return number(v.hodges_lehmann)
    kind = "odds × " if v.scale == "logit" else "× "
    return kind + number(math.exp(v.hodges_lehmann)) if abs(v.hodges_lehmann) < 700 else number(v.hodges_lehmann)


def _mean(which: str) -> Callable[[Verdict], str]:
    def cell(v: Verdict) -> str:
        mean, sd = (v.mean_a, v.sd_a) if which == "a" else (v.mean_b, v.sd_b)
        name = v.names[0] if which == "a" else v.names[1]
        return NONE if mean is None else f"{name}: {number(mean)}" + ("" if sd is None else f" (sd {number(sd)})")

    return cell


def _pair(v: Verdict, counts: tuple[int, int] | None) -> str:
    return NONE if counts is None else f"{v.names[0]} {counts[0]}, {v.names[1]} {counts[1]}"


def _smallest(v: Verdict) -> str:
    if v.smallest_effect is None:
        return NONE
    return ("× " if v.scale == "log" else "") + number(v.smallest_effect)


def _look(v: Verdict) -> str:
    if v.look is None:
        return NONE
    return f"{v.look}" + (f" of {', '.join(map(str, v.planned))} seeds" if v.planned else "")


def _needed(v: Verdict) -> str:
    if v.seeds_needed is None:
        return NONE
    more = f", {v.seeds_more} more" if v.seeds_more else ", enough"
    return f"{number(v.seeds_needed)}{more} (at {v.seeds_basis})"


Entry = tuple[str, str, Callable[[Verdict], str]]
TABLE: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "Effect",
        (
            ("Outcome", "one of five; the reason is below", _outcome),
            ("Why", "what the outcome rests on", lambda v: v.reason or NONE),
            ("Paired seeds", "both arms had the same data and the same seed", lambda v: str(v.n) if v.n else NONE),
            ("Effect [interval]", "advantage of the first arm; × marks a ratio", effect),
            (
                "Confidence of the interval",
                "of this look, not adjusted for several comparisons",
                lambda v: percent(v.alpha) if v.effect is not None else NONE,
            ),
            ("Method", "what the headline rests on", lambda v: NONE if v.method == "none" else v.method),
            ("On the test scale", "mean difference of logarithms or log-odds, where differences add up", _test_scale),
            ("Odds ratio", "the same, read as a ratio of odds", _odds),
            ("Hodges–Lehmann", "median of all pairwise averages: hardly moved by an outlier", _hodges_lehmann),
            ("P(A > B)", "share of seeds on which the first arm is better, ties half", lambda v: share(v.share_better)),
            ("First arm", "mean and standard deviation of its finished readings", _mean("a")),
            ("Second arm", "the same", _mean("b")),
        ),
    ),
    (
        "Tests",
        (
            ("p of the decision", "the largest of those that have to agree", lambda v: p_value(v.p)),
            ("p after Holm", "holds for all comparisons of this study together", lambda v: p_value(v.p_adjusted)),
            ("p, paired t", "is the mean difference zero?", lambda v: p_value(v.p_t)),
            (
                "p, t corrected for skewness",
                "the same when the differences have a long tail",
                lambda v: p_value(v.p_skew),
            ),
            ("p, sign-flip", "exact: all ways to exchange the arms within seeds", lambda v: p_value(v.p_sign_flip)),
            ("p, signed ranks", "exact, a failed seed being the worst rank", lambda v: p_value(v.p_rank)),
            ("p, success", "exact McNemar test on seeds that succeed in one arm alone", lambda v: p_value(v.p_success)),
            ("Successes", "seeds on the good side of the threshold", lambda v: _pair(v, v.successes)),
            ("Threshold", "between success and failure", lambda v: number(v.threshold)),
        ),
    ),
    (
        "Spread and pairing",
        (
            ("sd of the differences", "on the test scale", lambda v: number(v.sd)),
            ("Skewness of the differences", "0 is symmetric", lambda v: number(v.skewness, 2)),
            (
                "Correlation of the arms",
                "over seeds; the closer to 1, the more pairing helped",
                lambda v: number(v.correlation, 2),
            ),
            ("Failed seeds", "diverged, or never got there", lambda v: _pair(v, v.failures) if v.n else NONE),
            (
                "p, failures",
                "does one arm fail more often? exact McNemar test",
                lambda v: p_value(v.p_failures) if any(v.failures) else NONE,
            ),
        ),
    ),
    (
        "Equivalence and power",
        (
            ("Smallest effect that matters", "declared before the study ran", _smallest),
            (
                "p, equivalence",
                "two one-sided tests: small means no larger effect is left",
                lambda v: p_value(v.p_equivalence),
            ),
            ("Seeds for 80 % power", "in all, and how many are still to run", _needed),
            ("That effect in sd", "of the paired differences", lambda v: number(v.effect_in_sd)),
            ("Look", "planned looks at the data, each at a stricter level", _look),
        ),
    ),
    ("Notes", (("Notes", "what else a reader should know", lambda v: "; ".join(v.notes) or NONE),)),
)
