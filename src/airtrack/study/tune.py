"""Tuning: every arm the same number of trials, on seeds that the verdict never uses, to an optimum inside its grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from airtrack.core.part import SpecError, to_spec
from airtrack.core.problem import Metric
from airtrack.study.flat import flat
from airtrack.study.readings import on_scale
from airtrack.study.spec import TUNE_SEEDS, Study, axes, settings, with_grid
from airtrack.study.trial import Readout, Trial

Lookup = Callable[[Trial], Readout | None]


@dataclass(frozen=True)
class Response:
    """One setting of an arm, and what it gave on the tuning seeds. A diverged seed reads NaN."""

    choice: Mapping[str, Any]
    recipe: Any
    readings: tuple[float, ...]

    def score(self, metric: Metric) -> float:
        """Mean on the metric's scale, larger is better; a diverged seed makes it the worst there is."""
        values = to_scale(np.array(self.readings), metric)
        mean = float(values.mean()) if np.isfinite(values).all() else -math.inf
        return mean if metric.better == "high" or mean == -math.inf else -mean


@dataclass(frozen=True)
class Tuning:
    """How an arm responded to its settings, and which one was chosen.

    optimum  "interior"; "flat" (the best value is the last of its grid, but along it the response does not differ
             beyond its noise: there is no optimum to chase); "edge" (it is, and the response does differ)
    edges    the fields that are at an edge: path → "low" | "high"
    flat_p   of the F test along a field whose best value is the last of its grid
    """

    arm: str
    recipe: Any  # with its grids, as far as they have grown
    responses: tuple[Response, ...]
    chosen: Response
    optimum: str
    edges: Mapping[str, str] = field(default_factory=dict[str, str])  # field path → "low" | "high"
    flat_p: float | None = None


def to_scale(values: np.ndarray[Any, Any], metric: Metric) -> np.ndarray[Any, Any]:
    """Readings where differences add up; what lies below a metric's least value, or outside of [0, 1], is put there."""
    inside = np.clip(values, 0, 1) if metric.scale == "logit" else values
    return on_scale(inside, metric.scale, floor=max(metric.bounds[0], 1e-300))


def trials(study: Study, recipe: Any) -> list[tuple[Mapping[str, Any], Any, list[Trial]]]:
    """(choice, recipe, its trials) for every setting of an arm."""
    seeds = range(TUNE_SEEDS, TUNE_SEEDS + study.tune.seeds)
    return [(choice, one, [study.trial(one, seed) for seed in seeds]) for choice, one in settings(recipe)]


def judge(study: Study, arm: str, recipe: Any, look_up: Lookup) -> Tuning | None:
    """What the finished tuning trials of an arm say, or None while some are missing."""
    metric = study.compared
    responses: list[Response] = []
    for choice, one, its in trials(study, recipe):
        found = [look_up(trial) for trial in its]
        if any(readout is None for readout in found):
            return None
        responses.append(Response(choice, one, tuple(_response(study, r) for r in found if r is not None)))
    best = max(responses, key=lambda r: r.score(metric))
    ends: dict[str, str] = {}
    edges: dict[str, str] = {}
    p = None
    for path, values in axes(to_spec(recipe)).items():
        if len(values) > 1 and all(map(_numeric, values)) and best.choice[path] in (min(values), max(values)):
            ends[path] = "low" if best.choice[path] == min(values) else "high"
            along = [r for r in responses if {**r.choice, path: None} == {**best.choice, path: None}]
            is_flat, p = flat([to_scale(np.array(r.readings), metric) for r in along])
            if not is_flat:
                edges[path] = ends[path]
    return Tuning(arm, recipe, tuple(responses), best, "edge" if edges else "flat" if ends else "interior", edges, p)


def reading(study: Study, readout: Readout) -> float:
    """The number of a trial that the study compares: its metric, or its time where trials stop at a threshold."""
    if readout.state == "diverged":
        return math.nan
    if study.stop_at:
        return study.budget if readout.reached is None else readout.reached
    return readout.metrics[str(study.metric)]


def _response(study: Study, readout: Readout) -> float:
    """The reading that tuning ranks: as `reading`, but of two trials that never met the threshold the closer is better.

    A missing share of the way from the worst value to the threshold counts as so much of the budget on top of it.
    """
    value = reading(study, readout)
    if not study.stop_at or readout.reached is not None or readout.state == "diverged":
        return value
    missing = 0.0
    for name, threshold in study.stop_at.items():
        gap = abs(threshold - readout.metrics[name])
        missing = max(missing, gap / (gap + abs(readout.metrics[name] - study.task.metrics[name].worst) + 1e-300))
    return value * (1 + missing)


def grown(tuning: Tuning, metric: Metric, axis: int = 0) -> Any:
    """The arm with one grid one value longer: beyond the edge that holds its best, or else on its better side.

    axis  which of its grids, counted as in `axes`; the same for all arms, so that their numbers of settings stay equal

    The new value continues the last ratio of the grid, so that half-decades stay half-decades; None if no field of
    the arm can grow (a grid of names, of numbers that change sign, of a single value, or at the end of its range).
    """
    grids = list(axes(to_spec(tuning.recipe)).items())
    path, values = grids[min(axis, len(grids) - 1)]
    if len(values) < 2 or not all(map(_numeric, values)) or min(values) <= 0:
        return None
    values = sorted(values)
    best = {v: max(r.score(metric) for r in tuning.responses if r.choice[path] == v) for v in (values[0], values[-1])}
    side = tuning.edges.get(path) or ("low" if best[values[0]] > best[values[-1]] else "high")
    new = values[0] ** 2 / values[1] if side == "low" else values[-1] ** 2 / values[-2]
    new = float(f"{new:.3g}")
    if all(isinstance(v, int) for v in values):
        new = max(1, round(new))
    with suppress(SpecError):  # the new value may be there already, or out of the field's range
        longer = with_grid(tuning.recipe, path, sorted([*values, new]))
        settings(longer)
        return longer
    return None


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
