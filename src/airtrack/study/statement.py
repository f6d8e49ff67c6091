"""The verdict: a statement about two arms, in one of five sentences, with every number behind it."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast

Outcome = Literal["a better", "b better", "equivalent", "no verdict yet", "not comparable"]
Method = Literal["paired t", "ranks", "success probability", "none"]
Interval = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What two arms' readings on the same seeds allow one to say. Plain data; `str()` is the sentence.

    Every difference is an advantage of arm a: positive where a is better, whichever direction the metric has.
    `None` stands for what does not exist, and for an end of an interval that is unbounded.

    outcome, reason      one of the five outcomes, and why
    names, metric        of the arms, of the readings
    better, scale        "high" | "low"; "lin" | "log" | "logit"
    method               what the headline rests on: "paired t", "ranks" (a seed failed), "success probability"
    n                    paired seeds
    alpha                level of this look; intervals have confidence 1 - alpha and are never Holm-adjusted
    estimate, interval   on the test scale: mean difference with Student-t interval; under "ranks" the
                         Hodges-Lehmann estimate with its exact interval; otherwise the difference of shares
    effect, effect_interval, effect_kind
                         the same, readable: "difference" in the metric's own units, "ratio", or "share of seeds"
    odds_ratio, odds_ratio_interval
                         back-transformed from the logit scale
    differences          one for each seed, on the test scale; None where a seed failed
    mean_a, mean_b, sd_a, sd_b
                         of the finished readings, in the metric's own units
    sd, skewness, correlation
                         of the differences; between the arms over the seeds, on the test scale
    p_t, p_skew, p_sign_flip
                         paired t test; the same corrected for adverse skewness; exact sign-flip test
    p_rank               exact signed-rank test, a failed seed being the worst rank
    p                    the p of the decision: the largest of those that have to agree
    p_adjusted, comparisons
                         after Holm over so many comparisons
    hodges_lehmann       median of the Walsh averages of the differences, test scale
    share_better         share of seeds on which a is better, ties half: P(A > B)
    failures, p_failures failed seeds of a and of b; exact McNemar p on the flags
    successes, threshold, p_success
                         seeds of a and of b on the good side of the threshold, for a bimodal outcome
    smallest_effect, p_equivalence
                         as declared; p of the two one-sided tests
    seeds_needed, seeds_more, seeds_basis
                         in all and still to run for 80 % power, and at which effect
    effect_in_sd         that effect in sd of the differences
    look, planned        number of this look and the planned sizes, for repeated looks
    notes                what a reader should know besides
    """

    outcome: Outcome
    reason: str
    names: tuple[str, str] = ("a", "b")
    metric: str = ""
    better: str = "high"
    scale: str = "lin"
    method: Method = "none"
    n: int = 0
    alpha: float = 0.05
    estimate: float | None = None
    interval: Interval = (None, None)
    effect: float | None = None
    effect_interval: Interval = (None, None)
    effect_kind: str = "difference"
    odds_ratio: float | None = None
    odds_ratio_interval: Interval = (None, None)
    differences: tuple[float | None, ...] = ()
    mean_a: float | None = None
    mean_b: float | None = None
    sd_a: float | None = None
    sd_b: float | None = None
    sd: float | None = None
    skewness: float | None = None
    correlation: float | None = None
    p_t: float | None = None
    p_skew: float | None = None
    p_sign_flip: float | None = None
    p_rank: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    comparisons: int = 1
    hodges_lehmann: float | None = None
    share_better: float | None = None
    failures: tuple[int, int] = (0, 0)
    p_failures: float | None = None
    successes: tuple[int, int] | None = None
    threshold: float | None = None
    p_success: float | None = None
    smallest_effect: float | None = None
    p_equivalence: float | None = None
    seeds_needed: int | None = None
    seeds_more: int | None = None
    seeds_basis: str = ""
    effect_in_sd: float | None = None
    look: int | None = None
    planned: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def winner(self) -> str | None:
        """Name of the better arm, or None."""
        return {"a better": self.names[0], "b better": self.names[1]}.get(self.outcome)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, the sentence included."""
        return {**asdict(self), "sentence": str(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """The inverse of `to_dict`, also after JSON has made lists of the tuples."""
        known = {f.name for f in fields(cls)}
        kept: dict[str, Any] = {k: v for k, v in data.items() if k in known}
        return cls(**{k: cast(Any, tuple(v)) if isinstance(v, list) else v for k, v in kept.items()})  # pyright: ignore

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>"

    def __str__(self) -> str:
        a, b = self.names
        if self.outcome == "not comparable":
            return f"{a} and {b} are not comparable: {self.reason}"
        if self.outcome == "equivalent":
            return f"{a} and {b} are equivalent within {self.smallest_effect:g}: {self._effect()} {self._about()}"
        if self.outcome == "no verdict yet":
            return f"no verdict yet on {a} and {b}: {self.reason}; {self._effect()} {self._about()}{self._more()}"
        if self.outcome == "b better":
            return f"{b} is better than {a}{self._by(mirror=True)} {self._about()}"
        return f"{a} is better than {b}{self._by(mirror=False)} {self._about()}"

    def _by(self, *, mirror: bool) -> str:
        if self.method == "success probability":
            return f": {self._effect(mirror)}"
        factor = "a factor of " if self.effect_kind == "ratio" else ""
        if self._blurred and self.odds_ratio is not None:
            odds = (self.odds_ratio, *self.odds_ratio_interval)
            turned = (_inverse(odds[0]), _inverse(odds[2]), _inverse(odds[1])) if mirror else odds
            value, low, high = _rounded(*turned)
            return f" by a factor of {value} [{low}, {high}] in odds, {self._numbers(mirror)} on average"
        value, low, high = self._oriented(mirror)
        if value is not None:
            return f" by {factor}{self._numbers(mirror)}"
        return f" by at least {factor}{low:.3g}" if low is not None and high is None else ""

    @property
    def _blurred(self) -> bool:
        """Whether the plain difference does not show what the test on the log-odds does."""
        low, high = self.effect_interval
        return self.scale == "logit" and low is not None and high is not None and low <= 0 <= high

    def _effect(self, mirror: bool = False) -> str:
        if self.method == "success probability" and self.successes is not None:
            first, second = self.successes[::-1] if mirror else self.successes
            return f"{first} of {self.n} seeds succeed against {second}, difference {self._numbers(mirror)}"
        return f"{self.effect_kind} {self._numbers(mirror)}" if self.effect is not None else "no estimate"

    def _numbers(self, mirror: bool) -> str:
        value, low, high = _rounded(*self._oriented(mirror))
        return f"{value} [{low}, {high}]" if self.n > 1 else value

    def _oriented(self, mirror: bool) -> tuple[float | None, float | None, float | None]:
        low, high = self.effect_interval
        if not mirror:
            return self.effect, low, high
        turn = _inverse if self.effect_kind == "ratio" else _negative
        return turn(self.effect), turn(high), turn(low)

    def _about(self) -> str:
        parts = [self.metric] if self.metric else []
        parts.append(f"{self.n} paired seed{'s' if self.n != 1 else ''}")
        if self.look is not None:
            parts.append(f"look {self.look} of {len(self.planned)}")
        if self.n > 1 and self.alpha != 0.05 and self.method != "none":
            parts.append(f"interval at {100 * (1 - self.alpha):.3g} %")
        if any(self.failures):
            word, counts = (
                ("reached", self.successes) if self.successes and self.method == "ranks" else ("failed", self.failures)
            )
            parts.append(f"{word}: " + ", ".join(f"{name} {k}" for name, k in zip(self.names, counts)))
        if self.outcome == "no verdict yet":
            pass  # the reason holds the p
        elif self.outcome == "equivalent":
            holm = f"Holm-adjusted {format_p(self.p_adjusted)} over {self.comparisons} comparisons"
            told = format_p(self.p_equivalence) if self.p_adjusted is None else holm
            parts.append(f"two one-sided tests, {told}")
        elif self.p_adjusted is not None:
            parts.append(f"Holm-adjusted {format_p(self.p_adjusted)} over {self.comparisons} comparisons")
        elif self.p is not None:
            parts.append(format_p(self.p))
        return f"({', '.join(parts)})"

    def _more(self) -> str:
        if not self.seeds_more:
            return ""
        more = (
            "more than a thousand more seeds"
            if self.seeds_more > 1000
            else f"{self.seeds_more} more seed{'s' * (self.seeds_more > 1)}"
        )
        return f"; {more} for 80 % power at {self.seeds_basis}"


def not_comparable(reason: str, *, names: tuple[str, str] = ("a", "b"), metric: str = "", **known: Any) -> Verdict:
    """A verdict that refuses the comparison, for example because budgets differ or an optimum lies on the edge.

    >>> print(not_comparable("budgets differ by 12 %", names=("rope", "nope")))
    rope and nope are not comparable: budgets differ by 12 %
    """
    return Verdict(outcome="not comparable", reason=reason, names=names, metric=metric, **known)


def format_p(p: float | None) -> str:
    """
    >>> format_p(0.0078125), format_p(1.0), format_p(2e-6)
    ('p = .0078', 'p = 1', 'p < .0001')
    """
    if p is None:
        return "p undefined"
    if p < 1e-4:
        return "p < .0001"
    return f"p = {p:.{max(2, 1 - math.floor(math.log10(p)))}f}".replace("0.", ".") if p < 0.995 else "p = 1"


def level(alpha: float) -> str:
    """
    >>> level(0.05), level(0.0205)
    ('.05', '.0205')
    """
    return f"{alpha:.3g}".removeprefix("0")


def _rounded(value: float | None, low: float | None, high: float | None) -> tuple[str, str, str]:
    """The three numbers with as many decimals as the width of the interval supports."""
    known = [x for x in (value, low, high) if x is not None] or [0.0]
    width = max(known) - min(known)
    largest = max(abs(x) for x in known)
    if width <= 1e-9 * largest or largest >= 1e6 or (largest < 1e-4 and largest > 0):
        texts = [None if x is None else f"{x:z.3g}" for x in (value, low, high)]
    else:
        decimals = min(12, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 0
        texts = [None if x is None else f"{x:z.{decimals}f}" for x in (value, low, high)]
    return texts[0] or "unbounded", texts[1] or "unbounded", texts[2] or "unbounded"


def _negative(x: float | None) -> float | None:
    return None if x is None else -x


def _inverse(x: float | None) -> float | None:
    return None if x is None else 1 / x if x else None
