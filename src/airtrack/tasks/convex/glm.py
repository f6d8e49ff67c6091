"""Glm: least squares and logistic regression on rows of chosen shape, the optimum known to rounding error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import LinearOperator, cg

from airtrack.core.answers import array
from airtrack.core.given import FiniteSum, Floats
from airtrack.core.losses import loss_of
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.logistic import FLOOR, excess

DENSE = 2000  # dimensions up to which the Hessian is factorised
ROUNDS = 60  # of Newton's method


@part("task")
class Glm:
    """Minimise F(x) = (1/n) Σ φ(⟨aᵢ, x⟩, bᵢ) + (σ/2) ‖x‖², σ = mean Lᵢ/κ, Lᵢ = ‖aᵢ‖² max φ''.

        spread 0         spread 2            clusters 3, radius 0.1
        |                |          |          ∴        ⁘
        |||||||||||      |. .|.  . .|.            ∷           lengths of rows; where the rows point
                                                gap(x) = (F(x) − F*) / (F(0) − F*)

    loss      "squared": b = ⟨a, x₀⟩ + noise · N(0, 1); "logistic": b = ±1 with the odds exp(⟨a, x₀⟩/noise); x₀ makes
              the ⟨a, x₀⟩ of rows of length one 1 in standard deviation, before `spread`
    n, d      components, dimensions
    kappa     κ = mean Lᵢ/σ; a problem is hard from κ ≫ n on
    nnz       entries drawn for a row of a sparse matrix, columns drawn with chances ~ j^−decay; None: dense rows,
              column j scaled by j^−decay
    decay     of the columns
    spread    h: rows are of the lengths exp(N(0, h²)), in random order; 0: all 1
    clusters  centres the rows are drawn about; 0: none. Dense rows only
    radius    of a cluster: the root of the mean squared distance of its rows from its centre, rows being of length one
    noise     of the labels

    The unit of work is the gradient of one component.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Glm(n=200, d=50, nnz=5, spread=1.0).pose(Streams(0))
    >>> given.sparse, round(given.smoothness.max() / given.smoothness.mean())
    (True, 22)
    >>> judge(np.zeros(50))["gap"], judge(judge.truth["optimum"])["gap"]
    (1.0, 1e-16)
    """

    loss: Literal["squared", "logistic"] = "squared"
    n: Annotated[int, Ge(2)] = 2000
    d: Annotated[int, Ge(1)] = 50
    kappa: Annotated[float, Ge(1)] = 20_000.0
    nnz: Annotated[int, Ge(1)] | None = None
    decay: Annotated[float, Ge(0)] = 0.0
    spread: Annotated[float, Ge(0)] = 0.0
    clusters: Annotated[int, Ge(0)] = 0
    radius: Annotated[float, Ge(0)] = 0.1
    noise: Annotated[float, Gt(0)] = 0.5

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = FiniteSum
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gap": Metric("low", (FLOOR, 1.0), "log"),  # (F(x) − F*) / (F(0) − F*)
        "distance": Metric("low", (FLOOR, 1.0), "log"),  # ‖x − x*‖ / ‖x*‖
    }
    example: ClassVar[dict[str, Any]] = {"n": 40, "d": 6, "kappa": 400.0, "spread": 0.5}

    def check(self) -> None:
        if self.nnz is not None and (self.clusters or self.nnz > self.d):
            raise ValueError(
                f"nnz: {self.nnz} entries a row is for rows without clusters, of at least as many dimensions"
            )

    def pose(self, streams: Streams) -> Problem:
        rng = (streams / "data").rng()
        rows: Any = self._dense(rng) if self.nnz is None else self._sparse(rng)
        lengths = np.exp(self.spread * rng.standard_normal(self.n)) / _lengths(rows)
        hidden = rows @ rng.standard_normal(self.d) / _lengths(rows)
        u = hidden / hidden.std() * lengths * _lengths(rows)
        rows = rows.multiply(lengths[:, None]).tocsr() if self.nnz else rows * lengths[:, None]
        if self.loss == "squared":
            labels = u + self.noise * rng.standard_normal(self.n)
        else:
            labels = np.where(rng.random(self.n) < 1 / (1 + np.exp(np.minimum(-u / self.noise, 500))), 1.0, -1.0)
        l2 = max(loss_of(self.loss).bounds) * float((_lengths(rows) ** 2).mean()) / self.kappa
        best = optimum(rows, labels, l2, self.loss)
        gap = _quadratic if self.loss == "squared" else excess
        scale = gap(np.zeros_like(best), best, rows, labels, l2)

        def score(answer: Any) -> dict[str, float]:
            x = array(answer, best.shape)
            with np.errstate(over="ignore", invalid="ignore"):
                far = float(np.linalg.norm(x - best) / np.linalg.norm(best))
                return {"gap": gap(x, best, rows, labels, l2) / scale, "distance": far}

        given = FiniteSum(rows, labels, l2=l2, loss=self.loss)
        return Problem(given, Judge(score, self.metrics, truth={"optimum": best}))

    def _dense(self, rng: np.random.Generator) -> Floats:
        rows = rng.standard_normal((self.n, self.d)) * np.arange(1.0, self.d + 1) ** -self.decay
        rows /= _lengths(rows)[:, None]
        if not self.clusters:
            return rows
        centres = rng.standard_normal((self.clusters, self.d)) * np.arange(1.0, self.d + 1) ** -self.decay
        return (centres / _lengths(centres)[:, None])[rng.integers(0, self.clusters, self.n)] + self.radius * rows

    def _sparse(self, rng: np.random.Generator) -> csr_matrix:
        assert self.nnz is not None
        chances = np.arange(1.0, self.d + 1) ** -self.decay
        columns = rng.choice(self.d, (self.n, self.nnz), p=chances / chances.sum())
        entries, starts = rng.standard_normal(columns.size), np.arange(0, columns.size + 1, self.nnz)
        rows = csr_matrix((entries, columns.ravel().astype(np.int32), starts), shape=(self.n, self.d))
        rows.sum_duplicates()
        return rows


def _lengths(rows: Any) -> Floats:
    squares = rows.multiply(rows).sum(1) if hasattr(rows, "indptr") else np.einsum("nd,nd->n", rows, rows)
    return np.sqrt(np.asarray(squares).ravel())


def optimum(rows: Any, labels: Floats, l2: float, loss: str) -> Floats:
    """The minimiser x* [d], by Newton's method with step halving, until the gradient is rounding error."""
    (n, d), law = rows.shape, loss_of(loss)
    x, best, least = np.zeros(d), np.zeros(d), np.inf
    for _ in range(ROUNDS):
        u = rows @ x
        g = rows.T @ law.slope(u, labels) / n + l2 * x
        norm = float(np.linalg.norm(g))
        if norm >= least / 2 and least < 1e-9 * np.linalg.norm(rows.T @ law.slope(0 * u, labels) / n):
            return best if norm >= least else x  # no better any more: x is as good as float64 can tell
        best, least = (x, norm) if norm < least else (best, least)
        move, t = _solve(rows, law.curve(u, labels) / n, l2, g), 1.0
        toward, here = rows @ move, law.value(u, labels).mean() + l2 / 2 * (x @ x)
        while t > 1e-10:  # Armijo, where differences of F are more than rounding
            there = law.value(u - t * toward, labels).mean() + l2 / 2 * float((x - t * move) @ (x - t * move))
            if there <= here - 1e-4 * t * (g @ move) or g @ move < 1e-10 * here:
                break
            t /= 2
        x = x - t * move
    return best


def _solve(rows: Any, curves: Floats, l2: float, g: Floats) -> Floats:
    """H⁻¹ g for H = Σ curvesᵢ aᵢ aᵢᵀ + l2."""
    d = rows.shape[1]
    if d <= DENSE:
        scaled = rows.multiply(np.sqrt(curves)[:, None]).tocsr() if hasattr(rows, "indptr") else rows
        gram = scaled.T @ scaled if hasattr(rows, "indptr") else (rows * curves[:, None]).T @ rows
        gram = gram.toarray() if hasattr(gram, "toarray") else gram
        return np.linalg.solve(gram + l2 * np.eye(d), g)
    squares = rows.multiply(rows) if hasattr(rows, "indptr") else rows * rows
    diagonal = np.asarray(squares.T @ curves).ravel() + l2
    hessian = LinearOperator((d, d), lambda v: rows.T @ (curves * (rows @ v)) + l2 * v, dtype=np.float64)  # type: ignore[call-arg]
    return cg(hessian, g, rtol=1e-10, maxiter=20_000, M=LinearOperator((d, d), lambda v: v / diagonal))[0]  # type: ignore[call-arg]


def _quadratic(x: Floats, best: Floats, rows: Any, labels: Floats, l2: float) -> float:
    move = x - best
    return float(((rows @ move) ** 2).mean() + l2 * (move @ move)) / 2
