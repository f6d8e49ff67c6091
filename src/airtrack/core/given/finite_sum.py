"""Sums of many components of a linear prediction, each of which may be asked for alone."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from airtrack.core.given.blocks import Blocks
from airtrack.core.given.oracle import Floats, Ints, Oracle
from airtrack.core.losses import loss_of
from airtrack.core.part import SpecError
from airtrack.core.penalties import Nothing

GATHERED = 1 << 24  # bytes of rows that are gathered at a time from data that are not in memory
AT_ONCE = 1 << 17  # entries of a matrix that a pass takes at a time: 1 MiB, a second-level cache


class Sparse(NamedTuple):
    """Compressed sparse rows, as compiled loops take them."""

    data: Floats  # [nnz]
    columns: Any  # [nnz] uint32 or uint64
    starts: Any  # [n + 1]


class FiniteSum(Oracle):
    """F(x) = (1/n) Σᵢ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (l2/2) ‖x‖² + ⟨c, x⟩ + ψ(x), the unit of work one gradient of a component φ.

    rows      a [n, d]: an array (float64 or float32), a scipy CSR matrix, or `Blocks` of one too large for memory
    labels    b [n]
    l2        σ, strength of the regulariser
    loss      φ: a name of `airtrack.core.losses`, or any such loss
    penalty   ψ of `airtrack.core.penalties`
    weights   w [n], not negative; None: all 1
    linear    c [d]; None: 0
    free      how many of the last coordinates (an intercept) l2 and ψ leave alone
    convexity strong convexity of F, where it is known and is not l2 (sums of parts that are not convex)
    start     where solvers begin; None: at 0

    Attributes: n, d; `shape` of x, (d,), or (d, classes) with softmax; `sparse`.

    >>> ridge = FiniteSum(np.eye(3), np.ones(3), l2=0.5, loss="squared")
    >>> ridge.gradient(np.zeros(3))[0].round(3).tolist(), ridge.counts["gradients"]
    ([-0.333, -0.333, -0.333], 3)
    >>> {name: round(value, 3) for name, value in ridge.certificate(np.full(3, 0.4)).items()}
    {'objective': 0.3, 'gap': 0.0, 'gradient': 0.0}
    """

    def __init__(
        self,
        rows: Any,
        labels: Any,
        *,
        l2: float,
        loss: Any = "logistic",
        penalty: Any = None,
        weights: Any = None,
        linear: Floats | None = None,
        free: int = 0,
        convexity: float | None = None,
        start: Floats | None = None,
    ) -> None:
        self.loss = loss_of(loss)
        self.penalty: Any = Nothing() if penalty is None else penalty
        for formula in (self.loss, self.penalty):
            if hasattr(formula, "check"):
                formula.check()
        self.l2, self.free, self.linear = float(l2), free, linear
        self._rows, self.sparse = _matrix(rows)
        self.n, self.d = self._rows.shape
        self._labels = _vector("labels", labels, self.n)
        _refuse_labels(self.loss, self._labels)
        self._weights = None if weights is None else _vector("weights", weights, self.n)
        if self._weights is not None and self._weights.min(initial=0) < 0:
            raise SpecError(f"weights[{self._weights.argmin()}] is {self._weights.min():g}; weights are not negative")
        if not (np.isfinite(self.l2) and self.l2 >= 0):
            raise SpecError(f"l2 is {l2}; it is a finite number, at least 0")
        if linear is not None and linear.shape != (self.d,):
            raise SpecError(f"linear has the shape {linear.shape}, and x has {self.d} coordinates")
        if linear is not None and not np.isfinite(linear).all():
            raise SpecError(f"linear[{np.flatnonzero(~np.isfinite(linear))[0]}] is not finite")
        if not 0 <= free <= self.d:
            raise SpecError(f"{free} coordinates are free, and x has {self.d}; take 0 … {self.d}")
        if self._weights is not None and not self._weights.any():
            raise SpecError("every weight is 0: there is nothing to learn from; check the weights")
        self.convexity = convexity if convexity is not None else self.l2 if self.loss.bounds[0] >= 0 else 0.0
        classes = getattr(self.loss, "classes", None)
        self.shape: tuple[int, ...] = (self.d,) if classes is None else (self.d, classes)
        self.start = np.broadcast_to(0.0, self.shape) if start is None else np.array(start, np.float64)
        if not np.isfinite(self.start).all():
            raise SpecError("start is not finite; begin somewhere else")
        if self.start.shape != self.shape:
            raise SpecError(f"start has the shape {self.start.shape}, and x the shape {self.shape}")
        self._proposed: Floats | None = None
        self._seen: tuple[Floats, float, Floats] | None = None  # x of the last full pass, the mean loss there, gradient

    # ------------------------------------------------------------------------------------------------ what is counted

    def gradient(self, x: Floats, room: tuple[Floats, Floats] | None = None) -> tuple[Floats, Floats]:
        """(1/n) Σ wᵢ φ'(⟨aᵢ, x⟩) aᵢ + c, without regulariser and penalty, and the slopes φ' [n]; charges n.

        room: what an earlier call returned, to be written over.
        """
        self._charge(self.n, gradients=self.n, full=1)
        full, slopes = room or (None, np.empty((self.n, *self.shape[1:])))
        return self._look(x, slopes, full), slopes

    def value(self, x: Floats) -> float:
        """F(x); charges n, unless the last full pass was there."""
        if not self._at(x):
            self._charge(self.n, values=self.n)
        return self._objective(x)

    def curvature(self, x: Floats) -> Floats:
        """wᵢ φ''(⟨aᵢ, x⟩) / n [n], for `hessian`; charges n."""
        self._charge(self.n, curvatures=self.n)
        curves = np.empty((self.n, *self.shape[1:]))
        for where, rows in self._blocks():
            curves[where] = self.loss.curve(rows @ x, self._labels[where]) / self.n
        if self._weights is not None:
            curves *= self._weights.reshape(-1, *[1] * (curves.ndim - 1))
        return curves

    def hessian(self, curves: Floats, v: Floats) -> Floats:
        """Σ curvesᵢ aᵢ ⟨aᵢ, v⟩ + l2 v: the Hessian of the smooth part times v [d]; charges n."""
        self._charge(self.n, products=self.n)
        seen = self._rows @ v
        seen *= curves
        product = _turn(self._rows) @ seen
        product += np.ravel(self.ridge) * v
        return product

    def gram(self, curves: Floats) -> Floats:
        """Σ curvesᵢ aᵢ aᵢᵀ + l2 [d, d], curves ≥ 0; charges n ⌈d/4⌉: as many multiplications as that many gradients."""
        self._charge(self.n * -(-self.d // 4), grams=1)
        total = np.zeros((self.d, self.d))
        for where, rows in self._blocks():
            scaled = (rows.toarray() if self.sparse else rows) * np.sqrt(curves[where])[:, None]
            total += scaled.T @ scaled
        total[np.diag_indices(self.d)] += self.ridge
        return total

    def diagonal(self, curves: Floats) -> Floats:
        """The diagonal of `gram` [d]; charges n."""
        self._charge(self.n, diagonals=self.n)
        total, curves = np.zeros(self.d), np.broadcast_to(curves, self.n)
        for where, rows in self._blocks():
            total += _turn(_squared(rows)) @ curves[where]
        return total + self.ridge

    def prox(self, v: Floats, step: float, ridge: bool = True) -> Floats:
        """argmin over x of ψ(x) + (l2/2) ‖x‖² + ‖x − v‖²/(2 step); without `ridge`, l2 is left out."""
        self.counts["proxes"] += 1
        return self._prox(v, step, ridge)

    def _prox(self, v: Floats, step: float, ridge: bool = True) -> Floats:
        head, shrunk = self.d - self.free, v / (1 + step * self.ridge) if ridge else v
        moved = self.penalty.prox(shrunk[:head], step / (1 + step * self.l2) if ridge else step)
        return np.concatenate([moved, shrunk[head:]]) if self.free else moved

    def components(self, count: int) -> int:
        """How many of `count` gradients of components are granted, for a compiled loop; charges them at once."""
        return self._grant(count, "gradients")

    # ---------------------------------------------------------------------------------- what compiled loops are given

    def visits(self, order: Ints, batch: int = 1) -> Iterator[tuple[Any, Floats, Ints, Ints]]:
        """(rows, labels, at, ids): the components of `order` in turn, row at[t] of `rows` belonging to ids[t].

        Rows in memory come whole, with at = ids = order; others are gathered, some whole batches at a time.
        """
        if not isinstance(self._rows, Blocks):
            yield self.rows, self._labels, order, order
            return
        room = max(1, GATHERED // (8 * self.d * batch)) * batch
        for start in range(0, len(order), room):
            ids = order[start : start + room]
            yield self._rows.take(ids), self._labels, np.arange(len(ids)), ids

    @property
    def rows(self) -> Any:
        """The rows in memory, an array [n, d] or `Sparse`, whose columns are unsigned, so that a compiled loop does not
        ask of every one whether it counts from the end; read-only. Work on them is charged by `components`."""
        if isinstance(self._rows, Blocks):
            raise SpecError(
                "these rows are not in memory; use a solver that takes them a block at a time: svrg, katyusha"
            )
        if not self.sparse:
            return self._rows
        columns = self._rows.indices
        return Sparse(self._rows.data, columns.view(f"u{columns.itemsize}"), self._rows.indptr)

    @property
    def labels(self) -> Floats:
        """b [n]."""
        return self._labels

    @property
    def weights(self) -> Floats:
        """w [n]."""
        return np.ones(self.n) if self._weights is None else self._weights

    @property
    def factors(self) -> Floats:
        """The same, or [1] where nobody gave any: what a loop over a long sum holds."""
        return np.ones(1) if self._weights is None else self._weights

    @property
    def squares(self) -> Floats:
        """‖aᵢ‖² [n]."""
        squares = np.empty(self.n)
        for where, rows in self._blocks():
            squares[where] = _squares(rows)
        return squares

    @property
    def smoothness(self) -> Floats:
        """Lᵢ = wᵢ max |φ''| ‖aᵢ‖² [n], of φ alone."""
        steepest, sizes = max(-self.loss.bounds[0], self.loss.bounds[1]), self.squares
        if self._weights is not None:
            sizes *= self._weights
        if np.isfinite(steepest):
            sizes *= steepest
        else:
            sizes[sizes > 0] = steepest
        return sizes

    @property
    def ridge(self) -> Any:
        """l2 for every coordinate [d], 0 for the free ones; a number if they are all alike."""
        if not self.free:
            return self.l2
        ridge = np.full(self.d, self.l2)
        ridge[-self.free :] = 0
        return ridge.reshape(-1, *[1] * (len(self.shape) - 1))

    def zero(self) -> Floats:
        """Where a solver begins, a new array: `start`."""
        return self.start.copy()

    def like(self, **changes: Any) -> FiniteSum:
        """A sum over the same rows with another l2, loss, penalty, linear, convexity or start. It has no meter yet, and
        its questions are counted with those of this one."""
        counts, other = self.counts, copy(self)
        if "l2" in changes and self.convexity == self.l2:
            changes = {"convexity": changes["l2"]} | changes
        for name, value in changes.items():
            setattr(other, name, value)
        other._seen = other._proposed = other._meter = None
        other.__dict__["_counts"] = counts
        return other

    # -------------------------------------------------------------------------------------------------- how good it is

    def propose(self, slopes: Floats) -> None:
        """Dual variables [n] that a solver holds. Where φ has a corner, its slopes at x say little of the dual, and a
        certificate takes these, whatever they are then: any are a proof."""
        self._proposed = slopes

    def mismatch(self, x: Floats, loss: Any) -> float:
        """What the gap at x is more than that of the sum with `loss` instead, if slopes s of `loss` are the dual
        variables of both, which this proposes: the mean of w (φ + φ*(s) − s u). Free of charge, as certificates are."""
        slopes, total = np.empty(self.n), 0.0
        for where, rows in self._blocks():
            u, labels = rows @ x, self._labels[where]
            slopes[where] = s = loss.slope(u, labels)
            extra = self.loss.value(u, labels) + self.loss.conjugate(s, labels) - s * u
            total += float(extra.sum() if self._weights is None else extra @ self._weights[where])
        self.propose(slopes)
        return total / self.n

    def certificate(self, x: Floats) -> dict[str, float]:
        """What can be proved about x, without the truth and free of charge.

        objective  F(x)
        gap        at least F(x) − F*: primal minus dual objective, the dual variables being the slopes at x, scaled
                   into the feasible set where there is no l2 or one free coordinate; infinite where φ is not convex
                   or nothing is known
        gradient   length of x − prox(x − ∇): 0 at a stationary point
        """
        objective, full = self._objective(x), self._looked_at(x)[1]
        with np.errstate(all="ignore"):  # x may be anywhere
            finite = bool(np.isfinite(full).all())
            gradient = float(np.linalg.norm(x - self._prox(x - full, 1.0))) if finite else np.inf
            gap = self._gap(x, full, self._plain(x)) if finite else np.inf
        return {"objective": objective, "gap": np.inf if np.isnan(gap) else gap, "gradient": gradient}

    def _objective(self, x: Floats) -> float:
        with np.errstate(all="ignore"):
            linear = 0.0 if self.linear is None else float(self.linear @ x)
            return self._looked_at(x)[0] + linear + self._plain(x)

    def _plain(self, x: Floats) -> float:
        """ψ and the regulariser."""
        head = x[: self.d - self.free]
        return float(self.penalty.value(head) + self.l2 / 2 * (head**2).sum())

    def _looked_at(self, x: Floats) -> tuple[float, Floats]:
        """The mean loss at x and the gradient."""
        if not self._at(x):
            self._look(x, None)
        assert self._seen is not None
        return self._seen[1:]

    def _gap(self, x: Floats, full: Floats, plain: float) -> float:
        if self.loss.bounds[0] < 0:  # nothing is known of a dual, but a quadratic lies below F where it is convex
            known = self.convexity > 0 and isinstance(self.penalty, Nothing)
            return float(((full + self.ridge * x) ** 2).sum()) / (2 * self.convexity) if known else np.inf
        if self._proposed is not None and hasattr(self.loss, "inside"):
            return self._proposed_gap(x, self.loss.inside(self._proposed, self._labels), plain)
        head = self.d - self.free
        if not self.free or np.abs(full[head:]).max() <= 1e-12:
            support = self._support(-full[:head])
            if np.isfinite(support):  # φ(u) + φ*(φ'(u)) = u φ'(u), so that the losses cancel
                return max(float((full * x).sum()) + plain + support, 0.0)
        if self.free > 1 or self.linear is not None or not hasattr(self.loss, "conjugate"):
            return np.inf
        return self._scaled(x, plain) if len(self.shape) == 1 else self._mixed(x, full, plain)

    def _support(self, v: Floats) -> float:
        """max over x of ⟨v, x⟩ − ψ(x) − (l2/2) ‖x‖², without the free coordinates."""
        if not self.l2 > 0:
            return self.penalty.support(v)
        best = self.penalty.prox(v / self.l2, 1 / self.l2)
        return float((v * best).sum()) - self.l2 / 2 * float((best**2).sum()) - self.penalty.value(best)

    def _proposed_gap(self, x: Floats, slopes: Floats, plain: float) -> float:
        both, full = 0.0, np.zeros(self.d)
        for where, rows in self._blocks():
            own, labels = slopes[where], self._labels[where]
            sums = self.loss.value(rows @ x, labels) + self.loss.conjugate(own, labels)
            if self._weights is not None:
                sums, own = sums * self._weights[where], own * self._weights[where]
            both += float(sums.sum())
            full += _turn(rows) @ own
        full, plain = full / self.n, plain if self.linear is None else plain + float(self.linear @ x)
        full = full if self.linear is None else full + self.linear
        if self.free and np.abs(full[-self.free :]).max() > 1e-12:
            return np.inf
        return max(both / self.n + plain + self._support(-full[: self.d - self.free]), 0.0)

    def _scaled(self, x: Floats, plain: float) -> float:
        """The gap with dual variables sᵢ φ', 0 ≤ sᵢ ≤ 1: one factor for those that pull a free coordinate up and one
        for those that pull it down, so that they cancel; a common one where ψ* is finite near 0 only."""
        ask = np.zeros((self.d, 2))
        ask[:, 0], ask[-1, 1] = x, self.free
        margins, sums = np.empty((self.n, 2)), np.zeros((2, self.d))
        for where, rows in self._blocks():
            margins[where] = rows @ ask
            u, last = margins[where].T
            pulls = self.loss.slope(u, self._labels[where])  # [m]
            pulls = pulls if self._weights is None else pulls * self._weights[where]
            sums += (_turn(rows) @ np.stack([pulls * (pulls * last >= 0), pulls * (pulls * last < 0)], 1)).T
        slopes = self.loss.slope(margins[:, 0], self._labels)
        share, head = np.ones(2), self.d - self.free
        if self.free:
            up, down = sums[0, -1], -sums[1, -1]
            share = np.minimum(1, [down / up, up / down]) if min(up, down) > 0 else np.zeros(2)
        full = (share @ sums)[:head] / self.n
        support = self._support(-full)
        if np.isinf(support):
            if not getattr(self.penalty, "strength", 0.0):
                return np.inf
            share, support = share * (self.penalty.strength / np.abs(full).max()), 0.0
        slopes *= np.where(slopes * margins[:, 1] >= 0, *share)
        sums = self.loss.value(margins[:, 0], self._labels) + self.loss.conjugate(slopes, self._labels)
        return max(float(self.weights @ sums) / self.n + plain + support, 0.0)

    def _mixed(self, x: Floats, full: Floats, plain: float) -> float:
        """The gap with dual variables keep · p + (1 − keep) q − y for classes, p being the probabilities at x and q the
        same for all rows, so that the intercept's sums are 0; infinite where the free column is not constant."""
        classes, where = self.shape[1], slice(0, 1)
        ask = np.zeros((self.d, classes + 1))
        ask[:, :-1], ask[-1, -1] = x, 1.0
        held, keep, spread = np.bincount(self._labels.astype(int), self.weights, classes), 1.0, np.zeros(classes)
        one = next(rows for _, rows in self._blocks())[where] @ ask[:, -1]
        if self.free and one[0] != 0:
            found = held + self.n * full[-1] / one[0]
            keep = min(1.0, float((held / found).min()))
            spread = np.maximum(held - keep * found, 0.0)
            spread = spread / max(spread.sum(), 1e-300)
        both, full = 0.0, np.zeros(self.shape)
        for where, rows in self._blocks():
            seen, labels = rows @ ask, self._labels[where]
            p = keep * self.loss.chances(seen[:, :-1]) + (1 - keep) * spread
            p[np.arange(len(p)), labels.astype(int)] -= 1
            w = np.ones(len(p)) if self._weights is None else self._weights[where]
            both += float(w @ (self.loss.value(seen[:, :-1], labels) + self.loss.conjugate(p, labels)))
            full += _turn(rows) @ (p * w[:, None])
            if (seen[:, -1] != one).any() or held.min() == 0:
                return np.inf
        return max(both / self.n + plain + self._support(-full[: self.d - self.free] / self.n), 0.0)

    def _at(self, x: Floats) -> bool:
        return self._seen is not None and np.array_equal(x, self._seen[0])

    def _look(self, x: Floats, slopes: Floats | None, out: Floats | None = None) -> Floats:
        """One pass over the rows: the gradient; the slopes, if there is room for them; the value, for `certificate`."""
        self._seen, total = None, 0.0
        full: Floats = np.empty(self.shape) if out is None else out
        full[:] = 0
        for where, rows in self._blocks():
            with np.errstate(over="ignore", invalid="ignore"):  # x may have left the finite numbers: who asked will see
                margins, labels = rows @ x, self._labels[where]
                if isinstance(self._rows, Blocks) and not np.isfinite(margins).all():
                    _refuse_nonfinite(rows, where.start)
                values, own = self.loss.value(margins, labels), self.loss.slope(margins, labels)
                if slopes is not None:
                    slopes[where] = own
                if self._weights is not None:
                    w = self._weights[where]
                    values, own = values * w, own * w.reshape(-1, *[1] * (own.ndim - 1))
                total += float(values.sum())
                full += _turn(rows) @ own
        full /= self.n
        if self.linear is not None:
            full += self.linear
        self._seen = (x.copy(), total / self.n, full)
        return full

    def _blocks(self) -> Iterator[tuple[slice, Any]]:
        """All rows, some at a time: what is computed of them then needs little room, and they are read once."""
        entries = len(self._rows.data) if self.sparse else self.n * self.d
        count = max(256, AT_ONCE * self.n // max(entries, 1))
        if isinstance(self._rows, Blocks):
            for block, rows in self._rows:
                for start in range(0, len(rows), count):
                    last = min(start + count, len(rows))
                    yield slice(block.start + start, block.start + last), rows[start:last]
                del rows  # before the next is mapped
            return
        for start in range(0, self.n, count):
            where = slice(start, min(start + count, self.n))
            yield where, _part(self._rows, where) if self.sparse and count < self.n else self._rows[where]


def _matrix(rows: Any) -> tuple[Any, bool]:
    """Read-only rows, and whether they are sparse; raises `SpecError` for what is no finite matrix."""
    if isinstance(rows, Blocks):
        if 0 in rows.shape:
            raise SpecError(_no_matrix(rows.shape))
        return rows, False
    sparse = hasattr(rows, "tocsr")
    if not sparse:
        rows = np.ascontiguousarray(rows)
    elif rows.format != "csr":
        raise SpecError(f"sparse rows are in the format {rows.format!r}; convert them: rows.tocsr()")
    if len(rows.shape) != 2 or 0 in rows.shape:
        raise SpecError(_no_matrix(rows.shape))
    if rows.dtype not in (np.float32, np.float64):
        if rows.dtype.kind not in "biu":
            raise SpecError(f"rows hold {rows.dtype}, and real numbers are needed; convert them: rows.astype(float)")
        rows = rows.astype(np.float64)
    held = rows.data if sparse else rows
    with np.errstate(all="ignore"):
        total = held.sum()  # it is quick, and finite sums are the rule
    if not np.isfinite(total) and not np.isfinite(held).all():
        bad = np.flatnonzero(~np.isfinite(held))[0]
        where = np.searchsorted(rows.indptr, bad, "right") - 1 if sparse else bad // rows.shape[1]
        raise SpecError(_not_finite(where, held.flat[bad]))
    if sparse:
        _refuse_overflow(rows)
        if not rows.has_canonical_format:  # an entry in two parts would spoil the length of its row
            rows = rows.copy()
            rows.sum_duplicates()
        rows = type(rows)((rows.data.view(), rows.indices, rows.indptr), shape=rows.shape, copy=False)
        rows.data.flags.writeable = False
    else:
        rows = rows.view()
        rows.flags.writeable = False
    return rows, sparse


def _no_matrix(shape: Any) -> str:
    return f"rows have the shape {tuple(shape)}; a matrix [n, d] with n, d > 0 is needed"


def _not_finite(where: Any, number: Any) -> str:
    return f"row {where} is not finite: it holds {number}; drop the row, or fill it in"


def _refuse_nonfinite(rows: Any, start: int) -> None:
    """Of rows that are not in memory, as they are met."""
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        raise SpecError(_not_finite(start + bad[0, 0], rows[tuple(bad[0])]))


def _refuse_overflow(rows: Any) -> None:
    """Indices of 32 bits wrap around above 2³¹ entries; scipy leaves that to whoever builds the arrays."""
    starts, columns = rows.indptr, rows.indices
    if starts[0] != 0 or starts[-1] != len(rows.data) or (np.diff(starts) < 0).any():
        fact = f"the row starts run from {starts[0]} to {starts[-1]} for {len(rows.data)} entries"
        raise SpecError(f"{fact}: 32-bit indices have overflowed; build indptr and indices with int64")
    if len(columns) and (columns.min() < 0 or columns.max() >= rows.shape[1]):
        fact = f"column {columns.min() if columns.min() < 0 else columns.max()} is outside 0 … {rows.shape[1] - 1}"
        raise SpecError(f"{fact}: 32-bit indices may have overflowed; build indptr and indices with int64")


def _vector(name: str, values: Any, n: int) -> Floats:
    vector = np.asarray(values, np.float64).view()
    if vector.shape != (n,):
        raise SpecError(f"{name} have the shape {vector.shape}, and there are {n} rows; one for every row is needed")
    if not np.isfinite(vector).all():
        raise SpecError(
            f"{name}[{np.flatnonzero(~np.isfinite(vector))[0]}] is not finite; drop that row, or fill it in"
        )
    vector.flags.writeable = False
    return vector


def _refuse_labels(loss: Any, labels: Floats) -> None:
    allowed = getattr(loss, "labels", None)
    if allowed is None:
        return
    wrong = np.flatnonzero(~np.isin(labels, allowed))
    if len(wrong):
        shown = " and ".join(f"{b:g}" for b in allowed) if len(allowed) == 2 else f"{allowed[0]} … {allowed[-1]}"
        fact = f"labels[{wrong[0]}] is {labels[wrong[0]]:g}"
        raise SpecError(f"{fact}; {type(loss).__name__.lower()} takes {shown}; number the classes so")


def _part(rows: Any, where: slice) -> Any:
    """Some rows of a sparse matrix, whose entries are not copied."""
    first, last = rows.indptr[where.start], rows.indptr[where.stop]
    starts = rows.indptr[where.start : where.stop + 1] - first
    shape = (where.stop - where.start, rows.shape[1])
    return _made(type(rows), shape, rows.data[first:last], rows.indices[first:last], starts)


def _turn(rows: Any) -> Any:
    """rowsᵀ, of which nothing is copied."""
    if not hasattr(rows, "indptr"):
        return rows.T
    return _made(_kind_of_columns(type(rows)), rows.shape[::-1], rows.data, rows.indices, rows.indptr)


@cache
def _kind_of_columns(kind: Any) -> Any:
    """SciPy's class of sparse columns that goes with one of sparse rows; the core does not import SciPy."""
    return type(kind((1, 1)).T)


def _made(kind: Any, shape: tuple[int, int], data: Any, indices: Any, starts: Any) -> Any:
    """A sparse matrix of these arrays, which SciPy would copy if they are parts of larger ones, and check each time."""
    matrix = kind(shape, dtype=data.dtype)
    matrix.data, matrix.indices, matrix.indptr = data, indices, starts
    return matrix


def _squares(rows: Any) -> Floats:
    """‖aᵢ‖² of some rows."""
    if not hasattr(rows, "indptr"):
        return np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    return _squared(rows) @ np.ones(rows.shape[1])


def _squared(rows: Any) -> Any:
    """The entries' squares, in float64 if they are sparse."""
    if not hasattr(rows, "indptr"):
        return rows * rows
    entries = np.square(rows.data, dtype=np.float64)
    return _made(type(rows), rows.shape, entries, rows.indices, rows.indptr)
