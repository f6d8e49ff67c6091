"""KernelSvm: a support vector machine with a kernel, whose optimum is known to rounding error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from airtrack.core.answers import array
from airtrack.core.given import Floats, Kernel
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.convex.margins import dual_optimum, excess
from airtrack.tasks.logistic import bundled

FLOOR = 1e-13  # F is a mean of n terms of size one, over a matrix with a square root of its own
RANK = 1e-14  # of the largest: eigenvalues of the kernel matrix that count


@part("task")
class KernelSvm:
    """Minimise F(w) = (1/n) Σ max(0, 1 − bᵢ⟨w, φ(aᵢ)⟩) + (l2/2) ‖w‖² over w = Σ αᵢ bᵢ φ(aᵢ); the answer is α [n].

            x x x              "moons": two half circles, noise on both
          x   o   x   o        K(a, a') = exp(−γ ‖a − a'‖²) = ⟨φ(a), φ(a')⟩
         x   o     x   o       gap(α) = (F(w) − F*) / (F(0) − F*)
                o o o

    data    "moons", drawn; "breast_cancer" (569 × 30), scikit-learn's bundled data, the same for every seed
    n       points of "moons"; 400 if None
    noise   of "moons", standard deviation
    kernel, gamma  as in `Kernel`; γ = 1/d if None
    l2      strength of the regulariser, λ

    F* is the dual optimum of an interior point method, from the eigenvalues of the kernel matrix, and is certified by
    its duality gap. The unit of work is a row of that matrix.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = KernelSvm(n=50).pose(Streams(0))
    >>> given.n, judge(np.zeros(50))["gap"], judge(judge.truth["optimum"])["gap"] < 1e-12
    (50, 1.0, True)
    """

    data: Literal["moons", "breast_cancer"] = "moons"
    n: Annotated[int, Ge(4), Le(2000)] | None = None
    noise: Annotated[float, Ge(0)] = 0.2
    kernel: Literal["rbf", "linear", "polynomial"] = "rbf"
    gamma: Annotated[float, Gt(0)] | None = None
    l2: Annotated[float, Gt(0)] = 1e-2

    unit: ClassVar[str] = "rows"
    gives: ClassVar[type] = Kernel
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gap": Metric("low", (FLOOR, 1.0), "log"),  # (F(w) − F*) / (F(0) − F*)
        "distance": Metric("low", (FLOOR, 1.0), "log"),  # ‖w − w*‖ / ‖w*‖
    }
    example: ClassVar[dict[str, Any]] = {"n": 30}

    def check(self) -> None:
        if self.data != "moons" and self.n is not None:
            raise ValueError(f"n: {self.data} has its own size; leave it out, or take data: moons")

    def pose(self, streams: Streams) -> Problem:
        points, labels = self._moons(streams / "data") if self.data == "moons" else bundled(self.data)
        given = Kernel(points, labels, l2=self.l2, kernel=self.kernel, gamma=self.gamma)
        everyone = np.arange(len(points))
        values, vectors = np.linalg.eigh(given.rows(everyone, everyone))
        given.counts.clear()  # that was for the judge
        kept = values > RANK * values[-1]
        signed = labels[:, None] * vectors[:, kept] * np.sqrt(values[kept])  # [n, p], bᵢ φ(aᵢ) in coordinates
        alpha, _ = dual_optimum(signed, self.l2)
        best, above = excess(signed, alpha, self.l2)
        scale = above(np.zeros_like(best))

        def score(answer: Any) -> dict[str, float]:
            with np.errstate(over="ignore", invalid="ignore"):
                x = signed.T @ array(answer, alpha.shape)
                distance = float(np.linalg.norm(x - best) / np.linalg.norm(best))
                return {"gap": above(x) / scale, "distance": distance}

        truth = {"optimum": alpha / (len(alpha) * self.l2)}
        return Problem(given, Judge(score, self.metrics, truth=truth))

    def _moons(self, streams: Streams) -> tuple[Floats, Floats]:
        rng, n = streams.rng(), self.n or 400
        angle, labels = np.pi * rng.random(n), np.where(np.arange(n) % 2, 1.0, -1.0)
        upper = np.stack([np.cos(angle), np.sin(angle)], 1)
        lower = np.array([1.0, 0.5]) - upper
        return np.where(labels[:, None] > 0, upper, lower) + self.noise * rng.standard_normal((n, 2)), labels
