"""Logistic: regularised logistic regression, whose optimum is known to the last digit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from airtrack.core.answers import array
from airtrack.core.given import FiniteSum, Floats
from airtrack.core.part import SpecError, part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams

FLOOR = 1e-16  # readings below it are rounding errors
NEWTON_STEPS = 100


@part("task")
class Logistic:
    """Minimise F(x) = (1/n) Σ log(1 + exp(−bᵢ⟨aᵢ, x⟩)) + (σ/2) ‖x‖², rows of length one, labels ±1.

              a₁ = (.81, −.52, .27)  b₁ = +1      σ = L/κ
              a₂ = (.93, .31, −.20)  b₂ = −1      x* = what Newton's method finds
              a₃ = …                              gap(x) = (F(x) − F*) / (F(0) − F*)

    data    "synthetic": Gaussian rows, column j scaled by j^−decay, labels drawn from a logistic model;
            "breast_cancer" (569 × 30), "digits" (1797 × 61, odd or even): scikit-learn's bundled data, columns
            standardised, the same for every seed
    n, d    components and dimensions of synthetic data; 2000 and 50 if None
    kappa   κ = L/σ, the condition number, L = 1/4 being the smoothness of a component; solvers part ways at κ ≫ n;
            None: no regulariser, σ = 0 (synthetic data, which no hyperplane may part)
    decay   of the synthetic columns; with 0 the data are well-conditioned by themselves and κ hardly matters
    margin  length of the vector that draws synthetic labels, in standard deviations of ⟨a, x⟩

    The unit of work is the gradient of one component, so n of them are a pass; a natural budget is 10 n … 1000 n.

    >>> from airtrack.core.streams import Streams
    >>> given, judge = Logistic(n=100, d=5, kappa=1e4).pose(Streams(0))
    >>> given.n, given.d, given.l2
    (100, 5, 2.5e-05)
    >>> judge(np.zeros(5))["gap"], judge(judge.truth["optimum"])["gap"]
    (1.0, 1e-16)
    """

    data: Literal["synthetic", "breast_cancer", "digits"] = "synthetic"
    n: Annotated[int, Ge(2)] | None = None
    d: Annotated[int, Ge(1)] | None = None
    kappa: Annotated[float, Ge(1)] | None = 200_000.0
    decay: Annotated[float, Ge(0)] = 2.0
    margin: Annotated[float, Ge(0)] = 3.0

    unit: ClassVar[str] = "gradients"
    gives: ClassVar[type] = FiniteSum
    metrics: ClassVar[Mapping[str, Metric]] = {
        "gap": Metric("low", (FLOOR, 1.0), "log"),  # (F(x) − F*) / (F(0) − F*)
        "distance": Metric("low", (FLOOR, 1.0), "log"),  # ‖x − x*‖ / ‖x*‖
    }
    example: ClassVar[dict[str, Any]] = {"n": 40, "d": 4, "kappa": 400.0}

    def check(self) -> None:
        if not np.isfinite([self.kappa or 1, self.decay, self.margin]).all():
            raise ValueError(
                f"kappa, decay, margin: {self.kappa}, {self.decay}, {self.margin} are to be finite numbers"
            )
        if self.kappa is None and self.data != "synthetic":
            raise ValueError(f"kappa: without a regulariser {self.data} may have no optimum; give kappa a number")
        if self.data != "synthetic" and (self.n is not None or self.d is not None):
            raise ValueError(f"n, d: {self.data} has its own size; leave them out, or take data: synthetic")

    def pose(self, streams: Streams) -> Problem:
        rows, labels = self._draw(streams / "data") if self.data == "synthetic" else bundled(self.data)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        l2 = 0.25 / self.kappa if self.kappa else 0.0
        best = optimum(rows, labels, l2)
        if l2 == 0 and (labels * (rows @ best) > 0).all():
            raise SpecError(f"a hyperplane parts these {len(rows)} labels: no optimum without kappa; take more rows")
        scale = excess(np.zeros_like(best), best, rows, labels, l2)

        def score(answer: Any) -> dict[str, float]:
            x = array(answer, best.shape)
            with np.errstate(over="ignore", invalid="ignore"):  # 1e300 is an answer too
                gap = excess(x, best, rows, labels, l2) / scale
                return {"gap": gap, "distance": float(np.linalg.norm(x - best) / np.linalg.norm(best))}

        given = FiniteSum(rows, labels, l2=l2)
        return Problem(given, Judge(score, self.metrics, truth={"optimum": best}))

    def _draw(self, streams: Streams) -> tuple[Floats, Floats]:
        rng = streams.rng()
        n, d = self.n or 2000, self.d or 50
        rows = rng.standard_normal((n, d)) * np.arange(1.0, d + 1) ** -self.decay
        hidden = rows @ rng.standard_normal(d)
        chance = 1 / (1 + np.exp(-self.margin * hidden / hidden.std()))
        return rows, np.where(rng.random(n) < chance, 1.0, -1.0)


def bundled(name: str) -> tuple[Floats, Floats]:
    """Standardised rows [n, d] and labels ±1 [n] of one of scikit-learn's data sets; needs no network."""
    try:
        from sklearn import datasets
    except ImportError:
        raise SpecError(f"{name} comes with scikit-learn, which is missing; pip install scikit-learn", "data") from None
    if name == "digits":
        rows, digits = datasets.load_digits(return_X_y=True)
        labels = digits % 2
    else:
        rows, labels = datasets.load_breast_cancer(return_X_y=True)
    rows = rows[:, rows.std(0) > 0]  # three pixels of the digits are always white
    return (rows - rows.mean(0)) / rows.std(0), np.where(labels > 0, 1.0, -1.0)


def optimum(rows: Floats, labels: Floats, l2: float) -> Floats:
    """The minimiser x* [d], by Newton's method with step halving, until the gradient is rounding error."""
    n, d = rows.shape
    signed = rows * labels[:, None]  # [n, d]

    def value(x: Floats) -> float:
        return np.logaddexp(0, -signed @ x).mean() + l2 / 2 * (x @ x)

    x, best, least = np.zeros(d), np.zeros(d), np.inf
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(np.clip(signed @ x, -700, 700)))  # probability of the wrong label
        gradient = l2 * x - signed.T @ p / n
        norm = float(np.linalg.norm(gradient))
        if norm < least:
            best, least = x, norm
        elif least < 1e-12:  # no better any more: x is as good as float64 can tell
            return best
        step = np.linalg.solve((signed * (p * (1 - p))[:, None]).T @ signed / n + l2 * np.eye(d), gradient)
        while norm > 1e-9 and value(x - step) > value(x) - 1e-4 * (gradient @ step):  # Armijo
            step = step / 2
        x = x - step
    return best


def excess(x: Floats, best: Floats, rows: Floats, labels: Floats, l2: float) -> float:
    """F(x) − F*, as the Bregman divergence of F from x*, which loses no digits where the plain difference would."""
    at, move = labels * (rows @ best), labels * (rows @ (x - best))
    p = 1 / (1 + np.exp(at))
    plain = np.logaddexp(0, -at - move) - np.logaddexp(0, -at)
    near = np.log1p(p * np.expm1(-np.clip(move, -1, 1)))
    component = np.where(np.abs(move) < 1, near, plain) + p * move
    return float(component.mean() + l2 / 2 * ((x - best) @ (x - best)))
