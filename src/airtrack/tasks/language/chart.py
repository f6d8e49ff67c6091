"""Reads strings of a layered grammar from left to right, with exact probabilities: an Earley parser level by level."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numba import njit

from airtrack.core.given import Floats, Ints

Levels = tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]  # [level][symbol][rule][child, counted in the next level]

LOST = 1e-290  # a reading this much less likely than its rivals is dropped: its inverse still is a float


class Automata(NamedTuple):
    """The rules of each symbol as a tree of prefixes: a node is what has been seen of a right-hand side so far.

    Symbols are counted over all levels, root first. Nodes that can go on come first, then those that cannot.
    A right-hand side that is listed several times counts several times.
    """

    first: Ints  # [D + 2] the first symbol of each level, and the number of symbols
    start: Ints  # [symbols with rules] the node of the empty prefix
    owner: Ints  # [nodes] the symbol whose rules these are
    reach: Floats  # [nodes] probability of the step into this node, from the node before it
    stop: Floats  # [nodes] probability that the right-hand side ends here
    row: Ints  # [inner nodes] go[row[node] + symbol] is the node after `symbol`, −1 if there is none
    go: Ints
    edge: Ints  # [inner nodes + 1] where the steps out of a node begin in:
    edge_symbol: Ints  # [edges]
    edge_node: Ints  # [edges]


def automata(levels: Levels) -> Automata:
    """The automata of the rules; level by level each node has a number, so that the hot loop needs no look-up."""
    first = np.cumsum([0, *map(len, levels)])
    count: Counter[tuple[int, tuple[int, ...]]] = Counter()  # (symbol, prefix) → rules that begin with it
    ends: Counter[tuple[int, tuple[int, ...]]] = Counter()
    follow: dict[tuple[int, tuple[int, ...]], dict[int, None]] = {}  # … → symbols that come next, in order
    for level, symbols in enumerate(levels[:-1]):
        for symbol, rules in enumerate(symbols, int(first[level])):
            for rule in rules:
                path = tuple(int(first[level + 1]) + child for child in rule)
                for k in range(len(path) + 1):
                    count[symbol, path[:k]] += 1
                    if k < len(path):
                        follow.setdefault((symbol, path[:k]), {})[path[k]] = None
                ends[symbol, path] += 1
    nodes = [*follow, *(node for node in count if node not in follow)]
    number = {node: i for i, node in enumerate(nodes)}
    edges = [(number[s, p], child, number[s, (*p, child)]) for s, p in follow for child in follow[s, p]]
    edge, edge_symbol, edge_node = np.ascontiguousarray(np.array(edges, np.int64).T)
    level = np.repeat(np.arange(len(levels)), np.diff(first))[[symbol for symbol, _ in follow]] + 1
    width = np.diff(first)[level]
    row = np.cumsum(width) - width - first[level]
    go = np.full(width.sum(), -1, np.int64)
    go[row[edge] + edge_symbol] = edge_node
    return Automata(
        first=first,
        start=np.array([number[symbol, ()] for symbol in range(first[-2])], np.int64),
        owner=np.array([symbol for symbol, _ in nodes], np.int64),
        reach=np.array([count[s, p] / count[s, p[:-1]] for s, p in nodes]),
        stop=np.array([ends[node] / count[node] for node in nodes]),
        row=row,
        go=go,
        edge=np.searchsorted(edge, np.arange(len(follow) + 1)),
        edge_symbol=edge_symbol,
        edge_node=edge_node,
    )


@njit(cache=True, nogil=True)
def read(machine, tokens, begins, rows, log_probs):  # pragma: no cover  (compiled)
    """Read strings one after another; write into rows [Σ(n + 1), T + 2] (nothing if it has no rows) and log_probs.

    machine    the automata of a grammar
    tokens     [Σn] ids 1 … T of all strings; begins [strings + 1] says where each of them begins
    rows       probability of every id after every prefix: column 0 (no string holds it) stays zero, 1 … T are the
               terminals, T + 1 is the end. Zeros where no string of the grammar begins like this
    log_probs  [strings] natural logarithm of the probability of the string, −inf outside of the grammar
    """
    depth, symbols = len(machine.first) - 2, len(machine.start)
    widest, longest = 1, 0
    for l in range(depth):
        widest = max(widest, machine.first[l + 1] - machine.first[l])
    for s in range(len(begins) - 1):
        longest = max(longest, begins[s + 1] - begins[s])
    wide = longest + 1
    head = np.empty((depth, wide), np.int64)
    item_of = np.full(wide * len(machine.row), -1, np.int64)
    spans, span_weights = np.empty((2, widest * wide, 2), np.int64), np.empty((2, widest * wide))
    span_of = np.full(wide * symbols, -1, np.int64)
    mass = np.empty(machine.first[depth + 1])
    items, weights = np.empty((16 * wide, 3), np.int64), np.empty((16 * wide, 2))
    stamps = np.zeros(2, np.int64)
    for s in range(len(begins) - 1):
        a, b = begins[s], begins[s + 1]
        probs = rows[a + s : b + s + 1] if len(rows) > 0 else rows
        while True:
            found = _read(
                machine, tokens[a:b], probs, head, items, weights, item_of, spans, span_weights, span_of, mass, stamps
            )
            if found <= 0:
                break
            items, weights = np.empty((2 * len(items), 3), np.int64), np.empty((2 * len(items), 2))  # too few
        log_probs[s] = found


@njit(cache=True, nogil=True)
def _read(
    machine, tokens, rows, head, items, weights, item_of, spans, span_weights, span_of, mass, stamps
):  # pragma: no cover
    """Read one string: the logarithm of its probability, or 1.0 if the items do not suffice.

    An item (node, b, the item before it) says: a symbol begins at b, and the children read so far, from b to e, lead
    to `node`. Its weights are the probability of these tokens and children given the symbol, and the probability
    that such a symbol begins at b, both relative to the probability of all tokens read: so nothing underflows,
    however long the string. An item exists only where all that was read before allows it.

    head     [D, n + 1] the last item of a level that ends at a position
    item_of  [(begin, node)] the stamp of its latest item; span_of [(begin, symbol)] that of its latest span
    spans    [2, ·] (begin, symbol) of what ends at e, on one level and on the one above it
    mass     [symbols and terminals] probability to begin at e
    stamps   [2] items and spans so far, over all strings, so that item_of and span_of need no clearing
    """
    first, start, owner, reach, stop = machine.first, machine.start, machine.owner, machine.reach, machine.stop
    row, go, edge, edge_symbol, edge_node = (
        machine.row,
        machine.go,
        machine.edge,
        machine.edge_symbol,
        machine.edge_node,
    )
    depth, inner, symbols, n = len(first) - 2, len(row), len(start), len(tokens)
    base, stamp = stamps[0], stamps[1]
    used, total_log, scale, end = 0, 0.0, 1.0, 0.0
    mass[:] = 0.0
    mass[0] = 1.0  # the root begins the string
    for e in range(n + 1):
        fresh = used
        for l in range(depth):
            head[l, e] = -1
        if e > 0:  # complete, bottom up: what ends at e, one level after the other
            now, found = 0, 1
            spans[0, 0, 0], spans[0, 0, 1], span_weights[0, 0] = e - 1, symbols + tokens[e - 1] - 1, scale
            for l in range(depth - 1, -1, -1):
                up, mark = 1 - now, stamp
                for j in range(found):
                    symbol, w = spans[now, j, 1], span_weights[now, j]
                    k = head[l, spans[now, j, 0]]
                    while k >= 0:
                        q = go[row[items[k, 0]] + symbol]
                        if q >= 0:
                            b, inside = items[k, 1], weights[k, 0] * reach[q] * w
                            if stop[q] > 0:
                                at = b * symbols + owner[q]
                                if span_of[at] >= mark:
                                    span_weights[up, span_of[at] - mark] += inside * stop[q]
                                else:
                                    span_of[at] = stamp
                                    spans[up, stamp - mark, 0], spans[up, stamp - mark, 1] = b, owner[q]
                                    span_weights[up, stamp - mark] = inside * stop[q]
                                    stamp += 1
                            if q < inner:
                                at = b * inner + q
                                if item_of[at] >= base + fresh:
                                    weights[item_of[at] - base, 0] += inside
                                elif used == len(items):
                                    stamps[0], stamps[1] = base + used, stamp
                                    return 1.0
                                else:
                                    item_of[at] = base + used
                                    items[used, 0], items[used, 1], items[used, 2] = q, b, head[l, e]
                                    weights[used, 0], weights[used, 1] = inside, weights[k, 1]
                                    head[l, e] = used
                                    used += 1
                        k = items[k, 2]
                now, found = up, stamp - mark
            end = span_weights[now, 0] if found > 0 else 0.0
        total = end
        for l in range(depth):  # predict, top down: what may begin at e
            for symbol in range(first[l], first[l + 1]):
                if mass[symbol] > 0:
                    if used == len(items):
                        stamps[0], stamps[1] = base + used, stamp
                        return 1.0
                    items[used, 0], items[used, 1], items[used, 2] = start[symbol], e, head[l, e]
                    weights[used, 0], weights[used, 1] = 1.0, mass[symbol]
                    head[l, e] = used
                    used += 1
                    mass[symbol] = 0.0
            k = head[l, e]
            while k >= 0:
                here = weights[k, 0] * weights[k, 1]
                for j in range(edge[items[k, 0]], edge[items[k, 0] + 1]):
                    mass[edge_symbol[j]] += here * reach[edge_node[j]]
                k = items[k, 2]
        for terminal in range(symbols, first[depth + 1]):
            total += mass[terminal]
        if len(rows) > 0:
            for terminal in range(symbols, first[depth + 1]):
                rows[e, terminal - symbols + 1] = mass[terminal] / total
            rows[e, first[depth + 1] - symbols + 1] = end / total
        chosen = mass[symbols + tokens[e] - 1] if e < n else end
        if chosen <= LOST:
            total_log = -np.inf
            break
        mass[symbols:] = 0.0
        total_log += np.log(chosen / total)
        scale = 1 / chosen
    stamps[0], stamps[1] = base + used, stamp
    return total_log
