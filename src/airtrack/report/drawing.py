"""All figures of a result, by name."""

from __future__ import annotations

import numpy as np

from airtrack.report import curves, pairs
from airtrack.report.numbers import count, percent, shortened, with_interval
from airtrack.report.ruler import Ruler
from airtrack.report.style import INK, Drawn, canvas, grid, interval, measured, styled
from airtrack.report.view import View, view
from airtrack.study.result import Result
from airtrack.study.statement import Verdict

BACK = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.8}  # of a label that crosses a line


def draw(result: Result) -> dict[str, Drawn]:
    """Every figure that the readings allow; see `airtrack.report.figures` for the names."""
    seen = view(result)
    drawn: dict[str, Drawn | None] = {}
    with styled():
        drawn["overview"] = overview(seen)
        for p in seen.pairings:
            drawn[f"readings: {p.a.name}, {p.b.name}"] = pairs.readings(seen, p)
            drawn[f"differences: {p.a.name}, {p.b.name}"] = pairs.differences(seen, p)
        drawn["curves"] = curves.curves(seen)
        limits = curves.response_limits(seen)
        for arm, tuning in result.tunings.items():
            drawn[f"tuning: {arm}"] = curves.response(seen, tuning, limits)
    return {name: d for name, d in drawn.items() if d is not None}


def overview(seen: View) -> Drawn | None:
    """The estimates of several comparisons under one another; None where they are not of one kind."""
    known = [v for v in seen.result.verdicts if any(e is not None for e in v.effect_interval)]
    if len(known) < 2 or len({v.effect_kind for v in known}) > 1:
        return None
    log = known[0].effect_kind == "ratio"
    ruler = Ruler("", "log" if log else "lin")
    none = 1.0 if log else 0.0

    def place(x: float | None) -> float | None:  # a ratio of nought is one without bound: no place on the axis
        return None if x is None or (log and x <= 0) else float(ruler.place([x])[0])

    placed = [place(x) for v in known for x in (v.effect, *v.effect_interval)]
    smallest = known[0].smallest_effect if known[0].method != "success probability" else None
    if smallest:
        placed += map(place, [1 / smallest, smallest] if log else [-smallest, smallest])
    span = ruler.limits(np.array([p for p in (*placed, place(none)) if p is not None]))
    figure, axes = canvas(0.75 + 0.46 * len(known))
    if smallest:
        ends = ruler.place([1 / smallest if log else -smallest, smallest])
        axes.axvspan(*ends, color="#eef0f2", linewidth=0, zorder=0)
    axes.axvline(ruler.place([none])[0], color=INK, linewidth=0.9, zorder=1)
    for row, v in enumerate(known):
        low, high = map(place, v.effect_interval)
        interval(axes, place(v.effect), (low, high), span, row, seen.arms[v.names[0]].colour)
        axes.text(0, row - 0.3, _row(v), transform=axes.get_yaxis_transform(), fontsize=8, va="bottom", bbox=dict(BACK))
    measured(axes, "x", ruler, span)
    axes.set_ylim(len(known) - 0.55, -0.85)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    name = shortened(known[0].metric or seen.ruler.label, 26)
    axes.set_xlabel(
        {"ratio": f"advantage, ratio of {name}", "difference": f"advantage in {name}"}.get(
            known[0].effect_kind, "share of seeds"
        )
    )
    grid(axes, "x")
    caption = f"Advantage of the first arm with its {percent(known[0].alpha)} interval; right of the line it is better."
    caption += " Grey: less than the smallest effect that matters." if smallest else ""
    told = "; ".join(f"{v.names[0]} against {v.names[1]}: {with_interval(v.effect, *v.effect_interval)}" for v in known)
    return Drawn(figure, f"{count(len(known), 'comparison')}. {told}.", caption)


def _row(v: Verdict) -> str:
    a, b = (shortened(name, 20) for name in v.names)
    return f"{a} against {b}"
