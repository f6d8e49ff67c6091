import numpy as np
import pytest

from airtrack.core.given import IGNORE, Batch, Corpus
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build
from airtrack.core.streams import Streams
from airtrack.tasks.language.encoding import BytePairs, Encoding, Words
from airtrack.train.masked import Masked
from airtrack.train.next import Next

STREAMS = Streams(5)
V, T, START = 50, 40, 7


def text(i, n):
    """Documents of various lengths, packed."""
    rng = (Streams(1) / "text").rng(i)
    ids = rng.integers(0, V - 1, (n, T))
    ids += ids >= START
    ids[rng.random((n, T)) < 0.1] = START
    return Batch(ids, np.full((n, T), IGNORE))


def even(ids):
    """Words begin with an even id."""
    return ids % 2 == 0


def given(**fields):
    return Corpus(text, vocab=V, length=T, **{"start": START, "words": even} | fields)


def words_of(row, begins):
    """The words of a row, each a list of places, by a loop."""
    words, before = [], None
    for place, token in enumerate(row):
        if token != START:
            if place == 0 or before == START or begins[place]:
                words.append([])
            words[-1].append(place)
        before = token
    return words


@pytest.mark.parametrize("fraction", [0.001, 0.15, 0.5, 1.0])
def test_whole_words_are_chosen_and_as_many_as_asked(fraction):
    corpus, objective = given(), Masked(fraction=fraction)
    for number in range(5):
        ids = corpus.batch(number, 30).x
        x, y = objective.batch(corpus, number, 30, STREAMS)
        assert ((y == IGNORE) | (y == ids)).all()
        assert (x[y == IGNORE] == ids[y == IGNORE]).all()
        for row, labels, begins in zip(ids, y, even(ids)):
            words = words_of(row, begins)
            chosen = [set(labels[word] != IGNORE) for word in words]
            assert all(len(c) == 1 for c in chosen)  # a word as a whole or not at all
            assert chosen.count({True}) == max(1, round(fraction * len(words)))
        assert (y[ids == START] == IGNORE).all()


def test_what_is_shown_has_the_published_shares():
    corpus, objective = given(start=None, words=None), Masked()
    x, y = objective.batch(corpus, 0, 5000, STREAMS)
    chosen = y != IGNORE
    n = chosen.sum()
    assert n == 5000 * round(0.15 * T)
    mask, stays = (x == V)[chosen].mean(), (x == y)[chosen].mean()
    # of the random ids one in V is the same; a start is a token like any other here
    for share, expected in ((mask, 0.8), (stays, 0.1 + 0.1 / V)):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    other = x[chosen & (x != V) & (x != y)]
    assert set(other.tolist()) == set(range(V))
    columns = chosen.sum(0)  # every place alike
    assert np.abs(columns - 5000 * 0.15).max() < 5 * np.sqrt(5000 * 0.15 * 0.85)


def test_no_document_begins_where_none_did():
    corpus = given()
    ids = corpus.batch(0, 500).x
    x, y = Masked(fraction=1.0, masked=0.0, random=1.0).batch(corpus, 0, 500, STREAMS)
    assert ((x == START) == (ids == START)).all()
    assert set(x[y != IGNORE].tolist()) == set(range(V)) - {START}


def test_a_batch_depends_on_seed_and_number_alone():
    corpus, objective = given(), Masked()
    first = objective.batch(corpus, 3, 8, STREAMS)
    objective.batch(corpus, 4, 8, STREAMS)
    again, other, seed = (
        objective.batch(corpus, *rest) for rest in ((3, 8, STREAMS), (4, 8, STREAMS), (3, 8, Streams(6)))
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first.x, other.x)
    assert not np.array_equal(first.y, seed.y)


def test_a_row_without_words_has_no_loss():
    corpus = Corpus(lambda i, n: Batch(np.full((n, 3), START), np.zeros((n, 3), int)), vocab=V, length=3, start=START)
    x, y = Masked().batch(corpus, 0, 2, STREAMS)
    assert (x == START).all()
    assert (y == IGNORE).all()


@pytest.mark.parametrize("objective", [Masked(), Next()])
def test_a_batch_is_charged_once(objective):
    corpus, meter = given(), Meter(1000)
    corpus.metered(meter)
    objective.batch(corpus, 0, 3, STREAMS)
    assert meter.spent == 3 * T


def test_next_is_what_the_corpus_gives():
    corpus = given()
    assert all(np.array_equal(a, b) for a, b in zip(corpus.batch(2, 4), Next().batch(corpus, 2, 4, STREAMS)))


def test_every_token_is_a_word_unless_the_corpus_says_otherwise():
    corpus = build("task", {"name": "depo", "n": 4}).pose(Streams(0)).given
    ids = corpus.batch(0, 2).x
    assert corpus.words(ids).all()
    assert corpus.words(ids).shape == ids.shape


def test_words_of_byte_pairs():
    rule = BytePairs([("\u0120", "D"), ("\u0120D", "a"), ("\u0120", "b")])
    encoding = Encoding(rule, [" Dab, bad's"], special=("<eos>",))
    ids = np.array(encoding.encode("<eos> Dab, bad's"))
    assert [encoding.tokens[i] for i in ids] == ["<eos>", "ĠDa", "b", ",", "Ġb", "a", "d", "'", "s"]
    assert encoding.words(ids).tolist() == [True, True, False, True, True, False, False, True, False]
    words = Encoding(Words(), [" Dab, bad's"], special=("<eos>",))
    assert words.words(np.array(words.encode("<eos> Dab, bad's"))).all()


def test_words_survive_a_treatment():
    treated = given(treat=lambda fields: text).treated({"a": 1})
    ids = treated.batch(0, 2).x
    assert np.array_equal(treated.words(ids), even(ids))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"masked": 0.8, "random": 0.3}, "masked 0.8 and random 0.3 of the chosen tokens are more than all"),
        ({"fraction": 0.0}, "fraction"),
        ({"fraction": 1.5}, "fraction"),
        ({"random": -0.1}, "random"),
    ],
)
def test_refuses(fields, said):
    with pytest.raises(SpecError, match=said):
        Masked(**fields)
