"""Block Krylov: Rayleigh-Ritz on what a random block becomes under AᵀA, all its powers kept."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from airtrack.core.given import Floats, Matrix
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams

TINY = np.finfo(float).tiny


@part("solver")
class BlockKrylov:
    """The k leading Ritz vectors of AᵀA on span [X, AᵀA X, …, (AᵀA)^q X], X [d, k + extra] Gaussian; q grows.

    extra  columns of X beyond k
    depth  blocks that are kept; then only the leading Ritz vectors are, and the last block

    A step costs 2 (k + extra) matvecs. Every new block is orthogonalised against all, twice.

    Source: Musco, Musco (NIPS 2015), Algorithm 2: q = Θ(log d / √ε) steps without any gap.

    >>> from airtrack.tasks.spectral.spectrum import Spectrum
    >>> given, judge = Spectrum(n=60, d=40, k=3).pose(Streams(0) / "task")
    >>> meter = Meter(budget=200)
    >>> given.metered(meter)
    >>> judge(BlockKrylov().answer(given, meter, Streams(0) / "recipe"))["eigenvalue"] < 1e-6
    True
    """

    extra: Annotated[int, Ge(0)] = 0
    depth: Annotated[int, Ge(2)] = 16

    accepts: ClassVar[type] = Matrix
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Matrix, meter: Meter, streams: Streams) -> Floats:
        d, width = given.d, min(given.k + self.extra, given.d)
        gaussian = streams / "start"
        first = np.linalg.qr(gaussian.rng().standard_normal((d, width)))[0]
        state = meter.resume() or {
            "drawn": 0,
            "basis": np.zeros((d, 0)),  # orthonormal, [d, m]
            "small": np.zeros((0, 0)),  # AᵀA in this basis
            "block": first,  # orthogonal to it
            "ritz": first,
        }
        drawn, basis, small, block, ritz = (state[name] for name in ("drawn", "basis", "small", "block", "ritz"))
        meter.offer(ritz[:, : given.k])
        while meter.live(max(2 * block.shape[1], 1)):
            moved = given.gram(block)
            basis, m = np.hstack([basis, block]), len(small)
            column = basis.T @ moved  # [m + b, b]
            small = np.block([[small, column[:m]], [column[:m].T, column[m:]]])
            values, turn = (found[..., ::-1][..., :width] for found in np.linalg.eigh((small + small.T) / 2))
            ritz, outside = basis @ turn, moved - basis @ column
            left = outside @ (turn[m:, : given.k] / max(values[0], TINY))  # AᵀA moves the Ritz vectors out of the span
            meter.offer(ritz[:, : given.k], {"residual": np.sqrt(np.linalg.norm(left.T @ left, 2))})
            block = _new(outside, basis, np.abs(moved).max())
            if block.shape[1] == 0:  # an invariant subspace: what is outside of it can only be drawn
                drawn += 1
                basis, small = ritz, np.diag(values)
                block = _new(gaussian.rng(drawn).standard_normal((d, width)), basis, 1.0)
                if block.shape[1] == 0:  # nothing is outside
                    break
            elif basis.shape[1] + block.shape[1] > self.depth * width:
                basis, small = ritz, np.diag(values)  # their residuals lie in the span of the new block
            meter.save(lambda: {"drawn": drawn, "basis": basis, "small": small, "block": block, "ritz": ritz})
        return ritz[:, : given.k]


def _new(outside: Floats, basis: Floats, size: float) -> Floats:
    """An orthonormal basis [d, ≤ b] of what `outside` [d, b], of columns as long as `size`, adds to `basis` [d, m]."""
    outside = outside - basis @ (basis.T @ outside)
    left, sizes, _ = np.linalg.svd(outside, full_matrices=False)
    left = left[:, sizes > 1e-12 * size]
    return np.linalg.qr(left - basis @ (basis.T @ left))[0]
