"""The loop of those who play by the sum of all gain matrices so far."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from airtrack.core.given import Floats, Rounds
from airtrack.core.meter import Meter


def play_by_sum(given: Rounds, meter: Meter, choose: Callable[[Floats, int], Floats]) -> Floats:
    """Play F = V · choose(s, t), s [d] and V [d, d] being the eigenvalues and eigenvectors of Σ x xᵀ before round t.

    choose  (s, t) → coordinates [d, m] of the action in the basis V; s ascends

    Returns the action after the last round. A round takes a dense eigendecomposition, d³.
    """
    state = meter.resume() or {"t": 0, "total": np.zeros((given.d, given.d))}
    t, total = state["t"], state["total"]

    def action() -> Floats:
        values, vectors = np.linalg.eigh(total)
        return vectors @ choose(np.maximum(values, 0), t)

    current = action()
    while meter.live():
        x = given.play(current)
        t, total = t + 1, total + np.outer(x, x)
        current = action()
        meter.offer(current)
        meter.save(lambda: {"t": t, "total": total})
    return current
