"""From trials on disk to a verdict: what is known, what is missing, what follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airtrack.core.part import holds_grid, to_spec
from airtrack.study import tune
from airtrack.study.compare import Verdict, compare, compare_times, holm, not_comparable
from airtrack.study.looks import planned
from airtrack.study.spec import Study, axes
from airtrack.study.trial import Readout, Trial
from airtrack.study.tune import Lookup, Tuning

SAME_WORK = 0.01  # arms whose work differs by more are not compared


class Verdicts(tuple[Verdict, ...]):
    """Verdicts that print as sentences, one a line."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return "".join(v._repr_html_() for v in self)


@dataclass(frozen=True)
class Result:
    """Where a study stands.

    phase     "tune", "confirm" or "done"
    arms      arm → recipe, with its grids as far as they have grown
    missing   trials to run next; more may follow from what they give
    tunings   arm → its response, once its tuning trials are there
    chosen    arm → the recipe that its confirmation trials run
    readouts  arm → its confirmation readouts, in the order of the seeds
    verdicts  one a comparison, once `phase` is "done"
    """

    study: Study
    phase: str
    arms: Mapping[str, Any]
    missing: tuple[Trial, ...] = ()
    tunings: Mapping[str, Tuning] = field(default_factory=dict[str, Tuning])
    chosen: Mapping[str, Any] = field(default_factory=dict[str, Any])
    readouts: Mapping[str, tuple[Readout, ...]] = field(default_factory=dict[str, tuple[Readout, ...]])
    verdicts: Verdicts = field(default_factory=Verdicts)

    @property
    def verdict(self) -> Verdict | Verdicts:
        """The answer; prints as its sentence, or its sentences where there are several comparisons."""
        return self.verdicts[0] if len(self.verdicts) == 1 else self.verdicts

    def frame(self) -> list[dict[str, Any]]:
        """One row a trial, tuning included: a plain table for pandas, polars or a spreadsheet."""
        rows: list[dict[str, Any]] = []
        for arm, tuning in self.tunings.items():
            for response in tuning.responses:
                rows += [
                    {
                        "arm": arm,
                        "role": "tune",
                        "seed": tune.TUNE_SEEDS + i,
                        **response.choice,
                        str(self.study.metric): value,
                    }
                    for i, value in enumerate(response.readings)
                ]
        for arm, readouts in self.readouts.items():
            chosen: Mapping[str, Any] = self.tunings[arm].chosen.choice if arm in self.tunings else {}
            for r in readouts:
                row = {"arm": arm, "role": "confirm", "seed": r.trial["seed"], **chosen, "state": r.state}
                rows.append(
                    row | dict(r.metrics) | dict(r.facts) | {"spent": r.spent, "reached": r.reached, "key": r.key}
                )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {
            "study": self.study.to_spec(),
            "phase": self.phase,
            "missing": len(self.missing),
            "tuning": {
                arm: {
                    "optimum": t.optimum,
                    "chosen": dict(t.chosen.choice),
                    "trials": len(t.responses) * self.study.tune.seeds,
                }
                for arm, t in self.tunings.items()
            },
            "chosen": {arm: to_spec(recipe) for arm, recipe in self.chosen.items()},
            "verdicts": [v.to_dict() for v in self.verdicts],
        }


def resolve(study: Study, look_up: Lookup) -> Result:
    """What the finished trials of a study say, and which trials are needed next. A function of the ledger alone."""
    arms = dict(study.arms)
    tunings: dict[str, Tuning] = {}
    tuned = [arm for arm in arms if holds_grid(arms[arm])]
    for round_ in range(study.tune.extend + 1):
        found = {arm: tune.judge(study, arm, arms[arm], look_up) for arm in tuned}
        tunings = {arm: t for arm, t in found.items() if t is not None}
        if len(tunings) < len(tuned):
            wanted = [t for arm in tuned for _, _, trials in tune.trials(study, arms[arm]) for t in trials]
            return Result(study, "tune", arms, _missing(wanted, look_up), tunings)
        wanting = next((t for t in tunings.values() if t.optimum == "edge"), None)
        if round_ == study.tune.extend or wanting is None:
            break
        axis = list(axes(to_spec(wanting.recipe))).index(next(iter(wanting.edges)))
        longer = {arm: tune.grown(t, study.compared, axis) for arm, t in tunings.items()}
        if any(longer[arm] is None for arm in tuned):
            break
        arms |= longer  # every arm gets the extra trials, whoever needed them
    chosen = {arm: tunings[arm].chosen.recipe if arm in tunings else recipe for arm, recipe in arms.items()}
    plan = planned(len(study.pairs), study.alpha) if study.seeds == "auto" else None
    sizes = plan.sizes if plan else (int(study.seeds),)
    readouts: dict[str, tuple[Readout, ...]] = {}
    settled: dict[int, Verdict] = {}  # a comparison that one look decides stays decided
    verdicts: list[Verdict] = []
    for look, size in enumerate(sizes, 1):
        wanted = {arm: [study.trial(recipe, seed) for seed in range(size)] for arm, recipe in chosen.items()}
        missing = _missing((t for trials in wanted.values() for t in trials), look_up)
        readouts = {arm: tuple(r for t in trials if (r := look_up(t)) is not None) for arm, trials in wanted.items()}
        if missing:
            return Result(study, "confirm", arms, missing, tunings, chosen, readouts)
        level = plan.alpha if plan else study.alpha
        verdicts = [compare_arms(study, a, b, readouts, tunings, level) for a, b in study.pairs]
        verdicts = holm(verdicts) if len(verdicts) > 1 else verdicts
        if plan:
            verdicts = [replace(v, look=look, planned=plan.sizes) for v in verdicts]
        verdicts = [settled.get(i, v) for i, v in enumerate(verdicts)]
        settled = {i: v for i, v in enumerate(verdicts) if v.outcome != "no verdict yet"}
        if len(settled) == len(verdicts):
            break
    return Result(study, "done", arms, (), tunings, chosen, readouts, Verdicts(verdicts))


def _missing(trials: Iterable[Trial], look_up: Lookup) -> tuple[Trial, ...]:
    return tuple(trial for trial in trials if look_up(trial) is None)


def compare_arms(
    study: Study,
    a: str,
    b: str,
    readouts: Mapping[str, tuple[Readout, ...]],
    tunings: Mapping[str, Tuning],
    alpha: float,
) -> Verdict:
    """The verdict on two arms, or why they cannot be compared."""
    metric = study.measure
    label = (
        "time to " + ", ".join(f"{m} {t:g}" for m, t in study.stop_at.items()) if study.stop_at else str(study.metric)
    )
    first, second = readouts[a], readouts[b]
    named: dict[str, Any] = {"names": (a, b), "metric": label}
    for arm in (a, b):
        tuning = tunings.get(arm)
        if tuning is not None and tuning.chosen.score(study.compared) == -math.inf:
            return not_comparable(f"every setting of {arm} diverged on some tuning seed; try smaller steps", **named)
        if tuning is not None and tuning.optimum == "edge":
            at = ", ".join(f"{path} = {tuning.chosen.choice[path]:g}" for path in tuning.edges)
            return not_comparable(
                f"the best setting of {arm} is at the edge of its grid ({at}); widen the grid", **named
            )
    counts = {arm: len(tunings[arm].responses) if arm in tunings else 1 for arm in (a, b)}
    if counts[a] != counts[b]:
        return not_comparable(f"{a} was tuned over {counts[a]} settings and {b} over {counts[b]}", **named)
    x, y = ([tune.reading(study, r) for r in rs] for rs in (first, second))
    options: dict[str, Any] = {**named, "smallest_effect": study.smallest_effect, "alpha": alpha}
    if study.stop_at:
        censored = [[r.state == "done" and r.reached is None for r in rs] for rs in (first, second)]
        return compare_times(x, y, censored_a=censored[0], censored_b=censored[1], budget=study.budget, **options)
    work = [
        sum(r.spent for r in rs if r.state == "done") / max(1, sum(r.state == "done" for r in rs))
        for rs in (first, second)
    ]
    if min(work) > 0 and max(work) / min(work) - 1 > SAME_WORK:
        spent = f"{a} spent {work[0]:g} {study.task.unit} a trial and {b} {work[1]:g}"
        return not_comparable(f"{spent}; give them the same", **named)
    floor = metric.bounds[0] if metric.scale == "log" and metric.bounds[0] > 0 else None
    options |= {"better": metric.better, "scale": metric.scale, "bounds": metric.bounds, "floor": floor}
    return compare(x, y, **options)


def from_ledger(study: Study, get: Callable[[str], Readout | None]) -> Result:
    """Where a study stands in a ledger."""
    cache: dict[str, Readout | None] = {}

    def look_up(trial: Trial) -> Readout | None:
        if cache.get(trial.key) is None:
            cache[trial.key] = get(trial.key)
        return cache[trial.key]

    return resolve(study, look_up)
