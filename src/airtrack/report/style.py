"""How every figure looks, and how it becomes text inside a page."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from airtrack.report.numbers import shortened
from airtrack.report.ruler import Ruler

WIDTH = 3.5  # inches: one column of a paper, and a telephone at 1 : 1
INK, SOFT, FAINT = "#1a1a1a", "#5f6368", "#d5d8dc"

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "text.parse_math": False,  # an arm may be named $x$
    "path.simplify": True,
}


@dataclass(frozen=True)
class Drawn:
    """A figure, what it shows in words for who cannot see it, and the caption under it."""

    figure: Figure
    alt: str
    caption: str = ""


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the report's style, whatever the user's settings; a name without glyphs in the font is no warning."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(cast(Any, STYLE))
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def canvas(height: float) -> tuple[Figure, Axes]:
    """A figure of one column with one pair of axes; independent of pyplot and of any display."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def measured(axes: Axes, which: str, ruler: Ruler, limits: tuple[float, float]) -> None:
    """Put a ruler on the x or the y axis."""
    at, labels = ruler.ticks(*limits)
    setter = axes.set_xlim if which == "x" else axes.set_ylim
    setter(*limits)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(at, labels)
    axis.set_ticks([], minor=True)


def grid(axes: Axes, which: str) -> None:
    axes.grid(axis=which, color=FAINT, linewidth=0.5)  # pyright: ignore[reportArgumentType]
    axes.set_axisbelow(True)


def axis_label(ruler: Ruler) -> str:
    label, direction = shortened(ruler.label, 34), f"({'lower' if ruler.better == 'low' else 'higher'} is better)"
    return f"{label}{' ' if len(label) <= 16 else chr(10)}{direction}"


def interval(
    axes: Axes,
    centre: float | None,
    ends: tuple[float | None, float | None],
    span: tuple[float, float],
    y: float,
    colour: str,
) -> None:
    """A diamond with its interval; an unbounded end is an arrow that leaves the picture."""
    low, high = (edge if end is None else end for end, edge in zip(ends, span))
    axes.plot([low, high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=3)
    for end, edge, marker in ((ends[0], span[0], "<"), (ends[1], span[1], ">")):
        where, shape = (edge, marker) if end is None else (end, "|")
        axes.plot([where], [y], shape, color=colour, markersize=6, markeredgewidth=1.4, zorder=3, clip_on=False)
    if centre is not None:
        axes.plot(
            [centre], [y], "D", color=colour, markersize=6, markeredgecolor="white", markeredgewidth=0.6, zorder=4
        )


def svg(drawn: Drawn, name: str) -> str:
    """The figure as an SVG element that stands inside a page: no header, no date, no identifier but its own."""
    buffer = io.StringIO()
    with styled():
        mpl.rcParams["svg.hashsalt"] = name  # so that identifiers are the same in every run and differ between figures
        drawn.figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.S)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0]
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {names} viewBox="0 0 {width} {height}"'
    label = html.escape(drawn.alt, quote=True)
    return re.sub(r"<svg[^>]*>", lambda m: f'{head} role="img" aria-label="{label}">', text, count=1)
