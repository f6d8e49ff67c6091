"""Two arms' readings of the same seeds: checked, put on the test scale, and subtracted seed by seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Direction = Literal["high", "low"]
Scale = Literal["lin", "log", "logit"]
Names = tuple[str, str]

TRIALS = 1000.0  # answers behind a proportion when the number is unknown
BEYOND = 1e100  # a reading beyond it has diverged, as one that is not finite has
MOST = 2000  # readings of an arm
_SAME = 1e-12  # differences that vary by less than this share of the readings are equal


@dataclass(frozen=True)
class Pairs:
    """Readings `x`, `y` [seeds] of arms a and b (NaN where the seed failed), their advantage `d` on the test scale
    and `raw` in the metric's units: positive where a is better, +inf where only b failed, -inf where only a did,
    0 where both did."""

    x: Array
    y: Array
    failed_x: Mask
    failed_y: Mask
    d: Array
    raw: Array
    summary: dict[str, Any]

    @property
    def finished(self) -> Mask:
        return ~(self.failed_x | self.failed_y)


def pair(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    flags: tuple[npt.ArrayLike | None, npt.ArrayLike | None],
    *,
    better: Direction,
    scale: Scale,
    names: Names,
    trials: float | None = None,
    floor: float | None = None,
) -> Pairs:
    """Check and pair the readings; see `airtrack.study.compare.compare` for the arguments and what is refused.

    >>> pair([1.0, 4.0], [2.0, 2.0], (None, None), better="low", scale="log", names=("a", "b")).d.round(3).tolist()
    [0.693, -0.693]
    """
    x, y = _numbers(a, names[0]), _numbers(b, names[1])
    if len(x) != len(y):
        lengths = f"{names[0]!r} has {len(x)} readings and {names[1]!r} has {len(y)}"
        raise ValueError(f"{lengths}; give both arms the same seeds in the same order")
    failed_x, failed_y = (_failed(v, flag, name) for v, flag, name in zip((x, y), flags, names))
    x, y = np.where(failed_x, np.nan, x), np.where(failed_y, np.nan, y)
    finished = ~(failed_x | failed_y)
    tx, ty, notes = _transform(x, y, scale, names, trials, floor)
    sign = 1.0 if better == "high" else -1.0
    sd_x, sd_y = (float(v.std(ddof=1)) if len(v) > 1 else 0.0 for v in (tx[~failed_x], ty[~failed_y]))
    if max(sd_x, sd_y) > 5 * min(sd_x, sd_y) and min((~failed_x).sum(), (~failed_y).sum()) > 1:
        wide, narrow = names if sd_x > sd_y else names[::-1]
        notes = (*notes, f"readings of {wide} spread more than five times as widely as those of {narrow}")
    u, v = tx[finished], ty[finished]
    summary = {
        **_moments("a", x[~failed_x]),
        **_moments("b", y[~failed_y]),
        "correlation": _correlation(u, v) if len(u) > 2 and np.ptp(u) > 0 and np.ptp(v) > 0 else None,
        "notes": notes,
    }
    d, raw = (_advantage(sign * p, sign * q, failed_x, failed_y) for p, q in ((tx, ty), (x, y)))
    return Pairs(x, y, failed_x, failed_y, d, raw, summary)


def check_options(better: str, scale: str, smallest: float | None, alpha: float, names: Names) -> None:
    """Refuse options out of range; raises ValueError."""
    if better not in ("high", "low"):
        raise ValueError(f"better={better!r} is unknown; use 'high' or 'low'")
    if scale not in ("lin", "log", "logit"):
        raise ValueError(f"scale={scale!r} is unknown; use 'lin', 'log' or 'logit'")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha={alpha!r} is no level; use a number between 0 and 0.5, such as 0.05")
    if isinstance(cast(object, names), str) or len(names) != 2:
        raise ValueError(f"names={names!r} must be two names, one an arm")
    if smallest is not None and not (1.0 if scale == "log" else 0.0) < smallest < math.inf:
        kind = "a ratio above 1, such as 1.1," if scale == "log" else "a positive difference"
        raise ValueError(f"smallest_effect={smallest!r} must be {kind} for scale={scale!r}")


def margin(scale: Scale, smallest: float) -> float:
    """The smallest effect as a difference: a ratio becomes its logarithm."""
    return math.log(smallest) if scale == "log" else smallest


def on_scale(values: Array, scale: Scale, *, floor: float = 1e-300, trials: float = TRIALS) -> Array:
    """Readings where differences add up: as they are, as logarithms, or as log-odds.

    floor   "log": smaller readings are raised to it
    trials  "logit": answers behind a proportion; half a one is added on both sides

    >>> on_scale(np.array([0.0, 0.5, 1.0]), "logit", trials=10).round(2).tolist()
    [-3.04, 0.0, 3.04]
    """
    if scale == "log":
        return np.log(np.maximum(values, floor))
    if scale == "logit":
        return np.log(trials * values + 0.5) - np.log(trials - trials * values + 0.5)
    return values


def _correlation(x: Array, y: Array) -> float:
    """Pearson's, of readings that vary: scaled first, as squares of the least and the largest numbers are 0 and ∞."""
    u, v = (w / np.abs(w).max() for w in (x, y))
    return float(np.corrcoef(u, v)[0, 1])


def _moments(arm: str, x: Array) -> dict[str, float | None]:
    mean, sd = float(x.mean()) if len(x) else None, float(x.std(ddof=1)) if len(x) > 1 else None
    return {f"mean_{arm}": mean, f"sd_{arm}": sd}


def _numbers(values: npt.ArrayLike, name: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"readings of {name!r} must be one number a seed, shape [seeds]; got a ragged list") from None
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"readings of {name!r} must be one number a seed, shape [seeds]; got shape {array.shape}")
    if array.size > MOST:
        raise ValueError(
            f"{name!r} holds {array.size} readings, more than {MOST}; give one number a seed, not a sample"
        )
    if array.dtype.kind not in "iufb":
        kind = f"got {array.flat[0]!r}"
        raise ValueError(f"readings of {name!r} must be numbers, with NaN for a failed seed; {kind}")
    return array.astype(np.float64)


def _failed(x: Array, flags: npt.ArrayLike | None, name: str) -> Mask:
    if flags is None:
        return ~(np.abs(x) < BEYOND)
    mask = np.asarray(flags)
    if mask.shape != x.shape or mask.dtype != np.bool_:
        raise ValueError(f"flags of {name!r} must be {len(x)} booleans; got {mask.dtype} of shape {mask.shape}")
    return mask | ~(np.abs(x) < BEYOND)


def _transform(
    x: Array, y: Array, scale: Scale, names: Names, trials: float | None, floor: float | None
) -> tuple[Array, Array, tuple[str, ...]]:
    if scale == "lin":
        return x, y, ()
    for v, name in ((x, names[0]), (y, names[1])):
        if scale == "log" and (v < 0).any():
            raise ValueError(f"scale='log' takes readings >= 0, {name!r} holds {np.nanmin(v):g}; use scale='lin'")
        if scale == "logit" and ((v < 0) | (v > 1)).any():
            worst = v[(v < 0) | (v > 1)][0]
            raise ValueError(f"scale='logit' takes proportions from 0 to 1, {name!r} holds {worst:g}; use scale='lin'")
    if scale == "logit":
        m = TRIALS if trials is None else float(trials)
        if not 0 < m < math.inf:
            raise ValueError(f"trials={trials!r} must be positive: the number of answers behind each proportion")
        return on_scale(x, scale, trials=m), on_scale(y, scale, trials=m), ()
    if floor is not None and not 0 < floor < math.inf:
        raise ValueError(f"floor={floor!r} must be positive: smaller readings are raised to it before the logarithm")
    both = np.concatenate([x, y])
    positive = both[both > 0]
    least = floor if floor is not None else float(positive.min()) / 2 if positive.size else 1.0
    raised = int((both < least).sum())
    notes = (f"{raised} readings were raised to {least:.3g} before the logarithm",) if raised else ()
    return on_scale(x, scale, floor=least), on_scale(y, scale, floor=least), notes


def _advantage(x: Array, y: Array, failed_x: Mask, failed_y: Mask) -> Array:
    size = float(np.abs(np.concatenate([x[~failed_x], y[~failed_y], np.zeros(1)])).max())
    d = np.where(failed_x & failed_y, 0.0, np.where(failed_x, -np.inf, np.where(failed_y, np.inf, x - y)))
    d[np.abs(d) <= _SAME * size] = 0.0
    if np.isfinite(d).all() and np.ptp(d) <= _SAME * size:
        d[:] = np.median(d)
    return d
