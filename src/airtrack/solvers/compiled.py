"""Losses and penalties of the core inside compiled loops: each is compiled for its class, with nothing to look up.

slope(loss, u, b), value(loss, u, b), curve(loss, u, b), shrink(penalty, v, step)
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from numba import types
from numba.extending import overload

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


@overload(shrink, inline="always")
def _shrink(self, v, step):
    return _formula(self, "shrink")
