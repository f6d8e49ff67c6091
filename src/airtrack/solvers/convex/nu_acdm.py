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
from airtrack.solvers.compiled import QUICK, each, fetch, settle, shrink, slope
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
    total: float  # S
    most: float  # max Lᵢ
    convexity: float  # in the direction of its coordinate
    beta: float


def momentum(smooth: Floats, convexity: float, beta: float) -> tuple[Momentum, Floats]:
    """The law for coordinates of these Lᵢ [m] and strong convexity σ in ‖·‖₂; Lᵢ^((1 − β)/2), to which chances are
    proportional [m]."""
    sizes, most = smooth ** ((1 - beta) / 2), float(smooth.max())
    total = float(sizes.sum())
    tau = 2 / (1 + np.sqrt(4 * total**2 * most**beta / convexity + 1))
    far = (1 - tau) / (2 - tau)
    law = Momentum(tau, (1 - tau) * far, 1 / (2 - tau), -far, (1 - tau) ** 2, total, most, convexity, beta)
    return law, sizes


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

    version: ClassVar[int] = 2
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
        convexity, smooth = 1 / given.loss.bounds[1], given.squares
        smooth *= given.factors / (given.l2 * given.n)
        smooth += convexity
        law, smooth = momentum(smooth, convexity, self.beta)  # [n] once: Lᵢ is taken from the row when it is there
        state, sampler = meter.resume(), Sampler(given.n, None if self.beta == 1 else smooth)
        del smooth
        if state is None:
            if given.start.any() and not meter.live(given.n):
                return given.zero()
            places, image = np.zeros((given.n, 2)), np.zeros((given.d, 2))
            image[:, 0] = dual_start(given, places[:, M])
            places[:, M] *= np.sqrt(given.factors)
            state = {"epoch": 0, "places": places, "image": image}
        places, image = state["places"], state["image"]
        x, loop = _seen(image, law.y), _dual_sparse if given.sparse else _dual_dense
        while meter.live(1):
            scale = 1.0
            for order in sampler.chunks(streams.rng(state["epoch"]), given.components(given.n)):
                for rows, labels, at, ids in given.visits(order):
                    data = (rows, labels, given.factors, at, ids)
                    scale = loop(given.loss, data, places, image, law, given.l2 * given.n, scale)
            _scale(places, image, scale)
            x = _seen(image, law.y)
            meter.offer(x)
            state["epoch"] += 1
            meter.save(lambda: dict(state))
        return x

    def _primal(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        x = given.zero()
        if not meter.live(2 * given.n):
            return x
        rows = given.rows
        table = csc_matrix(csr_matrix(rows, shape=(given.n, given.d)) if given.sparse else rows)
        columns, weights = (table.data, table.indices, table.indptr), given.weights / given.n
        state = meter.resume()
        if state is None:
            places, image = np.zeros((given.d, 2)), np.zeros((given.n, 2))
            if x.any():
                given.components(given.n)
                places[:, M], image[:, 0] = x, table @ x
            smooth = given.diagonal(weights * given.loss.bounds[1])
            state = {"epoch": 0, "places": places, "image": image, "smooth": smooth}
        places, image, smooth = (state[k] for k in ("places", "image", "smooth"))
        law, sizes = momentum(smooth, given.l2, self.beta)
        tilt = np.zeros(given.d) if given.linear is None else given.linear
        sampler, lengths = Sampler(given.d, None if self.beta == 1 else sizes), np.diff(table.indptr)
        x = _seen(places, law.y)
        while meter.live(1):
            order = sampler.draw(streams.rng(state["epoch"]), given.d)
            work = np.cumsum(lengths[order]) * (given.n / max(table.nnz, 1))  # in gradients
            order = order[: np.searchsorted(work, given.components(max(1, int(np.ceil(work[-1])))), "right")]
            data = (*columns, given.labels, weights)
            _primal_loop(given.loss, given.penalty, data, order, places, image, smooth, tilt, law, given.l2)
            x = _seen(places, law.y)
            meter.offer(x)
            state["epoch"] += 1
            meter.save(lambda: dict(state))
        return x


def _seen(pairs: Floats, share: float) -> Floats:
    """The first of every pair [m, 2], and so much of the second."""
    x = share * pairs[:, 1]
    x += pairs[:, 0]
    return x


M, D = range(2)  # of a coordinate's place
LEAST = 1e-100  # of λᵏ, before D is scaled down


@njit(cache=True, nogil=True, inline="always")
def _stiff(smooth, law):  # pragma: no cover  (compiled)
    """σᵢ and A of a coordinate, σᵢ being σ Lᵢ^β in the norm Σ Lᵢ^β xᵢ² of which σ is."""
    if law.beta == 0:
        return law.convexity, np.sqrt(smooth) / (law.total * law.tau) * law.convexity
    bend = law.convexity * (smooth / law.most) ** law.beta
    return bend, smooth ** ((1 - law.beta) / 2) / (law.total * law.tau) * bend


@njit(cache=True, nogil=True, inline="always")
def _turn(places, i, moved, back, law, scale):  # pragma: no cover  (compiled)
    """What is added to m and to D where z's own step is `moved`, from its contracted place, and y's is `back`."""
    both, apart = law.y * ((1 - law.tau) * back + moved), (back - moved) / (scale * law.decay)
    places[i, M] += both
    places[i, D] += apart
    return both, apart


@njit(cache=True, nogil=True, inline="always")
def _ahead(places, i, law, scale):  # pragma: no cover  (compiled)
    """x, and z contracted."""
    x = places[i, M] + law.near * scale * places[i, D]
    return x, (1 - law.tau) * (places[i, M] + law.z * scale * places[i, D]) + law.tau * x


@njit(cache=True, nogil=True)
def _scale(places, image, scale):  # pragma: no cover  (compiled)
    for i in range(len(places)):
        places[i, D] *= scale
    for j in range(len(image)):
        image[j, 1] *= scale


@njit(cache=True, nogil=True, inline="always")
def _move(loss, label, places, i, u, smooth, root, law, scale):  # pragma: no cover  (compiled)
    """Moves a slope's coordinate, z by a proximal step of φ* − (σᵢ/2) (·)², with g of the rest; u = ⟨aᵢ, primal(x)⟩."""
    x, z = _ahead(places, i, law, scale)
    bend, stiff = _stiff(smooth, law)
    rest = max(stiff - bend, 1e-12 * bend)  # p ≥ τ, so that only rounding makes it less
    moved = root * settle(loss, u + bend * (z - x) / root, z / root, rest, label) - z
    return _turn(places, i, moved, moved * stiff / smooth, law, scale)


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dual_sparse(loss, data, places, image, law, ridge, scale):  # pragma: no cover  (compiled)
    (entries, columns, starts), labels, weights, _, ids = data
    for t in range(len(ids)):
        fetch(data[0], labels, weights, places, ids, t)
        i, u, w, square = ids[t], 0.0, 0.0, 0.0
        first, last, weight = starts[i], starts[i + 1], each(weights, i)
        if weight > 0:
            for k in range(first, last):
                u += entries[k] * image[columns[k], 0]
                w += entries[k] * image[columns[k], 1]
                square += entries[k] * entries[k]
            smooth, root = law.convexity + weight * square / ridge, np.sqrt(weight)
            both, apart = _move(loss, labels[i], places, i, u + law.near * scale * w, smooth, root, law, scale)
            both, apart = -root / ridge * both, -root / ridge * apart
            for k in range(first, last):
                image[columns[k], 0] += both * entries[k]
                image[columns[k], 1] += apart * entries[k]
        scale *= law.decay
        if scale < LEAST:
            _scale(places, image, scale)
            scale = 1.0
    return scale


@njit(cache=True, nogil=True, fastmath=QUICK)
def _dual_dense(loss, data, places, image, law, ridge, scale):  # pragma: no cover  (compiled)
    rows, labels, weights, at, ids = data
    for t in range(len(ids)):
        i, row, u, w, square = ids[t], rows[at[t]], 0.0, 0.0, 0.0
        weight = each(weights, i)
        if weight > 0:
            for j in range(len(row)):
                u += row[j] * image[j, 0]
                w += row[j] * image[j, 1]
                square += row[j] * row[j]
            smooth, root = law.convexity + weight * square / ridge, np.sqrt(weight)
            both, apart = _move(loss, labels[i], places, i, u + law.near * scale * w, smooth, root, law, scale)
            both, apart = -root / ridge * both, -root / ridge * apart
            for j in range(len(row)):
                image[j, 0] += both * row[j]
                image[j, 1] += apart * row[j]
        scale *= law.decay
        if scale < LEAST:
            _scale(places, image, scale)
            scale = 1.0
    return scale


@njit(cache=True, nogil=True, fastmath=QUICK)
def _primal_loop(loss, penalty, data, order, places, image, smooth, tilt, law, l2):  # pragma: no cover  (compiled)
    entries, owners, starts, labels, weights = data
    scale = 1.0
    for j in order:
        g = 0.0
        for k in range(starts[j], starts[j + 1]):
            i = owners[k]
            g += entries[k] * weights[i] * slope(loss, image[i, 0] + law.near * scale * image[i, 1], labels[i])
        x, z = _ahead(places, j, law, scale)
        stiff = _stiff(smooth[j], law)[1]
        moved = shrink(penalty, z - (g + l2 * x + tilt[j]) / stiff, 1 / stiff) - z
        both, apart = _turn(places, j, moved, moved * stiff / smooth[j], law, scale)
        for k in range(starts[j], starts[j + 1]):
            image[owners[k], 0] += entries[k] * both
            image[owners[k], 1] += entries[k] * apart
        scale *= law.decay
        if scale < LEAST:
            _scale(places, image, scale)
            scale = 1.0
    _scale(places, image, scale)
