"""Depo against a reader that knows nothing but the text."""

from collections import Counter
from itertools import pairwise, permutations, product

import numpy as np
import pytest

from airtrack.core.given import IGNORE
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.depo import Depo
from airtrack.tasks.language.draw import draw_names, pick, state_of

STREAMS = Streams(5) / "task"


class Reader:
    """Reads samples back from token ids, given the layout of the vocabulary."""

    def __init__(self, task, vocab):
        self.task = task
        self.letters = task.alphabet or 2 * task.n
        self.several = task.name_length[1] > 1
        self.bos = self.letters * (1 + self.several)
        self.query = vocab - task.hops - 1  # of k hops is query + k

    def documents(self, row):
        """(start, end) of the samples of a window."""
        starts = [*np.nonzero(row == self.bos)[0], len(row)]
        return list(pairwise(starts))

    def name(self, row, t):
        """The name that starts at t, and where it ends; None if it is cut."""
        word = []
        while t < len(row):
            word.append(int(row[t]))
            t += 1
            if not self.several or word[-1] >= self.letters:
                return tuple(word), t
        return None, t

    def parse(self, row):
        """Successors {name: name}, and queries [(k, asked, answer as far as it goes, position of its first token)]."""
        task, t, follows, queries, places = self.task, 1, {}, [], {}
        assert row[0] == self.bos
        while t < len(row) and row[t] <= self.query:
            if task.separator:
                assert row[t] == self.bos + 1
                t += 1
            x, t = self.name(row, t)
            y, t = self.name(row, t)
            if y is None:
                return None, []
            assert x not in follows
            places[x] = len(follows)
            follows[x] = y
        while t < len(row):
            k = int(row[t]) - self.query
            assert 1 <= k <= task.hops
            asked, t = self.name(row, t + 1)
            if task.answer_mark:
                if t >= len(row):
                    break
                assert row[t] == self.query
                t += 1
            if asked is None or t >= len(row):
                break
            _, end = self.name(row, t)
            queries.append((k, asked, row[t:end], t, places))
            t = end
        return follows, queries


def check(task, x, y, hop=None):
    """Every answer is what walking the cycle gives, and the labels sit where answers are predicted, nowhere else."""
    read = Reader(task, task.pose(STREAMS).given.vocab)
    seen = 0
    for i, row in enumerate(x):
        labels, hops = np.full(len(row), IGNORE), np.zeros(len(row), int)
        for start, end in read.documents(row):
            follows, queries = read.parse(row[start:end])
            if follows is None or not queries:
                continue
            node, walked = next(iter(follows)), 0
            while walked == 0 or node != next(iter(follows)):  # one cycle through all of them
                node, walked = follows[node], walked + 1
            assert walked == len(follows)
            assert len({q[1] for q in queries}) == len(queries)
            for k, asked, answer, t, _ in queries:
                word = asked
                for _ in range(k):
                    word = follows[word]
                assert tuple(answer) == word[: len(answer)]
                at = np.arange(start + t - 1, start + t - 1 + len(answer))
                labels[at], hops[at] = answer, k
                if task.answer_mark:
                    labels[start + t - 2] = read.query
                seen += 1
        if task.answer_mark and y[i, -2] == read.query:
            labels[-2] = read.query  # the mark is the last token of the window
        assert (y[i] == labels).all()
        if hop is not None:
            assert (hop[i] == hops).all()
    return seen


SETTINGS = {
    "demo": Depo(n=16, hops=1, separator=True),
    "hops": Depo(n=7, hops=4, evaluation=40),
    "whole turn": Depo(n=3, hops=3, separator=True, answer_mark=True),
    "drawn": Depo(n=12, hops=3, drawn=True, separator=True, queries=4),
    "packed": Depo(n=5, hops=2, context=200, queries=2),
    "depo1": Depo.preset("depo1", n=40, hops=8, context=512),
    "depo2": Depo.preset("depo2", n=20, hops=16, context=1024),
    "every name": Depo(n=8, hops=2, alphabet=8),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_answers_are_what_the_text_says(name):
    task = SETTINGS[name]
    given, judge = task.pose(STREAMS)
    for i in range(4):
        assert check(task, *given.batch(i, 16)) >= 16
    x, y = judge.truth["x"], judge.truth["y"]
    hop, mark = np.zeros_like(y), given.vocab - task.hops - 1 if task.answer_mark else IGNORE
    hop[(y != IGNORE) & (y != mark)] = judge.truth["group"]
    check(task, x, y, hop)


def test_the_demo_is_the_setting_of_the_minute():
    task = Depo(n=16, hops=1, separator=True)
    given, judge = task.pose(STREAMS)
    assert (given.length, given.vocab, given.start) == (97, 35, None)
    assert list(task.metrics) == ["accuracy", "accuracy_se", "loss"]
    assert task.metrics["accuracy"].chance == 1 / 16
    x, y = given.batch(0, 32)
    assert ((y != IGNORE).sum(1) == 16).all()
    assert (x[:, 0] == 32).all()
    assert (x[:, 1:49:3] == 33).all()
    assert (x[:, 49::3] == 34).all()
    assert len(judge.truth["target"]) == 2048
    assert 776_000 // (32 * given.length) == 250


def test_a_perfect_model_scores_one_and_half_of_it_half():
    task = Depo(n=9, hops=4, evaluation=64)
    given, judge = task.pose(STREAMS)
    x, y = judge.truth["x"], judge.truth["y"]

    def model(ids, right=lambda k: True):
        assert (ids == x).all()
        scores = np.zeros((*ids.shape, given.vocab))
        rows, columns = np.nonzero(y != IGNORE)
        keep = np.array([right(k) for k in judge.truth["group"]])
        scores[rows[keep], columns[keep], y[rows, columns][keep]] = 60
        scores[rows[~keep], columns[~keep], given.vocab - 1] = 60
        return scores

    perfect = judge(model)
    assert {perfect[m] for m in perfect if m.startswith("accuracy_k") or m == "accuracy"} == {1.0}
    assert perfect["accuracy_se"] == 0
    assert perfect["loss"] == 1e-9
    short = judge(lambda ids: model(ids, lambda k: k <= 2))
    assert (short["accuracy_k1"], short["accuracy_k2"], short["accuracy_k4"]) == (1, 1, 0)
    assert short["accuracy"] == pytest.approx(np.mean(judge.truth["group"] <= 2))
    assert short["loss"] == pytest.approx(50 * (1 - short["accuracy"]))


def test_scaling_log_probabilities_gains_nothing():
    task = Depo(n=9, hops=1)
    given, judge = task.pose(STREAMS)

    class Flat:
        def log_probs(self, ids, at=None):
            return np.full((len(at[0]), given.vocab), 1e6)

    assert judge(Flat())["loss"] == pytest.approx(np.log(given.vocab))


def test_a_wider_vocabulary_may_be_used_and_an_excluded_token_is_no_crash():
    task = Depo(n=9, hops=1)
    given, judge = task.pose(STREAMS)

    class Padded:
        def log_probs(self, ids, at=None):
            scores = np.full((len(at[0]), given.vocab + 29), -np.inf)
            scores[:, given.vocab - 1] = 0
            return scores

    assert judge(Padded()) == {"accuracy": 0.0, "accuracy_se": 0.0, "loss": 50.0}


def chi2_fits(counts, expected):
    """Pearson's χ² below its .9999 quantile (Wilson–Hilferty)."""
    k = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < k * (1 - 2 / (9 * k) + 3.72 * np.sqrt(2 / (9 * k))) ** 3


def test_sizes_follow_the_published_law():
    task = Depo(n=12, hops=3, drawn=True, separator=True, queries=4)
    given = task.pose(STREAMS).given
    read = Reader(task, given.vocab)
    windows = given.batch(0, 6000).x
    sizes = np.array([len(read.parse(row[slice(*read.documents(row)[0])])[0]) for row in windows])
    law = 1 / (np.arange(3, 13) + np.sqrt(12))
    counts = np.bincount(sizes, minlength=13)[3:]
    assert chi2_fits(counts, law / law.sum() * len(sizes))
    assert len(np.bincount(sizes)) == 13


def test_published_mean_size_of_training():
    law = 1 / (np.arange(3, 376) + np.sqrt(375))
    assert (law / law.sum()) @ np.arange(3, 376) == pytest.approx(109, abs=1)
    task = Depo.preset("depo1", n=375, hops=8)
    given = task.pose(STREAMS).given
    read = Reader(task, given.vocab)
    first = [row[slice(*read.documents(row)[0])] for row in given.batch(0, 3000).x]
    sizes = [len(set(read.parse(row)[0])) for row in first[:600]]
    assert np.mean(sizes) == pytest.approx(109, abs=4 * 95 / np.sqrt(600))


@pytest.mark.parametrize(("name", "n", "hops", "length"), [("depo1", 375, 8, 1460), ("depo2", 125, 16, 1650)])
def test_published_length_of_a_sample(name, n, hops, length):
    task = Depo.preset(name, n=n, hops=hops)
    given, judge = task.pose(STREAMS)
    ends = [Reader(task, given.vocab).documents(row)[0][1] for row in judge.truth["x"]]
    assert np.mean(ends) == pytest.approx(length, rel=0.01)
    assert given.length == 2048


def test_hops_places_and_items_are_uniform():
    task = Depo(n=6, hops=3)
    given = task.pose(STREAMS).given
    read = Reader(task, given.vocab)
    hops, places, first = np.zeros(3), np.zeros((6, 6)), np.zeros(12)
    windows = given.batch(3, 4000).x
    for row in windows:
        _, queries = read.parse(row)
        for number, (k, asked, *_, where) in enumerate(queries):
            hops[k - 1] += 1
            places[number, where[asked]] += 1
        first[row[1]] += 1
    assert chi2_fits(hops, np.full(3, 8000.0))
    assert all(chi2_fits(row, np.full(6, 4000 / 6)) for row in places)
    assert chi2_fits(first, np.full(12, 4000 / 12))


def test_every_cycle_is_as_likely_as_any_other():
    task = Depo(n=5, hops=1, alphabet=5)
    given = task.pose(STREAMS).given
    read = Reader(task, given.vocab)
    cycles = {}
    for row in given.batch(1, 12_000).x:
        follows, _ = read.parse(row)
        cycle = tuple(follows[(i,)] for i in range(5))
        cycles[cycle] = cycles.get(cycle, 0) + 1
    assert len(cycles) == 24  # (5 − 1)!
    assert chi2_fits(np.array(list(cycles.values())), np.full(24, 500.0))


def test_lengths_of_names_are_uniform_where_names_abound():
    task = Depo(n=3, hops=1, alphabet=20, name_length=(2, 4))
    given = task.pose(STREAMS).given
    read = Reader(task, given.vocab)
    lengths = [len(name) for row in given.batch(0, 2000).x for name in read.parse(row[: read.documents(row)[0][1]])[0]]
    assert chi2_fits(np.bincount(lengths)[2:], np.full(3, len(lengths) / 3))


def test_names_are_uniform_among_those_of_a_length_and_distinct():
    def draw(count, stamp):
        draw_names(state, names, lengths, count, 3, 1, 3, seen, stamp)
        return [tuple(name[:length].tolist()) for name, length in zip(names[:count], lengths)]

    state, seen = state_of(STREAMS / "names", 0), np.zeros(2 * 3**3, np.int32)
    names, lengths = np.empty((30, 3), np.int64), np.empty(30, np.int64)
    counts = Counter(draw(1, stamp)[0] for stamp in range(1, 20_001))
    every = [(*head, last) for n in range(3) for head in product(range(3), repeat=n) for last in range(3, 6)]
    assert len(every) == 3 + 9 + 27
    assert counts.keys() <= set(every)
    assert chi2_fits(np.array([counts[name] for name in every]), np.array([20_000 / 3 / 3 ** len(n) for n in every]))
    assert len(set(draw(30, 20_001))) == 30


def test_picks_are_random_orders_whatever_the_order_was():
    state, order = state_of(STREAMS / "order", 0), np.arange(4)
    counts = Counter(tuple(int(pick(state, order, i)) for i in range(2)) for _ in range(12_000))
    assert set(counts) == set(permutations(range(4), 2))
    assert chi2_fits(np.array(list(counts.values())), np.full(12, 1000.0))


def test_evaluation_asks_for_powers_of_two_and_the_most():
    assert Depo(n=20, hops=8).tested == (1, 2, 4, 8)
    assert Depo(n=20, hops=6).tested == (1, 2, 4, 6)
    assert Depo(n=40, hops=32).tested == (1, 2, 4, 8, 16, 24, 32)
    judge = Depo(n=20, hops=6).pose(STREAMS).judge
    counts = np.bincount(judge.truth["group"], minlength=7)
    assert chi2_fits(counts[[1, 2, 4, 6]], np.full(4, counts.sum() / 4))


def test_evaluation_keeps_the_largest_cycle():
    task = Depo(n=12, hops=3, drawn=True, separator=True, queries=4)
    given, judge = task.pose(STREAMS)
    read = Reader(task, given.vocab)
    sizes = {len(read.parse(row[slice(*read.documents(row)[0])])[0]) for row in judge.truth["x"]}
    assert sizes == {12}


def test_these_bytes_never_change():
    x, y = Depo(n=4, hops=2, separator=True).pose(Streams(0) / "task").given.batch(0, 1)
    assert x[0].tolist() == FIRST
    assert y[0][y[0] != IGNORE].tolist() == [x[0][t] for t in (15, 18, 21, 24)]


FIRST = [8, 9, 2, 1, 9, 5, 6, 9, 1, 5, 9, 6, 2, 11, 1, 6, 10, 5, 6, 10, 6, 2, 10, 2, 1]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2}, "n: .*3, got 2"),
        ({"n": 4, "hops": 5}, "hops: 5 steps .* n = 4"),
        ({"n": 4, "hops": 0}, "hops"),
        ({"n": 4, "queries": 5}, "queries: 5 .* n = 4"),
        ({"n": 4, "context": 10}, "context: .* 21 tokens"),
        ({"n": 9, "alphabet": 8}, "alphabet: 8 tokens make 8 names for n = 9"),
        ({"n": 9, "alphabet": 100, "name_length": (1, 9)}, "alphabet: .* more than"),
        ({"n": 9, "name_length": (3, 2)}, "name_length: 3 is more than 2"),
        ({"n": 9, "name_length": (0, 2)}, "name_length"),
        ({"n": 9, "evaluation": 0}, "evaluation"),
        ({"n": 9, "separator": 1}, "separator: expected true or false"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Depo(**fields)
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="depo1, depo2 and small"):
        Depo.preset("depo3", n=9, hops=2)


def test_the_standard_error_is_the_spread_over_draws_of_the_evaluation():
    """A model that is right on half of the windows altogether and wrong on the others: answers of a window agree."""
    task = Depo(n=4, separator=True, evaluation=64)

    def lucky(ids):
        scores = np.zeros((*ids.shape, 16))
        first = ids[:, 2] % 2 == 0  # a window's fate hangs on its first item
        for row in np.flatnonzero(first):
            follows = {int(a): int(b) for a, b in zip(ids[row, 2:13:3], ids[row, 3:13:3])}
            for column in range(14, ids.shape[1], 3):
                scores[row, column, follows[int(ids[row, column])]] = 9
        return scores

    draws = [task.pose(Streams(seed)).judge(lucky) for seed in range(200)]
    spread = np.std([d["accuracy"] for d in draws])
    told = np.mean([d["accuracy_se"] for d in draws])
    assert abs(told / spread - 1) < 0.15  # the spread of 200 draws is known to about 5 %
