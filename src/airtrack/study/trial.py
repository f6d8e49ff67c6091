"""One trial: (task, recipe, seed, budget) → readout."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np

from airtrack.core.meter import BudgetSpent, Meter, State
from airtrack.core.part import SpecError, article, build, digest, identity, to_spec
from airtrack.core.problem import Diverged, Judge
from airtrack.core.streams import Streams
from airtrack.core.then import Then

CHECKS = 64  # looks of a trial that stops at a threshold: its time is known to within a 64th of the budget


@dataclass(frozen=True)
class Trial:
    """What is run once. Its key names its result for good.

    points   points of the curve, log-spaced in work
    stop_at  {metric: threshold}: the trial ends at the first look at which all are met
    """

    task: Any
    recipe: Any
    seed: int
    budget: float
    points: int = 16
    stop_at: Mapping[str, float] = field(default_factory=dict[str, float])

    @cached_property
    def key(self) -> str:
        return digest(self._data(identity))

    def to_spec(self) -> dict[str, Any]:
        """As plain data, for a worker and for the ledger; `from_spec` makes an equal trial of it."""
        return self._data(to_spec)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Trial:
        task, recipe = build("task", spec["task"]), build("recipe", spec["recipe"])
        return cls(task, recipe, spec["seed"], spec["budget"], spec["points"], spec["stop_at"])

    def _data(self, form: Callable[[Any], Any]) -> dict[str, Any]:
        plain = {"seed": self.seed, "budget": self.budget, "points": self.points, "stop_at": dict(self.stop_at)}
        return {"task": form(self.task), "recipe": form(self.recipe), **plain}

    @property
    def streams(self) -> Streams:
        """`/ "task"` depends on the seed alone, so that arms share it; `/ "recipe"` is the recipe's own."""
        return Streams(self.seed)

    def with_recipe(self, recipe: Any) -> Trial:
        return Trial(self.task, recipe, self.seed, self.budget, self.points, self.stop_at)

    def schedule(self) -> list[float]:
        """The amounts of work at which the judge looks, before the end."""
        if self.stop_at:
            return list(np.linspace(0, self.budget, CHECKS + 1)[1:])
        return list(np.geomspace(self.budget / 100, self.budget, self.points + 1)[:-1]) if self.points else []


@dataclass(frozen=True)
class Readout:
    """What a trial gave.

    state    "done" or "diverged"
    metrics  the judge's final readings
    spent    work done; `reached`: work done when `stop_at` was met, None if it never was
    curve    {"work": [...], metric: [...]}
    reason   why the answer was refused or the trial diverged
    facts    what the answer says of itself, such as its parameters or its bits per weight
    environment  versions and threads: what a bit-identical repetition needs
    cost     seconds and the like: what no repetition gives again
    """

    key: str
    trial: Mapping[str, Any]
    state: str
    metrics: Mapping[str, float]
    spent: float
    curve: Mapping[str, list[float]]
    reached: float | None = None
    reason: str | None = None
    facts: Mapping[str, float] = field(default_factory=dict[str, float])
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    cost: Mapping[str, Any] = field(default_factory=dict[str, Any])


def misfit(task: Any, recipe: Any) -> str | None:
    """Why a recipe cannot work on a task, or None."""
    if not issubclass(task.gives, recipe.accepts):
        solver, problem = (type(x).__name__.lower() for x in (recipe, task))
        return f"{solver} needs {article(recipe.accepts.__name__)}, {problem} gives {article(task.gives.__name__)}"
    try:
        if hasattr(recipe, "refuses"):
            recipe.refuses(task)
    except SpecError as error:
        return str(error)
    return None


def perform(
    trial: Trial,
    *,
    checkpoint: Path | None = None,
    every: float = 10.0,
    prefix: Callable[[Any], State | None] | None = None,
    progress: Callable[[float, Mapping[str, float]], None] | None = None,
    cap: float | None = None,
) -> tuple[Readout, Any]:
    """Run a trial here and now: its readout, and the answer itself.

    checkpoint  file to resume from and to save to; removed by nobody but the caller
    cap         end after so much work, as a pilot does
    prefix      recipe → {"answer": packed, "spent": work}, if there is one; lets `Then` skip what is trained already
    """
    bench = _Bench(trial, checkpoint=checkpoint, every=every, prefix=prefix, progress=progress, cap=cap)
    outcome: Any = None
    try:
        outcome = trial.recipe.answer(bench.problem.given, bench.meter, trial.streams / "recipe")
    except BudgetSpent:
        outcome = bench.meter.latest
        if outcome is None:
            raise SpecError(
                f"the budget of {trial.budget:g} {trial.task.unit} was spent before there was an answer"
            ) from None
    except Diverged as error:
        outcome = error
    return bench.readout(outcome, bench.meter.seconds)


def perform_together(
    trials: Sequence[Trial], answers: Callable[..., Sequence[Any]], **options: Any
) -> list[tuple[Readout, Any]]:
    """What `perform` gives for each of several trials, run by one function.

    answers  (recipes, givens, meters, streams) → an answer for each, or the `Diverged` that ended it:
             `airtrack.train.abreast.together`
    options  as for `perform`, the same for all; no checkpoint and no prefix

    Each trial's `cost` says among how many its seconds, of which it is given an equal share, were spent: `together`.
    """
    benches = [_Bench(trial, **options) for trial in trials]
    givens, meters = [bench.problem.given for bench in benches], [bench.meter for bench in benches]
    streams = [trial.streams / "recipe" for trial in trials]
    outcomes = answers([trial.recipe for trial in trials], givens, meters, streams)
    seconds = [meter.seconds / len(trials) for meter in meters]
    pairs = [bench.readout(*each) for bench, *each in zip(benches, outcomes, seconds)]
    shared = {"rate": None, "together": len(trials)}
    return [(replace(readout, cost={**readout.cost, **shared}), answer) for readout, answer in pairs]


class _Bench:
    """A trial's problem and meter, and the readout of what came of it."""

    def __init__(self, trial: Trial, *, prefix: Callable[[Any], State | None] | None = None, **options: Any) -> None:
        if reason := misfit(trial.task, trial.recipe):
            raise SpecError(reason)
        self.trial = trial
        self.problem = problem = trial.task.pose(trial.streams / "task")

        def ready(recipe: Any) -> Any:
            kept = prefix(recipe) if prefix else None
            if kept is None:
                return None
            if self.meter.resume() is None:
                self.meter.charge(kept["spent"])
            return unpack(recipe, kept["answer"], problem.given)

        self.meter = Meter(
            trial.budget,
            look=lambda answer: problem.judge(answer),
            schedule=trial.schedule(),
            stop=(lambda now: met(trial.stop_at, now, problem.judge)) if trial.stop_at else None,
            prefix=ready,
            **options,
        )
        problem.given.metered(self.meter)

    def readout(self, outcome: Any, seconds: float) -> tuple[Readout, Any]:
        """The readout, and the answer: None if the outcome is that the recipe diverged. seconds: what it took."""
        trial, meter, judge = self.trial, self.meter, self.problem.judge
        clock = time.perf_counter()
        if isinstance(outcome, Diverged):
            state, answer, reason = "diverged", None, str(outcome)
            metrics = {name: metric.worst for name, metric in judge.metrics.items()}
        else:
            state, answer = "done", outcome
            metrics, reason = judge.read(answer)
        if trial.stop_at and meter.reached is None and met(trial.stop_at, metrics, judge):
            meter.reached = meter.spent
        if not meter.curve or meter.curve[-1][0] < meter.spent:
            meter.curve.append((meter.spent, metrics))
        curve = {"work": [work for work, _ in meter.curve]}
        curve |= {name: [m[name] for _, m in meter.curve] for name in metrics}
        readout = Readout(
            key=trial.key,
            trial=trial.to_spec(),
            state=state,
            metrics=metrics,
            spent=meter.spent,
            curve=curve,
            reached=meter.reached,
            reason=reason,
            facts=dict(getattr(answer, "facts", {})),
            environment=environment() | (trial.recipe.environment() if hasattr(trial.recipe, "environment") else {}),
            cost={
                "seconds": seconds,
                "judge": time.perf_counter() - clock,
                "rate": None if math.isnan(meter.rate) else meter.rate,
                "host": platform.node(),
                "pid": os.getpid(),
            },
        )
        return readout, answer


def met(stop_at: Mapping[str, float], now: Mapping[str, float], judge: Judge) -> bool:
    """Whether every threshold is met, each in its metric's good direction."""
    return all(now[m] >= t if judge.metrics[m].better == "high" else now[m] <= t for m, t in stop_at.items())


def pack(recipe: Any, answer: Any) -> State:
    """An answer as arrays, for the ledger; recipes whose answers are no arrays say how with `pack` and `unpack`."""
    if hasattr(recipe, "pack"):
        return recipe.pack(answer)
    if isinstance(answer, np.ndarray):
        return {"answer": answer}
    raise SpecError(
        f"{type(recipe).__name__} returns a {type(answer).__name__}; to be changed it needs pack and unpack"
    )


def unpack(recipe: Any, state: State, given: Any) -> Any:
    return recipe.unpack(state, given) if hasattr(recipe, "unpack") else state["answer"]


def first_of(recipe: Any) -> Any:
    """The recipe whose answer `recipe` begins with, if it is a composition."""
    return recipe.first if isinstance(recipe, Then) else None


def environment() -> dict[str, Any]:
    """Versions and threads. A function of the installation: what a process has loaded depends on its earlier trials."""
    torch = cast(Any, sys.modules.get("torch"))
    threads = torch.get_num_threads() if torch else int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    here = {"python": platform.python_version(), "machine": platform.machine(), "threads": threads}
    return here | _versions()


@cache
def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in ("airtrack", "numpy", "scipy", "numba", "torch"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
