"""BlockFW: Frank and Wolfe's method with steps of rank k, which converges linearly where the optimum has rank ≤ k."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from airtrack.core.given import Entries, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, part
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.lowrank import LowRank, leading, onto_ball, zero

OVER = 2  # more vectors than k in the power iteration: it then converges by σ_{k+3}/σ_k instead of σ_{k+1}/σ_k
FLATTEST = 2.0**-20  # η by which S is as good as a corner of the ball


@part("solver")
class BlockFw:
    """Minimise f over ‖X‖* ≤ θ by steps towards the best matrix of rank k near X.

        U diag(s) Vᵀ = the k leading singular triplets of βη X − ∇f(X)
        S = U diag(σ) Vᵀ,  σ = the projection of s / βη on {σ ≥ 0, Σ σ ≤ θ}
        X ← X + η' (S − X)

    S minimises ⟨∇f(X), S⟩ + (βη/2) ‖S − X‖² among the matrices of rank k in the ball. X is held as factors and
    compressed after every step, so that nothing of size m × n is ever made. An iteration costs 2 (k + 2) rounds + k
    products, the k leading triplets coming from a block power iteration that starts where the last one ended.

    k       rank of a step. Below the rank of the optimum it stalls: no theorem, and it shows, most with "practical"
    params  "theory": η = η' = α / 2β, as proved; κ = β/α comes from the oracle or from `kappa`
            "practical": η' from an exact line search in [0, 1]; η starts at 1, is halved (S moves away
            from X) where η' = 1, and doubled where η' < ½
    kappa   β/α, where the oracle knows no α: some entries are not observed
    rounds  of the power iteration
    keep    singular values of X that are kept; None: all that are not rounding errors, whose number grows at first

    Source: Allen-Zhu, Hazan, Hu, Li (NIPS 2017), Algorithm 1.

    >>> from airtrack.tasks.spectral.completion import Completion
    >>> given, judge = Completion(rows=12, columns=10, rank=2).pose(Streams(0) / "task")
    >>> meter = Meter(budget=3000)
    >>> given.metered(meter)
    >>> judge(BlockFw(k=2, params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-8
    True
    """

    k: Annotated[int, Ge(1)] = 4
    params: Literal["theory", "practical"] = "theory"
    kappa: Annotated[float, Ge(1)] | None = None
    rounds: Annotated[int, Ge(1)] = 2
    keep: Annotated[int, Ge(1)] | None = None

    accepts: ClassVar[type] = Entries
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"k": 2}

    def step_cost(self, given: Entries) -> int:
        k, block = self._widths(given)
        return 2 * block * self.rounds + k

    def answer(self, given: Entries, meter: Meter, streams: Streams) -> Floats:
        k, block = self._widths(given)
        least = 1 / (2 * self._condition(given)) if self.params == "theory" else 0.0
        state = meter.resume() or {
            **zero(given.shape)._asdict(),
            "shown": np.zeros(given.observed),
            "start": (streams / "start").rng().standard_normal((given.shape[1], block)),
            "eta": least or 1.0,
        }
        x = LowRank(state["left"], state["sizes"], state["right"])
        shown, start, eta = state["shown"], state["start"], state["eta"]
        while meter.live(self.step_cost(given)):
            residual, pull = given.residual(shown), given.smoothness * eta
            found = leading(given, residual, x, pull, start, block, self.rounds)
            sizes = onto_ball(found.sizes[:k] / pull, given.radius)
            target = LowRank(found.left[:, :k], sizes, found.right[:, :k])
            step = given.read(target.left * sizes, target.right) - shown
            share = eta if least else line_search(given, residual, step)
            x, shown, start = x.towards(target, share, self.keep), shown + share * step, found.right
            if not least:
                eta = max(eta / 2, FLATTEST) if share == 1 else min(2 * eta, 1.0) if share < 0.5 else eta
            meter.offer(x.answer)
            meter.save(lambda: {**x._asdict(), "shown": shown, "start": start, "eta": eta})
        return x.answer

    def _widths(self, given: Entries) -> tuple[int, int]:
        k = min(self.k, *given.shape)
        return k, min(k + OVER, *given.shape)

    def _condition(self, given: Entries) -> float:
        if self.kappa is None and given.convexity == 0:
            fact = "block_fw's theorem needs strong convexity, which entries that were not observed or weigh 0 deny"
            raise SpecError(f"{fact}; say what κ to assume (kappa: 20), or take params: practical", "kappa")
        return self.kappa or given.smoothness / given.convexity


def line_search(given: Entries, residual: Floats, step: Floats) -> float:
    """The share in [0, 1] of a step, given at the entries, that makes f least; f is quadratic along it."""
    slope, bend = -float(residual @ step), given.curvature(step)
    return min(max(slope / bend, 0.0), 1.0) if bend > 0 else 0.0
