"""LazyEV: generalised eigenvectors one after the other, each by AppxPCA on what the earlier ones leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from airtrack.core.given import Floats
from airtrack.core.given.matrix import checked
from airtrack.core.meter import BudgetSpent, Meter, State
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.appx_pca import (
    ZERO,
    Deflation,
    Pencil,
    Plan,
    Search,
    Solve,
    advance,
    begin,
    conjugate_gradient,
)

ABOVE = 1.5  # times the bound on all |λ|: the first shift
ENOUGH = 5000  # solves a vector; the theory's numbers need some hundreds


class Method(NamedTuple):
    """How vectors are found.

    k       how many
    plan    run → the plan of its searches: a further run is a more accurate one
    solve   the linear systems
    bound   (run, w) → a shift above every eigenvalue, the least distance to them, and a first vector; w is Gaussian
    both    whether the eigenvalues of largest magnitude are asked for, of either sign, or the largest
    mirror  v → an eigenvector of the opposite eigenvalue, which goes out of bounds with v
    direct  (run, out of bounds, w) → (v, B v), if a vector is found at one stroke and not by a search
    """

    k: int
    plan: Callable[[int], Plan]
    solve: Solve
    bound: Callable[[int, Floats], tuple[float, float, Floats]]
    both: bool = False
    mirror: Callable[[Floats], Floats] | None = None
    direct: Callable[[int, Deflation, Floats], tuple[Floats, Floats]] | None = None


SHIFT = ("at", "gap", "nothing")


class Progress(NamedTuple):
    """Where a method stands.

    run       complete runs so far
    answer    [d, k]: of the first run what is found, filled up with its start; later the last complete run's
    found     [d, s], and B times it
    shift     above what is left, how far at least, and what counts as no distance; None before the first vector
    searches  the one going on, or two: of the largest eigenvalue of A, and of −A
    """

    run: int
    answer: Floats
    found: Floats
    images: Floats
    shift: tuple[float, float, float] | None = None
    searches: tuple[Search, ...] = ()

    def state(self) -> State:
        searches = {str(i): search._asdict() for i, search in enumerate(self.searches)}
        shift = None if self.shift is None else dict(zip(SHIFT, self.shift))
        return {**self._asdict(), "shift": shift, "searches": searches}

    @classmethod
    def of(cls, state: State) -> Progress:
        searches = tuple(Search(**state["searches"][name]) for name in sorted(state["searches"]))
        shift = (
            None if state["shift"] is None else (state["shift"]["at"], state["shift"]["gap"], state["shift"]["nothing"])
        )
        return cls(**{**state, "shift": shift, "searches": searches})

    @classmethod
    def start(cls, d: int, k: int, streams: Streams) -> Progress:
        basis = np.linalg.qr((streams / "start").rng().standard_normal((d, k)))[0]
        return cls(0, basis, np.zeros((d, 0)), np.zeros((d, 0)))


def found(pencil: Pencil, method: Method, meter: Meter, streams: Streams) -> Floats:
    """The answer [d, k] when the budget is spent."""
    saved = meter.resume()
    at = Progress.of(saved) if saved else Progress.start(pencil.d, method.k, streams)
    meter.offer(at.answer)
    while meter.live():
        try:
            at = step(pencil, at, method, streams)
        except BudgetSpent:
            break
        meter.offer(at.answer)
        meter.save(at.state)
    return at.answer


def complete(pencil: Pencil, at: Progress, method: Method, streams: Streams) -> Progress:
    """The end of the run that `at` is in. Raises `SpecError` where rounding errors keep it from one."""
    run = at.run
    for _ in range(ENOUGH * method.k):
        at = step(pencil, at, method, streams)
        if at.run > run:
            return at
    fact = f"{at.found.shape[1]} of {method.k} eigenvectors were found, and the next one is lost in rounding errors"
    raise SpecError(f"{fact}; bring the columns to one scale, or add a ridge")


def generalised(
    a: Any, b: Any, k: int, *, bound: float, delta: float = 0.1, epsilon: float = 1e-3, seed: int = 0
) -> tuple[Floats, Floats]:
    """The k eigenvalues of largest magnitude of A w = λ B w [k], and vectors [d, k] with WᵀBW = I.

    a, b   symmetric, b positive definite: anything with `shape` and `@`
    bound  a number that no |λ| exceeds; each |λ| found is at least (1 − delta) of what was left to be found
    delta, epsilon  of a search, as for `lazy_svd`

    Searches at both ends go side by side: a pair ±λ stays two vectors, which one on the square would mix. B^{−1/2} is
    never formed. Source: Allen-Zhu, Li (ICML 2017), LazyEV.

    Raises `SpecError` where A or B is not finite or not symmetric, where B is not positive definite and where the bound
    is none. A dense B is factorised to know it; of anything else, and of the bound, it is what the searches meet.

    >>> values, _ = generalised(np.diag([1.0, -3.0, 2.0]), np.diag([1.0, 1.0, 2.0]), 2, bound=4.0, delta=1e-3)
    >>> values.round(6).tolist()
    [-3.0, 1.0]
    """
    a, b = checked(a, "A"), checked(b, "B")
    d = int(a.shape[0])
    if tuple(a.shape) != tuple(b.shape) or a.shape != (d, d) or not 1 <= k <= d:
        raise SpecError(f"A {a.shape}, B {b.shape}, k = {k}: both are to be d × d, and 1 ≤ k ≤ d")
    if not 0 < bound < np.inf:
        raise SpecError(f"{bound} bounds no eigenvalue; take a finite number above all |λ|", "bound")
    plan = Plan.of("practical", d, delta / 2, epsilon, 0.5)
    above = ABOVE * bound
    method = Method(k, lambda run: plan, conjugate_gradient, lambda run, w: (above, above - bound, w), both=True)
    pencil, streams = _Pair(a, b, bound), Streams(seed) / "generalised"
    pencil.check((streams / "check").rng())
    w = complete(pencil, Progress.start(d, k, streams), method, streams).answer
    values = (w * np.asarray(a @ w)).sum(0)
    if (largest := float(np.abs(values).max())) > (1 + 1e-6) * bound:
        raise SpecError(f"{bound:g} bounds no eigenvalue of {largest:.3g}; take a number above all |λ|", "bound")
    return values, w


class _Pair:
    """The pencil of two matrices: F w = (A w, B w). Every w that it meets may prove that they are not as is said."""

    def __init__(self, a: Any, b: Any, bound: float) -> None:
        self._a, self._b, self._bound, self.d = a, b, bound, int(a.shape[0])

    def check(self, rng: np.random.Generator) -> None:
        """Raises `SpecError` where two products with a matrix show that it is not symmetric, and where a dense B has
        no Cholesky factor, or one that rounding errors made."""
        u, v = rng.standard_normal((2, self.d))
        for name, x, y in zip("AB", self.image(u), self.image(v)):
            if abs(u @ y - v @ x) > 1e-8 * np.linalg.norm(u) * np.linalg.norm(y):
                raise SpecError(f"{name} is not symmetric; give ({name} + {name}ᵀ) / 2, if that is what is meant")
        if isinstance(self._b, np.ndarray):
            try:
                squares = np.diag(np.linalg.cholesky(self._b)) ** 2  # what earlier columns leave of each
            except np.linalg.LinAlgError:
                squares = np.full(self.d, -np.inf)
            if (squares <= self.d * np.finfo(float).eps * np.diag(self._b)).any():
                raise SpecError("B is not positive definite, or not beyond rounding errors; add a ridge to it")

    def image(self, w: Floats) -> Floats:
        image = np.stack([np.asarray(self._a @ w), np.asarray(self._b @ w)])
        top, square = (float(w @ moved) for moved in image)
        for name, number in (("A", top), ("B", square)):
            if not np.isfinite(number):
                raise SpecError(f"{name} w is not finite for some w; rescale {name}, or fill in what is missing")
        if square <= 0:
            raise SpecError(f"B is not positive definite, wᵀBw being {square:.3g} for some w; add a ridge to it")
        if abs(top) > ABOVE * self._bound * square:
            fact = f"{self._bound:g} bounds no |wᵀAw| / wᵀBw of {abs(top) / square:.3g}"
            raise SpecError(f"{fact}; take more, or add a ridge to B if it is not positive definite", "bound")
        return image

    def combine(self, w: Floats, image: Floats, a: float, b: float) -> Floats:
        return a * image[1] - b * image[0]

    def quotient(self, w: Floats, image: Floats) -> float:
        return float(w @ image[0])


def step(pencil: Pencil, at: Progress, method: Method, streams: Streams) -> Progress:
    """One solve of the present search, or the start of the next one."""
    s, d = at.found.shape[1], pencil.d
    out = Deflation(at.found, at.images)
    if method.mirror is not None:
        mirrored = method.mirror(at.found), method.mirror(at.images)
        out = Deflation(*(np.hstack(pair) for pair in zip(out, mirrored)))
    if not at.searches:
        w = (streams / "vectors").rng(at.run * method.k + s).standard_normal(d)
        if method.direct is not None:
            return _found(at, method, *method.direct(at.run, out, out.primal(w)))
        shift = at.shift
        if shift is None:
            top, gap, w = method.bound(at.run, w)
            shift = (top, gap, ZERO * top)
        ends = (pencil, Negative(pencil)) if method.both else (pencil,)
        return at._replace(searches=tuple(begin(end, out, w, *shift) for end in ends))
    ends = (pencil, Negative(pencil))[: len(at.searches)]
    plan = method.plan(at.run)
    searches = _together(tuple(advance(end, out, each, plan, method.solve) for end, each in zip(ends, at.searches)))
    best = max(searches, key=lambda search: search.value)
    if not best.done:
        return _shown(at._replace(searches=searches), best.w, method.k)
    after = at._replace(shift=(best.shift, best.gap, best.nothing), searches=())
    v = out.primal(best.w)
    return _found(after, method, v, out.dual(best.dual))


def _together(searches: tuple[Search, ...]) -> tuple[Search, ...]:
    """Searches at both ends go by the more cautious of their shifts, which is that of the end that is further out."""
    outer = max(searches, key=lambda search: search.shift)
    same = {"shift": outer.shift, "gap": outer.gap, "stage": outer.stage, "solves": outer.solves}
    return tuple(search._replace(**same) for search in searches)


def _found(at: Progress, method: Method, v: Floats, image: Floats) -> Progress:
    norm = np.sqrt(v @ image)
    found, images = np.column_stack([at.found, v / norm]), np.column_stack([at.images, image / norm])
    after = _shown(at._replace(found=found, images=images), None, method.k)
    if found.shape[1] < method.k:
        return after
    none = np.zeros((len(found), 0))
    return Progress(at.run + 1, found, none, none)


def _shown(at: Progress, w: Floats | None, k: int) -> Progress:
    """With an answer that holds what is found, and the vector that is looked for; in the first run only."""
    if at.run > 0:
        return at
    columns = at.found if w is None else np.column_stack([at.found, w])
    return at._replace(answer=np.column_stack([columns, at.answer[:, columns.shape[1] : k]]))


class Negative:
    """−A and B, where `of` has A and B."""

    def __init__(self, of: Pencil) -> None:
        self._of, self.d = of, of.d

    def image(self, w: Floats) -> Floats:
        return self._of.image(w)

    def combine(self, w: Floats, image: Floats, a: float, b: float) -> Floats:
        return self._of.combine(w, image, a, -b)

    def quotient(self, w: Floats, image: Floats) -> float:
        return -self._of.quotient(w, image)
