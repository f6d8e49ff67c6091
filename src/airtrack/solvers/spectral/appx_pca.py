"""AppxPCA: the leading eigenvector by shift-and-invert, the shift coming down on the eigenvalue from above."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log, sqrt
from typing import NamedTuple, Protocol

import numpy as np

from airtrack.core.given import Floats
from airtrack.core.part import SpecError

ZERO = 1e-10  # of the first shift: an eigenvalue below it is taken for zero
FINEST = 1e-7  # a shift that is so near to an eigenvalue leaves half of float64's digits to the solves
ROUNDING = 1e-13  # of the right-hand side: a residual in float64 cannot be asked to be less


class Pencil(Protocol):
    """Symmetric A and positive definite B, known by products that go through an image F w of the vector.

    The problem is A w = λ B w; the vectors are unit in B, wᵀBw = 1.
    """

    d: int

    def image(self, w: Floats) -> Floats:
        """F w, linear in w [d]; charged."""
        ...

    def combine(self, w: Floats, image: Floats, a: float, b: float) -> Floats:
        """(a B − b A) w [d], from w and F w; charged."""
        ...

    def quotient(self, w: Floats, image: Floats) -> float:
        """wᵀAw, from w and F w; free."""
        ...


class Deflation(NamedTuple):
    """Directions V with VᵀBV = I that are out of bounds, and B V."""

    vectors: Floats  # [d, s]
    images: Floats  # [d, s]

    def primal(self, w: Floats) -> Floats:
        """(I − V VᵀB) w: orthogonal to V in B."""
        return w - self.vectors @ (self.images.T @ w)

    def dual(self, r: Floats) -> Floats:
        """(I − B V Vᵀ) r: Vᵀ r = 0, as for r = B w with such a w."""
        return r - self.images @ (self.vectors.T @ r)


class Plan(NamedTuple):
    """How a search goes.

    locate     inverse iterations at each shift before the distance to the eigenvalue is measured, m₁
    polish     inverse iterations at the last shift, m₂
    delta      the search for a shift ends when the distance is ≤ δ/3 of it
    tolerance  of a solve, relative to its first residual; 0: rounding error
    margin     ε̃₁, taken off the measured wᵀ(λB − A)⁻¹w
    """

    locate: int
    polish: int
    delta: float
    tolerance: float
    margin: float = 0.0

    @classmethod
    def of(cls, params: str, d: int, delta: float, epsilon: float, p: float, run: int = 0) -> Plan:
        """The paper's numbers ("theory"), or fewer of everything ("practical"); δ and ε a tenth of the last run's."""
        delta, epsilon = tenth(delta, run), tenth(epsilon, run)
        if params == "theory":
            locate = ceil(4 * log(288 * d / p**2))
            margin = 1 / (64 * locate) * (delta / 6) ** locate  # 10⁻¹⁰⁰ and less: rounding decides
            return cls(locate, ceil(log(36 * d / (p**2 * epsilon))), delta, 0.0, margin)
        return cls(2, ceil(log(1 / epsilon) / 2) + 1, delta, 0.5)


class Search(NamedTuple):
    """Where a search stands; `advance` gives the next one.

    w, dual  the vector [d], wᵀBw = 1, and B w
    image    F w
    value    wᵀAw
    shift    λ, which has to lie above the largest eigenvalue λ₁
    gap      what λ − λ₁ is at least, as far as is known
    nothing  a distance that is none: what is left may have no positive eigenvalue to be near to, relative to itself
    solves   since the shift was last changed
    stage    0: the shift comes down; 1: it stays; 2: done
    """

    w: Floats
    dual: Floats
    image: Floats
    value: float
    shift: float
    gap: float
    nothing: float = 0.0
    solves: int = 0
    stage: int = 0

    @property
    def done(self) -> bool:
        return self.stage == 2


def tenth(of: float, run: int) -> float:
    """`of`, divided by ten `run` times; never so small that rounding errors would be taken for it."""
    return max(of / 10.0 ** min(run, 15), min(of, FINEST))


Solve = Callable[[Pencil, Deflation, Search, float], tuple[Floats, Floats, bool]]


def begin(pencil: Pencil, out: Deflation, w: Floats, shift: float, gap: float, nothing: float = 0.0) -> Search:
    """A search from w [d], with a shift that lies above λ₁ by `gap` at least."""
    w = out.primal(w)
    w = w / np.linalg.norm(w)
    image = pencil.image(w)
    return _placed(pencil, w, image, Search(w, w, image, 0.0, shift, gap, nothing))


def advance(pencil: Pencil, out: Deflation, at: Search, plan: Plan, solve: Solve) -> Search:
    """One approximate solve of (λB − A) x = B w, and what follows from it: a new shift keeps the vector.

    Where a solver meets pᵀ(λB − A)p ≤ 0, the shift has dropped below λ₁: it goes back up by twice the last step down,
    and by more each time, and the search for it starts again. The theory's accuracy never needs this.

    >>> from airtrack.core.given import Matrix
    >>> from airtrack.solvers.spectral.lazy_svd import Gram
    >>> pencil, out = Gram(Matrix(np.diag([2.0, 1.0, 0.5]), k=1)), Deflation(np.zeros((3, 0)), np.zeros((3, 0)))
    >>> at = begin(pencil, out, np.ones(3), shift=6.0, gap=2.0)
    >>> while not at.done:
    ...     at = advance(pencil, out, at, Plan.of("practical", 3, delta=0.1, epsilon=1e-6, p=0.1), conjugate_gradient)
    >>> abs(at.w).round(3).tolist(), round(at.value, 6), bool(4 < at.shift < 4.4)
    ([1.0, 0.0, 0.0], 4.0, True)
    """
    x, image, positive = solve(pencil, out, at, plan.tolerance) if at.value < at.shift else (at.w, at.image, False)
    reach = float(at.dual @ x)  # wᵀB(λB − A)⁻¹Bw ≤ 1 / (λ − λ₁)
    if not positive or reach <= plan.margin:
        return at._replace(shift=at.shift + 2 * at.gap, gap=2 * at.gap, solves=0, stage=0)
    after = _placed(pencil, x, image, at._replace(solves=at.solves + 1))
    if at.stage == 0 and after.solves > plan.locate:
        distance = 0.5 / (reach - plan.margin)
        shift = at.shift - distance / 2
        near = distance <= max(plan.delta * shift / 3, at.nothing)
        return after._replace(shift=shift, gap=distance / 2, solves=0, stage=int(near))
    return after._replace(stage=2) if at.stage == 1 and after.solves >= plan.polish else after


def _placed(pencil: Pencil, x: Floats, image: Floats, at: Search) -> Search:
    """`at` with x, made unit in B, in place of its vector."""
    dual = pencil.combine(x, image, 1.0, 0.0)
    square = float(x @ dual)
    if not square > 0:
        raise SpecError(f"B is not positive definite, xᵀBx being {square:.3g} for an x of the search; add a ridge to B")
    norm = sqrt(square)
    return at._replace(w=x / norm, dual=dual / norm, image=image / norm, value=pencil.quotient(x, image) / norm**2)


# ------------------------------------------------------------------------------------------------- linear systems


def conjugate_gradient(pencil: Pencil, out: Deflation, at: Search, tolerance: float) -> tuple[Floats, Floats, bool]:
    """x of (λB − A) x = B w, its image, and whether λB − A was positive along every direction on the way.

    Begins at w / (λ − wᵀAw), which is exact for an eigenvector, and ends when the residual is `tolerance` of its first
    value, or rounding error. With a shift below λ₁ plain conjugate gradients would go on and return garbage.
    """
    x, image = at.w / (at.shift - at.value), at.image / (at.shift - at.value)
    residual = out.dual(at.dual - pencil.combine(x, image, at.shift, 1.0))
    p = z = out.primal(residual)  # (I − VVᵀB)(I − BVVᵀ) r: a preconditioner that keeps x orthogonal to V in B
    rho = float(residual @ z)
    limit = _limit(at, residual, tolerance)
    for _ in range(2 * pencil.d + 20):  # in exact arithmetic d are enough
        if float(np.linalg.norm(residual)) <= limit:
            break
        moved = pencil.image(p)
        product = out.dual(pencil.combine(p, moved, at.shift, 1.0))
        curvature = float(p @ product)
        if curvature <= 0:
            return x, image, False
        alpha = rho / curvature
        x, image, residual = x + alpha * p, image + alpha * moved, residual - alpha * product
        z = out.primal(residual)
        rho, before = float(residual @ z), rho
        p = z + rho / before * p
    return x, image, True


def accelerated(pencil: Pencil, out: Deflation, at: Search, tolerance: float) -> tuple[Floats, Floats, bool]:
    """The same by accelerated gradient descent with L = λ and σ = the gap, for A ≥ 0 and B = I.

    Where it takes twice as long as its rate allows, σ is not what it was said to be, and the shift counts as too low.
    """
    kappa = max(at.shift / at.gap, 1.0)
    momentum = (sqrt(kappa) - 1) / (sqrt(kappa) + 1)
    x = y = at.w / (at.shift - at.value)
    image = at.image / (at.shift - at.value)
    residual = out.dual(at.dual - pencil.combine(y, image, at.shift, 1.0))
    limit = _limit(at, residual, tolerance)
    size = float(np.linalg.norm(residual))
    for _ in range(ceil(2 * sqrt(kappa) * log(4 * kappa * max(size / limit, 1.0))) + 10):
        if size <= limit:
            return y, image, True
        x, before = y + residual / at.shift, x
        y = x + momentum * (x - before)
        image = pencil.image(y)
        product = out.dual(pencil.combine(y, image, at.shift, 1.0))
        if float(y @ product) <= 0:
            break
        residual = out.dual(at.dual) - product
        size = float(np.linalg.norm(residual))
    return y, image, False


def _limit(at: Search, residual: Floats, tolerance: float) -> float:
    """Where a solve may end."""
    return max(tolerance * float(np.linalg.norm(residual)), ROUNDING * float(np.linalg.norm(at.dual)))
