"""The lexicon holds what the published one counts, invented and readable."""

import math
import re

import numpy as np

from airtrack.tasks.language.biography import templates
from airtrack.tasks.language.lexicon import lexicon

WORDS = lexicon()


def test_sizes_are_the_published_ones():
    sizes = [len(WORDS.first), len(WORDS.middle), len(WORDS.last), len(WORDS.cities), len(WORDS.universities)]
    assert sizes == [400, 400, 1000, 200, 300]
    assert [len(WORDS.majors), len(WORDS.employers), len(WORDS.company_cities)] == [100, 263, 133]
    counts = np.bincount(WORDS.seat, minlength=133)
    assert len(WORDS.seat) == 263
    assert counts.min() >= 1
    assert counts.max() == 36
    assert sorted(counts)[-2] <= 2  # one hub, no other


def test_no_name_stands_for_two_things():
    """Names, cities, and the proper name in universities and employers; nor is one an ordinary word of a sentence."""
    common = {word for ts in templates().values() for t in ts for word in re.findall(r"\w+", t.lower())}
    common |= {word.lower() for major in WORDS.majors for word in major.split()}
    generic = {"university", "of", "college", "state", "institute", "technology"}
    proper = [*WORDS.first, *WORDS.middle, *WORDS.last, *WORDS.cities, *WORDS.company_cities]
    proper += [word for u in WORDS.universities for word in u.split() if word.lower() not in generic]
    proper += [e.split()[0] for e in WORDS.employers]
    assert len(proper) == 400 + 400 + 1000 + 200 + 133 + 300 + 263
    assert len(set(proper)) == len(proper)
    assert not {p.lower() for p in proper} & (common | generic)
    assert not set(proper) & {e.split()[1] for e in WORDS.employers}


def test_no_value_is_the_beginning_of_another():
    """So that a value's tokens alone say where it ends."""
    for values in (WORDS.cities, WORDS.company_cities, WORDS.universities, WORDS.majors, WORDS.employers):
        split = {tuple(v.split()) for v in values}
        assert len(split) == len(values)
        assert not any(v[:i] in split for v in split for i in range(1, len(v)))


def test_names_can_be_said_aloud():
    for word in (*WORDS.first, *WORDS.middle, *WORDS.last, *WORDS.cities, *WORDS.company_cities):
        assert re.fullmatch("[A-Z][a-z]{2,}", word)
        assert not re.search("[bcdfghjklmnpqrstvwxz]{4}|[aeiou]{4}|(.)\\1\\1", word.lower()), word
        assert re.search("[aeiou]", word.lower())


def test_made_again_it_is_the_same():
    again = lexicon.__wrapped__()
    assert all(np.array_equal(a, b) for a, b in zip(WORDS, again))
    assert math.isclose(36 / 263, 0.137, abs_tol=5e-4)
