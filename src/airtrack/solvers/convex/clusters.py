"""Raw clusters: groups of rows that are near to each other, from one cheap pass over the data."""

from __future__ import annotations

import numpy as np

from airtrack.core.given import FiniteSum, Floats, Ints
from airtrack.core.meter import Meter
from airtrack.core.penalties import separable
from airtrack.core.streams import Streams
from airtrack.solvers.rules import unfit

WIDTH = 16  # of the sketch in which distances are compared
CANDIDATES = 20  # rows a centre from which the first centres are drawn


def check(given: FiniteSum, name: str) -> None:
    """Raises `SpecError` for a sum whose rows are not dense, in memory, with a smooth convex loss of one prediction."""
    if given.sparse:
        raise unfit(given, f"{name} works with means of rows, which are dense")
    if len(given.shape) > 1 or given.loss.bounds[0] < 0 or not np.isfinite(given.loss.bounds[1]):
        raise unfit(given, f"{name} takes smooth convex losses of one prediction, not {type(given.loss).__name__}")
    if not separable(given.penalty):
        raise unfit(given, f"{name} takes penalties that go by coordinates, not {type(given.penalty).__name__}")
    given.rows  # noqa: B018  (refuses rows that are not in memory)


def raw_clusters(given: FiniteSum, meter: Meter, streams: Streams, count: int) -> Ints | None:
    """The cluster of every row [n], 0 … count − 1; None where the budget does not allow for it.

    Rows are sketched: every coordinate is added, with a random sign, to one of 16, which keeps distances on average.
    There, centres are drawn far from each other (k-means++) and moved once to the mean of their rows (Lloyd). It is
    charged by its multiplications, 2d of them being one gradient; a resumed run does not pay twice.
    """
    width, candidates = min(WIDTH, given.d), min(CANDIDATES * count, given.n)
    work = given.n * given.d * (width < given.d) + 2 * given.n * count * width + candidates * count * width
    work = -(-work // (2 * given.d))
    if meter.resume() is None:
        if not meter.live(work):
            return None
        given.components(work)
    rng = streams.rng()
    sketch = np.asarray(given.rows, np.float64)
    if width < given.d:
        where, signs = rng.integers(0, width, given.d), rng.choice([-1.0, 1.0], given.d)
        sketch = np.column_stack([sketch[:, where == k] @ signs[where == k] for k in range(width)])
    centres = _far_apart(sketch[rng.choice(given.n, candidates, replace=False)], count, rng)
    own = _nearest(sketch, centres)
    for c in np.unique(own):
        centres[c] = sketch[own == c].mean(0)
    return _nearest(sketch, centres)


def _far_apart(points: Floats, count: int, rng: np.random.Generator) -> Floats:
    centres = points[rng.integers(len(points))][None]
    squares = ((points - centres[0]) ** 2).sum(1)
    while len(centres) < count:
        chances = squares / squares.sum() if squares.sum() > 0 else None
        centres = np.vstack([centres, points[rng.choice(len(points), p=chances)]])
        squares = np.minimum(squares, ((points - centres[-1]) ** 2).sum(1))
    return centres


def _nearest(points: Floats, centres: Floats) -> Ints:
    return np.argmax(points @ centres.T - (centres**2).sum(1) / 2, 1)
