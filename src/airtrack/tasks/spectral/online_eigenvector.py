"""OnlineEigenvector: play a direction, then see what it gained; regret against the best fixed one is exact."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from airtrack.core.given import Floats, Rounds
from airtrack.core.meter import State
from airtrack.core.part import part
from airtrack.core.problem import Judge, Junk, Metric, Problem
from airtrack.core.streams import Streams

BLOCK = 256  # rounds that are drawn together
FLOOR = 1e-9


@part("task")
class OnlineEigenvector:
    """In every round play a direction v, then see a vector x of length one or less and gain ⟨v, x⟩².

        stochastic   x = z / ‖z‖, z ~ N(0, U diag(λ) Uᵀ),  λ = 1, (1 − gap) j^−decay for j = 1 … d − 1
        alternating  x = u₂ / √2, u₁, u₂, u₁, u₂, …   orthogonal: the best direction so far gains nothing in any round

    An action is a vector [d] of any length, or a matrix F [d, m]: then v is column j of F, scaled to length one, with
    probability ‖F_j‖² / ‖F‖²_F, and the gain is its expectation ‖Fᵀx‖² / ‖F‖²_F, so that no luck is in the regret. A
    matrix of d columns can stand for any density matrix W = F Fᵀ.

    decay   of the eigenvalues that are not the largest

    regret  (λ_max(Σ x xᵀ) − Σ gains) / rounds, which is λ_max if nothing was gained, and no less than 10⁻⁹
    growth  log₂ of regret so far over regret at half the rounds: 1 is linear, what learns is below
    lag     1 − (what the answer, a matrix or vector as above, would have gained in all rounds so far) / λ_max(Σ x xᵀ)

    >>> from airtrack.core.streams import Streams
    >>> given, judge = OnlineEigenvector(d=4, stream="alternating").pose(Streams(0))
    >>> x = given.play([1.0, 0.0, 0.0, 0.0])
    >>> for _ in range(9):
    ...     x = given.play(x)
    >>> judge(x)["regret"] >= 0.4
    True
    """

    d: Annotated[int, Ge(2)] = 40
    stream: Literal["stochastic", "alternating"] = "stochastic"
    gap: Annotated[float, Gt(0), Le(1)] = 0.5
    decay: Annotated[float, Ge(0)] = 1.0

    unit: ClassVar[str] = "rounds"
    gives: ClassVar[type] = Rounds
    metrics: ClassVar[Mapping[str, Metric]] = {
        "regret": Metric("low", (FLOOR, 1.0), "log"),
        "growth": Metric("low", (0.0, 2.0)),
        "lag": Metric("low", (FLOOR, 1.0), "log"),
    }
    example: ClassVar[dict[str, Any]] = {"d": 6}

    @property
    def spectrum(self) -> Floats:
        """Eigenvalues [d] of the covariance of z, or of the mean of x xᵀ in the long run."""
        if self.stream == "alternating":
            return np.where(np.arange(self.d) < 2, 0.5, 0.0)
        return np.append(1.0, (1 - self.gap) * np.arange(1.0, self.d) ** -self.decay)

    def pose(self, streams: Streams) -> Problem:
        basis, triangle = np.linalg.qr((streams / "basis").rng().standard_normal((self.d, self.d)))
        basis = basis * np.sign(np.diag(triangle))  # uniform among orthogonal matrices
        block = _directions(self, basis, streams / "samples")
        log = Gains(self.d)

        def score(answer: Any) -> dict[str, float]:
            try:
                action = factor(answer, self.d)
            except ValueError as error:
                raise Junk(str(error)) from None
            gains = log.gains
            if not gains:
                return {}
            seen = np.concatenate([block(i) for i in range((len(gains) - 1) // BLOCK + 1)])[: len(gains)]
            half = len(gains) // 2
            total, best = regret(seen, gains)
            scores = {"regret": total / len(gains), "lag": 1 - float(((seen @ action) ** 2).sum()) / best}
            if half:
                before, _ = regret(seen[:half], gains[:half])
                scores["growth"] = np.log2(total / before) if min(total, before) > 0 else 2.0 if total > 0 else 0.0
            return scores

        given = Rounds(d=self.d, reveal=lambda t: block(t // BLOCK)[t % BLOCK], log=log)
        return Problem(given, Judge(score, self.metrics, truth={"spectrum": self.spectrum}))


def _directions(task: OnlineEigenvector, basis: Floats, streams: Streams) -> Any:
    """Block number → its x [BLOCK, d]."""
    root = basis * np.sqrt(task.spectrum) @ basis.T  # the symmetric one: the learner's side holds no U
    pair = basis[:, :2].T.copy() if task.stream == "alternating" else None
    d = task.d

    @lru_cache(maxsize=64)
    def block(i: int) -> Floats:
        if pair is not None:
            made = pair[np.arange(i * BLOCK + 1, (i + 1) * BLOCK + 1) % 2]
            made[0] *= 0.5**0.5 if i == 0 else 1.0  # the head start that leaves no ties
        else:
            made = streams.rng(i).standard_normal((BLOCK, d)) @ root
            made /= np.linalg.norm(made, axis=1, keepdims=True)
        made.flags.writeable = False
        return made

    return block


class Gains:
    """What each round gained."""

    def __init__(self, d: int) -> None:
        self._d = d
        self.gains: list[float] = []

    def note(self, action: Any, revealed: Floats) -> None:
        shares = revealed @ factor(action, self._d)
        self.gains.append(float(shares @ shares))

    def state(self) -> State:
        return {"gains": np.array(self.gains, np.float64)}

    def restore(self, state: State) -> None:
        self.gains = state["gains"].tolist()


def factor(action: Any, d: int) -> Floats:
    """An action as F [d, m] with ‖F‖_F = 1; raises `ValueError` for what is none."""
    try:
        f = np.asarray(action, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"an action is numbers, [{d}] or [{d}, m], not a {type(action).__name__}") from None
    if f.ndim not in (1, 2) or len(f) != d or not np.isfinite(f).all() or not f.any():
        what = f"of the shape {f.shape}" if f.shape[:1] != (d,) or f.ndim > 2 else "zero or not finite"
        raise ValueError(f"an action is finite numbers [{d}] or [{d}, m], not all zero; this one is {what}")
    f = f.reshape(d, -1) / np.abs(f).max()  # first, so that 1e300 has a finite norm
    return f / np.linalg.norm(f)


def regret(seen: Floats, gains: list[float]) -> tuple[float, float]:
    """λ_max(Σ x xᵀ) − Σ gains over the rounds of `seen` [T, d], and that λ_max."""
    best = float(np.linalg.norm(seen, 2) ** 2)
    return best - float(np.sum(gains)), best
