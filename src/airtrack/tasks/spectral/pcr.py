"""Pcr: least squares on the leading principal components only, without computing any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from airtrack.core.answers import array
from airtrack.core.given import Floats, Regression
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams

FLOOR = 1e-13  # what the condition of AᵀA leaves of float64, and some


@part("task")
class Pcr:
    """Principal component regression: x* = Σ_{λⱼ ≥ 1} vⱼ vⱼᵀ Aᵀb / λⱼ, where AᵀA = Σ λⱼ vⱼ vⱼᵀ.

        λ  spread ┤ ■
                  │   ■ ■ ■                       ■ kept
           1 + γ  ┤         ■ ■
               1  ┤- - - - - - - - - - -          the threshold
           1 − γ  ┤             □ □               □ left out
        1/spread  ┤                 □ □ □

    n, d     rows and columns of A
    kept     eigenvalues above the threshold; geometric from spread to 1 + γ, the others from 1 − γ to 1/spread
    gap      γ: no eigenvalue is nearer to the threshold, relative to it
    noise    of the targets b = A x₀ + noise · N(0, 1), with x₀ Gaussian
    accuracy of a ridge call, see `Regression`; 0 is exact

    error       ‖x − x*‖ / ‖x*‖
    projection  ‖AᵀA x − P Aᵀb‖ / ‖P Aᵀb‖, with P on the kept eigenvectors: how well x splits the spectrum

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Pcr(n=30, d=10, kept=4).pose(Streams(0))
    >>> given.threshold, judge(judge.truth["coefficients"])["error"]
    (1.0, 1e-13)
    >>> judge(given.ridge(given.correlation()))["error"] > 0.1
    True
    """

    n: Annotated[int, Ge(2)] = 200
    d: Annotated[int, Ge(2)] = 80
    kept: Annotated[int, Ge(1)] = 20
    gap: Annotated[float, Gt(0), Lt(1)] = 0.1
    spread: Annotated[float, Ge(2)] = 10.0
    noise: Annotated[float, Ge(0)] = 1.0
    accuracy: Annotated[float, Ge(0), Lt(1)] = 0.0

    unit: ClassVar[str] = "ridge calls"
    gives: ClassVar[type] = Regression
    metrics: ClassVar[Mapping[str, Metric]] = {
        "error": Metric("low", (FLOOR, 1.0), "log"),
        "projection": Metric("low", (FLOOR, 1.0), "log"),
    }
    example: ClassVar[dict[str, Any]] = {"n": 20, "d": 8, "kept": 3}

    def check(self) -> None:
        if self.n < self.d:
            raise ValueError(f"n: {self.n} rows give AᵀA no {self.d} positive eigenvalues; take n ≥ d")
        if self.kept >= self.d:
            raise ValueError(f"kept: {self.kept} of d = {self.d} leaves nothing out; take kept < d")
        if 1 + self.gap > self.spread or 1 - self.gap < 1 / self.spread:
            raise ValueError(f"gap: eigenvalues end at {self.spread:g} and {1 / self.spread:g}; take more spread")

    @property
    def eigenvalues(self) -> Floats:
        """λ [d] of AᵀA, in descending order."""
        above = np.geomspace(self.spread, 1 + self.gap, self.kept) if self.kept > 1 else np.array([1 + self.gap])
        rest = self.d - self.kept
        below = np.geomspace(1 - self.gap, 1 / self.spread, rest) if rest > 1 else np.array([1 - self.gap])
        return np.concatenate([above, below])

    def pose(self, streams: Streams) -> Problem:
        rng, values = (streams / "data").rng(), self.eigenvalues
        left, right = (np.linalg.qr(rng.standard_normal((size, self.d)))[0] for size in (self.n, self.d))
        rows = left * np.sqrt(values) @ right.T
        targets = rows @ rng.standard_normal(self.d) + self.noise * rng.standard_normal(self.n)
        kept, above = right[:, : self.kept], values[: self.kept]
        projected = kept @ (kept.T @ (rows.T @ targets))
        best = kept @ ((kept.T @ projected) / above)

        def score(answer: Any) -> dict[str, float]:
            x = array(answer, best.shape)
            with np.errstate(over="ignore", invalid="ignore"):  # 1e300 is an answer too
                missed = rows.T @ (rows @ x) - projected
                return {
                    "error": float(np.linalg.norm(x - best) / np.linalg.norm(best)),
                    "projection": float(np.linalg.norm(missed) / np.linalg.norm(projected)),
                }

        given = Regression(rows, targets, threshold=1.0, accuracy=self.accuracy)
        return Problem(given, Judge(score, self.metrics, truth={"coefficients": best}))
