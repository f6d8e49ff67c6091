"""Grammars: made, stored, refused, and drawn from, against enumeration and the rules themselves."""

import copy
import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.derivation import joined
from airtrack.tasks.language.grammar import Grammar

CONFIGS = Path(__file__).parents[2] / "data" / "cfg"
STREAMS = Streams(4) / "grammar"
LEVELS = [[[[0, 1], [1, 0, 1]]], [[[0, 1], [1]], [[0, 1], [0], [1, 1]]], [[[0, 0], [1, 0]], [[1], [0]]], [[], []]]


def derivations(grammar):
    """[(tree as (symbol, children …), string, probability)] of every derivation of a small grammar."""

    def grow(level, symbol):
        if level == grammar.depth:
            return [((symbol,), (symbol + 1,), 1.0)]
        rules, found = grammar.levels[level][symbol], []
        for side, n in Counter(rules).items():
            for parts in itertools.product(*(grow(level + 1, child) for child in side)):
                tree = (symbol, *(tree for tree, _, _ in parts))
                string = sum((string for _, string, _ in parts), ())
                found.append((tree, string, n / len(rules) * math.prod(p for _, _, p in parts)))
        return found

    return grow(0, 0)


def chi2_fits(counts, expected):
    """Pearson's χ² below its .9999 quantile (Wilson–Hilferty)."""
    k = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < k * (1 - 2 / (9 * k) + 3.72 * np.sqrt(2 / (9 * k))) ** 3


# --------------------------------------------------------------------------------------------------- made and stored


def test_every_form_holds_the_same_grammar(tmp_path):
    grammar = Grammar(LEVELS)
    grammar.save(tmp_path / "published.json")
    (tmp_path / "plain.json").write_text(json.dumps(LEVELS))
    forms = [
        grammar,
        LEVELS,
        grammar.levels,
        grammar.to_dict(),
        tmp_path / "published.json",
        str(tmp_path / "plain.json"),
    ]
    assert {Grammar.load(form) for form in forms} == {grammar}
    assert json.loads(json.dumps(grammar.levels)) == LEVELS
    with pytest.raises(AttributeError):
        grammar.levels = ()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda p: p.stem)
def test_published_files_round_trip(path):
    data, grammar = json.loads(path.read_text()), Grammar.load(path)
    again = grammar.to_dict()
    assert Grammar.load(again) == grammar
    assert (again["sizes"], again["idx"], again["eos_token"]) == (data["sizes"], data["idx"], data["eos_token"])
    for level, written in zip(data["all"], again["all"], strict=True):
        assert [(s["id"], s["children"]) for s in level] == [(s["id"], s["children"]) for s in written]


def spoilt(change):
    data = json.loads((CONFIGS / "cfg3b.json").read_text())
    change(data)
    return data


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([], "one root, .* not \\[\\] symbols a level"),
        ([[]], "one root, .* not \\[0\\] symbols"),
        ([[[[0]]]], "down to the terminals, not \\[1\\] symbols"),
        ([[[[0]], [[0]]], [[]]], "one root, .* not \\[2, 1\\]"),
        ([[[[0]]], []], "not \\[1, 0\\] symbols"),
        ([[[]], [[]]], "symbol 0 of level 0 has no rules; give it one"),
        ([[[[0, 1]]], [[[0]], []], [[]]], "symbol 1 of level 1 has no rules"),
        ([[[[0], []]], [[]]], "symbol 0 of level 0 has a rule without children"),
        ([[[[0, 1]]], [[]]], "symbol 0 of level 0 leads to 1; rules lead to the next level only, .* 0 … 0"),
        ([[[[0, -1]]], [[]]], "leads to -1"),
        ([[[[0, 0.0]]], [[]]], "leads to 0.0"),
        ([[[[True]]], [[], []]], "leads to True"),
        ([[[["0"]]], [[]]], "leads to '0'"),
        ([[[[0]]], [[[0]]]], "symbol 0 of level 1 is a terminal and has rules"),
        (7, "nested lists"),
        ([[[0, 1]], [[]]], "nested lists"),
        ("no/such.json", "no/such.json cannot be read: No such file"),
        (CONFIGS, "cannot be read"),
        (CONFIGS / "README.md", "README.md cannot be read: it is no JSON"),
        ({}, "no field sizes or all"),
        ({"all": []}, "no field sizes$"),
        (spoilt(lambda d: d.pop("all")), "no field all"),
        (spoilt(lambda d: d["all"][2][0].pop("children")), "`all` is .* without 'children'"),
        (spoilt(lambda d: d["all"][2].append(3)), "`all` is .* that is none"),
        (spoilt(lambda d: d.update(all=3)), "`all` is"),
        (spoilt(lambda d: d.update(sizes=[1, 3])), "sizes: \\[1, 3\\] are said"),
        (spoilt(lambda d: d.update(sizes=7)), "sizes: 7 are said"),
        (spoilt(lambda d: d.update(sizes=[], all=[])), "sizes: \\[\\] are said"),
        (spoilt(lambda d: d["all"][3].pop()), "sizes: .*\\[1, 3, 3, 2, 3, 3, 3\\] symbols"),
        (spoilt(lambda d: d["idx"][0].append(9)), "idx: "),
        (spoilt(lambda d: d["all"][6].reverse()), "idx: "),
        (spoilt(lambda d: d["all"][1][1].update(children=None)), "symbol 1 of level 1 has no rules"),
        (spoilt(lambda d: d["all"][1][1]["children"].append([0, 19])), "symbol 1 of level 1 leads to 19"),
        (spoilt(lambda d: d["all"][1][1]["children"].append([])), "rule without children"),
        (
            spoilt(lambda d: d["all"][1][1].update(children=[[0, 1, 2]])),
            "disallow_duplicate_seq: level 1 .*\\[0, 1, 2\\]",
        ),
        (
            spoilt(lambda d: d["all"][1][1].update(children=[[0, 1, 0]])),
            "disallow_duplicate_sym: .* level 1 .*\\[0, 1, 0\\]",
        ),
    ],
)
def test_what_is_no_grammar_is_refused_in_one_line(levels, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Grammar.load(levels)
    assert "\n" not in str(refusal.value)


def test_claims_that_are_not_made_are_not_checked():
    data = json.loads((CONFIGS / "cfg3f.json").read_text())
    data["all"][1][1]["children"][0] = [2, 0, 2]  # the right-hand side of another symbol
    data["disallow_duplicate_seq"] = False
    assert Grammar.load(data).rules == 54


# --------------------------------------------------------------------------------------------------------- the facts


@pytest.mark.parametrize("levels", [LEVELS, Grammar.draw(1, sizes=(1, 2, 3, 2), rules=(1, 2)).levels])
def test_facts_are_what_enumeration_says(levels):
    grammar = Grammar(levels)
    every = derivations(grammar)
    p, n = np.array([p for _, _, p in every]), np.array([len(s) for _, s, _ in every])
    assert p.sum() == pytest.approx(1)
    assert grammar.derivations == len(every) == len({tree for tree, _, _ in every})
    assert grammar.entropy == pytest.approx(-(p * np.log2(p)).sum(), rel=1e-12)
    least, mean, most = grammar.lengths
    assert (least, most) == (n.min(), n.max())
    assert mean == pytest.approx(p @ n, rel=1e-12)


def test_a_rule_listed_twice_counts_twice_and_is_one():
    grammar = Grammar([[[[0], [0], [1, 1]]], [[], []]])
    assert grammar.entropy == pytest.approx(math.log2(3) - 2 / 3)
    assert (grammar.derivations, grammar.rules, grammar.lengths.mean) == (2, 3, pytest.approx(4 / 3))
    assert math.exp(grammar.log_prob([1])) == pytest.approx(2 / 3)


def test_the_floor_is_the_entropy_of_strings():
    grammar = Grammar(LEVELS)
    law = Counter()
    for _, string, p in derivations(grammar):
        law[string] += p
    assert len(law) < grammar.derivations
    nats = -sum(p * math.log(p) for p in law.values())
    floor, error = grammar.floor(STREAMS, 4000)
    assert abs(floor - nats / (grammar.lengths.mean + 1)) < 4 * error
    assert nats < grammar.entropy * math.log(2)
    spread = np.std([grammar.floor(STREAMS / str(i), 100)[0] for i in range(300)])
    assert grammar.floor(STREAMS, 3000).error * np.sqrt(30) == pytest.approx(spread, rel=0.2)
    assert math.isnan(grammar.floor(STREAMS, 1).error)


def test_reachable_symbols():
    assert all(map(all, Grammar(LEVELS).reachable))
    grammar = Grammar([[[[0, 2]]], [[[0]], [[1]], [[2]]], [[], [], []]])
    assert grammar.reachable == ((True,), (True, False, True), (True, False, True))


# -------------------------------------------------------------------------------------------------------------- draw


def test_drawn_grammars_keep_their_word():
    for seed in range(30):
        grammar = Grammar.draw(seed, sizes=(1, 3, 4, 2), rules=(1, 3), lengths=(2, 4), distinct=False)
        assert [len(level) for level in grammar.levels] == [1, 3, 4, 2]
        for level in grammar.levels[:-1]:
            sides = [side for rules in level for side in rules]
            assert len(set(sides)) == len(sides)
            assert all(1 <= len(rules) <= 3 for rules in level)
            assert all(2 <= len(side) <= 4 for side in sides)
        distinct = Grammar.draw(seed, sizes=(1, 3, 3), rules=(2, 2), distinct=True)
        assert all(len(set(side)) == len(side) for level in distinct.levels for rules in level for side in rules)


def test_drawn_numbers_lengths_and_children_are_uniform():
    """A level so large that no right-hand side is likely to come twice."""
    rules, lengths, children = np.zeros(3), np.zeros(2), np.zeros(50)
    for seed in range(40):
        (_, level, _) = Grammar.draw(seed, sizes=(1, 30, 50), rules=(2, 4), lengths=(3, 4)).levels
        rules += np.bincount([len(r) for r in level], minlength=5)[2:]
        lengths += np.bincount([len(side) for r in level for side in r], minlength=5)[3:]
        children += np.bincount([c for r in level for side in r for c in side], minlength=50)
    for counts in (rules, lengths, children):
        assert chi2_fits(counts, np.full(len(counts), counts.sum() / len(counts)))


def test_a_grammar_may_use_up_every_right_hand_side():
    grammar = Grammar.draw(0, sizes=(1, 6, 2), rules=(2, 2))
    assert {side for rules in grammar.levels[1] for side in rules} == {
        *itertools.product(range(2), repeat=2),
        *itertools.product(range(2), repeat=3),
    }


def test_these_rules_never_change():
    grammar = Grammar.draw(7, sizes=(1, 2, 2), rules=(1, 2))
    assert grammar.levels == FIXED
    assert Grammar.draw(Streams(7) / "grammar", sizes=(1, 2, 2), rules=(1, 2)) == grammar


FIXED = ((((0, 1),),), (((1, 1), (0, 1, 1)), ((0, 1),)), ((), ()))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sizes": (1, 7, 2), "rules": (2, 2)}, "rules: 2 symbols make 12 right-hand sides for 7 symbols with up to 2"),
        ({"sizes": (1, 3, 2), "rules": (1, 1), "distinct": True}, "rules: 2 symbols make 2 right-hand sides"),
        ({"sizes": (2, 3)}, "sizes: \\[2, 3\\] begins with one root"),
        ({"sizes": (1,)}, "sizes"),
        ({"sizes": (1, 0, 2)}, "sizes"),
        ({"sizes": (1, 3, 3), "rules": (3, 2)}, "rules: \\(3, 2\\) are no bounds"),
        ({"sizes": (1, 3, 3), "rules": (0, 2)}, "rules: \\(0, 2\\) are no bounds"),
        ({"sizes": (1, 3, 3), "lengths": (0, 2)}, "lengths: \\(0, 2\\) are no bounds"),
    ],
)
def test_impossible_draws_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Grammar.draw(0, **fields)
    assert "\n" not in str(refusal.value)


# ----------------------------------------------------------------------------------------------------------- sampled


def test_strings_follow_the_law_of_the_derivations():
    grammar = Grammar([*LEVELS[:2], [[[0, 0], [1, 0], [1, 0]], [[1], [0]]], LEVELS[3]])
    law = Counter()
    for _, string, p in derivations(grammar):
        law[string] += p
    counts = Counter(tuple(s.tolist()) for s in grammar.sample(STREAMS, 40_000))
    assert counts.keys() <= law.keys()
    common = [s for s in law if law[s] > 5 / 40_000]
    seen = [*(counts[s] for s in common), sum(n for s, n in counts.items() if s not in set(common))]
    expected = [*(40_000 * law[s] for s in common), 40_000 * (1 - sum(law[s] for s in common))]
    assert len(common) > 30
    assert chi2_fits(np.array(seen), np.array(expected))


def test_a_joined_grammar_has_the_same_strings_each_as_likely():
    twice = [*LEVELS[:2], [[[0, 0], [1, 0], [1, 0]], [[1], [0]]], LEVELS[3]]
    for levels in (LEVELS, [*LEVELS[:2], LEVELS[3]], twice):
        grammar, laws = Grammar(levels), [Counter(), Counter()]
        for law, form in zip(laws, (grammar, Grammar(joined(grammar.levels)))):
            for _, string, p in derivations(form):
                law[string] += p
        assert laws[0] == pytest.approx(laws[1], rel=1e-12)
    assert joined(LEVELS, most=10) is LEVELS
    assert joined([LEVELS[0], LEVELS[3]]) == [LEVELS[0], LEVELS[3]]


def test_strings_are_functions_of_stream_and_counter():
    grammar = Grammar.load(CONFIGS / "cfg3f.json")
    first = grammar.sample(STREAMS, 5)
    longer = grammar.sample(STREAMS, 9)
    assert all((a == b).all() for a, b in zip(first, longer))
    assert [s.tolist() for s in grammar.sample(STREAMS, 5, counter=1)] != [s.tolist() for s in first]
    assert [d.tokens.tolist() for d in grammar.derive(STREAMS, 5)] == [s.tolist() for s in first]
    assert grammar.sample(STREAMS, 0) == []


@pytest.mark.parametrize("name", ["cfg3b", "cfg3e1", "cfg3f", "small"])
def test_labels_are_a_tree_of_the_grammar(name):
    grammar = Grammar(LEVELS) if name == "small" else Grammar.load(CONFIGS / f"{name}.json")
    for tokens, symbol, subtree, end in grammar.derive(STREAMS, 20):
        n, depth = len(tokens), grammar.depth
        assert symbol.shape == subtree.shape == end.shape == (depth, n)
        assert (subtree[:, 0] == 0).all()
        assert np.isin(np.diff(subtree, axis=1), (0, 1)).all()
        assert (end == np.c_[np.diff(subtree, axis=1), np.ones(depth)]).all()
        assert (symbol[0] == 0).all()
        assert (subtree[0] == 0).all()
        below, numbers = [*symbol[1:], tokens - 1], [*subtree[1:], np.arange(n)]
        for level in range(depth):
            for tree in range(subtree[level, -1] + 1):
                inside = np.flatnonzero(subtree[level] == tree)
                assert len(set(symbol[level, inside])) == 1
                _, firsts = np.unique(numbers[level][inside], return_index=True)
                side = tuple(below[level][inside][firsts].tolist())
                assert side in grammar.levels[level][symbol[level, inside[0]]]


def test_boundary_is_the_level_nearest_to_the_root():
    grammar = Grammar.load(CONFIGS / "cfg3f.json")
    for derived in grammar.derive(STREAMS, 5):
        for i, level in enumerate(derived.boundary):
            ends = [l for l in range(1, grammar.depth) if derived.end[l, i]]
            assert level == (min(ends) if ends else grammar.depth)
            assert ends == list(range(level, grammar.depth))  # the finer ones end with it
        assert derived.boundary[-1] == 1
    flat = Grammar([[[[0, 0]]], [[]]]).derive(STREAMS, 1)[0]
    assert flat.boundary.tolist() == [1, 1]


# ------------------------------------------------------------------------------------------------------------ hidden


def test_a_hidden_grammar_is_exact_where_bags_overlap():
    grammar = Grammar([LEVELS[0], LEVELS[1][::-1], LEVELS[3]])
    bags = [[0, 1, 1], [1, 2, 0, 0]]
    observed = grammar.hidden(bags)
    law = Counter()
    for _, string, p in derivations(grammar):
        for tokens in itertools.product(*(bags[s - 1] for s in string)):
            law[tuple(t + 1 for t in tokens)] += p / math.prod(len(bags[s - 1]) for s in string)
    for string in list(law)[::7]:
        assert observed.log_prob(list(string)) == pytest.approx(math.log(law[string]), rel=1e-12)
    assert observed.lengths == grammar.lengths
    emission = (2 / 3 * math.log2(1.5) + 1 / 3 * math.log2(3), 1.5)
    ones = sum(p * string.count(1) for _, string, p in derivations(grammar))
    twos = grammar.lengths.mean - ones
    assert observed.entropy == pytest.approx(grammar.entropy + ones * emission[0] + twos * emission[1])
    for derived in observed.derive(STREAMS, 20):
        assert all(t - 1 in bags[s] for t, s in zip(derived.tokens, derived.symbol[-1]))
        assert grammar.accepts(derived.symbol[-1] + 1)


@pytest.mark.parametrize("bags", [[[0]], [[0], [1], [2]], [[0], []], [[0], [-1]]])
def test_bags_that_do_not_fit_are_refused(bags):
    with pytest.raises(SpecError):
        Grammar(LEVELS).hidden(bags)


def test_a_copy_is_equal():
    grammar = Grammar(LEVELS)
    grammar.floor(STREAMS, 2)
    assert copy.deepcopy(grammar) == grammar
    assert hash(copy.deepcopy(grammar)) == hash(grammar)
