"""Natasha 1.5: Natasha with a batch in place of the full gradient, so that no pass over the data is needed."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import part
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import QUICK, slope
from airtrack.solvers.nonconvex.landscape import batch, dip, refuse, sampled

LOOK = 1000  # components at most by whose gradients the variance V is measured


class Plan(NamedTuple):
    """An epoch: p sub-epochs of m steps of size α, by the gradient of a batch of B components.

    slack  L of the fence L max(0, ‖x − y‖ − radius)² around the point y where the epoch began
    """

    size: int  # B
    pieces: int  # p
    length: int  # m
    alpha: float
    sigma: float
    theory: bool
    radius: float = np.inf
    slack: float = 0.0


def epoch(given: FiniteSum, y: Floats, plan: Plan, streams: Streams, number: int) -> tuple[Floats, float]:
    """The last x̂ of an epoch that begins at y [d], and ‖∇f_B(y)‖, l2 included; charges B, and two gradients a step, or
    one where the batch is everything, whose slopes are kept."""
    rng = (streams / "indices").rng(number)
    whole = plan.size >= given.n
    ids = batch(given, rng, plan.size)[: given.components(min(plan.size, given.n))]
    lengths = rng.integers(1, plan.length + 1, plan.pieces) if plan.theory else np.full(plan.pieces, plan.length)
    order, price = rng.integers(0, given.n, int(lengths.sum())), 1 if whole else 2
    full, slopes = sampled(given, y, ids, order)
    with np.errstate(over="ignore", invalid="ignore"):  # a step that was too long is found by the caller
        norm = float(np.linalg.norm(full + given.ridge * y))
    try:
        paid = given.components(price * len(order)) // price
    except BudgetSpent:
        return y, norm
    x, done = y.copy(), 0
    for length in lengths:
        part_ = order[done : min(done + length, paid)]
        data = (given.rows, given.labels, part_, given.weights, slopes, full)
        _steps(given.loss, data, x, x.copy(), plan.alpha, given.l2, 2 * plan.sigma, y, plan.radius, plan.slack)
        done += length
    return x, norm


@njit(cache=True, nogil=True, fastmath=QUICK)
def _steps(loss, data, x, hat, alpha, l2, pull, y, radius, slack):  # pragma: no cover  (compiled)
    """x ← x − α (∇fᵢ(x) − ∇fᵢ(x̃) + μ + 2σ (x − x̂) + ∇ of the fence), in place; hat is x̂ [d]."""
    rows, labels, order, weights, slopes, full = data
    d = len(x)
    for i in order:
        u, away = 0.0, 0.0
        for j in range(d):
            u += rows[i, j] * x[j]
            away += (x[j] - y[j]) ** 2
        away = np.sqrt(away)
        back = 2 * slack * (away - radius) / away if away > radius else 0.0
        change = weights[i] * (slope(loss, u, labels[i]) - slopes[i])
        for j in range(d):
            g = full[j] + change * rows[i, j] + l2 * x[j]
            x[j] -= alpha * (g + pull * (x[j] - hat[j]) + back * (x[j] - y[j]))


def variance(given: FiniteSum, x: Floats, rng: np.random.Generator) -> float:
    """V = E‖∇fᵢ(x) − ∇F(x)‖², from at most a thousand components; charges them."""
    ids = batch(given, rng, LOOK)[: given.components(min(LOOK, given.n))]
    mean, slopes = sampled(given, x, ids, ids)
    sizes = (slopes * given.weights)[ids] ** 2 * (given.rows[ids] ** 2).sum(1)
    mean = mean if given.linear is None else mean - given.linear
    return max(float(sizes.mean() - mean @ mean), 1e-12)


@part("solver")
class Natasha15:
    """Natasha with the gradient of a batch of B = V/ε² components at x̃ instead of the full one, V = E‖∇fᵢ − ∇F‖².

    It needs L^⅔ σ^⅓/ε^(10/3) gradients for ‖∇F‖ ≤ ε, however many components there are. With B ≥ n it
    takes full gradients, as `natasha` does, but p and hence α still follow ε and V.

    params   "theory": p = (σ/(εL))^⅔ V^⅓, m = B/p, α = 1/(2 max(σm, L)), the next x̂ a random iterate of the sub-epoch;
             "practical": α = 1/(2L) and the last iterate
    epsilon  ε, which sets B; V is measured once, at the start, on at most a thousand components
    sigma    σ: no eigenvalue of the Hessian is below −σ; None: the bound that the loss gives, or L/1000 if that is more
    size     B; None: min(n, V/ε²)
    step     multiplies α

    Source: Allen-Zhu, Natasha 2 (NeurIPS 2018), section 4; constants are those of the orders that it gives. A sub-epoch
    ends at its random iterate, for the steps after that would be thrown away.

    >>> from airtrack.tasks.nonconvex.sigmoid_sum import SigmoidSum
    >>> given, judge = SigmoidSum(n=200, d=5).pose(Streams(0) / "task")
    >>> meter = Meter(budget=50 * 200)
    >>> given.metered(meter)
    >>> judge(Natasha15(params="practical", sigma=0.01).answer(given, meter, Streams(0) / "recipe"))["gradient"] < 0.02
    True
    """

    params: Literal["theory", "practical"] = "theory"
    epsilon: Annotated[float, Gt(0)] = 1e-2
    sigma: Annotated[float, Gt(0)] | None = None
    size: Annotated[int, Ge(1)] | None = None
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        refuse(given, "natasha15", dense=True)

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        state = meter.resume() or {"epoch": 0, "x": given.zero(), "V": 0.0}
        meter.offer(state["x"])
        with suppress(BudgetSpent):  # which may run out in the middle of a step
            while meter.live(2):
                if state["V"] == 0:
                    state["V"] = variance(given, state["x"], (streams / "variance").rng())
                    continue
                plan = self.plan(given, state["V"])
                x, _ = epoch(given, state["x"], plan, streams, state["epoch"])
                if not np.isfinite(x).all():
                    fact = f"natasha15 left the finite numbers in epoch {state['epoch']}"
                    raise Diverged(f"{fact}; it is stable for step ≤ 1, if F has a minimum")
                state = {"epoch": state["epoch"] + 1, "x": x, "V": state["V"]}
                meter.offer(x)
                meter.save(lambda: dict(state))
        return state["x"]

    def plan(self, given: FiniteSum, noise: float) -> Plan:
        """How an epoch goes, where V is `noise`."""
        smoothness, sigma = float(given.smoothness.max()) + given.l2, self.sigma or dip(given)
        return planned(given, noise, self.epsilon, smoothness, sigma, self.size, self.step, self.params == "theory")


def planned(
    given: FiniteSum,
    noise: float,
    epsilon: float,
    smoothness: float,
    sigma: float,
    size: int | None,
    step: float,
    theory: bool,
) -> Plan:
    """The plan by the orders of the theorem, V = `noise`, L = `smoothness`."""
    count = size or int(np.clip(np.ceil(noise / epsilon**2), 1, given.n))
    pieces = int(np.clip(np.cbrt((sigma / (epsilon * smoothness)) ** 2 * noise), 1, count))
    length = max(count // pieces, 1)
    alpha = step / (2 * (max(sigma * length, smoothness) if theory else smoothness))
    return Plan(count, pieces, length, min(alpha, 0.5 / sigma), sigma, theory)
