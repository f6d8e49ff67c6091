"""Matrices of low rank, held as factors: a step towards another, singular vectors of such a matrix plus a gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from airtrack.core.given import Entries, Floats

NOTHING = 1e-12  # of the largest: singular values below it are rounding errors of the steps


class LowRank(NamedTuple):
    """left diag(sizes) rightᵀ, its singular value decomposition."""

    left: Floats  # [m, r]
    sizes: Floats  # [r], descending
    right: Floats  # [n, r]

    @property
    def answer(self) -> Floats:
        """Stacked factors [m + n, r]; one column of zeros where the rank is 0."""
        if not len(self.sizes):
            return np.zeros((len(self.left) + len(self.right), 1))
        root = np.sqrt(self.sizes)
        return np.vstack([self.left * root, self.right * root])

    def towards(self, other: LowRank, share: float, most: int | None = None) -> LowRank:
        """(1 − share) self + share other, compressed again: QR of both sides, SVD of the small core between them.

        most  singular values that are kept; None: all that are not rounding errors
        """
        left, upper = np.linalg.qr(np.hstack([self.left, other.left]))
        right, lower = np.linalg.qr(np.hstack([self.right, other.right]))
        core = upper * np.concatenate([(1 - share) * self.sizes, share * other.sizes]) @ lower.T
        u, sizes, v = np.linalg.svd(core)
        rank = min(int((sizes > NOTHING * sizes[0]).sum()), len(sizes) if most is None else most)
        return LowRank(left @ u[:, :rank], sizes[:rank], right @ v[:rank].T)


def zero(shape: tuple[int, int]) -> LowRank:
    return LowRank(np.zeros((shape[0], 0)), np.zeros(0), np.zeros((shape[1], 0)))


def leading(given: Entries, residual: Floats, at: LowRank, pull: float, start: Floats, k: int, rounds: int) -> LowRank:
    """The k leading singular triplets of pull · X − G, by block power iteration from `start` [n, c ≥ k].

    G is the gradient that `residual` describes. Costs 2 c rounds products.
    """
    block, basis = start, start[:0]
    for _ in range(rounds):
        block = np.linalg.qr(block)[0]
        image = pull * (at.left * at.sizes) @ (at.right.T @ block) - given.times(residual, block)
        basis = np.linalg.qr(image)[0]
        block = pull * (at.right * at.sizes) @ (at.left.T @ basis) - given.back(residual, basis)
    right, sizes, turn = np.linalg.svd(block, full_matrices=False)
    return LowRank(basis @ turn[:k].T, sizes[:k], right[:, :k])


def onto_ball(sizes: Floats, radius: float) -> Floats:
    """The point of {s ≥ 0, Σ s ≤ radius} that is nearest to `sizes` [r], which descend.

    >>> onto_ball(np.array([3.0, 1.0, 0.5]), 2.0), onto_ball(np.array([1.0, -0.5]), 2.0)
    (array([2., 0., 0.]), array([1., 0.]))
    """
    positive = np.maximum(sizes, 0)
    if positive.sum() <= radius:
        return positive
    below = sizes - sizes[0]  # the shift is found from here, so that a huge first value costs no digits
    excess = (np.cumsum(below) - radius) / np.arange(1, len(sizes) + 1)
    return np.maximum(below - excess[(below >= excess).nonzero()[0][-1]], 0)
