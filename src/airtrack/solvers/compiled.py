"""Losses and penalties of the core inside compiled loops: each is compiled for its class, with nothing to look up.

slope(loss, u, b), value(loss, u, b), curve(loss, u, b), settle(loss, u, s, q, b), shrink(penalty, v, step)

And `fetch`, for loops over sparse rows in random order.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

# Sums may be taken in any order, so that they become vector instructions; no assumption that numbers are finite.
QUICK = {"reassoc", "contract", "arcp", "nsz"}


def value(self: Any, u: Any, b: Any) -> Any:
    """φ(u, b)."""
    return self.value(u, b)


def slope(self: Any, u: Any, b: Any) -> Any:
    """φ'(u, b)."""
    return self.slope(u, b)


def curve(self: Any, u: Any, b: Any) -> Any:
    """φ''(u, b)."""
    return self.curve(u, b)


def settle(self: Any, u: Any, s: Any, q: Any, b: Any) -> Any:
    """The slope s' with s' = φ'(u − q (s' − s)), q > 0: the best value of a dual variable whose value is s.

    Where a loss has no closed form, Newton's method from u, until s' − s is known to a twentieth of itself.
    """
    raise NotImplementedError  # compiled alone


def shrink(self: Any, v: Any, step: Any) -> Any:
    """The proximal map of one coordinate."""
    return self.shrink(v, step)


def _formula(self: Any, name: str) -> Any:
    """The method of that name of a loss or penalty, as a plain function without annotations, which numba compares."""
    if not isinstance(self, (types.NamedTuple, types.NamedUniTuple)):
        return None
    method = getattr(self.instance_class, name)
    return FunctionType(method.__code__, method.__globals__, name)


@overload(value, inline="always")
def _value(self, u, b):
    return _formula(self, "value")


@overload(slope, inline="always")
def _slope(self, u, b):
    return _formula(self, "slope")


@overload(curve, inline="always")
def _curve(self, u, b):
    return _formula(self, "curve")


@overload(settle, inline="always")
def _settle(self, u, s, q, b):
    closed = _formula(self, "settle") if hasattr(getattr(self, "instance_class", None), "settle") else None
    if closed is not None:
        form = register_jitable(closed)
        return lambda self, u, s, q, b: form(self, u + q * s, q, b)
    third = getattr(self.instance_class, "third", np.inf)
    third = third if isinstance(third, float) else np.inf

    def newton(self, u, s, q, b):  # the root of rest(v) = v − u + q (φ'(v) − s), which rises
        v, low, high, first, last = u, -np.inf, np.inf, 0.0, np.inf
        for k in range(60):
            rest = v - u + q * (slope(self, v, b) - s)
            if k == 0:
                first = abs(rest)
            if rest > 0:
                high = v
            else:
                low = v
            move = rest / (1 + q * curve(self, v, b))
            sure = q * third * move * move <= 0.1 * first if third < np.inf else abs(rest) <= 0.05 * first
            if abs(move) > last / 2 and high - low < np.inf:  # as slow as halving: then halve
                move, sure = v - (low + high) / 2, False
            v, last = v - move, abs(move)
            if sure:
                break
        return s + (u - v) / q

    return newton


@overload(shrink, inline="always")
def _shrink(self, v, step):
    return _formula(self, "shrink")


AHEAD = 8  # steps that a row is asked for before it is used: about the latency of memory over the time of a step


def _load(_, array, index):  # pragma: no cover  (compiled)
    """Start to load the line of cache that holds the entry at `index` of a contiguous array."""

    def generate(context, builder, signature, arguments):
        array, index = arguments
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(
            builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [index]), byte
        )
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        read, keep, data = number(0), number(3), number(1)
        builder.call(
            cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8"), [place, read, keep, data]
        )
        return context.get_dummy_value()

    return types.void(array, index), generate


_prefetch: Any = intrinsic(_load)


@njit(cache=True, nogil=True, inline="always")
def fetch(rows, labels, factors, facts, ids, t):  # pragma: no cover  (compiled)
    """Ask for what step t + 8 needs: sparse row ids[t + 8], its label, factor, [n] or [1], and facts, [n] or [n, k].

    Rows in random order are waited for most of the time otherwise: 2.5 times as long a pass at 100 000 rows of 20.
    """
    entries, columns, starts = rows
    if t + 2 * AHEAD < len(ids):
        _prefetch(starts, ids[t + 2 * AHEAD])
    if t + AHEAD < len(ids):
        i = ids[t + AHEAD]
        first, last = starts[i], starts[i + 1]
        _prefetch(labels, i)
        if len(factors) > 1:
            _prefetch(factors, i)
        _prefetch(facts, i * (facts.size // len(facts)))
        for k in range(first, last, 8):
            _prefetch(entries, k)
        for k in range(first, last, 16):
            _prefetch(columns, k)
        _prefetch(entries, last - 1)
        _prefetch(columns, last - 1)


@njit(cache=True, nogil=True, inline="always")
def each(values, i):  # pragma: no cover  (compiled)
    """values[i], or the one value of all."""
    return values[i if len(values) > 1 else 0]
