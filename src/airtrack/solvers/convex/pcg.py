"""Conjugate gradients for least squares, preconditioned by the diagonal."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.given.rows import add
from airtrack.core.losses import Squared
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.penalties import Nothing
from airtrack.core.streams import Streams
from airtrack.solvers.rules import unfit

FRESH = 50  # steps after which the residual is computed anew: the recurrence drifts by rounding
KEPT = ("x", "r", "p", "scale", "energy", "first", "objective", "steps")  # in a checkpoint
SPENT = 1e-14  # of the first residual's energy: nothing is left to gain from the directions so far


@part("solver")
class Pcg:
    """Conjugate gradients for F(x) = (1/2n) Σ wᵢ (⟨aᵢ, x⟩ − bᵢ)² + (σ/2) ‖x‖² + ⟨c, x⟩.

    A step multiplies the Hessian by one vector, which costs n gradients. It is the method to beat on least squares
    whose rows are alike; the diagonal is worth a lot where columns are of very different lengths.

    precondition  "diagonal": by that of the Hessian (Jacobi), for n gradients; "none": plain conjugate gradients

    Source: Hestenes, Stiefel (1952).

    >>> rng = np.random.Generator(np.random.PCG64(0))
    >>> rows = rng.standard_normal((50, 4)) * [1, 10, 100, 1000]
    >>> given, meter = FiniteSum(rows, rows.sum(1), l2=1e-3, loss="squared"), Meter(8 * 50)
    >>> given.metered(meter)
    >>> given.certificate(Pcg().answer(given, meter, Streams(0)))["gap"] < 1e-12
    True
    """

    precondition: Literal["diagonal", "none"] = "diagonal"

    version: ClassVar[int] = 2  # checkpoints hold F(x)
    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        if not isinstance(given.loss, Squared) or not isinstance(given.penalty, Nothing):
            what = f"{type(given.loss).__name__} and {type(given.penalty).__name__}"
            raise unfit(given, f"pcg takes the loss squared without penalty, and this sum has {what}")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        curves, certain = given.factors / given.n, given.l2 > 0 and not given.free
        state = meter.resume()
        if state is None:
            x, scale = given.zero(), np.ones(given.d)
            if self.precondition == "diagonal" and meter.live(given.n):
                scale = given.diagonal(curves)
                scale[scale <= 0] = 1.0
                np.reciprocal(scale, out=scale)
            r = p = np.zeros(0)  # the first step makes them
            energy, first, objective, steps = 0.0, 0.0, 0.0, 0
        else:
            x, r, p, scale, energy, first, objective, steps = (state.pop(name) for name in KEPT)
        while meter.live(given.n):
            if steps % FRESH == 0 or energy <= SPENT * first:
                del r  # before the next is made
                r = given.gradient(x)[0]
                objective = given.certificate(x)["objective"] if certain else 0.0  # nothing new to work out
                np.negative(r, out=r)
                add(r, -np.ravel(given.ridge), x)
                fresh = float(r @ (scale * r))
                if energy <= SPENT * first:  # begin
                    p, first = scale * r, fresh
                energy = fresh
            else:
                product = given.hessian(curves, p)
                bend = float(p @ product)
                length = energy / bend if bend > 0 else 0.0
                objective -= length * energy / 2
                x = x.copy()
                add(x, length, p)
                add(r, -length, product)
                np.multiply(scale, r, out=product)
                before, energy = energy, float(r @ product)
                p *= energy / before
                p += product
                del product  # before the next is made
            meter.offer(x, {"gap": float(r @ r) / (2 * given.l2), "objective": objective} if certain else None)
            steps += 1
            meter.save(lambda: dict(zip(KEPT, (x, r, p, scale, energy, first, objective, steps))))
        return x
