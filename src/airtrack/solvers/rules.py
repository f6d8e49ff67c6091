"""Which solver for which problem: the rules of `solve`, and what a solver names when it cannot take a sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from airtrack.core import losses
from airtrack.core.given import Entries, FiniteSum, Floats, Kernel, Matrix, Pieces, Views
from airtrack.core.part import SpecError
from airtrack.core.penalties import Nothing, separable


class Facts:
    """What the rules look at, worked out when one asks."""

    def __init__(self, given: FiniteSum) -> None:
        self.given, self.n, self.d, self.sparse = given, given.n, given.d, given.sparse
        loss, penalty = given.loss, given.penalty
        self.convex, self.smooth = loss.bounds[0] >= 0, math.isfinite(loss.bounds[1])
        self.quadratic, self.matrix = isinstance(loss, losses.Squared), len(given.shape) > 1
        self.flat = isinstance(loss, (losses.SmoothedHinge, losses.Huber))  # where slopes are not 0, too
        self.penalised, self.separable = not isinstance(penalty, Nothing), separable(penalty)
        self.visited = not self.penalised or (self.separable and not self.sparse)  # penalty and rows go one by one
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
    Rule(lambda f: not f.convex and not f.visited, "gd", {}, "not convex, and a penalty: full gradients"),
    Rule(lambda f: not f.convex, "svrg", {"params": "theory"}, "components are not convex: the step that is proved"),
    Rule(lambda f: f.matrix and f.penalised, "agd", {}, "one prediction a class, and a penalty: full gradients"),
    Rule(lambda f: f.matrix, "lbfgs", {}, "one prediction a class: quasi-Newton steps on the whole matrix"),
    Rule(lambda f: not f.smooth and f.strong and f.separable, "sdca", {}, "the loss has a corner, and its dual none"),
    Rule(lambda f: not f.smooth and f.visited, "adapt_smooth", {}, "a corner and no dual: rounded off, less and less"),
    Rule(lambda f: not f.smooth, "adapt_smooth", {"solver": "agd"}, "a corner that is rounded off, and a penalty"),
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


def unfit(given: FiniteSum, fact: str) -> SpecError:
    """What a solver raises that cannot take `given`: the fact, and the solver that `auto` would take.

    >>> print(unfit(FiniteSum(np.eye(3), np.ones(3), l2=0.5, loss="hinge"), "this one needs a smooth loss"))
    this one needs a smooth loss; use sdca
    """
    rule = choose(given)
    chosen = "".join(f" with {name}: {value}" for name, value in rule.fields.items())
    return SpecError(f"{fact}; use {rule.name}{chosen}")
