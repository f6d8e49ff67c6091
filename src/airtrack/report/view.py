"""A result as the report sees it: readings by arm and seed, what is compared, and the ruler that measures it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from airtrack.report.ruler import Ruler
from airtrack.study import tune
from airtrack.study.readings import Direction, Scale, pair
from airtrack.study.result import Result
from airtrack.study.statement import Verdict
from airtrack.study.trial import Readout

# Okabe and Ito's palette, told apart by colour-blind readers; its yellow is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

BADGES = {
    "a better": ("win", "▲"),
    "b better": ("loss", "▼"),
    "equivalent": ("same", "="),
    "no verdict yet": ("open", "?"),
    "not comparable": ("stop", "✕"),
}


@dataclass(frozen=True)
class Arm:
    """One arm's confirmation readings: seed → value, NaN where it diverged; `censored` seeds never got there."""

    name: str
    colour: str
    marker: str
    values: dict[int, float]
    censored: frozenset[int]
    readouts: tuple[Readout, ...]

    @property
    def failed(self) -> frozenset[int]:
        return frozenset(seed for seed, value in self.values.items() if math.isnan(value))


@dataclass(frozen=True)
class Pairing:
    """Two arms on the seeds that both have: advantages of `a` over `b`, one a seed, as the page shows them.

    shown  differences in the metric's units, or natural logarithms of ratios where the scale is "log"; ±inf where
           one arm alone failed
    """

    a: Arm
    b: Arm
    seeds: tuple[int, ...]
    shown: np.ndarray[Any, Any]
    verdict: Verdict | None

    @property
    def ratio(self) -> bool:
        return self.verdict is not None and self.verdict.effect_kind == "ratio"


@dataclass(frozen=True)
class View:
    result: Result
    ruler: Ruler
    arms: dict[str, Arm]
    pairings: tuple[Pairing, ...]

    @property
    def timed(self) -> bool:
        return bool(self.result.study.stop_at)


def view(result: Result) -> View:
    """What there is to show."""
    ruler = ruler_of(result)
    arms = {name: _arm(result, i, name) for i, name in enumerate(result.study.arms)}
    found = {v.names: v for v in result.verdicts}
    pairings = tuple(_pairing(result, arms[a], arms[b], found.get((a, b))) for a, b in result.study.pairs)
    return View(result, ruler, arms, tuple(p for p in pairings if p is not None))


def ruler_of(result: Result) -> Ruler:
    """The metric as readings are drawn: its name, scale and direction, or the work until a threshold was met."""
    study, metric = result.study, result.study.measure
    if study.stop_at:
        goal = ", ".join(f"{m} {t:g}" for m, t in study.stop_at.items())
        return Ruler(f"{study.task.unit} to {goal}", "log", "low")
    return Ruler(str(study.metric), metric.scale, metric.better, metric.bounds, metric.chance)


def colour_of(result: Result, arm: str) -> str:
    return COLOURS[list(result.study.arms).index(arm) % len(COLOURS)]


def _arm(result: Result, i: int, name: str) -> Arm:
    readouts = tuple(sorted(result.readouts.get(name, ()), key=lambda r: int(r.trial["seed"])))
    values = {int(r.trial["seed"]): tune.reading(result.study, r) for r in readouts}
    late = (r for r in readouts if result.study.stop_at and r.state == "done" and r.reached is None)
    censored = frozenset(int(r.trial["seed"]) for r in late)
    return Arm(name, COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], values, censored, readouts)


def _pairing(result: Result, a: Arm, b: Arm, verdict: Verdict | None) -> Pairing | None:
    seeds = tuple(sorted(a.values.keys() & b.values.keys()))
    if not seeds:
        return None
    metric = result.study.measure
    scale: Scale = "log" if result.study.stop_at else metric.scale
    better: Direction = "low" if result.study.stop_at else metric.better
    floor = metric.bounds[0] if scale == "log" and metric.bounds[0] > 0 and not result.study.stop_at else None
    x, y = ([arm.values[s] for s in seeds] for arm in (a, b))
    flags = ([s in arm.censored for s in seeds] for arm in (a, b))
    first, second = (np.array(flag, bool) for flag in flags)
    pairs = pair(x, y, (first, second), better=better, scale=scale, names=(a.name, b.name), floor=floor)
    return Pairing(a, b, seeds, pairs.d if scale == "log" else pairs.raw, verdict)
