"""FastCubic: the cubic step without a Hessian, by products with it."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import BudgetSpent, Meter, State
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.nonconvex.cubic import krylov, model
from airtrack.solvers.nonconvex.cubic_newton import adapted, curved
from airtrack.solvers.nonconvex.curvature import unit
from airtrack.solvers.nonconvex.landscape import refuse, smooth

CAP = 50  # products of a step, in practice
ACCURACY = 1e-3  # of a linear system, in theory
NARROW = 0.25  # of the bisection, relative: a minimiser of the model up to a constant factor is enough
POWERS = 3  # inverse powers of a search for the least eigenvector
LATE = {"theory": 2.4e6, "practical": 10.0}  # c


@part("solver")
class FastCubic:
    """x ← x + h, h an approximate argmin of m(h) = ⟨g, h⟩ + ½ ⟨h, H h⟩ + (L₂/6) ‖h‖³, which takes a gradient and some
    Hessian products of n gradients each. While m(h) ≤ −ε^(3/2)/(c √L₂); then ‖∇F‖ ≤ ε and ∇²F ≥ −√(L₂ε), up to
    constants, and it goes on with half of ε.

    params     "theory": the better of v = −(H + λI)⁻¹ g with ‖v‖ = 2λ/L₂, λ by bisection in [0, 2L + 2√(L₂‖g‖)], each
               system by conjugate gradients, which end at a direction of negative curvature where λ is too small; and
               of ± (2λ/L₂) v_min, v_min by inverse powers from such a direction; c = 2.4 · 10⁶, L₂ a bound.
               "practical": the least of m over a Krylov space of at most 50 products, which holds the iterates of
               conjugate gradients for all λ at once, and v_min; c = 10; L₂ as in `cubic_newton`
    epsilon    ε at the start
    lipschitz  L₂ instead of the bound max |φ'''| · mean wᵢ ‖aᵢ‖³

    Source: Agarwal, Allen-Zhu, Bullins, Hazan, Ma (STOC 2017), Algorithms 1 and 2. Conjugate gradients stand for the
    paper's accelerated descent or SVRG, as matrix-free as these.

    >>> from airtrack.tasks.nonconvex.saddle import Saddle
    >>> given, judge = Saddle(d=5, copies=10, offset=0.0).pose(Streams(0) / "task")
    >>> meter = Meter(budget=200 * given.n)
    >>> given.metered(meter)
    >>> judge(FastCubic(params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-12
    True
    """

    params: Literal["theory", "practical"] = "theory"
    epsilon: Annotated[float, Gt(0)] = 1e-2
    lipschitz: Annotated[float, Gt(0)] | None = None

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def step_cost(self, given: FiniteSum) -> int:
        """Gradients and products of the shortest step: the least budget that does anything."""
        return 4 * given.n

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        refuse(given, "fast_cubic")
        curved(given, "fast_cubic", self.lipschitz)

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        theory, bound = self.params == "theory", curved(given, "fast_cubic", self.lipschitz)
        start = {
            "k": 0,
            "x": given.zero(),
            "bend": bound * (1 if theory else 0.01),
            "epsilon": self.epsilon,
            "inside": {},
        }
        state: State = meter.resume() or start
        meter.offer(state["x"])
        with suppress(BudgetSpent):  # which may run out in the middle of a step
            while meter.live(given.n):
                x, bend = state["x"], state["bend"]
                if not state["inside"]:
                    g = given.gradient(x)[0] + given.ridge * x
                    state["inside"] = {"g": g, "value": given.value(x), "curves": given.curvature(x), "search": {}}
                    meter.offer(x)
                    meter.save(lambda: dict(state))
                g, curves = state["inside"]["g"], state["inside"]["curves"]

                def times(v: Floats) -> Floats:
                    return given.hessian(curves, v)

                other = unit((streams / "start").rng(state["k"]), given.d)
                if theory:
                    search = state["inside"]["search"]
                    if not _bisect(times, g, bend, smooth(given), search):
                        meter.offer(x)
                        meter.save(lambda: dict(state))
                        continue
                    h, gain = _candidate(times, g, bend, search, other)
                else:
                    h, image = krylov(times, g, other, bend, CAP)
                    gain = model(g, image, h, bend)
                    h, bend = adapted(given, x, h, state["inside"]["value"], -gain, bend, bound)
                small = -gain < state["epsilon"] ** 1.5 / (LATE[self.params] * np.sqrt(bend))
                epsilon = max(state["epsilon"] / (2 if small else 1), 1e-12)
                state = {"k": state["k"] + 1, "x": x + h, "bend": bend, "epsilon": epsilon, "inside": {}}
                meter.offer(state["x"])
                meter.save(lambda: dict(state))
        return state["x"]


def _bisect(times: Any, g: Floats, bend: float, size: float, state: State) -> bool:
    """One system of the search for λ, all that is known being in `state`; whether it is over."""
    if not state:
        high = 2 * size + 2 * float(np.sqrt(bend * np.linalg.norm(g)))
        state |= {"low": 0.0, "high": high, "h": np.zeros_like(g), "gain": 0.0, "way": np.zeros_like(g)}
    shift = (state["low"] + state["high"]) / 2
    v, witness = solve(times, -g, shift)
    if witness is not None:
        state |= {"low": shift, "way": witness}
    else:
        image, length = -g - shift * v, float(np.linalg.norm(v))
        if (gain := model(g, image, v, bend)) < state["gain"]:
            state |= {"h": v, "gain": gain}
        state |= {"low": shift} if length > 2 * shift / bend else {"high": shift}
        if abs(length - 2 * shift / bend) <= NARROW * 2 * shift / bend:
            state["low"] = state["high"] = shift
    return state["high"] - state["low"] <= NARROW * state["high"] or state["high"] < 1e-12


def _candidate(times: Any, g: Floats, bend: float, state: State, other: Floats) -> tuple[Floats, float]:
    """(h, m(h)): the best v of the bisection, or a multiple of the least eigenvector."""
    best, least = state["h"], state["gain"]
    way = state["way"] if state["way"].any() else other
    for _ in range(POWERS):
        w, witness = solve(times, way / np.linalg.norm(way), state["high"])
        way = w if witness is None else witness
        if witness is not None or not way.any():
            break
    if way.any():
        way = way / np.linalg.norm(way)
        image = times(way)
        length = max(-2 * float(way @ image) / bend, 0.0)  # where m along ± v_min is least, but for g
        for h in (length * way, -length * way):
            gain = model(g, length * image * np.sign(h @ way), h, bend)
            if gain < least:
                best, least = h, gain
    return best, least


def solve(times: Any, b: Floats, shift: float) -> tuple[Floats, Floats | None]:
    """((H + λI)⁻¹ b, None) by conjugate gradients, or (what there is, w) with wᵀ(H + λI)w ≤ 0."""
    x, r = np.zeros_like(b), b.copy()
    p, rest = r.copy(), float(b @ b)
    aim = rest * ACCURACY**2
    for _ in range(20 * len(b)):
        if rest <= aim or rest == 0:
            break
        image = times(p) + shift * p
        bent = float(p @ image)
        if bent <= 1e-14 * shift * float(p @ p):
            return x, p
        along = rest / bent
        x, r = x + along * p, r - along * image
        rest, before = float(r @ r), rest
        p = r + rest / before * p
    return x, None
