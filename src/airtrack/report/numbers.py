"""Numbers as a reader wants them: few digits, powers of ten, one width for a value and its interval."""

from __future__ import annotations

import math
from typing import Any

_SUPER = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NONE = "–"
_THIN = "\N{NARROW NO-BREAK SPACE}"


def power(exponent: int) -> str:
    """
    >>> power(-6)
    '10⁻⁶'
    """
    return "10" + str(exponent).translate(_SUPER)


def number(x: Any, digits: int = 3) -> str:
    r"""
    >>> number(0.00000213), number(1500), number(0.25), number(None), number(True), number(float("nan"))
    ('2.13 × 10⁻⁶', '1500', '0.25', '–', 'True', 'failed')
    >>> number(30000), number(1234567.0)
    ('30\u202f000', '1\u202f234\u202f567')
    """
    if x is None:
        return _NONE
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        return str(x)
    if not math.isfinite(x):
        return {math.inf: "∞", -math.inf: "−∞"}.get(x, "failed")
    size = abs(x)
    if x == int(x) and size < 1e9:
        return _grouped(int(x))
    if 1e4 <= size < 1e7:
        return _grouped(round(x))
    if 1e-3 <= size < 1e4:
        return f"{x:.{max(digits, math.floor(math.log10(size)) + 1)}g}".replace("-", "−")
    mantissa, _, exponent = f"{x:.{digits - 1}e}".partition("e")
    mantissa = (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa).replace("-", "−")
    tail = power(int(exponent))
    return {"1": tail, "−1": f"−{tail}"}.get(mantissa, f"{mantissa} × {tail}")


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A value and its interval with as many decimals as the width of the interval supports.

    >>> with_interval(1.0234, 0.9123, 1.1371), with_interval(4.3, 3.7, None), with_interval(2.0, None, None)
    ('1.02 [0.91, 1.14]', '4.30 [3.70, unbounded]', '2')
    """
    if value is None and low is None and high is None:
        return _NONE
    if low is None and high is None:
        return number(value)
    known = [x for x in (value, low, high) if x is not None]
    width, largest = max(known) - min(known), max(map(abs, known))
    if width <= 1e-9 * largest or not 1e-4 < largest < 1e6:
        form = number
    else:
        decimals = min(12, max(0, 1 - math.floor(math.log10(width))))
        form = lambda x: f"{x:.{decimals}f}".replace("-", "−")  # noqa: E731
    texts = ["unbounded" if x is None else form(x) for x in (value, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def share(x: float | None) -> str:
    """
    >>> share(0.9375)
    '94 %'
    """
    return _NONE if x is None else f"{100 * x:.0f} %"


def percent(alpha: float) -> str:
    """The confidence of an interval at level `alpha`.

    >>> percent(0.05), percent(0.0205)
    ('95 %', '97.95 %')
    """
    return f"{100 * (1 - alpha):.4g} %"


def shortened(text: str, most: int = 22) -> str:
    """
    >>> shortened("a very long name of an arm", 12)
    'a very long…'
    """
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def duration(seconds: float | None) -> str:
    """
    >>> duration(0.0123), duration(75.0), duration(7300.0)
    ('0.012 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds is None:
        return _NONE
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(n: int, noun: str) -> str:
    """
    >>> count(1, "seed"), count(8, "seed")
    ('1 seed', '8 seeds')
    """
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _grouped(n: int) -> str:
    return (f"{n:,}" if abs(n) >= 10_000 else str(n)).replace(",", _THIN).replace("-", "−")
