"""Results of every odd kind, made by the study's own rules from readouts that are made up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airtrack.core.part import Grid, load_object
from airtrack.study.compare import compare_times
from airtrack.study.result import Result, Verdicts, resolve
from airtrack.study.spec import TUNE_SEEDS, Study
from airtrack.study.trial import Readout, Trial

HERE = Path(__file__).parent
Quiz, Guess = (load_object(f"{HERE / 'quiz.py'}:{name}") for name in ("Quiz", "Guess"))
Reading = Callable[[Any, int, np.random.Generator], float]


def result(
    reading: Reading,
    *,
    arms: dict[str, Any] | None = None,
    held: Callable[[Trial], bool] = lambda t: True,
    curve: bool = True,
    reached: Callable[[Any, int], float | None] | None = None,
    **fields: Any,
) -> Result:
    """The result of a study whose trials read `reading(recipe, seed, rng)`; NaN is a trial that diverged."""
    arms = arms or {"old": Guess(kind="old"), "new": Guess(kind="new")}
    fields = {"baseline": "old", "budget": 10_000, "metric": "score", "points": 8} | fields
    study = Study(task=Quiz(), arms=arms, **fields)

    def look_up(trial: Trial) -> Readout | None:
        if not held(trial):
            return None
        rng = np.random.default_rng([trial.seed, len(trial.recipe.kind), ord(trial.recipe.kind[0])])
        value = float(reading(trial.recipe, trial.seed, rng))
        lost = math.isnan(value)
        metrics = {m: q.worst if lost else q.clip(value) for m, q in study.task.metrics.items()}
        when = reached(trial.recipe, trial.seed) if reached else None
        spent = when or study.budget
        work = [spent * f for f in (0.01, 0.03, 0.1, 0.3, 1.0)]
        start = 1.0 if study.metric == "gap" else 0.2
        line = [start + (metrics[str(study.metric)] - start) * s for s in (0.0, 0.1, 0.4, 0.8, 1.0)]
        return Readout(
            key=trial.key,
            trial=trial.to_spec(),
            state="diverged" if lost else "done",
            metrics=metrics,
            spent=spent,
            curve={"work": work, str(study.metric): line} if curve and not lost else {"work": []},
            reached=when,
            reason="iterates grew beyond 1e30" if lost else None,
            environment={"python": "3.12.1", "numpy": "2.3.0", "threads": 1},
            cost={"seconds": 0.25 + 0.01 * (trial.seed % 7), "host": "bench"},
        )

    return resolve(study, look_up)


def shifted(by: float, sd: float = 0.2, at: float = 3.0) -> Reading:
    """Readings that share a seed's luck; the arm "new" is ahead by `by`."""

    def reading(recipe: Any, seed: int, rng: np.random.Generator) -> float:
        luck = np.random.default_rng(seed).normal()
        return at + 0.4 * luck + sd * rng.normal() + by * (recipe.kind == "new")

    return reading


def tuned(recipe: Any, seed: int, rng: np.random.Generator) -> float:
    """An optimum at lr = .01 for "old" and at .03, outside the first grid, for "new"; diverges at .3."""
    if recipe.lr >= 0.3 and seed % 2:
        return math.nan
    best = -1.5 if recipe.kind == "new" else -2.0
    far = (math.log10(recipe.lr) - best) ** 2
    return float(10 ** (-3.0 - (recipe.kind == "new") + 0.8 * far + 0.15 * rng.normal()))


def times() -> Result:
    """Work to a threshold that "old" does not reach on every third seed."""
    found = result(
        lambda r, s, g: 0.99 if r.kind == "new" or s % 3 else 0.4,
        reached=lambda r, s: (1500.0 + 100 * s) if r.kind == "new" else (6000.0 + 200 * s if s % 3 else None),
        held=lambda t: t.seed < 9,
        seeds=10,
        metric="accuracy",
        stop_at={"accuracy": 0.99},
    )
    old, new = ([r.reached or math.inf for r in found.readouts[arm]] for arm in ("old", "new"))
    options = {"names": ("new", "old"), "metric": "time to accuracy 0.99", "budget": 10_000}
    verdict = compare_times(new, old, **options)
    return dataclasses.replace(found, phase="done", missing=(), verdicts=Verdicts([verdict]))


LRS = Grid(1e-3, 3.16e-3, 1e-2)
NASTY = '<b>&"x"$y$'


def cases() -> dict[str, Result]:
    two = {"old": Guess(kind="old", lr=LRS), "new": Guess(kind="new", lr=LRS)}
    wide = {k: Guess(kind=k, lr=Grid(0.01, 0.1), width=Grid(4, 8, 16)) for k in ("old", "new")}
    many = {k: Guess(kind=k) for k in ("rope", "nope", "nope+canon A", "a very long name of an arm that does not end")}
    kinds = {"rope": 0.06, "nope": 0.055, "nope+canon A": 1.0}
    solved = lambda r, s, g: min(1.0, max(0.0, kinds.get(r.kind, 0.06) + 0.006 * g.normal()))  # noqa: E731
    return {
        "better": result(shifted(1.0), seeds=8, question="Is the new one better?"),
        "worse": result(shifted(-1.0), seeds=8),
        "open": result(shifted(0.1), seeds=8),
        "equivalent": result(shifted(0.0, 0.1), seeds=20, smallest_effect=0.5),
        "equal": result(lambda r, s, g: 2.0, seeds=8),
        "far apart": result(lambda r, s, g: 1.0 if r.kind == "new" else 0.04, seeds=8, metric="accuracy"),
        "one seed": result(shifted(1.0), seeds=1, curve=False),
        "two seeds": result(shifted(1.0), seeds=2),
        "forty seeds": result(shifted(0.2), seeds=40, smallest_effect=0.1),
        "failures": result(
            lambda r, s, g: math.nan if s in (2, 5) and r.kind == "old" else shifted(1.0)(r, s, g), seeds=9
        ),
        "all failed": result(lambda r, s, g: math.nan, seeds=6),
        "bimodal": result(
            lambda r, s, g: (0.99 if r.kind == "new" or s % 4 == 0 else 0.03) + 0.005 * g.random(),
            seeds=12,
            metric="accuracy",
        ),
        "three comparisons": result(
            solved,
            arms=many,
            baseline=None,
            comparisons=[["nope+canon A", "rope"], ["nope+canon A", "nope"], [list(many)[3], "nope"]],
            seeds=8,
            metric="accuracy",
            smallest_effect=0.05,
        ),
        "tuned": result(tuned, arms=two, seeds=8, metric="gap", tune={"seeds": 3}),
        "two fields": result(tuned, arms=wide, seeds=8, metric="gap"),
        "not comparable": result(tuned, arms=two, seeds=8, metric="gap", tune={"extend": 0}),
        "times": times(),
        "tuning": result(tuned, arms=two, metric="gap", held=lambda t: t.recipe.kind == "old"),
        "confirming": result(tuned, arms=two, metric="gap", held=lambda t: t.seed >= TUNE_SEEDS or t.seed < 3),
        "nothing yet": result(shifted(1.0), held=lambda t: False),
        "nasty names": result(
            shifted(1.0),
            arms={NASTY: Guess(kind="old"), "_学习 {x} {{ 7 * 7 }} </script>": Guess(kind="new")},
            baseline=NASTY,
            question="Is <script>alert(1)</script> & co. $better$?",
        ),
        "looks": result(shifted(0.35), seeds="auto"),
    }


@pytest.fixture(scope="session")
def results() -> dict[str, Result]:
    return cases()
