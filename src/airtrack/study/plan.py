"""What a study costs, before it is run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from airtrack.core.part import holds_grid
from airtrack.study.ledger import Ledger
from airtrack.study.looks import planned
from airtrack.study.result import from_ledger
from airtrack.study.runner import Pool
from airtrack.study.spec import TUNE_SEEDS, Study, settings
from airtrack.study.trial import Trial

PILOT = 0.04  # share of the budget that a pilot runs, if that is five steps


@dataclass(frozen=True)
class ArmCost:
    """One arm's share. seconds is for one trial: the recipe and the judge's looks."""

    arm: str
    tune: int
    confirm: int
    done: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """Trials, work and time of a study. With `seeds: auto` it is the most that may be needed.

    minutes  for what is not in the ledger yet, on `workers` processes, grids not growing
    """

    study: str
    unit: str
    budget: float
    arms: tuple[ArmCost, ...]
    workers: int

    @property
    def trials(self) -> int:
        return sum(a.tune + a.confirm for a in self.arms)

    @property
    def work(self) -> float:
        return self.trials * self.budget

    @property
    def minutes(self) -> float:
        return sum((a.tune + a.confirm - a.done) * a.seconds for a in self.arms) / self.workers / 60

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"trials": self.trials, "work": self.work, "minutes": self.minutes}

    def __rich__(self) -> Table:
        told = (
            f"{self.trials} trials, {self.work:.3g} {self.unit}, about {self.minutes:.1f} min on {self.workers} workers"
        )
        table = Table(title=f"{self.study}: {told}", title_justify="left")
        for name in ("arm", "tuning", "confirming", "in the ledger", "seconds a trial"):
            table.add_column(name, justify="left" if name == "arm" else "right")
        for a in self.arms:
            table.add_row(Text(a.arm), str(a.tune), str(a.confirm), str(a.done), f"{a.seconds:.2f}")
        return table


def count(study: Study) -> tuple[int, float]:
    """Trials and work of a study, grids not growing; the most that may be needed with `seeds: auto`."""
    seeds = planned(len(study.pairs), study.alpha).sizes[-1] if study.seeds == "auto" else int(study.seeds)
    tuning = sum(len(settings(r)) * study.tune.seeds for r in study.arms.values() if holds_grid(r))
    trials = tuning + seeds * len(study.arms)
    return trials, trials * study.budget


def plan(study: Study, ledger: Ledger, *, workers: int | None = None) -> Cost:
    """Count the trials of a study and time a pilot of every arm. Writes nothing."""
    seeds = planned(len(study.pairs), study.alpha).sizes[-1] if study.seeds == "auto" else int(study.seeds)
    pilots = {arm: Trial(study.task, settings(r)[0][1], TUNE_SEEDS, study.budget, 0) for arm, r in study.arms.items()}
    cap = max(PILOT * study.budget, 5 * study.least_budget())
    result = from_ledger(study, ledger.get)
    with Pool(workers) as pool:
        pool.run(pilots.values(), None, cap=cap)  # the first run of a part compiles it
        events = pool.run(pilots.values(), None, cap=cap)
        size = pool.size
    costs: list[ArmCost] = []
    for arm, recipe in study.arms.items():
        cost = events[pilots[arm].key]["cost"]
        looks = study.points + 1
        seconds = (cost["rate"] or cost["seconds"] / min(cap, study.budget)) * study.budget + looks * cost["judge"]
        tuning = len(settings(recipe)) * study.tune.seeds if holds_grid(recipe) else 0
        have = len(result.readouts.get(arm, ()))
        if arm in result.tunings:
            have += len(result.tunings[arm].responses) * study.tune.seeds
            tuning = max(tuning, len(result.tunings[arm].responses) * study.tune.seeds)
        costs.append(ArmCost(arm, tuning, seeds, have, seconds))
    return Cost(study.name, study.task.unit, study.budget, tuple(costs), size)
