"""Layered context-free grammars: drawn or loaded, sampled, and read exactly."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast, overload

import numpy as np

from airtrack.core.given import Floats, Ints
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.chart import Automata, Levels, automata, read
from airtrack.tasks.language.derivation import Derivation, Rules, derive
from airtrack.tasks.language.draw import below, state_of


class Lengths(NamedTuple):
    """Tokens a string: the least, the mean over drawn strings, the most."""

    least: int
    mean: float
    most: int


class Estimate(NamedTuple):
    value: float
    error: float  # standard error


@dataclass(frozen=True)
class Grammar:
    """A layered grammar: a symbol of level l becomes, by one of its rules at random, two or three of level l + 1.

    levels  [level][symbol][rule][child]: level 0 is the root alone, the last level the T terminals, which have no
            rules; a child is counted within the next level. Nested lists of integers, as JSON or YAML holds them

    Every rule of a symbol is as likely as any other; one that is listed twice counts twice. All tokens lie at the
    same depth D. In a string the terminals are the ids 1 … T; T + 1 is the end, where one is predicted.

    Raises SpecError, a ValueError, for what is no such grammar.

    Source: Allen-Zhu, Li, Physics of Language Models: Part 1 (arXiv 2305.13673), §2 and Appendix A.1. The algorithms
    are those of Earley (1970) and Stolcke (1995), one level after the other.

    >>> grammar = Grammar([[[[0, 1], [1, 0]]], [[[0, 0], [1]], [[0, 1]]], [[], []]])
    >>> grammar.accepts([2, 1, 2]), grammar.accepts([2, 1, 1])
    (True, False)
    >>> grammar.next_token_probs([2, 1]).round(3)  # columns: nothing, 1, 2, end
    array([[0.  , 0.75, 0.25, 0.  ],
           [0.  , 1.  , 0.  , 0.  ],
           [0.  , 0.  , 1.  , 0.  ]])
    >>> grammar.lengths
    Lengths(least=3, mean=3.5, most=4)
    """

    levels: Levels

    def __init__(self, levels: Any) -> None:
        object.__setattr__(self, "levels", _checked(levels))

    # ------------------------------------------------------------------------------------------------ made and stored

    @classmethod
    def load(cls, source: Any) -> Grammar:
        """A grammar from a JSON file, from what such a file holds, or from nested lists as `levels`.

        The file holds nested lists, or the format in which the grammars of the source are published: `sizes`, `idx`
        and `all` [level][symbol] with `id` and `children`. What such a file claims of itself is checked.
        """
        if isinstance(source, Grammar):
            return source
        if isinstance(source, (str, Path)):
            try:
                source = json.loads(Path(source).read_text("utf-8"))
            except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else f"it is no JSON ({error})"
                raise SpecError(f"{source} cannot be read: {reason}") from None
        return cls(_published(cast("Mapping[str, Any]", source)) if isinstance(source, Mapping) else source)

    def to_dict(self) -> dict[str, Any]:
        """The grammar in the published format; `load` makes an equal one of it."""
        terminals, depth = self.terminals, self.depth
        sizes = [len(level) for level in self.levels]
        ids = [list(range(1, terminals + 1))]
        free = terminals + 4  # T + 1 … T + 3 are taken: end, mask, separator
        for size in sizes[-2::-1]:
            ids.insert(0, list(range(free, free + size)))
            free += size
        symbols = [
            [
                {"depth": l, "id": i, "children": [list(side) for side in rules] if l < depth else None}
                for i, rules in zip(ids[l], level)
            ]
            for l, level in enumerate(self.levels)
        ]
        special = {"eos_token": terminals + 1, "mask_token": terminals + 2, "sep_token": terminals + 3}
        return {"depth": depth, "vocab_size": terminals, **special, "sizes": sizes, "idx": ids, "all": symbols}

    def save(self, path: str | Path) -> None:
        """Write the published format to a JSON file."""
        Path(path).write_text(json.dumps(self.to_dict()), "utf-8")

    @classmethod
    def draw(
        cls,
        seed: int | Streams,
        *,
        sizes: Sequence[int],
        rules: tuple[int, int] = (2, 3),
        lengths: tuple[int, int] = (2, 3),
        distinct: bool = False,
    ) -> Grammar:
        """A random grammar; no two right-hand sides of a level are the same, so that each tells its parent.

        sizes     symbols of each level, root (1) to terminals
        rules     least and most rules a symbol; their number is uniform
        lengths   least and most children a rule; their number is uniform, and each is uniform on the next level
        distinct  whether the children of a rule differ from each other

        >>> Grammar.draw(0, sizes=(1, 3, 3, 3), rules=(2, 2)).levels[0]
        (((1, 2), (0, 0, 1)),)
        """
        for name, (least, most) in {"rules": rules, "lengths": lengths}.items():
            if not 1 <= least <= most:
                raise SpecError(f"({least}, {most}) are no bounds; give the least, from 1 on, then the most", name)
        if len(sizes) < 2 or sizes[0] != 1 or min(sizes) < 1:
            raise SpecError(f"{list(sizes)} begins with one root and goes on with at least one symbol a level", "sizes")
        state = state_of(seed if isinstance(seed, Streams) else Streams(seed) / "grammar", 0)
        levels: list[Any] = [[()] * sizes[-1]]
        for size, below_it in list(pairwise(sizes))[::-1]:
            there = sum((math.perm if distinct else pow)(below_it, k) for k in range(lengths[0], lengths[1] + 1))
            if there < size * rules[1] or (distinct and below_it < lengths[1]):
                fact = (
                    f"{below_it} symbols make {there} right-hand sides for {size} symbols with up to {rules[1]} rules"
                )
                raise SpecError(f"{fact}; take fewer rules, longer ones or more symbols", "rules")
            taken: set[tuple[int, ...]] = set()
            level: list[Any] = []
            for _ in range(size):
                level.append([])
                for _ in range(rules[0] + below(state, rules[1] - rules[0] + 1)):
                    while (side := _side(state, below_it, lengths, distinct)) in taken:
                        pass
                    taken.add(side)
                    level[-1].append(side)
            levels.insert(0, level)
        return cls(levels)

    def hidden(self, bags: Sequence[Sequence[int]], tokens: int | None = None) -> Grammar:
        """The implicit grammar: each terminal shows as one token of its bag, a token counting as often as it is listed.

        bags    [T] tokens 0 … V − 1; a token may be in several bags. The terminals become a level of their own, so
                that everything stays exact
        tokens  V; one more than the largest token of a bag if None

        >>> grammar = Grammar([[[[0, 1]]], [[], []]]).hidden([[0, 1], [1, 2, 2]])
        >>> grammar.terminals, round(float(np.exp(grammar.log_prob([2, 3]))), 3)  # 1/2 · 2/3
        (3, 0.333)
        """
        if len(bags) != self.terminals:
            raise SpecError(f"{len(bags)} bags for {self.terminals} terminals; give one each")
        tokens = tokens or 1 + max((token for bag in bags for token in bag), default=0)
        return Grammar([*self.levels[:-1], [[(token,) for token in bag] for bag in bags], [()] * tokens])

    # ------------------------------------------------------------------------------------------------------ the facts

    @property
    def depth(self) -> int:
        """D, rules between the root and a token."""
        return len(self.levels) - 1

    @property
    def terminals(self) -> int:
        """T, the number of terminals."""
        return len(self.levels[-1])

    @property
    def rules(self) -> int:
        """How many rules there are."""
        return sum(len(symbol) for level in self.levels for symbol in level)

    @cached_property
    def reachable(self) -> tuple[tuple[bool, ...], ...]:
        """[level][symbol] whether rules lead from the root to the symbol."""
        reached: list[set[int]] = [{0}]
        for level in self.levels[:-1]:
            reached.append({child for symbol in reached[-1] for side in level[symbol] for child in side})
        return tuple(tuple(s in there for s in range(len(level))) for there, level in zip(reached, self.levels))

    @cached_property
    def lengths(self) -> Lengths:
        """Tokens a string, exactly."""
        least, most = ([1] * self.terminals for _ in range(2))
        for level in self.levels[-2::-1]:
            least = [min(sum(least[c] for c in side) for side in rules) for rules in level]
            most = [max(sum(most[c] for c in side) for side in rules) for rules in level]
        return Lengths(least[0], self._up(lambda shares, side: sum(side), 1.0), most[0])

    @cached_property
    def entropy(self) -> float:
        """Bits a derivation. A string has less where it has several derivations: see `floor`."""
        return self._up(lambda share, side: sum(side) - math.log2(share), 0.0)

    @cached_property
    def derivations(self) -> int:
        """How many derivations there are, exactly."""
        counts = [1] * self.terminals
        for level in self.levels[-2::-1]:
            counts = [sum(math.prod(counts[c] for c in side) for side in set(rules)) for rules in level]
        return counts[0]

    def _up(self, gain: Any, leaf: float) -> float:
        """The mean over rules of gain(share of the rule, values of its children), from the terminals to the root."""
        values = [leaf] * self.terminals
        for level in self.levels[-2::-1]:
            values = [
                sum(
                    n / len(rules) * gain(n / len(rules), [values[c] for c in side])
                    for side, n in Counter(rules).items()
                )
                for rules in level
            ]
        return float(values[0])

    def floor(self, streams: Streams, count: int = 1000) -> Estimate:
        """The least loss that a language model can have, in nats a token, the end of a string being one of them.

        Exact probabilities of `count` drawn strings: Σ −log p(string) / Σ (tokens + 1), and its standard error.
        """
        strings = self.sample(streams, count)
        nats, tokens = -self.log_prob(strings), np.array([len(s) + 1 for s in strings])
        rate = nats.sum() / tokens.sum()
        spread = np.sqrt(((nats - rate * tokens) ** 2).sum() * count / (count - 1)) if count > 1 else np.nan
        return Estimate(float(rate), float(spread / tokens.sum()))

    # ---------------------------------------------------------------------------------------------------------- drawn

    @cached_property
    def machine(self) -> Rules:
        """The rules in flat arrays, to draw from in a compiled loop."""
        return Rules.of(self.levels)

    def sample(self, streams: Streams, count: int, counter: int = 0) -> list[Ints]:
        """Strings of token ids 1 … T, drawn in order; the first ones are the same whatever `count` is."""
        return [d.tokens for d in self._derive(streams, count, counter, 0)]

    def derive(self, streams: Streams, count: int, counter: int = 0) -> list[Derivation]:
        """The strings of `sample`, each with the tree that it was drawn from."""
        return self._derive(streams, count, counter, self.depth)

    def _derive(self, streams: Streams, count: int, counter: int, depth: int) -> list[Derivation]:
        begins, none = np.zeros(count + 1, np.int64), np.zeros((3, self.depth, 0), np.int64)
        derive(self.machine, state_of(streams, counter), begins, none[0, 0], *none)
        tokens, labels = np.zeros(begins[-1], np.int64), np.zeros((3, self.depth, begins[-1] if depth else 0), np.int64)
        derive(self.machine, state_of(streams, counter), begins, tokens, *labels)
        return [Derivation(tokens[a:b], *labels[:, :, a:b]) for a, b in pairwise(begins)]

    # ----------------------------------------------------------------------------------------------------------- read

    @cached_property
    def _automata(self) -> Automata:
        return automata(self.levels)

    @overload
    def accepts(self, strings: Sequence[int]) -> bool: ...
    @overload
    def accepts(self, strings: Ints | Sequence[Ints] | Sequence[Sequence[int]]) -> Any: ...
    def accepts(self, strings: Any) -> Any:
        """Whether a string of ids 1 … T belongs to the grammar; [n] booleans for a list of n strings."""
        result = np.isfinite(self._read(strings, False)[0])
        return result if _several(strings) else bool(result[0])

    @overload
    def log_prob(self, strings: Sequence[int]) -> float: ...
    @overload
    def log_prob(self, strings: Ints | Sequence[Ints] | Sequence[Sequence[int]]) -> Any: ...
    def log_prob(self, strings: Any) -> Any:
        """Natural logarithm of the probability of a string, −inf outside of the grammar; [n] for a list of n strings.

        All derivations of the string count.
        """
        result = self._read(strings, False)[0]
        return result if _several(strings) else float(result[0])

    @overload
    def next_token_probs(self, strings: Sequence[int]) -> Floats: ...
    @overload
    def next_token_probs(self, strings: Ints | Sequence[Ints] | Sequence[Sequence[int]]) -> Any: ...
    def next_token_probs(self, strings: Any) -> Any:
        """What may follow every prefix of a string of n tokens, the empty one first: [n + 1, T + 2]; a list for a list.

        Columns are ids: 1 … T the terminals, T + 1 the end; column 0, the id of the begin, is zero. A row sums to one,
        or is zero where no string of the grammar begins with the prefix.
        """
        rows, begins = self._read(strings, True)[1:]
        parts = [rows[a + i : b + i + 1] for i, (a, b) in enumerate(pairwise(begins))]
        return parts if _several(strings) else parts[0]

    def _read(self, strings: Any, wanted: bool) -> tuple[Floats, Floats, Ints]:
        parts = [_tokens(string) for string in (strings if _several(strings) else [strings])]
        begins = np.cumsum([0, *map(len, parts)])
        tokens = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        outside = tokens[(tokens < 1) | (tokens > self.terminals)]
        if len(outside):
            raise ValueError(f"{outside[0]} is no token of this grammar; its tokens are 1 … {self.terminals}")
        rows = np.zeros((begins[-1] + len(parts), self.terminals + 2) if wanted else (0, self.terminals + 2))
        log_probs = np.zeros(len(parts))
        read(self._automata, tokens, begins, rows, log_probs)
        return log_probs, rows, begins


def _several(strings: Any) -> bool:
    """Whether this is a list of strings; an empty list is one string without tokens."""
    if isinstance(strings, np.ndarray):
        return strings.ndim > 1
    return len(strings) > 0 and isinstance(strings[0], (Sequence, np.ndarray))


def _tokens(string: Any) -> Ints:
    try:
        tokens = np.asarray(string)
    except ValueError:
        tokens = np.array(None)
    if tokens.ndim != 1 or (len(tokens) and tokens.dtype.kind not in "iu"):
        raise ValueError(f"a string is a list of integers; this one has {tokens.ndim} dimensions of {tokens.dtype}")
    return tokens.astype(np.int64)


def _side(state: Any, symbols: int, lengths: tuple[int, int], distinct: bool) -> tuple[int, ...]:
    """A random right-hand side."""
    length = lengths[0] + below(state, lengths[1] - lengths[0] + 1)
    while True:
        side = tuple(int(below(state, symbols)) for _ in range(length))
        if not distinct or len(set(side)) == length:
            return side


def _checked(levels: Any) -> Levels:
    """`levels` as nested tuples, if they are a grammar."""
    try:
        checked = tuple(tuple(tuple(tuple(side) for side in rules) for rules in level) for level in levels)
    except TypeError:
        raise SpecError("a grammar is nested lists, [level][symbol][rule][child]") from None
    sizes = [len(level) for level in checked]
    if len(sizes) < 2 or sizes[0] != 1 or 0 in sizes:
        raise SpecError(f"a grammar has one root, then levels down to the terminals, not {sizes} symbols a level")
    for l, level in enumerate(checked):
        last = l == len(checked) - 1
        for s, rules in enumerate(level):
            where = f"symbol {s} of level {l}"
            if last and rules:
                raise SpecError(f"{where} is a terminal and has rules; the last level must have none")
            if not last and not rules:
                raise SpecError(f"{where} has no rules; give it one, or leave it out")
            for side in rules:
                if not side:
                    raise SpecError(f"{where} has a rule without children; strings have no empty parts")
                for child in side:
                    if not isinstance(child, int) or isinstance(child, bool) or not 0 <= child < sizes[l + 1]:
                        fact = f"{where} leads to {child!r}; rules lead to the next level only"
                        raise SpecError(f"{fact}, whose symbols are 0 … {sizes[l + 1] - 1}")
    return checked


def _published(data: Mapping[str, Any]) -> Any:
    """The levels of a grammar in the published format, if what it says of itself is so."""
    missing = [name for name in ("sizes", "all") if name not in data]
    if missing:
        raise SpecError(f"the grammar has no field {' or '.join(missing)}")
    try:
        levels = [[symbol["children"] or () for symbol in level] for level in data["all"]]
        ids = [[symbol["id"] for symbol in level] for level in data["all"]]
    except (TypeError, KeyError, AttributeError) as error:
        fact = f"without {error}" if isinstance(error, KeyError) else "that is none"
        raise SpecError(f"`all` is [level][symbol] with id and children, and holds a symbol {fact}") from None
    counts = [len(level) for level in levels]
    if not counts or data["sizes"] not in (counts, tuple(counts)):
        raise SpecError(f"sizes: {data['sizes']} are said, there are {counts} symbols in `all`")
    if data.get("idx", ids) != ids or ids[-1] != list(range(1, len(ids[-1]) + 1)):
        raise SpecError("idx: the ids are not those in `all`, or the terminals are not 1 … T in order")
    for l, level in enumerate(_checked(levels)):
        sides = [side for rules in level for side in rules]
        twice = next((side for side, n in Counter(sides).items() if n > 1), None)
        if data.get("disallow_duplicate_seq") and twice is not None:
            raise SpecError(f"disallow_duplicate_seq: level {l} has the right-hand side {list(twice)} twice")
        twice = next((side for side in sides if len(set(side)) < len(side)), None)
        if data.get("disallow_duplicate_sym") and twice is not None:
            raise SpecError(f"disallow_duplicate_sym: a rule of level {l} repeats a symbol, {list(twice)}")
    return levels
