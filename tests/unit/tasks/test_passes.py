"""Streams of documents against writing them out one after the other."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import chisquare

from airtrack.core.streams import Streams
from airtrack.tasks.language.passes import Passes


class Numbers:
    """Document (person, exposure): 1000 + person, then exposure, then a tail whose length depends on both."""

    def text(self, person, exposure):
        return [1000 + person, exposure, *([7] * ((person * 3 + exposure * 5) % 4))]

    def lengths(self, people, exposures):
        return np.array([len(self.text(p, e)) for p, e in zip(people, exposures)])

    def write(self, out, starts, people, exposures):
        for start, p, e in zip(starts, people, exposures):
            for t, token in enumerate(self.text(p, e), start):
                if 0 <= t < len(out):
                    out[t] = token


def stream(passes, count):
    """The first passes, written out."""
    tokens = []
    for e in range(count):
        layout = passes.layout(e)
        for person, exposure in zip(layout.people, layout.exposures):
            tokens += Numbers().text(person, exposure)
    return np.array(tokens)


SETTINGS = {
    "plain": {},
    "junk": {"junk": Fraction(7, 8), "junk_people": 10**6},
    "junk of few": {"junk": Fraction(1, 3), "junk_people": 3},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_any_place_is_what_writing_out_gives(name):
    passes = Passes(Numbers(), 5, Streams(1), **SETTINGS[name])
    whole = stream(passes, 12)
    fresh = Passes(Numbers(), 5, Streams(1), **SETTINGS[name])
    rng = np.random.default_rng(0)
    for _ in range(60):  # forwards and back
        start = int(rng.integers(len(whole) - 1))
        count = int(rng.integers(1, min(60, len(whole) - start) + 1))
        assert fresh.tokens(start, count).tolist() == whole[start : start + count].tolist()


@pytest.mark.parametrize(("n", "length"), [(1, 1), (3, 7), (2, 40)])
def test_batches_follow_each_other_and_y_is_the_next_token(n, length):
    whole = stream(Passes(Numbers(), 5, Streams(1)), 40)
    passes = Passes(Numbers(), 5, Streams(1))
    for i in (4, 0, 1, 5):
        x, y = passes.batch(i, n, length)
        start = i * n * length
        assert x.shape == y.shape == (n, length)
        assert x.dtype == y.dtype == np.int64
        assert x.ravel().tolist() == whole[start : start + n * length].tolist()
        assert y.ravel().tolist() == whole[start + 1 : start + 1 + n * length].tolist()


def test_everybody_once_a_pass():
    passes = Passes(Numbers(), 50, Streams(2))
    orders = set()
    for e in range(10):
        layout = passes.layout(e)
        assert sorted(layout.people) == list(range(50))
        assert (layout.exposures == e).all()
        orders.add(tuple(layout.people))
    assert len(orders) == 10


def test_orders_are_uniform():
    passes = Passes(Numbers(), 4, Streams(3))
    counts = Counter(tuple(passes.layout(e).people.tolist()) for e in range(2400))
    assert len(counts) == 24
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_junk_is_new_people_strewn_evenly():
    passes = Passes(Numbers(), 8, Streams(4), junk=Fraction(7, 8), junk_people=10**9)
    seen, places = set(), np.zeros(64)
    for e in range(300):
        layout = passes.layout(e)
        junk = layout.people >= 8
        assert junk.sum() == 56
        assert sorted(layout.people[~junk]) == list(range(8))
        assert (layout.exposures[junk] == 0).all()
        assert not seen & set(layout.people[junk].tolist())
        seen |= set(layout.people[junk].tolist())
        places += ~junk
    assert chisquare(places).pvalue > 1e-3


def test_a_share_that_does_not_divide_comes_out_on_average():
    passes = Passes(Numbers(), 5, Streams(4), junk=Fraction(1, 7), junk_people=10**9)  # 5/6 a pass
    numbers = [len(passes.layout(e).people) - 5 for e in range(60)]
    assert set(numbers) == {0, 1}
    assert sum(numbers) == 50


def test_junk_of_a_few_people_is_repeated_evenly():
    passes = Passes(Numbers(), 6, Streams(4), junk=Fraction(1, 2), junk_people=4)
    told = Counter()
    for e in range(40):
        layout = passes.layout(e)
        junk = layout.people >= 6
        told.update(zip(layout.people[junk].tolist(), layout.exposures[junk].tolist()))
    assert told == Counter((6 + p, e) for p in range(4) for e in range(60))
