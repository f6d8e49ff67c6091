"""One call for every problem that can certify its answers: a method by a measured rule, stopped by a proof."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from airtrack.core.given import FiniteSum, Floats, Kernel, Pieces
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError, build, family_of, known, lookup, name_of, to_spec
from airtrack.core.penalties import Nothing
from airtrack.core.streams import Streams
from airtrack.solvers.rules import choose
from airtrack.solvers.spectral.lanczos import lanczos, steps_for

ROUNDING = 8 * np.finfo(float).eps  # of F(0): no gap can be told from 0 below it
MANY, MOMENT = 20_000, 2_000_000  # passes, and component gradients, that one may always spend: they are a second or two
SLOWER = 1.1  # a look that is not free costs a pass, so that they grow rarer: this much more work between two


class NotConverged(UserWarning):
    """The passes were spent before the tolerance was met. The answer is the best that was certified last."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What `solve` returns.

    x          the answer, of the shape of the problem
    objective  F(x)
    gap        what is proved: F(x) − F* ≤ gap; infinite where there is no proof
    gradient   length of x − prox(x − ∇): 0 at a stationary point
    curvature  sums that may not be convex: least eigenvalue of the Hessian over L, as Lanczos finds it; only looked for
               where the gradient is small enough
    converged  whether the tolerance was met
    method     the solver as it ran: its name and every field
    passes     work, in passes over the data
    counts     how often each kind of question was asked
    trace      [(work, certificate)], from the start to the answer
    why        the sentence why this method was chosen
    advice     what to do where it did not converge

    Numbers that the problem's certificate does not have are not-a-number.
    """

    x: Floats
    objective: float
    gap: float
    gradient: float
    curvature: float
    converged: bool
    method: Mapping[str, Any]
    passes: float
    counts: Mapping[str, int]
    trace: list[tuple[float, dict[str, float]]]
    why: str
    advice: str


def solve(
    problem: Any,
    method: Any = "auto",
    *,
    tol: float = 1e-6,
    passes: float | None = None,
    params: str | None = None,
    seed: int = 0,
    **fields: Any,
) -> Solution:
    """Minimise until it is proved that (F(x) − F*) ≤ tol · (F(0) − F*), or the passes are spent.

    problem  anything given that has a certificate, or a `Problem` with such a one
    method   "auto"; a solver's name; {"name": …, field: …}; a solver
    tol      stops at gap ≤ tol · (F(0) − F(x)), which proves the above. Where nothing bounds the gap (a sum without l2
             and penalty): at a gradient of tol times that at 0. Where the sum may not be convex: at a local minimum, a
             gradient of tol √(2 L (F(0) − F(x))) and a curvature ≥ −√tol L, L the mean of Lᵢ + l2. Where the
             certificate is a relative residual: at residual ≤ tol
    passes   work at most: a pass is n component gradients, or one product with a matrix; None: 1000, or 100 steps of a
             solver whose steps are dear, and more where passes take no time
    params   "theory" or "practical"; None: practical, where the solver has both
    seed     of the solver's randomness
    fields   of a solver that is named

    Raises `SpecError` for what cannot be solved so, `Diverged` where a step was too long. Spent passes are a warning,
    `NotConverged`.

    >>> ridge = FiniteSum(np.eye(3), np.ones(3), l2=0.5, loss="squared")
    >>> found = solve(ridge, "svrg")
    >>> found.x.round(3).tolist(), found.converged, found.gap <= 1e-6
    ([0.4, 0.4, 0.4], True, True)
    """
    solution = attempt(problem, method, tol=tol, passes=passes, params=params, seed=seed, **fields)
    if not solution.converged:
        warnings.warn(solution.advice, NotConverged, stacklevel=2)
    return solution


def attempt(
    problem: Any,
    method: Any = "auto",
    *,
    tol: float = 1e-6,
    passes: float | None = None,
    params: str | None = None,
    seed: int = 0,
    **fields: Any,
) -> Solution:
    """`solve` without the warning."""
    given = getattr(problem, "given", problem)
    if not hasattr(given, "certificate"):
        fact = f"{type(given).__name__} offers no certificate, so that nothing says when to stop"
        raise SpecError(f"{fact}; give a solver a budget instead: solver.answer(given, meter, streams)")
    if not (0 < tol < 1 and (passes is None or passes > 0)):
        raise SpecError(f"tol is {tol} and passes are {passes}; take tol within (0, 1), passes above 0")
    solver, why = _solver(given, method, params, fields)
    unit = _pass(given)
    if passes is None:
        step = solver.step_cost(given) / unit if hasattr(solver, "step_cost") else 1.0
        passes = max(1000.0, 100 * step, min(MANY, MOMENT / unit))
    stop, before = _Stop(given, tol), Counter(given.counts)
    meter = Meter(passes * unit, look=stop.look, schedule=list(_looks(unit, passes)), stop=stop, worth=stop)
    given.metered(meter)
    try:
        x = stop.ready
        x = solver.answer(given, meter, Streams(seed) / "recipe") if x is None else x
    except BudgetSpent:
        x = meter.latest
    finally:
        given.metered(Meter(math.inf))
    x = meter.latest if meter.reached is not None or x is None else x
    if x is None:
        raise SpecError(f"{passes:g} passes are too few for a first step of {name_of(type(solver))}; allow more")
    last = stop.look(x)
    trace = [*stop.first, *meter.curve]
    if trace[-1] != (meter.spent, last):
        trace.append((meter.spent, last))
    return Solution(
        x=x,
        objective=last.get("objective", math.nan),
        gap=last.get("gap", math.nan),
        gradient=last.get("gradient", math.nan),
        curvature=last.get("curvature", math.nan),
        converged=stop(last),
        method=to_spec(solver),
        passes=meter.spent / unit,
        counts=dict(Counter(given.counts) - before),
        trace=trace,
        why=why,
        advice="" if stop(last) else _advice(given, solver, last, stop, passes),
    )


class _Stop:
    """Whether a certificate is good enough, seen from that of 0; `ready`: a start with which there is nothing to do."""

    def __init__(self, given: Any, tol: float) -> None:
        self.given, self.tol, self.ready = given, tol, None
        self.first: list[tuple[float, dict[str, float]]] = []
        self.bent = isinstance(given, FiniteSum) and given.loss.bounds[0] < 0 and given.convexity == 0
        self.size = float(given.smoothness.mean()) + given.l2 if self.bent else math.nan  # L
        if isinstance(given, FiniteSum):
            zero = given.prox(np.zeros(given.shape), 1.0, ridge=False)
            self.first = [(0, given.certificate(zero))]
            start = given.zero() if given.start.any() else zero
            self.ready = start if self(self.look(start)) else None
        elif hasattr(given, "zero"):
            self.first = [(0, given.certificate(given.zero()))]

    def look(self, x: Any) -> dict[str, float]:
        """The certificate, with the least curvature where it is all that is still asked."""
        found = self.given.certificate(x)
        name, worst = self.bound(found)
        if self.bent and isinstance(self.given.penalty, Nothing) and found[name] <= worst:
            found = found | {"curvature": least_curvature(self.given, x, self.size, self.tol)}
        return found

    def __call__(self, now: Mapping[str, float]) -> bool:
        name, worst = self.bound(now)
        return now[name] <= worst and now.get("curvature", 0.0) >= -math.sqrt(self.tol)

    def bound(self, now: Mapping[str, float]) -> tuple[str, float]:
        """Which number of the certificate is looked at, and what it may be."""
        if "residual" in now:
            return "residual", self.tol
        if not self.first:
            self.first = [(0, dict(now))]
        first = self.first[0][1]
        if "objective" not in now:
            return "gap", self.tol * first["gap"]
        fall = first["objective"] - now["objective"]
        if np.isfinite(now["gap"]):
            return "gap", max(self.tol * fall, ROUNDING * abs(first["objective"]))
        if self.bent:
            most, rounded = (math.sqrt(2 * self.size * max(f, 0.0)) for f in (fall, abs(first["objective"])))
            return "gradient", max(self.tol * max(first["gradient"], most), ROUNDING * rounded)
        return "gradient", self.tol * first["gradient"]


def least_curvature(given: FiniteSum, x: Floats, size: float, tol: float) -> float:
    """The least eigenvalue of the Hessian of the smooth part at x, over L = `size`; free of charge. Lanczos begins at
    random; what it finds is too large by more than √tol/2 once in a million times."""
    counts = Counter(given.counts)
    quiet = given.like()
    curves = quiet.curvature(x)
    start = (Streams(0) / "curvature").rng().standard_normal(given.d)
    steps = steps_for(given.d, math.sqrt(tol) / 4, 1e-6)  # the spectrum of L − H lies in [0, 2 L]
    top = lanczos(lambda v: size * v - quiet.hessian(curves, v), start, steps)[1]
    given.counts.clear()
    given.counts.update(counts)
    return 1 - top / size


def _looks(unit: float, passes: float) -> Iterator[float]:
    at = unit
    while at <= passes * unit:
        yield at
        at = max(at + unit, SLOWER * at)


def _advice(given: Any, solver: Any, last: Mapping[str, float], stop: _Stop, passes: float) -> str:
    name, worst = stop.bound(last)
    used = name_of(type(solver))
    if "curvature" in last:
        fact = f"{used} spent {passes:g} passes and is at a saddle, with a curvature of {last['curvature']:.2g} L"
        delta = f"delta={-last['curvature'] * stop.size / 2:.2g}"
        return f"{fact}; take a method that leaves saddles: method='fast_cubic', or method='neon2' with {delta}"
    fact = f"{used} spent {passes:g} passes and its {name} is {last[name]:.2g}, not {worst:.2g}"
    other = choose(given).name if isinstance(given, FiniteSum) else used
    better = "" if other == used else f", method={other!r}"
    return f"{fact}; allow more passes{better}, a larger tol, or stronger regularisation; bring columns to one scale"


def _pass(given: Any) -> float:
    """Work of one pass over the data, in the unit that `given` charges."""
    return given.n if isinstance(given, (FiniteSum, Pieces, Kernel)) else 1


def _solver(given: Any, method: Any, params: str | None, chosen: Mapping[str, Any]) -> tuple[Any, str]:
    """The solver, and why it is this one."""
    why = "it was asked for"
    if family_of(method):
        if chosen or params:
            raise SpecError("fields and params are for a solver that is named; this one has its own")
        solver = method
    else:
        spec: Any = {"name": method} if isinstance(method, str) else method
        if method == "auto":
            rule = choose(given)
            spec, why = {"name": rule.name, **rule.fields}, rule.why
        if not isinstance(spec, Mapping) or "name" not in spec:
            build("solver", spec)  # says what is wrong
        there = {field.name for field in fields(lookup("solver", spec["name"]))}
        usual = {"params": params or "practical"} if "params" in there or params else {}
        solver = build("solver", usual | dict(spec) | ({"params": params} if params else {}) | dict(chosen))
    if not isinstance(given, solver.accepts):
        fits = [name for name in known("solver") if issubclass(type(given), lookup("solver", name).accepts)]
        fact = f"{name_of(type(solver))} works on {solver.accepts.__name__}, this is {type(given).__name__}"
        raise SpecError(f"{fact}; there is {', '.join(sorted(fits)) or 'no solver for it'}")
    return solver, why
