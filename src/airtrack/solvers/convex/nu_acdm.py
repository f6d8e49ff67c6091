"""NU_ACDM: accelerated coordinate descent that draws a coordinate by the root of its smoothness."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from numba import njit
from scipy.sparse import csc_matrix, csr_matrix

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.penalties import Nothing
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import QUICK, fetch, settle, shrink, slope
from airtrack.solvers.convex.dual import check, dual_start
from airtrack.solvers.convex.epochs import Sampler
from airtrack.solvers.rules import unfit


class Momentum(NamedTuple):
    """The law of y and z, a derivative being taken at x = τ z + (1 − τ) y. With i ~ p, r = ησ and A = pᵢ σ Lᵢ^β/τ:

    z⁺ ← (z + r x)/(1 + r) in every coordinate, and then  yᵢ⁺ = xᵢ − gᵢ/Lᵢ,  zᵢ⁺ −= gᵢ/A

    With ησ = τ/(1 − τ) the first part leaves m = (1 − τ)/(2 − τ) y + 1/(2 − τ) z as it is and shrinks y − z by
    λ = (1 − τ)². The loops hold m and D = (y − z)/λᵏ, so that a step changes one coordinate of each; D is scaled down
    before λᵏ is lost. (The paper's form, powers of a 2 × 2 matrix, inverts one that becomes singular.)
    """

    tau: float
    near: float  # share of D in x, beside m
    y: float  # in y
    z: float  # in z
    decay: float  # λ


def momentum(smooth: Floats, convexity: float, beta: float) -> tuple[Momentum, Floats, Floats]:
    """The law for coordinates of these Lᵢ [m] and strong convexity σ in ‖·‖₂; chances p [m]; σ Lᵢ^β [m] with the σ of
    the norm Σ Lᵢ^β xᵢ²."""
    sizes = smooth ** ((1 - beta) / 2)
    total, bends = float(sizes.sum()), convexity * (smooth / smooth.max()) ** beta
    tau = 2 / (1 + np.sqrt(4 * total**2 * float(smooth.max()) ** beta / convexity + 1))
    far = (1 - tau) / (2 - tau)
    law = Momentum(tau, (1 - tau) * far, 1 / (2 - tau), -far, (1 - tau) ** 2)
    return law, sizes / total, bends


@part("solver")
class NuAcdm:
    """Accelerated coordinate descent on the dual or the primal of

        F(x) = (1/n) Σ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖² + ⟨c, x⟩ + ψ(x)

    With the coordinates' smoothness Lᵢ and the strong convexity μ of the function that is minimised:

        τ = 2/(1 + √(4S²/μ + 1)),  S = Σ √Lᵢ,  pᵢ = √Lᵢ/S,  η = 1/(τS²)
        x = τ z + (1 − τ) y,  i ~ p,  y⁺ = x − (gᵢ/Lᵢ) eᵢ,  z⁺ = (z + ημ x − (η/pᵢ) gᵢ eᵢ)/(1 + ημ)

    It takes about S/√μ steps for a digit, against m √(max Lᵢ/μ) with m coordinates drawn uniformly. All coordinates of
    z contract in every step, which is done in O(1).

    side  "dual": a coordinate is a component, its variable √wᵢ times its slope, Lᵢ = 1/L_φ + wᵢ‖aᵢ‖²/(σn) and μ = 1/L_φ
          (over n), L_φ the smoothness of φ; what φ*, the conjugate, has beyond its μ is taken by a proximal step. One
          step costs one gradient, and rows of very different lengths hardly matter. No ψ.
          "primal": a coordinate is one of x, Lⱼ = L_φ Σ wᵢ aᵢⱼ²/n + σ and μ = σ; ψ is taken by a proximal step. A
          step is charged by the entries of its column, as many as an average row has being one gradient. Rows in memory
    beta  β: pᵢ ~ Lᵢ^((1 − β)/2), with S and μ in the norm Σ Lᵢ^β xᵢ². 0 is the method; 1 is uniform sampling

    Source: Allen-Zhu, Qu, Richtárik, Yuan, *Even Faster Accelerated Coordinate Descent Using Non-Uniform Sampling*
    (ICML 2016). The proximal steps are our own derivation; for β = 1 they are those of Lin, Lu,
    Xiao (APCG, NIPS 2014) up to terms of order τ.

    >>> from airtrack.tasks.logistic import Logistic
    >>> given, judge = Logistic(n=100, d=5, kappa=1e4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=300 * 100)
    >>> given.metered(meter)
    >>> judge(NuAcdm().answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    side: Literal["dual", "primal"] = "dual"
    beta: Annotated[float, Ge(0), Le(1)] = 0.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        if not np.isfinite(given.loss.bounds[1]):
            raise unfit(given, f"nu_acdm needs a smooth loss, {type(given.loss).__name__} has a corner")
        if self.side == "dual" and not isinstance(given.penalty, Nothing):
            raise unfit(given, f"the dual of {type(given.penalty).__name__} is not for nu_acdm, whose side is dual")
        check(given, "nu_acdm")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        return (self._dual if self.side == "dual" else self._primal)(given, meter, streams / "indices")

    def _dual(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        convexity, facts = 1 / given.loss.bounds[1], np.zeros((given.n, 8))
        facts[:, ROOT] = np.sqrt(given.weights)
        facts[:, SMOOTH] = convexity + given.weights * given.squares / (given.l2 * given.n)
        law, chances, facts[:, BEND] = momentum(facts[:, SMOOTH], convexity, self.beta)
        facts[:, STIFF] = chances / law.tau * facts[:, BEND]
        state, sampler = meter.resume(), Sampler(given.n, None if self.beta == 1 else chances)
        if state is None:
            if given.start.any() and not meter.live(given.n):
                return given.zero()
            slopes, v = dual_start(given)
            image = np.column_stack([v, np.zeros(given.d)])
            state = {"epoch": 0, "m": facts[:, ROOT] * slopes, "D": np.zeros(given.n), "image": image}
        facts[:, M], facts[:, D], image = state.pop("m"), state.pop("D"), state.pop("image").copy()
        del chances
        x, loop = image[:, 0] + law.y * image[:, 1], _dual_sparse if given.sparse else _dual_dense
        while meter.live(1):
            order = sampler.draw(streams.rng(state["epoch"]), given.components(given.n))
            for rows, labels, at, ids in given.visits(order):
                loop(given.loss, rows, labels, at, ids, facts, image, tuple(law), given.l2 * given.n)
            order = ids = at = None  # before the next are drawn
            x = image[:, 0] + law.y * image[:, 1]
            meter.offer(x)
            state["epoch"] += 1
            meter.save(lambda: state | {"m": facts[:, M].copy(), "D": facts[:, D].copy(), "image": image})
        return x

    def _primal(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        x = given.zero()
        if not meter.live(2 * given.n):
            return x
        rows = given.rows
        table = csc_matrix(csr_matrix(rows, shape=(given.n, given.d)) if given.sparse else rows)
        columns, weights = (table.data, table.indices, table.indptr), given.weights / given.n
        facts = np.zeros((given.d, 8))
        state = meter.resume()
        if state is None:
            image = np.zeros((given.n, 2))
            if x.any():
                given.components(given.n)
                image[:, 0] = table @ x
            smooth = given.diagonal(weights * given.loss.bounds[1])
            state = {"epoch": 0, "m": x, "D": np.zeros(given.d), "image": image, "smooth": smooth}
        facts[:, M], facts[:, D], facts[:, SMOOTH], image = (
            *(state[k] for k in ("m", "D", "smooth")),
            state["image"].copy(),
        )
        law, chances, bends = momentum(facts[:, SMOOTH], given.l2, self.beta)
        facts[:, STIFF] = chances / law.tau * bends
        facts[:, TILT] = 0.0 if given.linear is None else given.linear
        sampler, lengths = Sampler(given.d, None if self.beta == 1 else chances), np.diff(table.indptr)
        x = facts[:, M] + law.y * facts[:, D]
        while meter.live(1):
            order = sampler.draw(streams.rng(state["epoch"]), given.d)
            work = np.cumsum(lengths[order]) * (given.n / max(table.nnz, 1))  # in gradients
            order = order[: np.searchsorted(work, given.components(max(1, int(np.ceil(work[-1])))), "right")]
            data = (*columns, given.labels, weights)
            _primal_loop(given.loss, given.penalty, data, order, facts, image, tuple(law), given.l2)
            x = facts[:, M] + law.y * facts[:, D]
            meter.offer(x)
            state["epoch"] += 1
            meter.save(lambda: state | {"m": facts[:, M].copy(), "D": facts[:, D].copy(), "image": image})
        return x


M, D, SMOOTH, STIFF, ROOT, BEND = range(6)  # of a coordinate's row, a line of cache: m, D, Lᵢ, A; √wᵢ, σᵢ
TILT = ROOT  # of one of x: cⱼ
LEAST = 1e-100  # of λᵏ, before D is scaled down


@njit(cache=True, nogil=True, inline="always")
def _turn(facts, i, moved, law, scale):  # pragma: no cover  (compiled)
    """What z's own step, from its contracted place to `moved` further, adds to m and to D."""
    tau, _, far, _, decay = law
    back = moved * facts[i, STIFF] / facts[i, SMOOTH]  # of y
    both, apart = far * ((1 - tau) * back + moved), (back - moved) / (scale * decay)
    facts[i, M] += both
    facts[i, D] += apart
    return both, apart


@njit(cache=True, nogil=True, inline="always")
def _ahead(facts, i, law, scale):  # pragma: no cover  (compiled)
    """x, and z contracted."""
    tau, near, _, behind, _ = law
    x = facts[i, M] + near * scale * facts[i, D]
    return x, (1 - tau) * (facts[i, M] + behind * scale * facts[i, D]) + tau * x


@njit(cache=True, nogil=True)
def _scale(facts, image, scale):  # pragma: no cover  (compiled)
    for i in range(len(facts)):
        facts[i, D] *= scale
    for j in range(len(image)):
        image[j, 1] *= scale


@njit(cache=True, nogil=True, inline="always")
def _best(loss, label, facts, i, u, law, scale):  # pragma: no cover  (compiled)
    """How far z moves beyond its contracted place: a proximal step of φ* − (σᵢ/2) (·)², with g of the rest."""
    x, z = _ahead(facts, i, law, scale)
    root, bend = facts[i, ROOT], facts[i, BEND]
    rest = max(facts[i, STIFF] - bend, 1e-12 * bend)  # p ≥ τ, so that only rounding makes it less
    return root * settle(loss, u + bend * (z - x) / root, z / root, rest, label) - z


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dual_sparse(loss, rows, labels, at, ids, facts, image, law, ridge):  # pragma: no cover  (compiled)
    entries, columns, starts = rows
    scale, near, decay = 1.0, law[1], law[4]
    for t in range(len(ids)):
        fetch(rows, labels, facts, ids, t)
        i, u, w = ids[t], 0.0, 0.0
        first, last = starts[i], starts[i + 1]
        if facts[i, ROOT] > 0:
            for k in range(first, last):
                u += entries[k] * image[columns[k], 0]
                w += entries[k] * image[columns[k], 1]
            moved = _best(loss, labels[i], facts, i, u + near * scale * w, law, scale)
            both, apart = _turn(facts, i, moved, law, scale)
            both, apart = -facts[i, ROOT] / ridge * both, -facts[i, ROOT] / ridge * apart
            for k in range(first, last):
                image[columns[k], 0] += both * entries[k]
                image[columns[k], 1] += apart * entries[k]
        scale *= decay
        if scale < LEAST:
            _scale(facts, image, scale)
            scale = 1.0
    _scale(facts, image, scale)


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dual_dense(loss, rows, labels, at, ids, facts, image, law, ridge):  # pragma: no cover  (compiled)
    scale, near, decay = 1.0, law[1], law[4]
    for t in range(len(ids)):
        i, row, u, w = ids[t], rows[at[t]], 0.0, 0.0
        if facts[i, ROOT] > 0:
            for j in range(len(row)):
                u += row[j] * image[j, 0]
                w += row[j] * image[j, 1]
            moved = _best(loss, labels[i], facts, i, u + near * scale * w, law, scale)
            both, apart = _turn(facts, i, moved, law, scale)
            both, apart = -facts[i, ROOT] / ridge * both, -facts[i, ROOT] / ridge * apart
            for j in range(len(row)):
                image[j, 0] += both * row[j]
                image[j, 1] += apart * row[j]
        scale *= decay
        if scale < LEAST:
            _scale(facts, image, scale)
            scale = 1.0
    _scale(facts, image, scale)


@njit(cache=True, nogil=True, fastmath=QUICK)
def _primal_loop(loss, penalty, data, order, facts, image, law, l2):  # pragma: no cover  (compiled)
    entries, owners, starts, labels, weights = data
    scale, near, decay = 1.0, law[1], law[4]
    for j in order:
        g = 0.0
        for k in range(starts[j], starts[j + 1]):
            i = owners[k]
            g += entries[k] * weights[i] * slope(loss, image[i, 0] + near * scale * image[i, 1], labels[i])
        x, z = _ahead(facts, j, law, scale)
        stiff = facts[j, STIFF]
        moved = shrink(penalty, z - (g + l2 * x + facts[j, TILT]) / stiff, 1 / stiff) - z
        both, apart = _turn(facts, j, moved, law, scale)
        for k in range(starts[j], starts[j + 1]):
            image[owners[k], 0] += entries[k] * both
            image[owners[k], 1] += entries[k] * apart
        scale *= decay
        if scale < LEAST:
            _scale(facts, image, scale)
            scale = 1.0
    _scale(facts, image, scale)
