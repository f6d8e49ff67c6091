"""One call for every problem that can certify its answers: a method by a measured rule, stopped by a proof."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from airtrack.core import losses
from airtrack.core.given import Entries, FiniteSum, Floats, Kernel, Matrix, Pieces, Views
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError, build, family_of, known, lookup, name_of, to_spec
from airtrack.core.penalties import Nothing, separable
from airtrack.core.streams import Streams

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
    tol      stops at gap ≤ tol · (F(0) − F(x)), which proves the above; where nothing bounds the gap (a sum without l2
             and penalty, a loss that is not convex) at a gradient of tol times that at 0; where the certificate is a
             relative residual, at residual ≤ tol
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
    meter = Meter(passes * unit, look=given.certificate, schedule=list(_looks(unit, passes)), stop=stop, worth=stop)
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
    last = given.certificate(x)
    trace = [*stop.first, *meter.curve]
    if trace[-1] != (meter.spent, last):
        trace.append((meter.spent, last))
    return Solution(
        x=x,
        objective=last.get("objective", math.nan),
        gap=last.get("gap", math.nan),
        gradient=last.get("gradient", math.nan),
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
        self.tol, self.ready = tol, None
        self.first: list[tuple[float, dict[str, float]]] = []
        if isinstance(given, FiniteSum):
            zero = given.prox(np.zeros(given.shape), 1.0, ridge=False)
            self.first = [(0, given.certificate(zero))]
            start = given.zero() if given.start.any() else zero
            self.ready = start if self(given.certificate(start)) else None
        elif hasattr(given, "zero"):
            self.first = [(0, given.certificate(given.zero()))]

    def __call__(self, now: Mapping[str, float]) -> bool:
        name, worst = self.bound(now)
        return now[name] <= worst

    def bound(self, now: Mapping[str, float]) -> tuple[str, float]:
        """Which number of the certificate is looked at, and what it may be."""
        if "residual" in now:
            return "residual", self.tol
        if not self.first:
            self.first = [(0, dict(now))]
        first = self.first[0][1]
        if "objective" not in now:
            return "gap", self.tol * first["gap"]
        if np.isfinite(now["gap"]):
            fall = first["objective"] - now["objective"]
            return "gap", max(self.tol * fall, ROUNDING * abs(first["objective"]))
        return "gradient", self.tol * first["gradient"]


def _looks(unit: float, passes: float) -> Iterator[float]:
    at = unit
    while at <= passes * unit:
        yield at
        at = max(at + unit, SLOWER * at)


def _advice(given: Any, solver: Any, last: Mapping[str, float], stop: _Stop, passes: float) -> str:
    name, worst = stop.bound(last)
    used = name_of(type(solver))
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


# ----------------------------------------------------------------------------------------------------------- the rule


class Facts:
    """What the rules look at, worked out when one asks."""

    def __init__(self, given: FiniteSum) -> None:
        self.given, self.n, self.d, self.sparse = given, given.n, given.d, given.sparse
        loss, penalty = given.loss, given.penalty
        self.convex, self.smooth = loss.bounds[0] >= 0, math.isfinite(loss.bounds[1])
        self.quadratic, self.matrix = isinstance(loss, losses.Squared), len(given.shape) > 1
        self.flat = isinstance(loss, (losses.SmoothedHinge, losses.Huber))  # where slopes are not 0, too
        self.penalised, self.separable = not isinstance(penalty, Nothing), separable(penalty)
        self.strong = given.l2 > 0 and not given.free
        # no larger than the data by much, and under a millisecond below 200; rows that are sparse fill up
        self.factorable = given.d <= (200 if given.sparse else min(2000, max(200, 2 * given.n)))

    @cached_property
    def sizes(self) -> Floats:
        """Lᵢ [n]."""
        return self.given.smoothness

    @property
    def spread(self) -> float:
        """max Lᵢ / mean Lᵢ: what uniform sampling loses."""
        return float(self.sizes.max() / max(self.sizes.mean(), 1e-300))

    @property
    def alike(self) -> float:
        """(mean √Lᵢ)² / mean Lᵢ: 1 where all are the same; what drawing rows by √Lᵢ gains where it is small."""
        return float(np.sqrt(self.sizes).mean() ** 2 / max(self.sizes.mean(), 1e-300))

    @property
    def condition(self) -> float:
        """κ/n = mean Lᵢ / (σ n)."""
        return float(self.sizes.mean() / (self.given.l2 * self.n)) if self.given.l2 > 0 else math.inf


class Rule(NamedTuple):
    """If `when` holds of the facts, take the solver `name` with `fields`, because `why`."""

    when: Callable[[Facts], bool]
    name: str
    fields: Mapping[str, Any]
    why: str


# In order; the first that holds is taken. The limits are measured: docs/solvers.md, "solve".
RULES = [
    Rule(lambda f: not f.convex, "svrg", {"params": "theory"}, "components are not convex: the step that is proved"),
    Rule(lambda f: f.matrix and f.penalised, "agd", {}, "one prediction a class, and a penalty: full gradients"),
    Rule(lambda f: f.matrix, "lbfgs", {}, "one prediction a class: quasi-Newton steps on the whole matrix"),
    Rule(lambda f: not f.smooth, "sdca", {}, "the loss has a corner, which its dual has not"),
    Rule(lambda f: f.penalised and not f.separable, "agd", {}, "a penalty that does not go by coordinates"),
    Rule(lambda f: f.penalised and f.sparse and f.strong, "sdca", {}, "sparse rows, a penalty and l2: the dual"),
    Rule(lambda f: f.penalised and f.sparse, "agd", {}, "sparse rows and a penalty without l2: full gradients"),
    Rule(lambda f: f.penalised and f.spread > 10, "katyusha", {"sampling": "smoothness"}, "a penalty, rows unlike"),
    Rule(lambda f: f.penalised and f.strong and f.condition <= 10, "sdca", {}, "a penalty and l2, κ/n ≤ 10: the dual"),
    Rule(lambda f: f.penalised and f.strong, "katyusha", {}, "a penalty and l2, κ/n > 10: acceleration"),
    Rule(lambda f: f.penalised, "saga", {}, "a penalty without l2: steps that find its face"),
    Rule(lambda f: f.flat, "lbfgs", {}, "a loss with stretches that have a slope and no curvature"),
    Rule(lambda f: f.factorable and f.quadratic, "newton_cholesky", {}, "quadratic, d is small: one linear system"),
    Rule(
        lambda f: f.quadratic and f.strong and f.alike < 0.2, "nu_acdm", {}, "quadratic, rows of very different lengths"
    ),
    Rule(lambda f: f.quadratic, "pcg", {}, "quadratic: conjugate gradients"),
    Rule(lambda f: f.strong and f.condition * f.spread <= 3, "sdca", {}, "κ/n ≤ 3, by the longest row: the dual"),
    Rule(lambda f: f.factorable, "newton_cholesky", {}, "d is small: the Hessian is factorised"),
    Rule(lambda f: True, "newton_cg", {}, "smooth, d is large: Newton steps by conjugate gradients"),
]
_alone = partial(Rule, lambda f: True)
OTHERS: dict[type, Rule] = {
    Matrix: _alone("block_krylov", {}, "a Krylov space that grows until the residual is small"),
    Views: _alone("lazy_cca", {}, "the only one here for two views"),
    Entries: _alone("block_fw", {}, "a nuclear ball, whose projection would cost an SVD"),
    Pieces: _alone("gd_lin", {}, "gradients that linger"),
    Kernel: _alone("pack_svm", {}, "rows of the kernel in packs"),
}


def choose(given: Any) -> Rule:
    """The rule that `auto` follows.

    >>> choose(FiniteSum(np.eye(3), np.ones(3), l2=0.5)).name
    'sdca'
    """
    if isinstance(given, FiniteSum):
        facts = Facts(given)
        return next(rule for rule in RULES if rule.when(facts))
    rule = next((rule for kind, rule in OTHERS.items() if isinstance(given, kind)), None)
    name = getattr(given, "solved_by", None)  # of somebody else's class
    if rule is None and name is None:
        raise SpecError(f"auto has no rule for {type(given).__name__}; name a method, or give the class solved_by = …")
    return rule or _alone(str(name), {}, f"{type(given).__name__} asks for it")
