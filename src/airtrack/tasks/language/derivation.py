"""Draws strings of a layered grammar, with the tree above every token: compiled, one rule at a time."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numba import njit

from airtrack.core.given import Ints
from airtrack.tasks.language.chart import Levels
from airtrack.tasks.language.draw import below, uniform


class Rules(NamedTuple):
    """The rules in flat arrays; symbols are counted over all levels, root first."""

    first: Ints  # [D + 2] the first symbol of each level, and the number of symbols
    rule: Ints  # [symbols with rules + 1] where the rules of a symbol begin
    child: Ints  # [rules + 1] where the children of a rule begin in:
    children: Ints

    @classmethod
    def of(cls, levels: Levels) -> Rules:
        first = np.cumsum([0, *map(len, levels)])
        symbols = [rules for level in levels[:-1] for rules in level]
        sides = [
            [first[below + 1] + c for c in side] for below, level in enumerate(levels[:-1]) for r in level for side in r
        ]
        children = np.array([c for side in sides for c in side], np.int64)
        return cls(first, np.cumsum([0, *map(len, symbols)]), np.cumsum([0, *map(len, sides)]), children)


class Derivation(NamedTuple):
    """A string and the tree it was drawn from. Level 0 is the root, level D the tokens themselves."""

    tokens: Ints  # [n] ids 1 … T
    symbol: Ints  # [D, n] the symbol of each level above a token, counted within its level
    subtree: Ints  # [D, n] which subtree of the level a token is in, from the left, from 0
    end: Ints  # [D, n] 1 where a token is the last one of its subtree of the level

    @property
    def boundary(self) -> Ints:
        """[n] the level nearest to the root, root excepted, whose subtree ends with the token; D where only it does."""
        depth = len(self.end)
        inner = self.end[1:].astype(bool)
        return np.where(inner.any(0), inner.argmax(0) + 1, depth) if depth > 1 else np.full(len(self.tokens), depth)


def joined(levels: Levels, most: int = 4096) -> Levels:
    """A grammar of the same strings, each as likely, with fewer and longer rules to a string.

    Every rule of the last level but one becomes a symbol, whose rules are the combinations of its children's rules.
    Returns `levels` where these are more than `most`.

    >>> joined(((((0, 1), (1, 0)),), (((0, 0), (1,)), ((0, 1),)), ((), ())))[1:]
    ((((0, 0, 0, 1), (1, 0, 1)), ((0, 1, 0, 0), (0, 1, 1))), ((), ()))
    """
    if len(levels) < 3:
        return levels
    *above, upper, lower, terminals = levels
    sides = [side for rules in upper for side in rules]
    if sum(math.prod(len(lower[c]) for c in side) for side in sides) > most:
        return levels
    number = itertools.count()
    chosen = tuple(tuple((next(number),) for _ in rules) for rules in upper)
    grown = tuple(tuple(sum(parts, ()) for parts in itertools.product(*(lower[c] for c in side))) for side in sides)
    return (*above, chosen, grown, terminals)


@njit(cache=True, nogil=True)
def derive(rules, state, begins, tokens, symbol, subtree, end):  # pragma: no cover  (compiled)
    """Draw strings: fills begins [strings + 1], and tokens [Σn] and labels [D, Σn] where these have room."""
    depth, low = len(rules.first) - 2, rules.first[-2] - 1
    stack, t = np.zeros((depth, 4), np.int64), 0
    for s in range(len(begins) - 1):
        begins[s] = t
        plant(rules, stack, state)
        while True:
            child, stop = grow(rules, stack, state, 0.0)
            if child == stop:
                break
            for c in range(child, stop):
                if len(tokens) > 0:
                    tokens[t] = rules.children[c] - low
                if symbol.shape[1] > 0:
                    last = c == stop - 1
                    for l in range(depth - 1, -1, -1):
                        last = last and stack[l, 0] == stack[l, 1]
                        symbol[l, t], subtree[l, t], end[l, t] = stack[l, 2] - rules.first[l], stack[l, 3], last
                t += 1
    begins[len(begins) - 1] = t


@njit(cache=True, nogil=True)
def pack(rules, state, out, share, rate, whole):  # pragma: no cover
    """Fill `out` with 0 string T+1 0 string T+1 … and cut where it ends.

    A string is corrupted with probability `share`: then each token becomes another one with probability `rate`; or,
    if `whole`, each symbol between root and tokens becomes another one of its level, with all that grows from it.
    """
    depth, low, terminals = len(rules.first) - 2, rules.first[-2] - 1, rules.first[-1] - rules.first[-2]
    stack, t = np.zeros((depth, 4), np.int64), 0
    while t < len(out):
        out[t] = 0
        t += 1
        spoilt = rate if share > 0 and uniform(state) < share else 0.0
        plant(rules, stack, state)
        while t < len(out):
            child, stop = grow(rules, stack, state, spoilt if whole else 0.0)
            if child == stop:
                out[t] = terminals + 1
                t += 1
                break
            begin, stop = t, min(stop, child + len(out) - t)
            for c in range(child, stop):
                out[t] = rules.children[c] - low
                t += 1
            if spoilt > 0 and not whole:
                spoil(state, out[begin:t], terminals, spoilt)


@njit(cache=True, nogil=True)
def plant(rules, stack, state):  # pragma: no cover
    """Begin a string. stack [D, 4] holds for each level: the next child of its present symbol, where its children end,
    the symbol, and its number from the left."""
    stack[:, :2] = 0
    stack[:, 3] = -1
    _open(rules, stack, state, 0, 0)


@njit(cache=True, nogil=True)
def grow(rules, stack, state, rate):  # pragma: no cover
    """The next tokens, all that one rule makes: where they begin and end in rules.children; 0, 0 after the last."""
    bottom = len(stack) - 1
    l = bottom
    while l >= 0 and stack[l, 0] == stack[l, 1]:
        l -= 1
    if l < 0:
        return 0, 0
    while l < bottom:
        symbol = rules.children[stack[l, 0]]
        stack[l, 0] += 1
        l += 1
        if rate > 0:
            low = rules.first[l]
            symbol = low + another(state, symbol - low, rules.first[l + 1] - low, rate)
        _open(rules, stack, state, l, symbol)
    child = stack[l, 0]
    stack[l, 0] = stack[l, 1]
    return child, stack[l, 1]


@njit(cache=True, nogil=True)
def spoil(state, tokens, terminals, rate):  # pragma: no cover
    """Make each token 1 … T another one with probability `rate`, in place."""
    for i in range(len(tokens)):
        tokens[i] = 1 + another(state, tokens[i] - 1, terminals, rate)


@njit(cache=True, nogil=True)
def another(state, value, count, rate):  # pragma: no cover
    """`value`, or with probability `rate` another one of 0 … count − 1, if there is one."""
    if uniform(state) < rate and count > 1:
        return (value + 1 + below(state, count - 1)) % count
    return value


@njit(cache=True, nogil=True)
def _open(rules, stack, state, l, symbol):  # pragma: no cover
    rule = rules.rule[symbol] + below(state, rules.rule[symbol + 1] - rules.rule[symbol])
    stack[l, 0], stack[l, 1], stack[l, 2] = rules.child[rule], rules.child[rule + 1], symbol
    stack[l, 3] += 1
