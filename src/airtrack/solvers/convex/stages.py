"""Reductions: a sum that a solver cannot take, or takes slowly, as a sequence of sums that it can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.solvers.rules import unfit

LATER = 1.2  # a look that is charged waits until the stage has done this much more work


class Stage(Meter):
    """What the solver of one stage charges: it passes work and answers on, and ends with its stage.

    done  answer → whether the stage is over, asked now and then: it may cost a pass
    free  answer → whether asking costs nothing, and may be done at every offer
    """

    def __init__(self, whole: Meter, done: Callable[[Floats], bool], free: Callable[[Floats], bool]) -> None:
        super().__init__(whole.budget)
        self._whole, self._done, self._free, self.over, self._due = whole, done, free, False, 0.0

    def live(self, cost: float = 1) -> bool:
        return not self.over and self._whole.live(cost)

    def charge(self, work: float) -> None:
        if self.over:
            raise BudgetSpent
        self._whole.charge(work)
        self.spent += work

    def grant(self, work: int) -> int:
        if self.over:
            raise BudgetSpent
        granted = self._whole.grant(work)
        self.spent += granted
        return granted

    def offer(self, answer: Floats, guess: Mapping[str, float] | None = None) -> None:  # a guess is of the stage's sum
        self.latest = answer
        self._whole.offer(answer)
        if self.spent > 0 and not self.over and (self.spent >= self._due or self._free(answer)):
            self._due = LATER * self.spent
            self.over = self._done(answer)


def refuse_inner(solver: Any, given: FiniteSum, changed: FiniteSum) -> None:
    """Raises `SpecError` if `solver` cannot take what a reduction makes of `given`."""
    try:
        if hasattr(solver, "refuse"):
            solver.refuse(changed)
    except SpecError as error:
        fact = str(error).rpartition(";")[0] or str(error)
        raise unfit(given, f"the reduction's solver does not fit: {fact}") from None


def in_stages(
    given: FiniteSum,
    meter: Meter,
    streams: Streams,
    solver: Any,
    changed: Callable[[int], FiniteSum],
    allowed: Callable[[FiniteSum, Floats], float],
    charged: bool = False,
) -> Floats:
    """Solves changed(0), changed(1), … by `solver`, each from where the last one ended, until its duality gap is
    allowed(problem, x): about what the change itself adds to F at x.

    As that halves from stage to stage, each of them divides the error that it begins with by three or so: the "HOOD"
    property of the paper, which does not say how to see it. A quarter of the gap at its beginning would not do: a gap
    may be far above the error, and such a quarter is met by chance. To see it is charged like any other work: n where
    the solver has not just been there with a full gradient, and what `allowed` costs, if that is `charged`. A resume
    goes back to the beginning of the stage.
    """
    state = meter.resume() or {"stage": 0, "x": given.zero()}
    while meter.live(given.n + 1):
        problem = changed(state["stage"])
        problem.start = state["x"]

        def done(x: Floats) -> bool:
            problem.value(x)  # charges what the certificate then has for nothing
            proof = problem.certificate(x)
            gap = proof["gap"] if np.isfinite(proof["gap"]) else proof["gradient"] ** 2 / (2 * problem.l2)
            return gap <= allowed(problem, x)

        part = Stage(meter, done, (lambda x: False) if charged else problem.known)
        problem.metered(part)
        try:
            x = solver.answer(problem, part, streams / f"stage{state['stage']}")
        except BudgetSpent:
            x = part.latest
        if x is None or not part.over:  # a stage that the budget cuts short may be behind where it began
            tried = [state["x"]] if x is None else [x, state["x"]]
            x = min(tried, key=lambda x: problem.certificate(x)["objective"])
        state = {"stage": state["stage"] + 1, "x": x}
        meter.save(lambda: dict(state))
    meter.offer(state["x"])
    return state["x"]
