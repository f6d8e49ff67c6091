"""LazyCCA: canonical pairs one after the other, as generalised eigenvectors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Le, Lt

from airtrack.core.given import Floats, Views
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.appx_pca import Plan, conjugate_gradient
from airtrack.solvers.spectral.lazy_ev import Method, Progress, complete, found


@part("solver")
class LazyCca:
    """The k leading canonical pairs (φ, ψ) of two views, as eigenvectors w = (φ, ψ) of A w = ρ B w with

        A = [ 0    S_xy ]      B = [ S_xx  0   ]      B^{−1/2} is never formed: AppxPCA's solves are (λB − A) x = B w,
            [ S_yx  0   ]          [  0   S_yy ]      by conjugate gradients, in √(κ_B λ/(λ − ρ)) products or so

    With (φ, ψ) at ρ comes (φ, −ψ) at −ρ; both go out of bounds, so that the next pair is orthogonal in S_xx and S_yy.
    The first shift is 1 + δ, for no ρ is above 1. A product with λB − A costs four matvecs.

    delta, epsilon, p, params  as for `lazy_svd`

    Source: Allen-Zhu, Li (ICML 2017). The paper's LazyEV takes both ends of the spectrum and 2k vectors; one end and k
    vectors give the same pairs for half of that, since the spectrum of this A is symmetric.

    >>> from airtrack.tasks.spectral.two_views import TwoViews
    >>> given, judge = TwoViews(n=100, p=6, q=5, k=2).pose(Streams(0) / "task")
    >>> meter = Meter(budget=3000)
    >>> given.metered(meter)
    >>> judge(LazyCca(params="practical").answer(given, meter, Streams(0) / "recipe"))["correlation"] < 1e-6
    True
    """

    delta: Annotated[float, Gt(0), Le(0.5)] = 0.1
    epsilon: Annotated[float, Gt(0), Lt(1)] = 1e-3
    p: Annotated[float, Gt(0), Lt(1)] = 0.1
    params: Literal["theory", "practical"] = "practical"

    accepts: ClassVar[type] = Views
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Views, meter: Meter, streams: Streams) -> Floats:
        return found(Cross(given), self.method(given), meter, streams)

    def method(self, given: Views) -> Method:
        sign = np.concatenate([np.ones(given.p), -np.ones(given.q)])[:, None]

        def plan(run: int) -> Plan:
            d = given.p + given.q
            return Plan.of(self.params, d, self.delta / 2, self.epsilon, self.p / given.k, run)

        def bound(run: int, w: Floats) -> tuple[float, float, Floats]:
            return 1 + self.delta, self.delta, w

        return Method(given.k, plan, conjugate_gradient, bound, mirror=lambda v: sign * v)


class Cross:
    """The pencil of two views: F w = (X φ, Y ψ)."""

    def __init__(self, given: Views) -> None:
        self._given, self.d = given, given.p + given.q

    def image(self, w: Floats) -> Floats:
        return np.stack(self._given.forward(w))

    def combine(self, w: Floats, image: Floats, a: float, b: float) -> Floats:
        x, y = image
        return self._given.backward(a * x - b * y, a * y - b * x) / self._given.n + a * self._given.ridge * w

    def quotient(self, w: Floats, image: Floats) -> float:
        return 2 * float(image[0] @ image[1]) / self._given.n


def canonical(
    x: Any, y: Any, k: int, *, ridge: float = 0.0, delta: float = 0.1, tolerance: float = 1e-6, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """The k leading canonical pairs of X [n, p] and Y [n, q], which the caller has centred: φ [p, k], ψ [q, k], ρ [k].

    φᵀ(XᵀX/n + ridge I)φ = I, likewise ψ, and φᵀ(XᵀY/n)ψ = diag(ρ). Runs until `Views.certificate` is at most
    `tolerance`. Raises `SpecError` for what `Views` refuses, and where rounding keeps the tolerance out of reach.

    >>> x = np.array([[1.0, 0], [0, 1], [1, 1], [-1, -1], [-1, -1]])
    >>> phi, psi, rho = canonical(x, x[:, :1] + 0.0, 1)
    >>> rho.round(9).tolist()
    [1.0]
    """
    given = Views(x, y, k=k, ridge=ridge)
    pencil, method, streams = Cross(given), LazyCca(delta=delta).method(given), Streams(seed) / "canonical"
    at, residual = Progress.start(pencil.d, k, streams), np.inf
    while residual > tolerance:
        before, at = residual, complete(pencil, at, method, streams)
        residual = given.certificate(at.answer)["residual"]
        if residual > max(tolerance, before / 2) and at.run > 4:
            fact = f"a residual of {tolerance:g} is out of reach; rounding leaves {residual:.2g}"
            raise SpecError(f"{fact}; raise the tolerance, or the ridge")
    phi, psi = at.answer[: given.p] * np.sqrt(2), at.answer[given.p :] * np.sqrt(2)  # the halves of a unit vector
    rho = np.array([pencil.quotient(w, pencil.image(w)) for w in at.answer.T])
    return phi, psi, rho
