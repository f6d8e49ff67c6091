"""A sheet to draw examples on: boxes of tokens, running text, tables and trees, in points from the top left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.textpath import TextPath

WIDTH = 420.0  # points; shown at 560 pixels, and a letter of 9 points is still legible on a telephone of 400
INK, SOFT, LINE = "#1f2328", "#59636e", "#b8bfc7"
GIVEN, TRAINED, SCORED = "#eceff2", "#cfe3f7", "#ffd27a"
MEANS = {GIVEN: "given", TRAINED: "trained on, not scored", SCORED: "to be predicted, and scored"}
CLINGING = {".", ",", ":", "?", "'s"}
TINTS = ("#ffd9b3", "#cfe3f7", "#c9ecd9", "#f3d3e6", "#fbefb0", "#d9d5f3", "#e3e0d8", "#f7cfcb")
DARK = ("#b35900", "#0a5ea8", "#0b7a4b", "#a3297a", "#8a6d00", "#4d3fb0", "#5e574a", "#b3261e")  # of the same order


class Box(NamedTuple):
    """A rectangle on the sheet; y grows downwards."""

    x: float
    y: float
    w: float
    h: float

    @property
    def top(self) -> tuple[float, float]:
        return self.x + self.w / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        return self.x + self.w / 2, self.y + self.h


def around(boxes: Sequence[Box]) -> Box:
    """The least box that holds these."""
    x, y = min(b.x for b in boxes), min(b.y for b in boxes)
    return Box(x, y, max(b.x + b.w for b in boxes) - x, max(b.y + b.h for b in boxes) - y)


def width_of(text: str, size: float, mono: bool, bold: bool = False) -> float:
    if mono:
        return 0.602 * size * len(text)
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width)


class Sheet:
    """Draws at `self.y` and moves it down. `figure()` cuts the sheet off there."""

    def __init__(self, width: float = WIDTH) -> None:
        self.width, self.y = width, 2.0
        self._figure = Figure(figsize=((width + 2) / 72, 1), facecolor="white")
        self.axes = self._figure.add_axes((0, 0, 1, 1))
        self.axes.axis("off")

    def figure(self) -> Figure:
        height = self.y + 2
        self._figure.set_size_inches((self.width + 2) / 72, height / 72)
        self.axes.set_xlim(-1, self.width + 1)
        self.axes.set_ylim(height, 0)
        return self._figure

    def write(
        self, x: float, y: float, text: str, size: float = 9, *, mono: bool = False, align: Any = "left", **look: Any
    ) -> None:
        """Text whose middle line is at y."""
        family = "DejaVu Sans Mono" if mono else "DejaVu Sans"
        look = {"color": INK, "zorder": 5, **look}
        self.axes.text(x, y, text, fontsize=size, family=family, ha=align, va="center_baseline", **look)

    def heading(self, text: str) -> None:
        self.y += 12
        self.write(0, self.y, text, 9, weight="bold")
        self.y += 11

    def note(self, text: str) -> None:
        self.y += 8
        self.write(0, self.y, text, 8.5, color=SOFT)
        self.y += 9

    def arrow(self, start: Any, end: Any, color: str = SOFT, bend: float = 0.0, gap: float = 0.0, **look: Any) -> None:
        """An arrow that keeps `gap` points away from both of its ends."""
        style = {"arrowstyle": "-|>", "mutation_scale": 7, "linewidth": 1.0, "zorder": 4, **look}
        curve = f"arc3,rad={bend}"
        self.axes.add_patch(
            FancyArrowPatch(start, end, connectionstyle=curve, color=color, shrinkA=gap, shrinkB=gap, **style)
        )

    def line(self, start: Any, end: Any, color: str = LINE, **look: Any) -> None:
        self.axes.plot(
            (start[0], end[0]), (start[1], end[1]), **{"color": color, "linewidth": 0.9, "zorder": 1, **look}
        )

    def box(self, box: Box, fill: str, edge: str = LINE, thick: float = 0.6, round_: float = 2) -> None:
        shape = f"round,pad=0,rounding_size={round_}"
        look: dict[str, Any] = {"facecolor": fill, "edgecolor": edge, "linewidth": thick, "zorder": 3}
        self.axes.add_patch(FancyBboxPatch((box.x, box.y), box.w, box.h, boxstyle=shape, **look))

    def node(self, x: float, y: float, text: str, fill: str = "white", edge: str = SOFT, thick: float = 0.9) -> None:
        self.axes.add_patch(Circle((x, y), 10, facecolor=fill, edgecolor=edge, linewidth=thick, zorder=4))
        self.write(x, y, text, 9, mono=True, align="center")

    def tokens(self, groups: Sequence[Sequence[tuple[str, str]]], size: float = 9) -> list[list[Box]]:
        """Groups of (word, fill) as boxes; a line never breaks within a group. Ends with what the fills mean."""
        x, found, height = 0.0, [], size + 7
        for group in groups:
            wide = sum(width_of(word, size, True) + 8 for word, _ in group)
            if x > 0 and x + wide > self.width:
                x, self.y = 0.0, self.y + height + 4
            found.append([])
            for word, fill in group:
                box = Box(x, self.y, width_of(word, size, True) + 6, height)
                self.box(box, fill, "#c98500" if fill == SCORED else LINE)
                self.write(x + box.w / 2, self.y + height / 2, word, size, mono=True, align="center")
                found[-1].append(box)
                x += box.w + 2
            x += 5
        self.y += height + 3
        self.legend([(fill, MEANS[fill]) for fill in MEANS if any(fill == f for g in groups for _, f in g)])
        return found

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        x, self.y = 0.0, self.y + 4
        for fill, text in entries:
            wide = 13 + width_of(text, 8, False) + 14
            if x > 0 and x + wide > self.width:
                x, self.y = 0.0, self.y + 13
            self.box(Box(x, self.y + 1, 9, 9), fill, "#c98500" if fill == SCORED else LINE, round_=1)
            self.write(x + 13, self.y + 5.5, text, 8, color=SOFT)
            x += wide
        self.y += 12

    def prose(self, words: Sequence[tuple[str, str | None]], size: float = 9, leading: float = 17) -> list[Box]:
        """Running text of (word, fill or None); punctuation clings to the word before it."""
        x, found, before = 0.0, [], None
        for i, (word, fill) in enumerate(words):
            clings = word in CLINGING
            behind = words[i + 1][0] if i + 1 < len(words) and words[i + 1][0] in CLINGING else ""
            space = 0.0 if clings or x == 0 else 0.5 * size
            wide = width_of(word, size, True)
            if not clings and x + space + wide + width_of(behind, size, True) > self.width:
                x, space, before, self.y = 0.0, 0.0, None, self.y + leading
            if fill is not None:
                left = x if fill == before else x + space  # the blank between words of one kind is filled too
                edge = x + space + wide
                self.axes.add_patch(
                    Rectangle((left - 1, self.y), edge - left + 2, size + 5, facecolor=fill, linewidth=0, zorder=2)
                )
            self.write(x + space, self.y + size / 2 + 2.5, word, size, mono=True, color=SOFT if fill is None else INK)
            found.append(Box(x + space, self.y, wide, size + 5))
            x, before = x + space + wide, fill
        self.y += leading + 2
        return found

    def table(self, rows: Sequence[Sequence[str]], places: Sequence[float], fills: Sequence[str | None]) -> None:
        """Rows of cells; a place > 0 is where a column begins, a place < 0 where it ends. The first row is the head."""
        for i, (row, fill) in enumerate(zip(rows, fills)):
            if fill is not None:
                self.box(Box(0, self.y + 2.5, 9, 9), fill, round_=1)
            for cell, place in zip(row, places):
                look: dict[str, Any] = {"color": SOFT} if i == 0 else {}
                self.write(abs(place), self.y + 7, cell, 8.5, align="left" if place > 0 else "right", **look)
            self.y += 14
            if i == 0:
                self.line((0, self.y), (self.width, self.y), linewidth=0.6)
                self.y += 1
