"""An axis that measures on the scale on which differences add up, and is labelled in the metric's own numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from airtrack.report.numbers import number, power
from airtrack.study.readings import TRIALS, on_scale

_ROUND = (0.5, 0.1, 0.9, 0.01, 0.99, 0.0, 1.0, 0.001, 0.999, 0.02, 0.98, 0.2, 0.8, 0.05, 0.95, 0.3, 0.7, 0.4, 0.6)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Ruler:
    """Puts readings on an axis.

    >>> ruler = Ruler("gap", "log", "low")
    >>> ruler.place([1e-3, 1.0]).tolist(), ruler.ticks(-3.2, 0.2)[1]
    ([-3.0, 0.0], ['10⁻³', '10⁻²', '0.1', '1'])
    """

    label: str
    scale: Literal["lin", "log", "logit"] = "lin"
    better: Literal["high", "low"] = "high"
    bounds: tuple[float, float] = (-math.inf, math.inf)
    chance: float | None = None

    def place(self, values: Iterable[float]) -> Array:
        """Positions on the axis; NaN and infinities become NaN."""
        v = np.array(list(values), float)
        v[~np.isfinite(v)] = np.nan
        if self.scale == "log":
            least = self.bounds[0] if 0 < self.bounds[0] < math.inf else 1e-300
            return np.log10(np.maximum(v, least))  # exact at powers of ten, unlike log(v) / log(10)
        return on_scale(np.clip(v, 0, 1) if self.scale == "logit" else v, self.scale)

    def back(self, position: float) -> float:
        """The reading at a position.

        >>> round(Ruler("accuracy", "logit").back(Ruler("accuracy", "logit").place([0.9])[0]), 6)
        0.9
        """
        if self.scale == "log":
            return 10.0 ** min(max(position, -300.0), 300.0)
        if self.scale == "logit":
            odds = math.exp(min(max(position, -50.0), 50.0))
            return min(1.0, max(0.0, (odds * (TRIALS + 0.5) - 0.5) / (TRIALS * (1 + odds))))
        return position

    def limits(self, positions: Array, pad: float = 0.06) -> tuple[float, float]:
        """Ends of an axis that shows these positions with some air, however few or equal they are."""
        known = positions[np.isfinite(positions)]
        if not known.size:
            return (0.0, 1.0)
        low, high = float(known.min()), float(known.max())
        least = 0.6 if self.scale != "lin" else 0.1 * max(abs(low), abs(high)) or 1.0
        if high - low < least / 10:
            low, high = low - least / 2, high + least / 2
        air = pad * (high - low)
        return low - air, high + air

    def ticks(self, low: float, high: float, most: int = 6) -> tuple[list[float], list[str]]:
        """Positions and labels of round readings between two positions."""
        if self.scale == "log" and high - low >= 1.5:
            first, last = math.ceil(low), math.floor(high)
            step = max(1, math.ceil((last - first + 1) / most))
            exponents = range(first + (-first) % step, last + 1, step)
            return [float(e) for e in exponents], [number(10.0**e) if -2 < e < 4 else power(e) for e in exponents]
        if self.scale == "log" and high - low >= 0.5:
            decades = range(math.floor(low), math.ceil(high))
            marks = [m * 10.0**e for e in decades for m in ((1, 2, 5) if high - low < 1.2 else (1, 3))]
            kept = [v for v in marks if low <= math.log10(v) <= high]
            return [math.log10(v) for v in kept], [number(v) for v in kept]
        if self.scale == "logit" and high - low >= 2:
            places = dict(zip(_ROUND, self.place(_ROUND)))
            kept: list[float] = []
            for v in _ROUND:
                far = all(abs(places[v] - places[w]) >= 0.11 * (high - low) for w in kept)
                if low <= places[v] <= high and far:
                    kept.append(v)
            return [float(places[v]) for v in sorted(kept)], [number(v) for v in sorted(kept)]
        inside = _round_numbers(self.back(low), self.back(high), most)
        at = self.place(inside)
        labels = [number(v, 4) for v, p in zip(inside, at) if low <= p <= high]
        if most > 3 and max(map(len, labels), default=0) > 7:  # long ones would run into each other
            return self.ticks(low, high, 3)
        return [float(p) for p in at if low <= p <= high], labels


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    """
    >>> _round_numbers(0.0, 1.0, 6)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    width = high - low
    if not 0 < width < math.inf:
        return [low]
    unit = 10.0 ** math.floor(math.log10(width / most))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10, 20) if width / (m * unit) <= most)
    return [float(f"{k * step:.12g}") for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
