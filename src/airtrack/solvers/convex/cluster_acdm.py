"""ClusterACDM: accelerated coordinate descent on a dual whose coordinates are turned within clusters."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.losses import Squared
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.penalties import Nothing
from airtrack.core.streams import Streams
from airtrack.solvers.convex import dual
from airtrack.solvers.convex.clusters import check, raw_clusters
from airtrack.solvers.convex.nu_acdm import NuAcdm
from airtrack.solvers.rules import unfit


@part("solver")
class ClusterAcdm:
    """NU_ACDM on the dual of F(x) = (1/2n) Σ wᵢ (⟨aᵢ, x⟩ − bᵢ)² + (σ/2) ‖x‖² + ⟨c, x⟩ in Haar coordinates.

    Within a cluster of m rows the dual variables are turned by an orthonormal Haar basis: the constant 1/√m, and for
    every node of a binary tree over its rows, with p of them to the left and q to the right, √(pq/(p + q)) times 1/p
    there and −1/q here. A coordinate's row is then √m times the mean of the cluster, or √(pq/(p + q)) times
    the difference of the means of two parts of it, which is short where rows are alike. Σ √Lᵢ falls, and the steps with
    it.

    For squares this is F of the rows H a and the labels H b, which is how it is done: 2d additions a row, charged as
    one gradient, and a second copy of the rows in memory. They are clustered first (`raw_clusters`), which is charged.

    clusters  how many are looked for

    Source: Allen-Zhu, Yuan, Sridharan, *Exploiting the Structure: Stochastic Gradient Methods Using Raw Clusters* (NIPS
    2016).

    >>> from airtrack.tasks.convex.glm import Glm
    >>> given, judge = Glm(n=200, d=5, kappa=2e4, clusters=5).pose(Streams(0) / "task")
    >>> meter = Meter(budget=100 * 200)
    >>> given.metered(meter)
    >>> judge(ClusterAcdm(clusters=5).answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    clusters: Annotated[int, Ge(1)] = 20

    version: ClassVar[int] = 2
    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"clusters": 3}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "cluster_acdm")
        if not isinstance(given.loss, Squared) or not isinstance(given.penalty, Nothing):
            what = f"{type(given.loss).__name__} and {type(given.penalty).__name__}"
            raise unfit(given, f"cluster_acdm takes the loss squared without penalty, and this sum has {what}")
        dual.check(given, "cluster_acdm")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        fresh, own = meter.resume() is None, raw_clusters(given, meter, streams / "clusters", self.clusters)
        if own is None or (fresh and not meter.live(given.n)):
            return given.zero()
        if fresh:
            given.components(given.n)
        table = np.column_stack([given.rows, given.labels]) * np.sqrt(given.weights)[:, None]
        for c in range(self.clusters):
            table[own == c] = haar(table[own == c])
        turned = FiniteSum(
            table[:, :-1], table[:, -1], l2=given.l2, loss="squared", linear=given.linear, start=given.start
        )
        turned.__dict__["_counts"] = given.counts  # one bill
        turned.metered(meter)
        return NuAcdm().answer(turned, meter, streams)


def haar(rows: Floats) -> Floats:
    """H @ rows [m, d] for an orthonormal Haar basis H [m, m], whose first vector is constant; halves by their order.

    >>> haar(np.array([[1.0], [1.0], [1.0], [5.0]])).round(6).T.tolist()
    [[4.0, -2.0, 0.0, -2.828427]]
    """
    means, counts, turned = rows, np.ones(len(rows)), []
    while len(means) > 1:
        left, right = means[: len(means) // 2 * 2 : 2], means[1::2]
        p, q = counts[: len(means) // 2 * 2 : 2], counts[1::2]
        turned.append(np.sqrt(p * q / (p + q))[:, None] * (left - right))
        odd = len(means) % 2
        joined = (p[:, None] * left + q[:, None] * right) / (p + q)[:, None]
        means = np.vstack([joined, means[-1:]]) if odd else joined
        counts = np.append(p + q, counts[-1]) if odd else p + q
    return np.vstack([np.sqrt(counts)[:, None] * means, *reversed(turned)]) if len(rows) else rows
