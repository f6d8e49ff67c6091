"""Saddle: a strict saddle point with all its valleys known, and a start beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

from airtrack.core.answers import array
from airtrack.core.given import FiniteSum, Floats
from airtrack.core.losses import Well
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams

FLOOR = 1e-16  # readings below it are rounding errors


@part("task")
class Saddle:
    """Leave the saddle point 0 of F(x) = (1/n) Σ φ(⟨aᵢ, x⟩, bᵢ) + (l2/2) ‖x‖², φ(u, b) = u⁴/4 − u²/2 − b u.

        F │ ╲       ___       ╱      along each of k directions: λ_min = −δ at 0, two valleys beside it
          │  ╲   ╱   0   ╲   ╱
          │   ╲_╱         ╲_╱        along the d − k others: a bowl, with eigenvalues .2 … 1 at 0

    Rows lie along the axes of a random rotation, `copies` to an axis, and have the lengths that give the spectrum
    (l2 = 1 + δ less the row's part). F is therefore a separable quartic in rotated coordinates: its 2ᵏ equal minima and
    its Hessian are known in closed form. Labels are ± pairs of Gaussian numbers, so that they cancel in F, and each
    component alone has a gradient at the saddle.

    d          dimensions
    copies     components to an axis, n = d · copies; even
    delta      δ, how strict the saddle is
    negatives  k, directions down
    noise      standard deviation of the labels, which is that of φ' at the saddle; with 0 SGD too stays there
    offset     distance of the start from the saddle, in a random direction

    gap        (F(x) − F*) / (F(0) − F*): 1 at the saddle, 0 in every valley
    distance   to the nearest minimum, relative to that between saddle and minimum
    gradient   ‖∇F(x)‖
    curvature  λ_min(∇²F(x)) / δ: −1 at the saddle, positive in a valley

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Saddle(offset=0.0).pose(Streams(0))
    >>> judge(given.start)
    {'gap': 1.0, 'distance': 1.0, 'gradient': 1e-16, 'curvature': -1.0}
    >>> {name: round(value, 6) for name, value in judge(judge.truth["minimum"]).items()}
    {'gap': 0.0, 'distance': 0.0, 'gradient': 0.0, 'curvature': 2.0}
    """

    d: Annotated[int, Ge(2)] = 20
    copies: Annotated[int, Ge(2)] = 20
    delta: Annotated[float, Gt(0), Le(0.1)] = 0.1
    negatives: Annotated[int, Ge(1)] = 1
    noise: Annotated[float, Ge(0)] = 0.1
    offset: Annotated[float, Ge(0)] = 1e-6

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = FiniteSum
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gap": Metric("low", (FLOOR, 1.0), "log"),
        "distance": Metric("low", (FLOOR, 1.0), "log"),
        "gradient": Metric("low", (FLOOR, 1e3), "log"),
        "curvature": Metric("high", (-1.0, 2.0)),
    }
    example: ClassVar[dict[str, Any]] = {"d": 4, "copies": 10, "offset": 0.01}

    def check(self) -> None:
        if self.copies % 2:
            raise ValueError(f"copies: {self.copies} is odd, and labels come in pairs; take {self.copies + 1}")
        if self.negatives >= self.d:
            raise ValueError(f"negatives: with {self.negatives} of {self.d} directions down 0 is no saddle; take fewer")

    @property
    def spectrum(self) -> Floats:
        """Eigenvalues [d] of the Hessian at the saddle."""
        return np.concatenate([np.full(self.negatives, -self.delta), np.linspace(0.2, 1, self.d - self.negatives)])

    def pose(self, streams: Streams) -> Problem:
        l2, loss = 1 + self.delta, Well()
        basis, triangle = np.linalg.qr((streams / "basis").rng().standard_normal((self.d, self.d)))
        basis = basis * np.sign(np.diag(triangle))  # columns are the axes
        lengths = np.sqrt(self.d * (l2 - self.spectrum))
        half = self.noise * (streams / "labels").rng().standard_normal((self.d, self.copies // 2))
        rows = np.repeat(basis.T * lengths[:, None], self.copies, 0)
        labels = np.concatenate([half, -half], 1).ravel()
        depth = self.delta / (1 + 2 * self.delta)  # u² in a valley: where l2 = (s²/d)(1 − u²)
        valley = np.where(self.spectrum < 0, np.sqrt(depth), 0.0) / lengths  # along the axes
        bottom = -self.negatives * self.delta**2 / (4 * self.d * (1 + 2 * self.delta) ** 2)

        def score(answer: Any) -> dict[str, float]:
            y = basis.T @ array(answer, (self.d,))
            with np.errstate(over="ignore", invalid="ignore"):  # 1e300 is an answer too
                u, quartic = lengths * y, lengths**4 / self.d / 4
                near = quartic * (y**2 - valley**2) ** 2 + np.maximum(self.spectrum, 0) / 2 * y**2
                far = loss.value(u, 0.0) / self.d + l2 / 2 * y**2 + quartic * valley**4
                slopes = lengths / self.d * loss.slope(u, 0.0) + l2 * y
                return {
                    "gap": float(np.where(np.abs(u) <= loss.reach, near, far).sum() / -bottom),
                    "distance": float(np.linalg.norm(np.abs(y) - valley) / np.linalg.norm(valley)),
                    "gradient": float(np.linalg.norm(slopes)),
                    "curvature": float((lengths**2 / self.d * loss.curve(u, 0.0) + l2).min() / self.delta),
                }

        way = (streams / "start").rng().standard_normal(self.d)
        start = self.offset * way / np.linalg.norm(way)
        given = FiniteSum(rows, labels, l2=l2, loss=loss, start=start)
        return Problem(given, Judge(score, self.metrics, truth={"minimum": basis @ valley}))
