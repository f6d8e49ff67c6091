"""The chart against enumeration of small grammars, and against a slow exact reader of large ones."""

import math
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from airtrack.core.streams import Streams
from airtrack.tasks.language.grammar import Grammar

CONFIGS = Path(__file__).parents[2] / "data" / "cfg"
STREAMS = Streams(3) / "chart"


def enumerated(grammar):
    """{string: probability} of a small grammar, by expanding everything."""
    tables = [{(t + 1,): Fraction(1)} for t in range(grammar.terminals)]
    for level in grammar.levels[-2::-1]:
        above = []
        for rules in level:
            table = {}
            for side in rules:
                for parts in product(*(tables[child].items() for child in side)):
                    string = sum((part for part, _ in parts), ())
                    chance = math.prod((p for _, p in parts), start=Fraction(1, len(rules)))
                    table[string] = table.get(string, 0) + chance
            above.append(table)
        tables = above
    return tables[0]


class Slow:
    """Exact probabilities of one string by recursion over (level, symbol, position): top down, in fractions."""

    def __init__(self, grammar, string):
        self.levels, self.x = grammar.levels, tuple(string)
        self.ends, self.begins = cache(self.ends), cache(self.begins)

    def ends(self, level, symbol, i):
        """{j: probability that the symbol becomes x[i:j]}."""
        if level == len(self.levels) - 1:
            return {i + 1: Fraction(1)} if i < len(self.x) and self.x[i] == symbol + 1 else {}
        rules, found = self.levels[level][symbol], {}
        for side in rules:
            reached = {i: Fraction(1, len(rules))}
            for child in side:
                further = {}
                for m, p in reached.items():
                    for j, q in self.ends(level + 1, child, m).items():
                        further[j] = further.get(j, 0) + p * q
                reached = further
            for j, p in reached.items():
                found[j] = found.get(j, 0) + p
        return found

    def begins(self, level, symbol, i, n):
        """Probability that what the symbol becomes begins with x[i:n]."""
        if i == n:
            return Fraction(1)
        if level == len(self.levels) - 1:
            return Fraction(int(n == i + 1 and self.x[i] == symbol + 1))
        rules, total = self.levels[level][symbol], Fraction(0)
        for side in rules:
            reached = {i: Fraction(1, len(rules))}
            for child in side:
                further = {}
                for m, p in reached.items():
                    total += p * self.begins(level + 1, child, m, n)
                    for j, q in self.ends(level + 1, child, m).items():
                        if j < n:
                            further[j] = further.get(j, 0) + p * q
                reached = further
        return total

    def probability(self):
        return self.ends(0, 0, 0).get(len(self.x), Fraction(0))


def slow_row(grammar, prefix):
    whole = Slow(grammar, prefix)
    there = whole.begins(0, 0, 0, len(prefix))
    if there == 0:
        return np.zeros(grammar.terminals + 2)
    after = [
        Slow(grammar, [*prefix, t]).begins(0, 0, 0, len(prefix) + 1) / there for t in range(1, grammar.terminals + 1)
    ]
    return np.array([0.0, *map(float, after), float(whole.probability() / there)])


SMALL = {
    "one rule": [[[[0, 0]]], [[]]],
    "plain": [[[[0, 1], [1, 0]]], [[[0, 0], [1]], [[0, 1]]], [[], []]],
    "one string, many trees": [[[[0, 1], [1, 0], [0, 0, 0]]], [[[0], [0, 0]], [[0], [0, 0, 0]]], [[]]],
    "shared right-hand sides": [[[[0, 1], [1, 1, 0]]], [[[0, 1], [1]], [[0, 1], [0], [1, 1]]], [[], []]],
    "a rule listed twice": [[[[0], [0], [1, 0]]], [[[0, 1], [0, 1], [1]], [[1], [0]]], [[], []]],
    "unary chains": [[[[0], [1]]], [[[0]], [[1], [0]]], [[[0, 1]], [[1]]], [[], []]],
    "rules that begin alike": [[[[0, 1], [0, 1, 0], [0]]], [[[0, 0], [0, 0, 1]], [[1], [1, 1, 1, 1]]], [[], []]],
    "unreachable": [[[[0, 2]]], [[[0], [1, 0]], [[1, 1, 1]], [[1]]], [[], [], []]],
    "deep": [[[[0, 1], [1]]], [[[0, 0], [1]], [[1, 0]]], [[[0], [1, 1]], [[1, 0]]], [[[0, 1]], [[1], [0]]], [[], []]],
}
GRAMMARS = {name: Grammar(levels) for name, levels in SMALL.items()} | {
    f"drawn {i}": Grammar.draw(i, sizes=(1, 2, 2, 2), rules=(1, 2), lengths=(1, 2)) for i in range(8)
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_small_grammars_are_what_enumeration_says(name):
    grammar = GRAMMARS[name]
    law = enumerated(grammar)
    assert sum(law.values()) == 1
    longest = max(map(len, law))
    alphabet = range(1, grammar.terminals + 1)
    strings = [list(s) for n in range(min(longest, 9) + 2) for s in product(alphabet, repeat=n)]
    assert grammar.accepts(strings).tolist() == [tuple(s) in law for s in strings]
    with np.errstate(divide="ignore"):
        logs = np.log([float(law.get(tuple(s), 0)) for s in strings])
    np.testing.assert_allclose(grammar.log_prob(strings), logs, rtol=1e-13, atol=1e-14)
    shares = {}
    for string, p in law.items():
        for n in range(len(string) + 1):
            shares[string[:n]] = shares.get(string[:n], 0) + p
    wanted = strings[:: max(1, len(strings) // 200)]
    for string, rows in zip(wanted, grammar.next_token_probs(wanted), strict=True):
        assert rows.shape == (len(string) + 1, grammar.terminals + 2)
        for n, row in enumerate(rows):
            prefix = tuple(string[:n])
            there = shares.get(prefix, 0)
            true = [shares.get((*prefix, t), 0) / there if there else 0 for t in alphabet]
            true = [0, *true, law.get(prefix, 0) / there if there else 0]
            np.testing.assert_allclose(row, np.array(true, float), rtol=1e-13, atol=1e-15)


def test_ambiguity_is_real_in_these_tests():
    assert GRAMMARS["one string, many trees"].derivations > len(enumerated(GRAMMARS["one string, many trees"]))
    assert GRAMMARS["shared right-hand sides"].derivations > len(enumerated(GRAMMARS["shared right-hand sides"]))


@pytest.mark.parametrize("name", ["cfg3b", "cfg3f", "cfg3e1", "cfg3k"])
def test_published_grammars_agree_with_the_slow_reader(name):
    grammar = Grammar.load(CONFIGS / f"{name}.json")
    for string in grammar.sample(STREAMS / name, 2):
        exact = Slow(grammar, string).probability()
        log = math.log(exact.numerator) - math.log(exact.denominator)  # far below what a float holds
        assert grammar.log_prob(string) == pytest.approx(log, rel=1e-13)
        rows = grammar.next_token_probs(string)
        for n in {0, 1, len(string) // 3, len(string) - 1, len(string)}:
            np.testing.assert_allclose(rows[n], slow_row(grammar, string[:n]), rtol=1e-11, atol=1e-14)


def test_two_thousand_tokens_keep_full_accuracy():
    drawn = [Grammar.draw(i, sizes=(1, *[3] * 8), rules=(2, 2)) for i in range(6)]
    grammar = max(drawn, key=lambda g: g.lengths.mean)
    string = max(grammar.sample(STREAMS, 20), key=len)
    assert len(string) > 2000
    exact = Slow(grammar, string).probability()
    log = math.log(exact.numerator) - math.log(exact.denominator)
    assert log < -745  # a product of floats would be zero
    assert grammar.log_prob(string) == pytest.approx(log, rel=1e-13)
    rows = grammar.next_token_probs(string)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-14)
    n = len(string) - 100
    np.testing.assert_allclose(rows[n], slow_row(grammar, string[:n]), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["cfg3b", "cfg3f", "cfg3e2"])
def test_spoilt_strings_agree_with_the_slow_reader(name):
    grammar = Grammar.load(CONFIGS / f"{name}.json")
    rng, seen = (STREAMS / "spoil").rng(), set()
    for string in grammar.sample(STREAMS / "spoil", 12):
        spoilt = string.copy()
        for _ in range(3):
            spoilt[rng.integers(len(spoilt))] = rng.integers(1, grammar.terminals + 1)
        rows = grammar.next_token_probs(spoilt)
        alive = rows.any(1)
        dead = len(rows) if alive.all() else int(np.argmin(alive))
        assert not alive[dead:].any()
        slow = Slow(grammar, spoilt)
        assert slow.begins(0, 0, 0, dead - 1) > 0
        assert dead == len(rows) or slow.begins(0, 0, 0, dead) == 0
        assert grammar.accepts(spoilt) == (slow.probability() > 0)
        seen.add(grammar.accepts(spoilt))
    assert False in seen


def test_one_grammar_that_is_ambiguous_throughout():
    """Every symbol can be every other: as many items as there can be, and buffers that must grow."""
    every = [[a, b] for a in range(2) for b in range(2)] + [[0], [1, 1, 1]]
    grammar = Grammar([[every], *[[every, every[::-1]]] * 4, [[], []]])
    for string in grammar.sample(STREAMS, 5):
        exact = Slow(grammar, string).probability()
        assert grammar.log_prob(string) == pytest.approx(
            math.log(exact.numerator) - math.log(exact.denominator), rel=1e-12
        )


def test_strings_of_a_batch_do_not_touch_each_other():
    grammar = Grammar.load(CONFIGS / "cfg3f.json")
    strings = grammar.sample(STREAMS, 30)
    strings[3] = strings[3][:50]
    strings[7] = np.zeros(0, np.int64)
    strings[9] = np.ones(400, np.int64)
    together = grammar.next_token_probs(strings)
    assert all((one == grammar.next_token_probs(s)).all() for s, one in zip(strings, together, strict=True))
    assert [grammar.log_prob(s) for s in strings] == grammar.log_prob(strings).tolist()
    assert grammar.accepts(strings).tolist() == [i not in (3, 7, 9) for i in range(30)]


def test_log_prob_is_the_sum_over_the_rows():
    grammar = Grammar.load(CONFIGS / "cfg3h.json")
    for string in grammar.sample(STREAMS, 5):
        rows = grammar.next_token_probs(string)
        steps = rows[np.arange(len(rows)), [*string, grammar.terminals + 1]]
        assert np.log(steps).sum() == pytest.approx(grammar.log_prob(string), rel=1e-14)


def test_forms_of_strings():
    grammar = GRAMMARS["plain"]
    assert grammar.accepts([]) is False
    assert grammar.accepts(np.zeros(0, np.int64)) is False
    assert grammar.accepts([2, 1, 2]) is True
    assert grammar.accepts(np.array([2, 1, 2], np.int32)) is True
    assert grammar.accepts([[], [2, 1, 2]]).tolist() == [False, True]
    assert grammar.accepts(np.array([[2, 1, 2], [1, 1, 1]])).tolist() == [True, False]
    assert grammar.log_prob([]) == -np.inf
    assert grammar.next_token_probs([]).shape == (1, 4)
    assert [len(rows) for rows in grammar.next_token_probs([[2], []])] == [2, 1]


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ([1, 3], "3 is no token of this grammar; its tokens are 1 … 2"),
        ([0], "0 is no token"),
        ([[1, 2], [1, -7]], "-7 is no token"),
        ([1.0, 2.0], "a string is a list of integers"),
        (["1"], "a string is a list of integers"),
        ([True], "a string is a list of integers"),
        ([[1, [2]]], "a string is a list of integers"),
        (np.ones((2, 2, 2), int), "a string is a list of integers"),
    ],
)
def test_what_is_no_string_is_refused_in_one_line(string, words):
    for method in ("accepts", "log_prob", "next_token_probs"):
        with pytest.raises(ValueError, match=words) as refusal:
            getattr(GRAMMARS["plain"], method)(string)
        assert "\n" not in str(refusal.value)
