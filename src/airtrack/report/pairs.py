"""Two arms on the same seeds: their readings joined by lines, and the difference of each seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from airtrack.report.numbers import count, number, percent, shortened, with_interval
from airtrack.report.ruler import Ruler
from airtrack.report.style import FAINT, INK, SOFT, Drawn, axis_label, canvas, grid, interval, measured
from airtrack.report.view import Arm, Pairing, View

Array = np.ndarray[Any, Any]


def readings(view: View, pairing: Pairing) -> Drawn:
    """Every seed's two readings, joined: the baseline at the left."""
    ruler, n = view.ruler, len(pairing.seeds)
    figure, axes = canvas(3.0)
    left, right = _column(ruler, pairing.b, pairing.seeds), _column(ruler, pairing.a, pairing.seeds)
    chance = ruler.place([ruler.chance]) if ruler.chance is not None else np.zeros(0)
    low, high = ruler.limits(np.concatenate([left, right, chance]))
    lost = bool(np.isnan(left).any() or np.isnan(right).any())
    edge = 0.0
    if lost:  # a strip beyond the worst reading
        edge = high + 0.12 * (high - low) if ruler.better == "low" else low - 0.12 * (high - low)
    offsets = np.linspace(-1, 1, n) * min(0.13, 0.02 * (n - 1)) if n > 1 else np.zeros(1)
    for i, seed in enumerate(pairing.seeds):
        ends = np.nan_to_num(np.array([left[i], right[i]]), nan=edge)
        gain = pairing.shown[i]
        colour = pairing.a.colour if gain > 0 else pairing.b.colour if gain < 0 else SOFT
        axes.plot(np.array([0, 1]) + offsets[i], ends, color=colour, linewidth=0.9, alpha=0.55, zorder=2)
        for x, arm, y in ((0, pairing.b, ends[0]), (1, pairing.a, ends[1])):
            _dot(axes, arm, seed, x + offsets[i], y)
    _centres(axes, pairing, left, right)
    notes: list[Line2D] = []
    if chance.size:
        axes.axhline(chance[0], color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        notes.append(
            Line2D([], [], color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)), label=f"chance {number(ruler.chance)}")
        )
    v = pairing.verdict
    if v is not None and v.method == "success probability" and v.threshold is not None:
        axes.axhline(ruler.place([v.threshold])[0], color=INK, linewidth=0.8, linestyle=(0, (5, 2)), zorder=1)
        notes.append(
            Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (5, 2)), label=f"success: {number(v.threshold)}")
        )
    if pairing.a.censored or pairing.b.censored:
        look = {"color": SOFT, "marker": "^", "markerfacecolor": "white", "linestyle": "none", "markersize": 5}
        notes.append(Line2D([], [], label="not reached", **look))
    if notes:
        figure.legend(handles=notes, loc="outside upper right", ncols=len(notes), handlelength=1.6, borderaxespad=0.1)
    measured(axes, "y", ruler, (low, high))
    if lost:
        axes.set_ylim(min(low, edge - 0.06 * (high - low)), max(high, edge + 0.06 * (high - low)))
        axes.set_yticks([*axes.get_yticks(), edge], [*(t.get_text() for t in axes.get_yticklabels()), "failed"])
    axes.set_xlim(-0.42, 1.42)
    axes.set_xticks([0, 1], [shortened(arm.name) for arm in (pairing.b, pairing.a)])
    axes.tick_params(axis="x", length=0, pad=5, labelsize=9)
    axes.set_ylabel(axis_label(ruler))
    grid(axes, "y")
    scale = {"log": ", logarithmic axis", "logit": ", log-odds axis"}.get(ruler.scale, "")
    caption = f"Each line is one seed{scale}; it has the colour of the arm that is better there."
    centre = "" if v is None or v.method == "success probability" else f" The bar is the {_centre_word(pairing)}."
    alt = f"{ruler.label} of {pairing.b.name} and {pairing.a.name} on {count(n, 'seed')}, joined by seed."
    return Drawn(figure, alt + f" {pairing.a.name} is better on {int((pairing.shown > 0).sum())}.", caption + centre)


def differences(view: View, pairing: Pairing) -> Drawn:
    """The advantage of arm a on every seed, with the estimate and its interval under them."""
    v, n = pairing.verdict, len(pairing.seeds)
    by_success = v is not None and v.method == "success probability"
    log = view.ruler.scale == "log" and not by_success
    ruler = Ruler("", "log") if log else Ruler("", "lin")
    gains = _successes(view, pairing) if by_success else np.array(pairing.shown, float)
    at = gains / math.log(10) if log else gains
    estimate, ends = _estimate(pairing, log)
    band = _band(pairing, log, by_success)
    shown = [*at[np.isfinite(at)], 0.0, *(e for e in (estimate, *ends) if e is not None)]
    if band and band < 20 * max(map(abs, shown), default=0.0):
        shown += [-band, band]
    low, high = (-1.15, 1.15) if by_success else ruler.limits(np.array(shown))
    reach = 0.09 * (high - low)
    lost_a, lost_b = bool((at == -math.inf).any()), bool((at == math.inf).any())
    span = (low - reach * lost_a, high + reach * lost_b)
    summary = n > 1 and any(e is not None for e in (estimate, *ends))
    figure, axes = canvas(min(4.6, max(3.0, 1.25 + (0.17 if n <= 20 else 0.085) * (n + 2 * summary))))
    if band:
        axes.axvspan(max(-band, span[0]), min(band, span[1]), color="#eef0f2", linewidth=0, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for row, gain in enumerate(at):
        if math.isfinite(gain):
            axes.plot([0, gain], [row, row], color=FAINT, linewidth=1.2, zorder=1.5)
        x = span[0] + 0.3 * reach if gain == -math.inf else span[1] - 0.3 * reach if gain == math.inf else gain
        arm = pairing.a if gain > 0 else pairing.b
        colour = SOFT if gain == 0 else arm.colour
        marker = "X" if math.isinf(gain) else arm.marker if gain else "o"
        axes.plot([x], [row], marker, color=colour, markersize=5 if n <= 20 else 4, markeredgewidth=0, zorder=3)
    bottom = n - 0.4
    if summary:
        bottom = n + 1.4
        interval(axes, estimate, ends, span, n + 0.6, INK)
        axes.axhline(n - 0.25, color=FAINT, linewidth=0.7)
    measured(axes, "x", ruler, span)
    axes.set_ylim(bottom, -0.9)
    every = 1 if n <= 20 else 5
    rows = [i for i in range(n) if i % every == 0]
    labels = [f"seed {pairing.seeds[i]}" if i == 0 else str(pairing.seeds[i]) for i in rows]
    extra = (
        ([n + 0.6], ["share" if by_success else "mean" if v and v.method == "paired t" else "centre"])
        if summary
        else ([], [])
    )
    axes.set_yticks([*rows, *extra[0]], [*labels, *extra[1]])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(_difference_label(view, by_success, log))
    a, b = (shortened(arm.name, 16) for arm in (pairing.a, pairing.b))
    axes.set_title(f"← {b} better", loc="left", color=pairing.b.colour, fontsize=8)
    axes.set_title(f"{a} better →", loc="right", color=pairing.a.colour, fontsize=8)
    grid(axes, "x")
    return Drawn(figure, _alt(pairing, gains), _caption(pairing, band, lost_a or lost_b, by_success, summary))


def _column(ruler: Ruler, arm: Arm, seeds: tuple[int, ...]) -> Array:
    return ruler.place(arm.values[s] for s in seeds)


def _dot(axes: Axes, arm: Arm, seed: int, x: float, y: float) -> None:
    if seed in arm.failed:
        axes.plot([x], [y], "x", color=arm.colour, markersize=5, markeredgewidth=1.4, zorder=4)
    elif seed in arm.censored:
        axes.plot([x], [y], "^", color=arm.colour, markerfacecolor="white", markersize=5, zorder=4)
    else:
        axes.plot(
            [x],
            [y],
            arm.marker,
            color=arm.colour,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            zorder=3,
        )


def _centres(axes: Axes, pairing: Pairing, left: Array, right: Array) -> None:
    """Mean (median where a seed failed) of each arm, beside its dots."""
    v = pairing.verdict
    if v is None or v.method == "success probability" or len(left) < 2:
        return
    for x, column, arm in ((-0.27, left, pairing.b), (1.27, right, pairing.a)):
        if np.isnan(column).any() or arm.censored:
            worst = -math.inf if v.better == "high" else math.inf
            filled = np.where(np.isnan(column), worst, column)
            centre = float(np.sort(filled)[[(len(filled) - 1) // 2, len(filled) // 2]].mean())
        else:
            centre = float(np.median(column) if v.method == "ranks" else column.mean())
        if math.isfinite(centre):
            axes.plot(
                [x - 0.07, x + 0.07], [centre, centre], color=arm.colour, linewidth=2.6, solid_capstyle="butt", zorder=4
            )


def _centre_word(pairing: Pairing) -> str:
    v = pairing.verdict
    return "median" if v is not None and v.method == "ranks" else "mean"


def _successes(view: View, pairing: Pairing) -> Array:
    """+1 where arm a alone succeeds, −1 where arm b alone does."""
    v = pairing.verdict
    assert v is not None
    assert v.threshold is not None
    sign = 1.0 if v.better == "high" else -1.0
    a, b = (
        np.array([sign * arm.values[s] > sign * v.threshold for s in pairing.seeds], float)
        for arm in (pairing.a, pairing.b)
    )
    return a - b


def _estimate(pairing: Pairing, log: bool) -> tuple[float | None, tuple[float | None, float | None]]:
    """The verdict's effect and the ends of its interval, as positions on the axis."""
    v = pairing.verdict
    if v is None:
        return None, (None, None)
    put = (lambda x: math.log10(x) if x and x > 0 else None) if log else (lambda x: x)
    low, high = (None if x is None else put(x) for x in v.effect_interval)
    return None if v.effect is None else put(v.effect), (low, high)


def _band(pairing: Pairing, log: bool, by_success: bool) -> float | None:
    v = pairing.verdict
    if v is None or v.smallest_effect is None or by_success:
        return None
    return math.log10(v.smallest_effect) if log else v.smallest_effect


def _difference_label(view: View, by_success: bool, log: bool) -> str:
    if by_success:
        return "success: +1 in this arm alone, 0 in both or none"
    name = shortened(view.ruler.label, 24)
    return f"ratio of {name}" if log else f"difference in {name}"


def _caption(pairing: Pairing, band: float | None, lost: bool, by_success: bool, summary: bool) -> str:
    v, a, b = pairing.verdict, pairing.a.name, pairing.b.name
    parts = [f"The advantage of {a} over {b} on each seed."]
    if v is not None and summary:
        named = {"ranks": "Hodges–Lehmann estimate", "success probability": "difference of the shares"}.get(
            v.method, "mean"
        )
        parts.append(f"Diamond: {named} with its {percent(v.alpha)} interval.")
        if v.scale == "logit" and not by_success:
            parts.append("The tests compare log-odds.")
    if band and v is not None:
        parts.append(f"Grey: less than the smallest effect that matters, {number(v.smallest_effect)}.")
    if lost:
        parts.append("A cross at the side: one arm alone failed or did not get there on this seed.")
    if v is None:
        parts.append("Not finished: no estimate is drawn.")
    return " ".join(parts)


def _alt(pairing: Pairing, gains: Array) -> str:
    a, b = pairing.a.name, pairing.b.name
    text = (
        f"Advantage of {a} over {b} by seed: positive on {int((gains > 0).sum())}, negative on {int((gains < 0).sum())}"
    )
    text += f" of {count(len(gains), 'seed')}."
    v = pairing.verdict
    if v is not None and v.effect is not None:
        text += f" {v.effect_kind.capitalize()} {with_interval(v.effect, *v.effect_interval)}."
    return text
