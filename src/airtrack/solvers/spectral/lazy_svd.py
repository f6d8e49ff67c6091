"""LazySVD: singular vectors one after the other, each by AppxPCA on the matrix without the earlier ones."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Le, Lt

from airtrack.core.given import Floats, Matrix
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.appx_pca import Deflation, Plan, accelerated, conjugate_gradient, tenth
from airtrack.solvers.spectral.lanczos import lanczos, steps_for
from airtrack.solvers.spectral.lazy_ev import Method, found

ABOVE = 1.5  # times a Ritz value that is within a third of λ₁: a shift above λ₁


@part("solver")
class LazySvd:
    """The k leading right singular vectors of A [n, d], without a block: M₀ = AᵀA, and for s = 1 … k

        w = AppxPCA(M_{s−1}, δ/2, ε, p/k),   v_s = (I − VVᵀ) w / ‖·‖,   M_s = (I − v_s v_sᵀ) M_{s−1} (I − v_s v_sᵀ)

    AppxPCA puts a shift λ above the largest eigenvalue λ₁ of M and lets it down by half of what wᵀ(λI − M)⁻¹w says of
    the distance, until λ − λ₁ is a δ-th of λ₁; then it iterates (λI − M)⁻¹. One solve takes √(λ/(λ − λ₁)) products. The
    guarantee needs no gap: ‖A(I − VVᵀ)‖₂ ≤ (1 + δ) σ_{k+1}.

    delta    δ; a further run, as long as there is budget, divides it by ten
    epsilon  ε, of the last iterations
    p        chance of failure
    params   "theory": the paper's numbers of solves, each to rounding error, for its own accuracies are far below it;
             "practical": two solves a shift and few at the end, each to half of its first residual
    inner    what solves (λI − M) x = w: "cg", "agd"; or "lanczos", which needs no shift and finds w by itself, in the
             steps of Kuczyński and Woźniakowski's bound ("theory") or until the residual is δ/2 of λ ("practical",
             which promises an eigenvector and not the largest: now and then it takes λ_{k+1} for λ_k)

    A product costs one matvec, hence M w two. It is a framework that is easy to prove things about, not a fast SVD:
    each deflation throws a Krylov space away.

    Source: Allen-Zhu, Li (NIPS 2016), Algorithms 1 and 3; Garber et al. (ICML 2016) for the shift and the start of a
    solve. Where the paper has M ≤ I, the first shift is 1.5 times a Ritz value that is below 2/3 λ₁ with probability p
    at most; the search for a vector begins at the last shift of the one before, which is above what is left.

    >>> from airtrack.tasks.spectral.spectrum import Spectrum
    >>> given, judge = Spectrum(n=60, d=40, k=3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=1000)
    >>> given.metered(meter)
    >>> judge(LazySvd(params="practical").answer(given, meter, Streams(0) / "recipe"))["eigenvalue"] < 1e-6
    True
    """

    delta: Annotated[float, Gt(0), Le(0.5)] = 0.1
    epsilon: Annotated[float, Gt(0), Lt(1)] = 1e-3
    p: Annotated[float, Gt(0), Lt(1)] = 0.1
    params: Literal["theory", "practical"] = "practical"
    inner: Literal["cg", "agd", "lanczos"] = "cg"

    accepts: ClassVar[type] = Matrix
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Matrix, meter: Meter, streams: Streams) -> Floats:
        return found(Gram(given), self.method(given), meter, streams)

    def method(self, given: Matrix) -> Method:
        d, theory = given.d, self.params == "theory"
        p = self.p / given.k

        def plan(run: int) -> Plan:
            return Plan.of(self.params, d, self.delta / 2, self.epsilon, p, run)

        def bound(run: int, w: Floats) -> tuple[float, float, Floats]:
            ritz, value = lanczos(given.gram, w, steps_for(d, 1 / 3, p))
            return ABOVE * value, (ABOVE - 1) * value, w if theory else ritz

        def direct(run: int, out: Deflation, w: Floats) -> tuple[Floats, Floats]:
            delta = tenth(self.delta / 2, run)
            steps = steps_for(d, delta, p) if theory else d
            v, _ = lanczos(lambda x: out.dual(given.gram(x)), w, steps, 0.0 if theory else delta)
            v = out.primal(v)
            return v, v

        solve = accelerated if self.inner == "agd" else conjugate_gradient
        return Method(given.k, plan, solve, bound, direct=direct if self.inner == "lanczos" else None)


class Gram:
    """The pencil of AᵀA and I: F w = A w."""

    def __init__(self, given: Matrix) -> None:
        self._given, self.d = given, given.d

    def image(self, w: Floats) -> Floats:
        return self._given.apply(w)

    def combine(self, w: Floats, image: Floats, a: float, b: float) -> Floats:
        return a * w - b * self._given.adjoint(image) if b else a * w

    def quotient(self, w: Floats, image: Floats) -> float:
        return float(image @ image)
