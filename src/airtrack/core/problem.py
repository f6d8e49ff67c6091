"""The protocol: who poses, who solves, who scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from airtrack.core.meter import Meter
    from airtrack.core.streams import Streams


class Junk(ValueError):
    """An answer that cannot be scored: wrong type, wrong shape, not finite. It gets the worst reading there is."""


class Diverged(ArithmeticError):
    """Raised by a recipe whose iterates blew up. Divergence is a result: it ranks below every finite reading."""


@dataclass(frozen=True)
class Metric:
    """What a number means.

    better  which direction is good
    bounds  the least and the greatest value that any answer, however absurd, can score
    scale   the scale on which differences add up: "lin", "log" (gaps, errors) or "logit" (accuracies)
    exact   False if the value is an estimate from a sample; a task whose first metric is one gives its standard error
            as a metric too, `<name>_se`
    chance  what guessing scores, if that means something
    """

    better: Literal["high", "low"]
    bounds: tuple[float, float]
    scale: Literal["lin", "log", "logit"] = "lin"
    exact: bool = True
    chance: float | None = None

    @property
    def worst(self) -> float:
        return self.bounds[0] if self.better == "high" else self.bounds[1]

    def clip(self, value: float) -> float:
        """`value` within bounds; not-a-number is the worst value.

        >>> Metric("high", (0.0, 1.0)).clip(float("nan")), Metric("low", (0.0, 1.0)).clip(1e30)
        (0.0, 1.0)
        """
        return self.worst if math.isnan(value) else min(max(float(value), self.bounds[0]), self.bounds[1])


@dataclass(frozen=True)
class Judge:
    """Scores answers to one problem. Only the bench calls it; a recipe never sees it.

    score    answer → {metric: value}; canonicalises first, raises `Junk` for what cannot be scored
    metrics  the metrics it must fill
    truth    the hidden arrays, for tests and pictures

    >>> judge = Judge(lambda a: {"error": a}, {"error": Metric("low", (0.0, 1.0))})
    >>> judge(0.25), judge(float("nan"))
    ({'error': 0.25}, {'error': 1.0})
    """

    score: Callable[[Any], Mapping[str, float]]
    metrics: Mapping[str, Metric]
    truth: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __call__(self, answer: Any) -> dict[str, float]:
        return self.read(answer)[0]

    def read(self, answer: Any) -> tuple[dict[str, float], str | None]:
        """The scores, and why the answer was refused (None if it was not)."""
        try:
            scores, refusal = self.score(answer), None
        except Junk as junk:
            scores, refusal = {}, str(junk)
        return {name: m.clip(scores.get(name, math.nan)) for name, m in self.metrics.items()}, refusal


class Problem(NamedTuple):
    """One draw of a task: what the learner may see, and who scores it."""

    given: Any
    judge: Judge


class Task(Protocol):
    """A family of problems with known truth. Its dataclass fields are its parameters.

    A class variable `treatments` names the fields that change what a learner is shown and nothing the judge asks.
    """

    unit: ClassVar[str]  # of the budget: "tokens", "gradients", "samples", "episodes"
    gives: ClassVar[type]  # the type of `given`
    metrics: ClassVar[Mapping[str, Metric]]

    def pose(self, streams: Streams) -> Problem: ...


class Recipe(Protocol):
    """All that an experimenter chooses. A method `refuses(task)` may raise `SpecError` where it cannot work."""

    accepts: ClassVar[type]  # the type of `given` it can work on
    returns: ClassVar[type]  # the type of its answers

    def answer(self, given: Any, meter: Meter, streams: Streams) -> Any: ...


class Change(Protocol):
    """Answer → answer: quantise, prune, adapt, distil."""

    accepts: ClassVar[type]  # the type of answer it can change

    def change(self, answer: Any, given: Any, meter: Meter, streams: Streams) -> Any: ...


class Probe(Protocol):
    """An instrument that reads an answer and scores nothing."""

    def read(self, answer: Any, given: Any, streams: Streams) -> Mapping[str, Any]: ...
