"""Sums of many components of a linear prediction, each of which may be asked for alone."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np

from airtrack.core.given.blocks import Blocks
from airtrack.core.given.gap import duality_gap
from airtrack.core.given.oracle import Floats, Ints, Oracle
from airtrack.core.given.rows import (
    Sparse,
    add,
    dot,
    matrix,
    part,
    pieces,
    refuse_labels,
    refuse_nonfinite,
    refuse_one_class,
    squared,
    squares,
    turn,
    vector,
)
from airtrack.core.losses import loss_of
from airtrack.core.part import SpecError
from airtrack.core.penalties import Nothing

GATHERED = 1 << 24  # bytes of rows that are gathered at a time from data that are not in memory
AT_ONCE = 1 << 17  # entries of a matrix that a pass takes at a time: 1 MiB, a second-level cache


class _Seen:
    """What the last full pass found: the mean loss at x, its gradient, the mean of |wᵢ φ'ᵢ|; whether it was charged.

    Of x it keeps a print and not a copy. The gradient is the array that the asker got, who may have changed it since:
    its print would tell.
    """

    def __init__(self, x: Floats, loss: float, gradient: Floats, pull: float, paid: bool) -> None:
        self.loss, self.gradient, self.pull, self.paid = loss, gradient, pull, paid
        self._prints = _print(x), _print(gradient)

    def holds(self, x: Floats) -> bool:
        """Whether it was at x, and is as it was."""
        return self._prints == (_print(x), _print(self.gradient))


def _print(array: Floats) -> tuple[int, bytes]:
    """What tells an array from others: chances are 2⁻³² that a checksum alone does not, so that its length joins."""
    with np.errstate(all="ignore"):
        return crc32(np.ascontiguousarray(array).data), np.vdot(array, array).tobytes()


class FiniteSum(Oracle):
    """F(x) = (1/n) Σᵢ wᵢ φ(⟨aᵢ, x⟩, bᵢ) + (l2/2) ‖x‖² + ⟨c, x⟩ + ψ(x), the unit of work one gradient of a component φ.

    rows      a [n, d]: an array (float64 or float32), a scipy CSR matrix, or `Blocks` of one too large for memory
    labels    b [n]
    l2        σ, strength of the regulariser
    loss      φ: a name of `airtrack.core.losses`, or any such loss
    penalty   ψ of `airtrack.core.penalties`
    weights   w [n], not negative; None: all 1
    linear    c, of the shape of x; None: 0
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
        self.l2, self.free = float(l2), free
        self._rows, self.sparse = matrix(rows)
        self.n, self.d = self._rows.shape
        classes = getattr(self.loss, "classes", None)
        self.shape: tuple[int, ...] = (self.d,) if classes is None else (self.d, classes)
        self._labels = vector("labels", labels, self.n)
        refuse_labels(self.loss, self._labels)
        self._weights = None if weights is None else vector("weights", weights, self.n)
        if self._weights is not None and self._weights.min(initial=0) < 0:
            raise SpecError(f"weights[{self._weights.argmin()}] is {self._weights.min():g}; weights are not negative")
        if not (np.isfinite(self.l2) and self.l2 >= 0):
            raise SpecError(f"l2 is {l2}; it is a finite number, at least 0")
        self.linear = None if linear is None else self._checked("linear", linear)
        if not 0 <= free <= self.d:
            raise SpecError(f"{free} coordinates are free, and x has {self.d}; take 0 … {self.d}")
        if hasattr(self.penalty, "fits"):
            self.penalty.fits((self.d - free, *self.shape[1:]))
        if self._weights is not None and not self._weights.any():
            raise SpecError("every weight is 0: there is nothing to learn from; check the weights")
        if self.l2 == 0 and isinstance(self.penalty, Nothing) and self.linear is None:
            refuse_one_class(self.loss, self._labels)
        self._known = None if convexity is None else (float(convexity), self.l2)  # with which l2 it was
        self.start = np.broadcast_to(0.0, self.shape) if start is None else self._checked("start", start)
        self._proposed: Floats | None = None
        self._seen: _Seen | None = None

    def _checked(self, name: str, values: Any) -> Floats:
        """An own array of the shape of x."""
        array = np.array(values, np.float64)
        if array.shape != self.shape:
            raise SpecError(f"{name} has the shape {array.shape}, and x the shape {self.shape}; make them alike")
        if not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))[0].tolist()
            raise SpecError(f"{name}{bad} is not finite; give a number that is")
        return array

    @property
    def convexity(self) -> float:
        """σ with which F is strongly convex, as far as is known: what was given, or l2 where φ is convex, or 0."""
        if self._known is not None:
            return max(self._known[0] + (self.l2 - self._known[1]), 0.0)
        return self.l2 if self.loss.bounds[0] >= 0 else 0.0

    # ------------------------------------------------------------------------------------------------ what is counted

    def gradient(self, x: Floats, room: tuple[Floats, Floats] | None = None) -> tuple[Floats, Floats]:
        """(1/n) Σ wᵢ φ'(⟨aᵢ, x⟩) aᵢ + c, without regulariser and penalty, and the slopes φ' [n]; charges n.

        room: what an earlier call returned, to be written over.
        """
        self._charge(self.n, gradients=self.n, full=1)
        full, slopes = room or (None, np.empty((self.n, *self.shape[1:])))
        return self._look(x, slopes, full, paid=True), slopes

    def value(self, x: Floats) -> float:
        """F(x); charges n, unless the last full pass was there."""
        if not self.known(x):
            self._charge(self.n, values=self.n)
        self._looked_at(x).paid = True
        return self._objective(x)

    def known(self, x: Floats) -> bool:
        """Whether the last full pass that was charged was at x, so that F(x) costs nothing."""
        return self._at(x) and self._looked_at(x).paid

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
        """Σ curvesᵢ aᵢ ⟨aᵢ, v⟩ + l2 v: the Hessian of the smooth part times v, of the shape of x, or [d] with curves
        [n]; charges n."""
        self._charge(self.n, products=self.n)
        seen, joined = self._rows @ v, v.ndim > 1  # classes in one product
        seen = self.loss.bend(curves, seen) if joined else np.multiply(seen, curves, out=seen)
        product = self._rows.T @ seen
        add(product, self.ridge if joined else np.ravel(self.ridge), v)
        return product

    def gram(self, curves: Floats) -> Floats:
        """Σ curvesᵢ aᵢ aᵢᵀ + l2 [d, d], curves ≥ 0; charges n ⌈d/4⌉: as many multiplications as that many gradients."""
        self._charge(self.n * -(-self.d // 4), grams=1)
        total = np.zeros((self.d, self.d))
        for where, rows in self._blocks(AT_ONCE // 2, filled=True):  # rows and their copy
            scaled = (rows.toarray() if self.sparse else rows) * np.sqrt(curves[where])[:, None]
            total += scaled.T @ scaled
            del scaled  # before the next is made
        total[np.diag_indices(self.d)] += self.ridge
        return total

    def diagonal(self, curves: Floats) -> Floats:
        """The diagonal of `gram` [d]; charges n."""
        self._charge(self.n, diagonals=self.n)
        total, curves = np.zeros(self.d), np.broadcast_to(curves, self.n)
        for where, rows in self._blocks(self._copied):
            total += turn(squared(rows)) @ curves[where]
        total += self.ridge
        return total

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
        sizes = np.empty(self.n)
        for where, rows in self._blocks(self._copied):
            sizes[where] = squares(rows)
        return sizes

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
        if "convexity" in changes:
            other._known = (changes.pop("convexity"), changes.get("l2", self.l2))
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
        variables of both, which this proposes: the mean of w (φ + φ*(s) − s u). Charges n."""
        self._charge(self.n, values=self.n)
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
                   into the feasible set where there is no l2 or one free coordinate; infinite where nothing is known
        gradient   length of x − prox(x − ∇): 0 at a stationary point
        """
        objective, full = self._objective(x), self._looked_at(x).gradient
        with np.errstate(all="ignore"):  # x may be anywhere
            finite = bool(np.isfinite(full).all())
            gradient = float(np.linalg.norm(x - self._prox(x - full, 1.0))) if finite else np.inf
            gap = duality_gap(self, x, full, self._plain(x)) if finite else np.inf
        return {"objective": objective, "gap": np.inf if np.isnan(gap) else gap, "gradient": gradient}

    def _objective(self, x: Floats) -> float:
        with np.errstate(all="ignore"):
            linear = 0.0 if self.linear is None else float(np.vdot(self.linear, x))
            return self._looked_at(x).loss + linear + self._plain(x)

    def _plain(self, x: Floats) -> float:
        """ψ and the regulariser."""
        head = x[: self.d - self.free]
        return float(self.penalty.value(head)) + self.l2 / 2 * dot(head, head)

    def _looked_at(self, x: Floats) -> _Seen:
        if not self._at(x):
            self._look(x, None)
        assert self._seen is not None
        return self._seen

    @property
    def _pull(self) -> float:
        """A bound on the gradient of a free coordinate where that was last looked at, if nothing in it cancels."""
        return self._seen.pull * self._reach if self._seen else 0.0

    @cached_property
    def _reach(self) -> float:
        """The largest entry of the free columns."""
        ask = np.zeros((self.d, self.free))
        ask[self.d - self.free :] = np.eye(self.free)
        return max((float(np.abs(rows @ ask).max()) for _, rows in self._blocks()), default=0.0) if self.free else 0.0

    @property
    def _copied(self) -> int:
        """Entries of rows that may be copied at a time: no more than vectors take that every solver holds."""
        return min(AT_ONCE, self.n + 2 * self.d)

    def _at(self, x: Floats) -> bool:
        return self._seen is not None and self._seen.holds(x)

    def _look(self, x: Floats, slopes: Floats | None, out: Floats | None = None, paid: bool = False) -> Floats:
        """One pass over the rows: the gradient; the slopes, if there is room for them; the value, for `certificate`."""
        self._seen, total, pull = None, 0.0, 0.0
        away = x.any() or isinstance(self._rows, Blocks)  # at 0 half of a pass is known, unless rows are to be checked

        def seen(rows: Any) -> Floats:
            return rows @ x if away else np.zeros((rows.shape[0], *x.shape[1:]))

        def pulls(margins: Floats, where: slice) -> Floats:
            """wᵢ φ', once losses and slopes have been noted."""
            nonlocal total, pull
            labels = self._labels[where]
            values, own = self.loss.value(margins, labels), self.loss.slope(margins, labels)
            if slopes is not None:
                slopes[where] = own
            if self._weights is not None:
                w = self._weights[where]
                values, own = values * w, own * w.reshape(-1, *[1] * (own.ndim - 1))
            total, pull = total + float(values.sum()), pull + float(np.abs(own).sum())
            return own

        with np.errstate(over="ignore", invalid="ignore"):  # x may have left the finite numbers: who asked will see
            if self.sparse:  # two products with all rows: a vector as wide as x for each of many blocks costs more
                margins = seen(self._rows)
                for few in pieces(self.n):
                    margins[few] = pulls(margins[few], few)
                if self._weights is None and slopes is not None:
                    margins = slopes  # the same numbers, and one vector less
                product = self._rows.T @ margins
                full = product if out is None else out
                full[:] = product
                del product
            else:
                full = np.empty(self.shape) if out is None else out
                full[:] = 0
                for where, rows in self._blocks():
                    margins = seen(rows)
                    if isinstance(self._rows, Blocks) and not np.isfinite(margins).all():
                        refuse_nonfinite(rows, where.start)
                    full += rows.T @ pulls(margins, where)
        full /= self.n
        if self.linear is not None:
            full += self.linear
        self._seen = _Seen(x, total / self.n, full, pull / self.n, paid)
        return full

    def _blocks(self, at_once: int = AT_ONCE, filled: bool = False) -> Iterator[tuple[slice, Any]]:
        """All rows, some at a time: what is computed of them then needs little room, and they are read once.

        filled: the zeros of sparse rows count as entries, as they will be filled in.
        """
        entries = len(self._rows.data) if self.sparse and not filled else self.n * self.d
        count = max(256, at_once * self.n // max(entries, 1))
        if isinstance(self._rows, Blocks):
            for block, rows in self._rows:
                for start in range(0, len(rows), count):
                    last = min(start + count, len(rows))
                    yield slice(block.start + start, block.start + last), rows[start:last]
                del rows  # before the next is mapped
            return
        for start in range(0, self.n, count):
            where = slice(start, min(start + count, self.n))
            yield where, part(self._rows, where) if self.sparse and count < self.n else self._rows[where]
