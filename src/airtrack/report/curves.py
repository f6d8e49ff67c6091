"""The metric against work, and against the fields that were tuned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from airtrack.core.part import to_spec
from airtrack.report.numbers import count, number, shortened
from airtrack.report.ruler import Ruler
from airtrack.report.style import INK, SOFT, Drawn, axis_label, canvas, grid, measured
from airtrack.report.view import Arm, View, colour_of
from airtrack.study.spec import axes as grids_of
from airtrack.study.tune import Response, Tuning

Array = np.ndarray[Any, Any]
OPTIMUM = {
    "interior": "the best lies inside the grid",
    "flat": "no setting stands out of the noise",
    "edge": "the best is the last of the grid",
    "untuned": "not tuned",
}


def curves(view: View) -> Drawn | None:
    """A thin line for each seed, a bold median for each arm; None where no trial has a curve."""
    study = view.result.study
    metric = study.measure
    name = next(iter(study.stop_at), str(study.metric))
    metric = study.task.metrics[name]
    ruler = Ruler(name, metric.scale, metric.better, metric.bounds, metric.chance)
    lines = {arm: _lines(view.arms[arm], name) for arm in view.arms}
    everything = [line for its in lines.values() for line in its]
    if not any(len(work) > 1 for work, _ in everything):
        return None
    works = np.concatenate([work[work > 0] for work, _ in everything])
    across = Ruler("work", "log" if works.max() > 8 * works.min() else "lin", "low")
    marks = [metric.chance] if metric.chance is not None else []
    marks += [study.stop_at[name]] if study.stop_at else []
    heights = np.concatenate([ruler.place(v) for _, v in everything] + [ruler.place(marks)])
    figure, axes = canvas(3.0)
    handles: list[Line2D] = []
    for i, (arm, its) in enumerate(lines.items()):
        look: dict[str, Any] = {"color": view.arms[arm].colour, "linestyle": "-" if i < 7 else "--"}
        for work, values in its:
            kept = work > 0
            axes.plot(across.place(work[kept]), ruler.place(values[kept]), linewidth=0.7, alpha=0.45, zorder=2, **look)
        if (bold := _median(its, metric.worst)) is not None:
            axes.plot(across.place(bold[0]), ruler.place(bold[1]), linewidth=2.2, zorder=3, **look)
        if its:
            handles.append(Line2D([], [], linewidth=2.2, label=shortened(arm), **look))
    if metric.chance is not None:
        axes.axhline(ruler.place([metric.chance])[0], color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
        handles.append(Line2D([], [], color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)), label="chance"))
    if study.stop_at:
        axes.axhline(ruler.place([study.stop_at[name]])[0], color=INK, linewidth=0.8, linestyle=(0, (5, 2)))
        handles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (5, 2)), label="threshold"))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(2, len(handles)), handlelength=1.4, borderaxespad=0.1
    )
    measured(axes, "x", across, across.limits(across.place(works), 0.02))
    measured(axes, "y", ruler, ruler.limits(heights))
    axes.set_xlabel(f"work ({study.task.unit})")
    axes.set_ylabel(axis_label(ruler))
    grid(axes, "y")
    n = max((len(its) for its in lines.values()), default=0)
    caption = (
        "Thin: one seed; bold: the median over seeds, point by point. Compare the arms at the end of the budget only: "
    )
    caption += "a schedule or a tuned step is meant for the whole of it."
    if study.stop_at:
        caption = "Each line is one seed and ends where its trial stopped, at the threshold or at the budget."
    alt = f"{name} against work in {study.task.unit} for {', '.join(lines)}, up to {count(n, 'seed')} an arm."
    return Drawn(figure, alt, caption)


def response(view: View, tuning: Tuning, limits: tuple[float, float]) -> Drawn:
    """What an arm gave at each of its settings on the tuning seeds."""
    ruler, colour = view.ruler, colour_of(view.result, tuning.arm)
    path, values, others = _main_axis(tuning)
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    across = Ruler(path, "log" if numeric and min(values) > 0 and len(values) > 1 else "lin")
    spots = dict(zip(values, across.place(values))) if numeric else {v: float(i) for i, v in enumerate(values)}
    figure, axes = canvas(2.5)
    low, high = limits
    worst = high if ruler.better == "low" else low
    labels: list[tuple[float, float, str]] = []
    for k, group in enumerate(_groups(tuning, path, others)):
        xs = [spots[r.choice[path]] for r in group]
        ys = [_mean(ruler, r.readings) for r in group]
        axes.plot(xs, ys, color=colour, linewidth=1.4, linestyle=["-", "--", ":", "-."][k % 4], zorder=2)
        for x, r in zip(xs, group):
            _seeds(axes, x, ruler.place(r.readings), worst, colour)
        if len(others) == 1 and math.isfinite(ys[-1]):
            labels.append((ys[-1], xs[-1], number(group[0].choice[others[0]])))
    _name_lines(axes, labels, others, 0.05 * (high - low))
    left, right = across.limits(np.array(list(spots.values())), 0.1) if numeric else (-0.5, len(values) - 0.5)
    added = _added(view, tuning, path)
    _shade(axes, spots, values, added, (left, right))
    at = spots[tuning.chosen.choice[path]]
    axes.axvline(at, color=INK, linewidth=0.8, linestyle=(0, (5, 2)), zorder=1)
    axes.plot([at], [1.0], "v", color=INK, markersize=6, transform=axes.get_xaxis_transform(), clip_on=False, zorder=5)
    axes.set_xlim(left, right)
    every = max(1, math.ceil(len(values) / 7))
    axes.set_xticks([spots[v] for v in values[::every]], [shortened(number(v), 12) for v in values[::every]])
    axes.set_xticks([], minor=True)
    measured(axes, "y", ruler, limits)
    axes.set_xlabel(shortened(path, 36))
    axes.set_ylabel(shortened(ruler.label, 26))
    axes.set_title(shortened(tuning.arm, 30), loc="left", color=colour, fontweight="bold", pad=9)
    grid(axes, "y")
    said = ", ".join(f"{p} = {number(v)}" for p, v in tuning.chosen.choice.items())
    word = OPTIMUM.get(tuning.optimum, tuning.optimum)
    seeds = count(len(tuning.chosen.readings), "seed")
    caption = f"{tuning.arm}: chosen {said} (▾): {word}. A ring is one of {seeds}, the line their mean."
    caption += " Shaded: added while the best of an arm was at an edge." if added else ""
    if any(not math.isfinite(x) for r in tuning.responses for x in r.readings):
        caption += " Cross: diverged."
    alt = (
        f"{ruler.label} of {tuning.arm} at {count(len(tuning.responses), 'setting')} of {path}; chosen {said}, {word}."
    )
    return Drawn(figure, alt, caption)


def response_limits(view: View) -> tuple[float, float]:
    """One vertical axis for the tuning of all arms, so that they can be compared by eye."""
    found = [view.ruler.place(r.readings) for t in view.result.tunings.values() for r in t.responses]
    return view.ruler.limits(np.concatenate(found)) if found else (0.0, 1.0)


def _seeds(axes: Any, x: float, ys: Array, worst: float, colour: str) -> None:
    """A ring for each seed of a setting; a cross at the bad end of the axis where it diverged."""
    for y in ys:
        if math.isfinite(y):
            axes.plot(
                [x], [y], "o", color=colour, markersize=4.5, markerfacecolor="white", markeredgewidth=1.0, zorder=3
            )
        else:
            axes.plot([x], [worst], "x", color=colour, markersize=5, markeredgewidth=1.4, zorder=3, clip_on=False)


def _name_lines(axes: Any, labels: list[tuple[float, float, str]], others: list[str], apart: float) -> None:
    """The value of the second field at the end of its line; lines that end together share a label."""
    groups: list[list[tuple[float, float, str]]] = []
    for label in sorted(labels):
        if groups and label[0] - groups[-1][-1][0] < apart:
            groups[-1].append(label)
        else:
            groups.append([label])
    for group in groups:
        text = f"{others[0].rpartition('.')[2]} " + ", ".join(t for _, _, t in group)
        place = {"textcoords": "offset points", "fontsize": 7, "va": "center"}
        axes.annotate(text, (max(x for _, x, _ in group), group[0][0]), (5, 0), **place)


def _lines(arm: Arm, name: str) -> list[tuple[Array, Array]]:
    found = [(r.curve.get("work", []), r.curve.get(name, [])) for r in arm.readouts]
    return [(np.array(w, float), np.array(v, float)) for w, v in found if len(w) and len(w) == len(v)]


def _median(its: Sequence[tuple[Array, Array]], worst: float) -> tuple[Array, Array] | None:
    """Median over seeds at each work that every seed was looked at; None where seeds were looked at elsewhere."""
    if len(its) < 2:
        return None
    work = its[int(np.argmax([len(w) for w, _ in its]))][0]
    rows = []
    for w, v in its:
        if not np.array_equal(w, work[: len(w)]):
            return None
        rows.append(np.concatenate([np.where(np.isfinite(v), v, worst), np.full(len(work) - len(w), np.nan)]))
    table = np.array(rows)
    whole = np.isfinite(table).all(0) & (work > 0)
    return (work[whole], np.median(table[:, whole], 0)) if whole.sum() > 1 else None


def _main_axis(tuning: Tuning) -> tuple[str, list[Any], list[str]]:
    """The field on the horizontal axis (the one with most values), its values in order, and the other fields."""
    found = grids_of(to_spec(tuning.recipe)) or {p: [v] for p, v in tuning.chosen.choice.items()}
    tried: Mapping[str, list[Any]] = {p: list(dict.fromkeys(r.choice[p] for r in tuning.responses)) for p in found}
    path = max(tried, key=lambda p: len(tried[p]))
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in tried[path])
    return path, sorted(tried[path]) if numeric else tried[path], [p for p in tried if p != path]


def _groups(tuning: Tuning, path: str, others: list[str]) -> list[list[Response]]:
    """Responses that differ in nothing but the field on the axis, in its order."""
    groups: dict[str, list[Response]] = {}
    for r in tuning.responses:
        groups.setdefault(repr([r.choice[p] for p in others]), []).append(r)
    order = {repr(v): i for i, v in enumerate(_main_axis(tuning)[1])}
    return [sorted(group, key=lambda r: order[repr(r.choice[path])]) for group in groups.values()]


def _mean(ruler: Ruler, readings: Sequence[float]) -> float:
    at = ruler.place(readings)
    return float(at.mean()) if np.isfinite(at).all() else math.nan


def _added(view: View, tuning: Tuning, path: str) -> list[Any]:
    """Values that the grid did not have at first."""
    first = grids_of(to_spec(view.result.study.arms[tuning.arm])).get(path)
    return [] if first is None else [v for v in {r.choice[path]: None for r in tuning.responses} if v not in first]


def _shade(
    axes: Any, spots: Mapping[Any, float], values: list[Any], added: list[Any], ends: tuple[float, float]
) -> None:
    for v in added:
        i = values.index(v)
        left = ends[0] if i == 0 else (spots[values[i - 1]] + spots[v]) / 2
        right = ends[1] if i == len(values) - 1 else (spots[values[i + 1]] + spots[v]) / 2
        axes.axvspan(left, right, color="#f1f2f4", linewidth=0, zorder=0)
