"""The pictures of the task cards: one real problem of a task, and its truth."""

from __future__ import annotations

from math import cos, log2, pi, sin
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sheet import DARK, GIVEN, INK, LINE, SCORED, SOFT, TINTS, TRAINED, Box, Sheet, around, width_of

from airtrack.core.given import IGNORE
from airtrack.core.streams import Streams
from airtrack.tasks.language.biography import ATTRIBUTES, GENDER, PARTS

SIGNS = {"+": "+", "-": "−", "*": "×", "/": "÷"}
WORK = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def example(task: Any, number: int, end: str | None = None) -> list[tuple[str, str]]:
    """(word, fill) of each token of a window that the judge shows at seed 0, up to and including the word `end`."""
    truth = task.pose(Streams(0) / "task").judge.truth
    predicted = np.append(False, truth["y"][number] != IGNORE)
    words = task.text(truth["x"][number]).replace(".", " .").replace(":", " :").split()  # a word for each token
    size = words.index(end) + 1 if end else len(words)
    return [(word, SCORED if scored else GIVEN) for word, scored in zip(words[:size], predicted)]


def depo(task: Any, number: int = 0) -> Figure:
    """The cycle, and the steps that each question takes on it. Of a task with names of one token and a separator."""
    sheet, sample = Sheet(), example(task, number)
    first = next(i for i, (word, _) in enumerate(sample) if word[0] == "Q")
    edges = [sample[i : i + 3] for i in range(1, first, 3)]
    questions = [sample[i : i + 3] for i in range(first, len(sample), 3)]
    after = {a: b for (_, _), (a, _), (b, _) in edges}
    cycle = [edges[0][1][0]]
    while (node := after[cycle[-1]]) != cycle[0]:
        cycle.append(node)

    sheet.heading("The tokens")
    sheet.tokens([sample[:1], *edges, *questions])
    sheet.heading("The truth")
    top, radius, middle = sheet.y, 66.0, 88.0
    turn = {node: 2 * pi * i / len(cycle) for i, node in enumerate(cycle)}
    at = {node: (middle + radius * sin(a), top + radius + 12 - radius * cos(a)) for node, a in turn.items()}
    for a, b in after.items():
        sheet.arrow(at[a], at[b], LINE, bend=-0.12, gap=11)
    for q, ((kind, _), (asked, _), (answer, _)) in enumerate(questions):
        sheet.arrow(at[asked], at[answer], DARK[q], bend=0.25, gap=11, linewidth=1.4)
        path = [asked]
        for _ in range(int(kind[1:])):
            path.append(after[path[-1]])
        y = top + 24 + 24 * q
        sheet.line((middle + 106, y), (middle + 122, y), DARK[q], linewidth=2)
        sheet.write(middle + 130, y, f"{kind} {asked}", mono=True)
        sheet.write(middle + 178, y, " → ".join(path), mono=True, color=SOFT)
        sheet.box(Box(middle + 301, y - 8, 22, 16), SCORED, "#c98500")
        sheet.write(middle + 312, y, answer, mono=True, align="center")
    for node, place in at.items():
        sheet.node(*place, node)
    sheet.y = top + 2 * radius + 26
    return sheet.figure()


def brevo(task: Any, number: int = 0) -> Figure:
    """The graph in layers, the ancestors of the query in colour, and the listing under it. Of names of one token."""
    sheet, sample = Sheet(), example(task, number, "EOS")
    words = [word for word, _ in sample]
    query, answer = words.index("QUERY"), words.index("ANS")
    sample[answer] = ("ANS", TRAINED)
    edges = [(words[i], words[i + 1]) for i in range(1, query, 2)]
    asked, listing = words[query + 1], words[answer + 1 : -1]
    sheet.heading("The tokens")
    pairs = [sample[i : i + 2] for i in range(1, query, 2)]
    sheet.tokens([sample[:1], *pairs, sample[query : query + 2], sample[answer:]])

    parents: dict[str, list[str]] = {node: [] for edge in edges for node in edge}
    for parent, child in edges:
        parents[child].append(parent)
    layer: dict[str, int] = {}
    while len(layer) < len(parents):  # the longest way from a root
        ready = [n for n, of in parents.items() if n not in layer and all(p in layer for p in of)]
        layer |= {n: 1 + max((layer[p] for p in parents[n]), default=-1) for n in ready}
    sheet.heading("The truth")
    top, depth, x = sheet.y, max(layer.values()) + 1, {}
    for l in range(depth):
        row = [n for n in layer if layer[n] == l]
        row.sort(key=lambda n: np.mean([x[p] for p in parents[n]]) if parents[n] else 0.0)
        for i, n in enumerate(row):
            x[n] = sheet.width * (i + 0.5 + 0.14 * (-1) ** l) / len(row)
    at = {n: (x[n], top + 12 + 40 * layer[n]) for n in layer}
    for parent, child in edges:
        used = child in listing
        sheet.arrow(at[parent], at[child], DARK[1] if used else LINE, bend=0.06, gap=11, linewidth=1.3 if used else 0.8)
    for n, place in at.items():
        fill = SCORED if n == asked else TRAINED if n in listing else "white"
        sheet.node(*place, n, fill, DARK[1] if n in listing else LINE, 1.8 if n == asked else 0.9)
    sheet.y = top + 40 * depth - 12
    sheet.note(f"Arrows lead from parent to child. Blue: all that {asked} depends on. One valid order, of many:")
    x_ = 0.0
    for i, n in enumerate(listing):
        sheet.node(x_ + 11, sheet.y + 12, n, SCORED if n == asked else TRAINED, DARK[1])
        if i:
            sheet.write(x_ - 7, sheet.y + 12, "→", color=SOFT, align="center")
        x_ += 37
    sheet.y += 26
    return sheet.figure()


def mano(task: Any, number: int = 0) -> Figure:
    """The tree of the expression with the value of every node."""
    sheet, sample = Sheet(), example(task, number)
    sample = [(word, TRAINED) for word, _ in sample[:-1]] + [sample[-1]]
    sample[0] = ("BOS", GIVEN)
    sheet.heading("The tokens")
    sheet.tokens([sample[:1], sample[1:2], sample[2:-2], sample[-2:]])
    sheet.heading(f"The truth, modulo {task.modulus}")
    prefix = iter(word for word, _ in sample[2:-2])
    leaves, top, step = (len(sample) - 3) // 2, sheet.y, 36.0
    depth, placed = 0, 0

    def draw(level: int) -> tuple[float, int, str]:
        nonlocal placed, depth
        word, y, depth = next(prefix), top + 14 + step * level, max(depth, level)
        if word not in WORK:
            x, value, label = sheet.width * (placed + 0.5) / leaves, int(word), word
            placed += 1
            sheet.node(x, y, label, TRAINED)
            return x, value, label
        (x1, a, _), (x2, b, _) = draw(level + 1), draw(level + 1)
        x, value = (x1 + x2) / 2, WORK[word](a, b) % task.modulus
        for child in (x1, x2):
            sheet.line((x, y), (child, y + step))
        sheet.node(x, y, SIGNS[word], TRAINED, INK)
        root = level == 0
        sheet.box(Box(x + 13, y - 7.5, 21, 15), SCORED if root else "white", "#c98500" if root else "white")
        sheet.write(x + 23.5, y, str(value), mono=True, align="center", weight="bold")
        return x, value, word

    _, value, _ = draw(0)
    assert str(value) == sample[-1][0]
    sheet.y = top + step * depth + 28
    sheet.note("Bold: the value of each part. No token holds these; the model has to find the last one at once.")
    return sheet.figure()


def copy(task: Any, number: int = 0) -> Figure:
    """The sequence above its copy."""
    sheet, sample = Sheet(), example(task, number)
    half, y = len(sample) // 2, 6.0
    wide = (sheet.width + 2) / half
    for i, (word, fill) in enumerate(sample):
        row, column = divmod(i, half)
        size = 6.5 if len(word) > 2 else 9
        box = Box(column * wide, y + 44 * row, wide - 2, 17)
        sheet.box(box, fill, "#c98500" if fill == SCORED else LINE)
        sheet.write(box.x + box.w / 2, box.y + 8.5, word, size, mono=True, align="center")
        if row and column:
            sheet.arrow((box.x + box.w / 2, y + 18), box.top, DARK[0], gap=1)
    sheet.y = y + 66
    sheet.legend([(GIVEN, "given"), (SCORED, "to be predicted, and scored")])
    return sheet.figure()


def multihop(task: Any, number: int = 0) -> Figure:
    """The text with the sentences that lead to the answer. Of two hops."""
    sheet, sample = Sheet(), example(task, number)
    words = [word for word, _ in sample]
    m, size = len(task.names), len(words)
    ask = size - next(i for i, w in enumerate(words[::-1]) if w == ":")  # the first word behind "Answer me :"
    begins = [i for i in range(size) if tuple(words[i + m : i + m + 2]) == ("was", "born") and i < ask]
    ends = {i: words.index(".", i) + 1 for i in begins}
    asked = words[ask : ask + m]
    link = next(i for i in begins if words[i : i + m] == asked)
    via = words[ends[link] - 1 - m : ends[link] - 1]
    stated = next(i for i in begins if words[i : i + m] == via)
    fills: list[str | None] = [None] * size
    for i in begins:
        fills[i : ends[i]] = [GIVEN] * (ends[i] - i)
    fills[link : ends[link]] = [TINTS[1]] * (ends[link] - link)
    fills[stated : ends[stated]] = [TINTS[2]] * (ends[stated] - stated)
    fills[ask:-1] = [TINTS[3]] * (size - 1 - ask)
    fills[-1] = SCORED
    boxes = sheet.prose(list(zip(words, fills)), leading=21)

    def join(a: int, b: int, count: int, color: str, bend: float) -> None:
        start, end = around(boxes[a : a + count]), around(boxes[b : b + count])
        down = end.y > start.y
        sheet.arrow(
            start.bottom if down else start.top, end.top if down else end.bottom, color, bend, gap=1, linewidth=1.3
        )

    join(ask, link, 1, DARK[3], 0.2)
    join(ends[link] - 1 - m, stated, 1, DARK[1], -0.2)
    join(ends[stated] - 2, size - 1, 1, DARK[2], -0.2)
    sheet.legend(
        [
            (TINTS[3], "who is asked for"),
            (TINTS[1], "the same year as"),
            (TINTS[2], "the year"),
            (SCORED, "to be predicted"),
            (GIVEN, "other persons"),
        ]
    )
    sheet.heading("The truth")
    x = 0.0
    for words_, fill in ((asked, TINTS[3]), (via, TINTS[2]), (words[-1:], SCORED)):
        text = " ".join(words_)
        wide = width_of(text, 9, True) + 8
        if x > 0:
            sheet.write(x + 14, sheet.y + 8, "→", color=SOFT, align="center")
            x += 28
        sheet.box(Box(x, sheet.y, wide, 16), fill, "#c98500" if fill == SCORED else LINE)
        sheet.write(x + wide / 2, sheet.y + 8, text, mono=True, align="center")
        x += wide
    sheet.y += 19
    return sheet.figure()


def lano(task: Any, number: int = 0) -> Figure:
    """The tree of a string, and under every token the exact probabilities of what might have stood there."""
    sheet, grammar = Sheet(), task.language
    drawn = grammar.derive(Streams(0) / "task" / "evaluation", number + 1)[number]
    probs = grammar.next_token_probs(drawn.tokens)  # [n + 1, T + 2]
    n, T, D, left, step = len(drawn.tokens), grammar.terminals, grammar.depth, 58.0, 31.0
    cell = (sheet.width - left) / (n + 1)
    tint = {1: TINTS[1], 2: TINTS[2], 3: TINTS[3]}
    sheet.heading("The string, and the tree it was drawn from")
    top = sheet.y
    for level in range(D):
        y = top + 12 + step * level
        sheet.write(0, y, f"level {level}", 8, color=SOFT)
        for k in range(drawn.subtree[level, -1] + 1):
            here = np.flatnonzero(drawn.subtree[level] == k)
            x = left + cell * (here[0] + here[-1] + 1) / 2
            if level < D - 1:
                below = np.unique(drawn.subtree[level + 1, here])
                spans = [np.flatnonzero(drawn.subtree[level + 1] == j) for j in below]
            else:
                spans = [np.array([i]) for i in here]
            for span in spans:
                sheet.line((x, y), (left + cell * (span[0] + span[-1] + 1) / 2, y + step))
            label = "root" if level == 0 else "abcdefgh"[drawn.symbol[level, here[0]]]
            box = Box(x - (14 if level == 0 else 8), y - 8, 28 if level == 0 else 16, 16)
            sheet.box(box, tint.get(level, GIVEN))
            sheet.write(x, y, label, 8.5, mono=True, align="center")
    y = top + 12 + step * D
    sheet.write(0, y, "tokens", 8, color=SOFT)
    for i, word in enumerate([*map(str, drawn.tokens), "EOS"]):
        sheet.box(Box(left + cell * i + 1, y - 8, cell - 2, 16), SCORED, "#c98500")
        sheet.write(left + cell * (i + 0.5), y, word, 9 if len(word) == 1 else 6, mono=True, align="center")
    sheet.y = y + 14
    sheet.heading("The truth: probability of each token at each place, given those before it")
    top, high = sheet.y, 17.0
    for row in range(T + 1):
        sheet.write(0, top + high * (row + 0.5), f"p({row + 1 if row < T else 'EOS'})", 8, mono=True, color=SOFT)
        for i in range(n + 1):
            p, place = probs[i, row + 1], (left + cell * i + 0.5, top + high * row + 0.5)
            shade = tuple(1 - p * (1 - c) for c in (0.04, 0.37, 0.66))  # from white to DARK[1]
            came = (drawn.tokens[i] if i < n else T + 1) == row + 1
            look: dict[str, Any] = {"edgecolor": "#c98500" if came else "white", "linewidth": 1.4 if came else 0.5}
            sheet.axes.add_patch(Rectangle(place, cell - 1, high - 1, facecolor=shade, zorder=3 + came, **look))
            if p > 0.004:
                text = "1" if p > 0.995 else f"{p:.2f}"[1:]
                color, middle = "white" if p > 0.7 else INK, (place[0] + cell / 2 - 0.5, place[1] + high / 2 - 0.5)
                sheet.write(*middle, text, 6.5, mono=True, align="center", color=color)
    sheet.y = top + high * (T + 1)
    sheet.legend([(SCORED, "the token that came"), ("white", "empty: impossible")])
    return sheet.figure()


def bios(task: Any, person: int = 0) -> Figure:
    """A biography with its facts in colour, and what each is worth."""
    sheet, told = Sheet(), task._language
    documents = task._documents(Streams(0) / "task", False)
    ids, marks = (row[0] for row in documents.rows(np.array([person]), np.array([0])))
    ends = np.append(PARTS, GENDER + 1)
    part = np.searchsorted(ends, marks - 1, side="right") - 1  # −1: no fact; 0 the name, 1 … 6 attributes, 7 pronoun
    told_words = [told.encoding.tokens[i] for i in ids]
    last = len(ids) - int((ids[::-1] != 0).argmax())
    sheet.prose([(w, TINTS[p] if p >= 0 else None) for w, p in list(zip(told_words, part))[1:last]], leading=18)
    cities, universities, majors, employers = task.values
    counts = [task.most_people, 12 * 28 * 200, cities, universities, majors, employers, 1, task.pronouns]
    rows = [("", "fact", "one of", "bits", "value")]
    fills: list[str | None] = [None]
    for i, (fact, count) in enumerate(zip(("full name", *ATTRIBUTES, "pronoun"), counts)):
        here = np.flatnonzero(part == i)
        here = here[:1] if i == 7 else here
        value = told.encoding.decode(ids[here])
        value += ", which follows from the employer" if count == 1 else ""
        rows.append(("", fact, f"{count:,}", f"{log2(count):.2f}", value))
        fills.append(TINTS[i])
    sheet.heading("The truth")
    sheet.table(rows, (1, 15, -160, -205, 220), fills)
    return sheet.figure()


def biod(task: Any, person: int = 0) -> Figure:
    """The same document at two exposures, the values in colour, and what each is worth."""
    sheet, K, C = Sheet(), task.attributes, task.chunks
    for exposure in (0, 1):
        sheet.note(f"exposure {exposure}")
        words = task.about(person, exposure).replace("'s", " 's").replace(",", " ,").replace(".", " .").split()
        fills: list[str | None] = [TINTS[0]] * 3 + [None] * (len(words) - 3)
        values = {}
        for i, word in enumerate(words):
            if word == "is":
                k = int(words[i - 1])
                size = C * (task.length + 1) - 1  # chunks and the commas between them
                fills[i + 1 : i + 1 + size] = [TINTS[k]] * size
                values[k] = " ".join(words[i + 1 : i + 1 + size]).replace(" ,", ",")
        sheet.prose(list(zip(words, fills)), leading=18)
    facts = [("full name", task.most_people, " ".join(words[:3]))]
    facts += [(f"ID {k}", task.diversity**C, values[k]) for k in range(1, K + 1)]
    rows = [("", "fact", "one of", "bits", "value")]
    rows += [("", fact, f"{count:,}", f"{log2(count):.2f}", value) for fact, count, value in facts]
    sheet.heading("The truth")
    sheet.table(rows, (1, 15, -160, -205, 220), [None, *TINTS[: K + 1]])
    return sheet.figure()
