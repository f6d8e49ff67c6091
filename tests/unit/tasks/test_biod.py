"""bioD against a reader of its one template, and its judge against models of known knowledge."""

import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import chisquare

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.biod import Biod, distinct

STREAMS = Streams(9) / "task"
SETTING = {"people": 24, "attributes": 3, "chunks": 2, "diversity": 6, "length": 3, "alphabet": 5, "names": (5, 4, 7)}


def make(**fields):
    return Biod(**(SETTING | {"context": 60} | fields))


def parse(task, document):
    """(name, {attribute: value, C chunks of L letters}, attributes in their order) of the ids of a document."""
    K, C, L = task.attributes, task.chunks, task.length
    letters, first = 8 + K, 8 + K + task.alphabet
    bases = [first, first + task.names[0], first + sum(task.names[:2])]
    name = tuple(int(t) - b for t, b in zip(document[:3], bases))
    assert all(0 <= part < size for part, size in zip(name, task.names))
    values, rest = {}, list(document[3:])
    for place in range(K):
        head, rest = rest[:4], rest[4:]
        assert (head[0], head[1], head[3]) == (6 if place else 1, 2, 3)
        assert 0 <= head[2] - 8 < K
        assert head[2] - 8 not in values
        chunks = []
        for c in range(C):
            chunk, mark, rest = rest[:L], rest[L], rest[L + 1 :]
            assert all(0 <= t - letters < task.alphabet for t in chunk)
            assert mark == (4 if c < C - 1 else 5)
            chunks.append(tuple(int(t) - letters for t in chunk))
        values[int(head[2]) - 8] = tuple(chunks)
    assert not rest
    return name, values, tuple(values)


def read(task, passes):
    x = task.pose(STREAMS).given.batch(0, passes * task.tokens_per_exposure // task.context + 1).x.ravel()
    size = task.tokens_per_exposure // task.people
    rows = x[: passes * task.tokens_per_exposure].reshape(-1, size)
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] != 0).all()
    return [parse(task, row[1:]) for row in rows]


@pytest.mark.parametrize(
    "fields", [{}, {"chunks": 1}, {"attributes": 1, "length": 1, "alphabet": 9}, {"diversity": 125}]
)
def test_windows_read_back(fields):
    task = make(**fields)
    told, facts, orders, strings = read(task, 20), {}, set(), defaultdict(set)
    for i, (name, values, order) in enumerate(told):
        assert facts.setdefault(name, values) == values
        orders.add(order)
        for k, chunks in values.items():
            strings[k].update(chunks)
        if i % 24 == 0:
            assert len({n for n, *_ in told[i : i + 24]}) == 24
    assert len(facts) == 24
    assert len(orders) == math.factorial(task.attributes)
    assert all(len(s) <= task.diversity for s in strings.values())
    if task.diversity == 6 and task.chunks == 2:
        assert all(len(s) == 6 for s in strings.values())  # 48 draws of each
        assert len({frozenset(s) for s in strings.values()}) == task.attributes


def test_values_and_orders_are_uniform():
    task = make(people=140, diversity=4, alphabet=9)  # every name there is
    told = read(task, 30)
    assert len({name for name, *_ in told}) == 140
    orders = Counter(order for *_, order in told)
    assert chisquare([orders[o] for o in sorted(orders)]).pvalue > 1e-3
    assert len(orders) == 6
    for k in range(3):
        for c in range(2):
            chunks = Counter(values[k][c] for _, values, _ in told[:140])
            assert chisquare(list(chunks.values())).pvalue > 1e-3
        pairs = Counter(values[k] for _, values, _ in told[:140])
        assert chisquare(list(pairs.values()) + [0] * (16 - len(pairs))).pvalue > 1e-3


@pytest.mark.parametrize(
    ("count", "length", "alphabet"), [(8, 3, 2), (3, 3, 2), (5, 2, 7), (30, 2, 7), (9, 40, 30_000)]
)
def test_strings_are_distinct_and_uniform(count, length, alphabet):
    rng, seen = np.random.default_rng(0), Counter()
    for _ in range(400):
        found = distinct(rng, count, length, alphabet)
        assert found.shape == (count, length)
        assert len({tuple(f) for f in found}) == count
        assert found.min() >= 0
        assert found.max() < alphabet
        seen.update(tuple(f) for f in found.tolist())
    if alphabet**length < 100 and count < alphabet**length:
        counts = np.array([seen[s] for s in sorted(seen)])
        share = count / alphabet**length  # sums without replacement vary less than chi-square says: scale up
        assert len(counts) == alphabet**length
        assert chisquare(counts).statistic / (1 - share) < 2 * len(counts)


class Knows:
    """Looks only back: knows names (None: uniform on all), values {name: …} (missing: uniform on the sets)."""

    def __init__(self, task, names=None, values=None, sets=None, count=100):
        self.task, self.names, self.values, self.sets = task, names, values or {}, sets
        self.parameters = lambda: [SimpleNamespace(numel=lambda: count)]
        self.vocab = 8 + task.attributes + task.alphabet + sum(task.names)

    def __call__(self, ids):
        raise AssertionError("positions are asked for one by one")

    def log_probs(self, ids, at=None):
        result = np.full((len(at[0]), self.vocab), -np.inf)
        for m, (row, column) in enumerate(zip(*at)):
            for token, weight in self.guess(ids[row, 1 : column + 1].tolist()).items():
                result[m, token] = math.log(weight)
        return result

    def guess(self, told):
        task = self.task
        first = 8 + task.attributes + task.alphabet
        bases = [first, first + task.names[0], first + sum(task.names[:2])]
        if len(told) < 3:
            part = len(told)
            if self.names is None:
                return {bases[part] + i: 1 for i in range(task.names[part])}
            so_far = tuple(t - b for t, b in zip(told, bases))
            return Counter(bases[part] + n[part] for n in self.names if n[:part] == so_far)
        name = tuple(t - b for t, b in zip(told, bases))
        start = len(told) - told[::-1].index(3)
        k, value = told[start - 2] - 8, told[start:]
        chunk, letter = divmod(len(value), task.length + 1)
        letters = 8 + task.attributes
        if name in self.values:
            return {letters + self.values[name][k][chunk][letter]: 1}
        so_far = tuple(t - letters for t in value[len(value) - letter :])
        return Counter(letters + s[letter] for s in self.sets[k] if s[:letter] == so_far)


def learned(task):
    facts = {name: values for name, values, _ in read(task, 1)}
    sets = np.stack([np.asarray(s) for s in true_sets(task)])
    return facts, [[tuple(s) for s in of.tolist()] for of in sets]


def true_sets(task):
    """The sets of strings, from the values of very many people with the same strings."""
    found = defaultdict(set)
    for _, values, _ in read(make(**{f: getattr(task, f) for f in SETTING} | {"people": 140}), 1):
        for k, chunks in values.items():
            found[k].update(chunks)
    return [sorted(found[k]) for k in range(task.attributes)]


def test_who_knows_everything_scores_everything():
    task = make()
    facts, sets = learned(task)
    readings = task.pose(STREAMS).judge(Knows(task, list(facts), facts, sets))
    most = 24 * math.log2(140 / 24) + 24 * 3 * 2 * math.log2(6) + 3 * 6 * math.log2(125 / 6)
    assert readings["bits"] == pytest.approx(most) == pytest.approx(task.most_bits)
    assert readings["share"] == pytest.approx(1)
    assert readings["bits_per_parameter"] == pytest.approx(min(most / 100, 32))
    assert readings["loss_name"] == pytest.approx(math.log(24))
    assert readings["loss_value"] == readings["loss_first"] == pytest.approx(0)
    assert readings["accuracy"] == 1


def test_who_knows_the_names_and_the_strings_only():
    """p₁ = ln N, p₂ = C ln D, p₃ = ln D: names in full, no values, and the formula's K D log₂(T^L / D²) of the sets."""
    task = make()
    facts, sets = learned(task)
    readings = task.pose(STREAMS).judge(Knows(task, list(facts), None, sets))
    assert readings["loss_value"] == pytest.approx(2 * math.log(6))
    assert readings["loss_first"] == pytest.approx(math.log(6))
    assert readings["bits"] == pytest.approx(24 * math.log2(140 / 24) + 18 * math.log2(125 / 36))
    assert readings["accuracy"] < 0.4


def test_who_knows_nothing_scores_nothing():
    """Letters uniform on all strings: less than nothing is nothing."""
    task = make()
    every = [tuple(s) for s in np.argwhere(np.ones((5, 5, 5))).tolist()]
    readings = task.pose(STREAMS).judge(Knows(task, None, None, [every] * 3))
    assert readings["loss_name"] == pytest.approx(math.log(140))
    assert readings["loss_value"] == pytest.approx(6 * math.log(5))
    assert readings["bits"] == readings["share"] == readings["bits_per_parameter"] == 0


def test_who_knows_half_of_the_people():
    task = make()
    facts, sets = learned(task)
    half = dict(list(facts.items())[::2])
    readings = task.pose(STREAMS).judge(Knows(task, list(facts), half, sets))
    held = 24 * math.log2(140 / 24) + 12 * 6 * math.log2(6) + 18 * math.log2(125 / 6 / math.sqrt(6))
    assert readings["bits"] == pytest.approx(held)


def test_a_sample_of_people_comes_with_its_standard_error():
    task, whole = make(evaluation=8), make()
    facts, sets = learned(whole)
    half = dict(list(facts.items())[::2])
    model = Knows(whole, list(facts), half, sets)
    readings = task.pose(STREAMS).judge(model)
    x = task.pose(STREAMS).judge.truth["x"]
    names = [parse(task, row[1:])[0] for row in x]
    assert len(set(names)) == 8
    lost = np.array([0.0 if n in half else math.log2(6) for n in names])  # bits a chunk that this person costs
    joint = np.array([math.log2(sum(1 for _ in facts)) for _ in names])  # of the name
    bits = 24 * (math.log2(140) - joint + 6 * (math.log2(6) - lost)) + 18 * (math.log2(125 / 6) - lost)
    assert readings["bits_per_parameter"] == pytest.approx(min(bits.mean() / 100, 32), rel=1e-6)
    assert readings["bits_per_parameter_se"] == pytest.approx(bits.std(ddof=1) * math.sqrt((1 - 8 / 24) / 8) / 100)


def test_text_says_what_the_ids_say():
    task = make()
    text = task.about(2)
    assert text.count(" ID ") == 3
    assert text.count("Their ID") == 2
    assert text.count("'s ID") == 1
    assert text.endswith(".")
    assert "x" in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"people": 141}, "people: 140 full names are no names for 141"),
        ({"diversity": 126}, "diversity: 5 letters make 125 strings of 3, not 126"),
        ({"alphabet": 1}, "alphabet"),
        ({"names": (401, 2, 2)}, "names: the lexicon has"),
        ({"evaluation": 25}, "evaluation: 25 of 24"),
        ({"diversity": 10**6, "length": 50, "attributes": 50}, "diversity: .* more than 100,000,000 letters"),
        ({"chunks": 0}, "chunks"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        make(**fields)
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match=r"there is part3\.3"):
        Biod.preset("part3", people=9)
