"""Mano against a reader that parses the text and evaluates it with Python's own integers."""

from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from airtrack.core.given import IGNORE
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.mano import Mano, _values

STREAMS = Streams(5) / "task"

SETTINGS = {
    "one": Mano(length=1),
    "default": Mano(length=4),
    "packed": Mano(length=3, context=100),
    "synonyms": Mano(length=5, synonyms=True, context=90),
    "division": Mano(length=6, division=True, context=64),
    "composite": Mano(length=4, modulus=6, division=True, synonyms=True, context=64),
    "two": Mano(length=4, modulus=2, division=True, context=40),
    "published": Mano.preset("mano", length=10),
    "small": Mano.preset("small", length=3),
}


def value(op, a, b, modulus):
    """a op b, or None."""
    if op != "/":
        return {"+": a + b, "-": a - b, "*": a * b}[op] % modulus
    quotients = [c for c in range(modulus) if c * b % modulus == a] if np.gcd(b, modulus) == 1 else []
    return quotients[0] if quotients else None


def parse(words, t, modulus):
    """(value, tree, operations, end) of the expression that starts at t; IndexError where it is cut."""
    if words[t] not in "+-*/":
        return int(words[t]), int(words[t]), 0, t + 1
    a, left, m, end = parse(words, t + 1, modulus)
    b, right, n, end = parse(words, end, modulus)
    result = value(words[t], a, b, modulus)
    assert result is not None
    return result, (words[t], left, right), m + n + 1, end


def samples(task, row):
    """(operations, tree, value, column of the value) of the whole samples of a window."""
    words, t, found = task.text(row).split(), 0, []
    while t < len(words):
        assert words[t] == "BOS"
        try:
            l = int(words[t + 1].removeprefix("LEN"))
            result, tree, operations, end = parse(words, t + 2, task.modulus)
            assert words[end] == f"ANS{l}"
            assert operations == l <= task.length
            assert int(words[end + 1]) == result
        except IndexError:
            break
        found.append((l, tree, result, end + 1))
        t = end + 2
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_values_are_what_the_text_says(name):
    task = SETTINGS[name]
    given, judge = task.pose(STREAMS)
    for i in range(3):
        x, y = given.batch(i, 12)
        assert all(samples(task, row) for row in x)  # the first of a window is whole
        assert (y[:, :-1] == x[:, 1:]).all()
        assert (x[:, 0] == given.start).all()
    group = np.zeros_like(judge.truth["x"])
    for row, marks in zip(judge.truth["x"], group):
        columns = [column for *_, column in samples(task, row)]
        marks[np.array(columns) - 1] = 1
        assert {l for l, *_ in samples(task, row)} == {task.length}
    rows, columns = np.nonzero(group)
    assert (judge.truth["target"] == judge.truth["x"][rows, columns + 1]).all()
    assert len(rows) == task.evaluation * (given.length // (2 * task.length + 5))


def expressions(l, modulus, operations):
    """Every expression of l operations: (probability, value or None)."""
    if l == 0:
        yield from ((Fraction(1, modulus), v) for v in range(modulus))
        return
    for left in range(l):
        sides = product(
            list(expressions(left, modulus, operations)), list(expressions(l - 1 - left, modulus, operations))
        )
        for ((p, a), (q, b)), op in product(sides, operations):
            known = a is not None and b is not None
            yield p * q / l / len(operations), value(op, a, b, modulus) if known else None


@pytest.mark.parametrize(
    ("l", "modulus", "operations"), [(2, 5, "+-*"), (3, 2, "+-*/"), (3, 3, "+-*"), (2, 4, "+-*/"), (2, 6, "+-*/")]
)
def test_the_law_of_values_is_that_of_all_expressions(l, modulus, operations):
    exact = [Fraction(0)] * modulus
    for p, v in expressions(l, modulus, operations):
        if v is not None:
            exact[v] += p
    law = _values(l, modulus, "/" in operations)
    assert law == pytest.approx(np.array(exact, float), abs=1e-12)
    metric = Mano(length=l, modulus=modulus, division="/" in operations).metrics["accuracy"]
    assert metric.chance == pytest.approx(float(max(exact) / sum(exact)))


@pytest.mark.parametrize(("length", "failed"), [(10, 0.071), (13, 0.071), (16, 0.073)])
def test_chance_is_what_failed_models_were_published_to_score(length, failed):
    task = Mano.preset("mano", length=length)
    chance = task.metrics["accuracy"].chance
    assert chance == pytest.approx(failed, abs=0.001)  # NoPE in Part 4.1; the table has one decimal of a percent
    given, judge = task.pose(STREAMS)
    always = judge(lambda ids: np.eye(given.vocab)[np.zeros_like(ids)])
    assert abs(always["accuracy"] - chance) < 4 * always["accuracy_se"]


def chi2_fits(counts, expected):
    """Pearson's χ² below its .9999 quantile (Wilson–Hilferty)."""
    k = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < k * (1 - 2 / (9 * k) + 3.72 * np.sqrt(2 / (9 * k))) ** 3


def operations_in(tree):
    return 0 if isinstance(tree, int) else 1 + operations_in(tree[1]) + operations_in(tree[2])


def numbers_in(tree):
    return [tree] if isinstance(tree, int) else [*numbers_in(tree[1]), *numbers_in(tree[2])]


def test_sizes_operations_splits_and_numbers_are_uniform():
    task = Mano(length=5, modulus=7)
    x = task.pose(STREAMS).given.batch(0, 6000).x
    first = [samples(task, row)[0] for row in x]
    lengths = np.bincount([l for l, *_ in first], minlength=6)[1:]
    assert chi2_fits(lengths, np.full(5, len(first) / 5))
    longest = [tree for l, tree, *_ in first if l == 5]
    roots = Counter(tree[0] for tree in longest)
    assert chi2_fits(np.array([roots[o] for o in "+-*"]), np.full(3, len(longest) / 3))
    splits = np.bincount([operations_in(tree[1]) for tree in longest], minlength=5)
    assert chi2_fits(splits, np.full(5, len(longest) / 5))
    numbers = np.concatenate([numbers_in(tree) for tree in longest])
    assert chi2_fits(np.bincount(numbers, minlength=7), np.full(7, len(numbers) / 7))


@pytest.mark.parametrize("task", [Mano(length=3, modulus=6, division=True), Mano(length=4, modulus=5, division=True)])
def test_undefined_expressions_are_drawn_again_and_leave_the_law_of_the_others(task):
    judge = task.pose(STREAMS).judge
    law = _values(task.length, task.modulus, True)
    values = np.bincount(judge.truth["target"], minlength=task.modulus)
    assert chi2_fits(values, law / law.sum() * values.sum())
    training = task.pose(STREAMS).given.batch(0, 4000).x
    lengths = np.bincount([samples(task, row)[0][0] for row in training])[1:]
    assert chi2_fits(lengths, np.full(task.length, 4000 / task.length))  # rejection keeps the length


def test_synonyms_stand_side_by_side_and_are_equally_likely():
    task = Mano(length=2, modulus=3, synonyms=True)
    given = task.pose(STREAMS).given
    assert given.vocab == 3 + 2 * 3 + 1 + 2 * 2 + 2 * 2
    assert given.start == 9
    counts = np.bincount(given.batch(0, 6000).x.ravel(), minlength=given.vocab)
    for pair in [(3, 4), (5, 6), (7, 8), (10, 11), (12, 13), (14, 15), (16, 17)]:
        two = counts[list(pair)]
        assert chi2_fits(two, np.full(2, two.sum() / 2))
        assert task.text(np.array(pair)).split()[0] == task.text(np.array(pair)).split()[1]


def test_who_evaluates_scores_one_and_who_errs_on_half_scores_half():
    task = Mano(length=4, context=40, evaluation=256)
    given, judge = task.pose(STREAMS)

    def model(ids, spoil=False):
        scores = np.zeros((*ids.shape, given.vocab))
        for row, (numbers, out) in enumerate(zip(ids, scores)):
            for _, _, result, column in samples(task, numbers):
                out[column - 1, (result + (spoil and row % 2)) % 23] = 60
        return scores

    perfect = judge(model)
    assert (perfect["accuracy"], perfect["accuracy_se"], perfect["loss"]) == (1, 0, 1e-9)
    half = judge(lambda ids: model(ids, True))
    assert half["accuracy"] == 0.5
    assert half["accuracy_se"] == pytest.approx(0.5 / np.sqrt(255))
    assert judge(lambda ids: np.zeros((*ids.shape, given.vocab)))["loss"] == pytest.approx(np.log(given.vocab))


def test_these_bytes_never_change():
    task = Mano(length=3)
    x, y = task.pose(Streams(0) / "task").given.batch(0, 1)
    assert task.text(x[0]) == FIRST
    assert y[0].tolist() == [*x[0, 1:].tolist(), IGNORE]


FIRST = "BOS LEN1 + 17 6 ANS1 0 BOS LEN3 * +"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"length": 0}, "length"),
        ({"length": 3, "modulus": 1}, "modulus"),
        ({"length": 3, "context": 10}, "context: .* 11 tokens"),
        ({"length": 60, "modulus": 30, "division": True}, "division: only .* modulo 30; take fewer"),
        ({"length": 3, "evaluation": 0}, "evaluation"),
        ({"length": 3, "division": 1}, "division: expected true or false"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Mano(**fields)
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="mano and small"):
        Mano.preset("large", length=3)
