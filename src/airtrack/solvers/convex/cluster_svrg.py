"""ClusterSVRG: variance reduction that what was seen of a cluster refreshes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from numba import njit

from airtrack.core.given import FiniteSum, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import QUICK, each, shrink, slope
from airtrack.solvers.convex.clusters import check, raw_clusters
from airtrack.solvers.convex.epochs import epochs, sampling


@part("solver")
class ClusterSvrg:
    """SVRG whose gradient is corrected, for every cluster c of rows, by the last change ζ_c that one of them showed:

        g = μ + Σ (n_c/n) ζ_c + (∇fᵢ(x) − ∇fᵢ(x̃) − ζ_c(i)),   ζ_c(i) ← ∇fᵢ(x) − ∇fᵢ(x̃)
        x ← argmin ‖x' − x‖²/2η + ⟨g, x'⟩ + (σ/2) ‖x'‖² + ψ(x')

    with ζ = 0 at every snapshot x̃, epochs of 2n steps, and n gradients for the gradient μ there. Where the rows of a
    cluster are alike, the variance is that of SVRG with a snapshot as young as the cluster's last visit; it is then
    stale by about as many steps as there are clusters, so that a step near 1/L diverges where SVRG's does not. The
    rows are clustered first (`raw_clusters`), which is charged.

    clusters  how many are looked for
    params    "theory": η = 1/(7L) and averages as snapshots, as SVRG; "practical": η = 0.3/L, the last x
    step      multiplies η; with η > 1/(3L) expect it to diverge

    Source: Allen-Zhu, Yuan, Sridharan, *Exploiting the Structure: Stochastic Gradient Methods Using Raw Clusters* (NIPS
    2016). The step sizes are ours: measured, not proved.

    >>> from airtrack.tasks.convex.glm import Glm
    >>> given, judge = Glm(n=200, d=5, kappa=200, clusters=5).pose(Streams(0) / "task")
    >>> meter = Meter(budget=60 * 200)
    >>> given.metered(meter)
    >>> judge(ClusterSvrg(clusters=5, params="practical").answer(given, meter, Streams(0) / "recipe"))["gap"] < 1e-6
    True
    """

    clusters: Annotated[int, Ge(1)] = 20
    params: Literal["theory", "practical"] = "theory"
    step: Annotated[float, Gt(0)] = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {"clusters": 3}

    def refuse(self, given: FiniteSum) -> None:
        """Raises `SpecError` for a sum that it cannot take."""
        check(given, "cluster_svrg")

    def answer(self, given: FiniteSum, meter: Meter, streams: Streams) -> Floats:
        self.refuse(given)
        own, theory = raw_clusters(given, meter, streams / "clusters", self.clusters), self.params == "theory"
        if own is None:
            return given.zero()
        shares = np.bincount(own, minlength=self.clusters) / given.n
        sampler, scale, smoothness = sampling(given, "uniform")
        eta = self.step / (7 * smoothness) if theory else 0.3 * self.step / smoothness
        law, rows, labels = (eta, 1 / (1 + eta * given.l2)), given.rows, given.labels
        zero = given.zero()
        state = meter.resume() or {"epoch": 0, "x": zero, "snapshot": zero}
        for full, slopes, count in epochs(given, meter, state, lambda epoch: 2 * given.n, "cluster_svrg"):
            order = sampler.draw((streams / "indices").rng(state["epoch"]), count)
            x, average, moved = state["x"].copy(), np.zeros(given.d), full.copy()
            last, sizes = np.zeros(self.clusters, np.int64), np.zeros(self.clusters)
            data = (rows, labels, own, shares, scale, slopes)
            head = given.d - given.free
            _epoch(given.loss, given.penalty, data, order, x, average, moved, last, sizes, law, head)
            state |= {"x": x, "snapshot": average if theory else x}
        return state["snapshot"]


@njit(cache=True, nogil=True, fastmath=QUICK)
def _epoch(loss, penalty, data, order, x, average, moved, last, sizes, law, head):  # pragma: no cover  (compiled)
    """moved [d] is μ + Σ (n_c/n) ζ_c; ζ_c is sizes[c] times row last[c]."""
    rows, labels, own, shares, scale, slopes = data
    eta, decay = law
    for t in range(len(order)):
        i, u = order[t], 0.0
        c = own[i]
        row, other, size, share = rows[i], rows[last[c]], sizes[c], shares[c]
        for j in range(len(x)):
            u += row[j] * x[j]
        change = each(scale, i) * (slope(loss, u, labels[i]) - slopes[i])
        for j in range(len(x)):
            new, old = change * row[j], size * other[j]
            v = x[j] - eta * (moved[j] + new - old)
            x[j] = shrink(penalty, decay * v, eta * decay) if j < head else v
            average[j] += (x[j] - average[j]) / (t + 1)
            moved[j] += share * (new - old)
        last[c], sizes[c] = i, change
