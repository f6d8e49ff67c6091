"""Multihop against a reader of its text as a person would read it."""

import re

import numpy as np
import pytest

from airtrack.core.given import IGNORE
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.multihop import WORDS, Multihop, _spelled

STREAMS = Streams(5) / "task"
NAME = r"[A-Z]\w+(?: [A-Z]\w+)*"
STATED = re.compile(rf"({NAME}) was born in the year of (\d{{4}})\.")
LINKED = re.compile(rf"({NAME}) was born in the same year as ({NAME})\.")
ASKED = re.compile(rf"Answer me: ({NAME}) was born in the year of (\d{{4}})")
PHRASE = r"(?:the|a|this|some) (?:\w+[aeiou]n )?\w+[aeiou]"
SENTENCE = rf"{PHRASE} \w+[aeiou]s {PHRASE}(?: (?:of|in|with|on) {PHRASE})?\."

SETTINGS = {
    "default": Multihop(),
    "two hops": Multihop(hops=2, people=3, length=200),
    "three hops": Multihop(hops=3, people=2, length=150, queries=2, names=(3, 3, 3)),
    "no filler": Multihop(people=2, length=34, names=(4, 4)),
    "everything": Multihop(people=4, length=120, queries=3, loss="all", names=(30,)),
    "everybody": Multihop(people=60, length=800, names=(8, 8), words=4),
    "1-hop": Multihop.preset("1-hop", length=512),
    "2-hop": Multihop.preset("2-hop", length=512),
    "small": Multihop.preset("small", length=128),
}


def parts(task, row):
    """Sentences about persons in order [(name, year or name)], filler, questions [(name, year)] of a window."""
    text = task.text(row)
    story, _, asked = text.partition("Answer me: ")
    asked = "Answer me: " + asked
    told = sorted([m for p in (STATED, LINKED) for m in p.finditer(story)], key=lambda m: m.start())
    filler = LINKED.sub("", STATED.sub("", story))
    return [m.groups() for m in told], " ".join(filler.split()), ASKED.findall(asked)


def year_of(name, facts):
    while not name.isdigit():
        name = facts[name]
    return name


@pytest.mark.parametrize("name", SETTINGS)
def test_answers_are_what_the_text_says(name):
    task = SETTINGS[name]
    given, judge = task.pose(STREAMS)
    assert given.start is None
    for x, y in (given.batch(0, 12), given.batch(1, 12), (judge.truth["x"][:20], judge.truth["y"][:20])):
        assert x.shape[1] == task.length
        for row, labels in zip(x, y):
            told, filler, asked = parts(task, row)
            facts = dict(told)
            assert len(facts) == len(told) == task.hops * task.people
            years = [f for f in facts.values() if f.isdigit()]
            assert len(set(years)) == len(years) == task.people
            assert len(asked) == len({who for who, _ in asked}) == task.queries
            for who, year in asked:
                steps, at = 1, facts[who]
                while not at.isdigit():
                    steps, at = steps + 1, facts[at]
                assert steps == task.hops
                assert year_of(who, facts) == year
            expected = np.full(task.length, IGNORE)
            places = [i for i, word in enumerate(row) if word < 60][-task.queries :]
            expected[np.array(places) - 1] = row[places]
            if task.loss == "all":
                expected[:-1] = row[1:]
            assert (labels == expected).all()
            first, *_ = re.split(rf"(?<=\.) ?(?={SENTENCE})", filler) if filler else [""]
            rest = filler.removeprefix(first).strip()
            assert re.fullmatch(rf"(?:{SENTENCE} ?)*", rest)  # no sentence was torn apart
    assert len(judge.truth["target"]) == task.evaluation * task.queries
    assert (judge.truth["target"] < 60).all()


def chi2_fits(counts, expected):
    """Pearson's χ² below its .9999 quantile (Wilson–Hilferty)."""
    k = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < k * (1 - 2 / (9 * k) + 3.72 * np.sqrt(2 / (9 * k))) ** 3


def test_years_names_and_places_tell_nothing():
    task = Multihop(hops=2, people=3, length=150, names=(6, 6))
    windows = [parts(task, row) for row in task.pose(STREAMS).given.batch(0, 4000).x]
    first, rank, place = np.zeros(3), np.zeros(3), np.zeros(6)
    years = np.zeros(60)
    for told, _, [(who, year)] in windows:
        stated = [fact for _, fact in told if fact.isdigit()]
        first[stated.index(year)] += 1
        rank[sorted(stated).index(year)] += 1
        place[[name for name, _ in told].index(who)] += 1
        years[int(year) - 1950] += 1
    for counts in (first, rank, place, years):
        assert chi2_fits(counts, np.full(len(counts), 4000 / len(counts)))


def test_chance_is_what_any_stated_year_scores():
    task = Multihop(people=4, length=100, evaluation=3000)
    given, judge = task.pose(STREAMS)
    assert task.metrics["accuracy"].chance == 0.25

    def say(pick):
        def model(ids):
            scores = np.zeros((*ids.shape, given.vocab))
            for row, out in zip(ids, scores):
                out[-2, pick([i for i in row[:-1] if i < 60])] = 9
            return scores

        return judge(model)

    for pick in (min, max, lambda years: years[0], lambda years: years[-1]):
        readings = say(pick)
        assert abs(readings["accuracy"] - 0.25) < 4 * readings["accuracy_se"]
    readings = say(lambda years: 7)
    assert abs(readings["accuracy"] - 1 / 60) < 4 * readings["accuracy_se"]


def test_who_reads_scores_one():
    task = Multihop(hops=2, people=3, queries=2, length=160, evaluation=64)
    given, judge = task.pose(STREAMS)

    def model(ids):
        scores = np.zeros((*ids.shape, given.vocab))
        for row, out in zip(ids, scores):
            told, _, asked = parts(task, row)
            columns = [i for i, word in enumerate(row) if word < 60][-2:]
            for column, (who, _) in zip(columns, asked):
                out[column - 1, int(year_of(who, dict(told))) - 1950] = 60
        return scores

    readings = judge(model)
    assert (readings["accuracy"], readings["accuracy_se"], readings["loss"]) == (1, 0, 1e-9)


def test_nouns_follow_zipfs_law_and_names_are_uniform():
    task = Multihop(people=2, length=400, words=40, names=(7, 5))
    given = task.pose(STREAMS).given
    counts = np.bincount(given.batch(0, 400).x.ravel(), minlength=given.vocab)
    nouns, verbs = (counts[60 + len(WORDS) + a :][:n] for a, n in ((0, 20), (20, 10)))
    for words in (nouns, verbs):
        law = 1 / np.arange(1, len(words) + 1)
        assert chi2_fits(words, law / law.sum() * words.sum())
    words = [task.lexicon[i] for i in range(60 + len(WORDS), given.vocab)]
    assert [len([w for w in words if w[-1] == end and w[0].islower()]) for end in "sn"] == [10, 10]
    lasts = np.zeros(5)
    for row in given.batch(1, 2000).x:
        (name, _), *_ = parts(task, row)[0]
        lasts[words[-5:].index(name.split()[1])] += 1
    assert chi2_fits(lasts, np.full(5, 400.0))


def test_persons_stand_anywhere_between_sentences():
    """Of K sentences about persons and S others in random order, the first is about a person in K / (K + S) of all."""
    task = Multihop(people=3, length=90, names=(9, 9))
    expected, seen = [], []
    for row in task.pose(STREAMS).given.batch(0, 3000).x:
        told, filler, _ = parts(task, row)
        others = filler.count(".")
        expected.append(3 / (3 + others))
        seen.append(task.text(row).startswith(told[0][0]))
    assert others > 0
    assert np.mean(seen) == pytest.approx(np.mean(expected), abs=4 * 0.5 / np.sqrt(3000))


def test_all_words_are_different():
    for task in (Multihop(), Multihop.preset("2-hop", length=256)):
        given = task.pose(STREAMS).given
        assert len(task.lexicon) == len(set(task.lexicon)) == given.vocab
    assert len({_spelled(i) for i in range(12_000)}) == 12_000


def test_these_bytes_never_change():
    task = Multihop(people=2, hops=2, length=84, names=(9, 9, 9))
    text = task.text(task.pose(Streams(0) / "task").given.batch(0, 1).x[0])
    assert text.startswith("togin donu lejes a hubi of some vifo. Toha Giri Reto was born in the year of 1985. Dalu")
    assert " ".join(text.split()) in " ".join(Multihop.__doc__.split())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"people": 61}, "people"),
        ({"hops": 0}, "hops"),
        ({"people": 3, "queries": 4}, "queries: 4 .* of 3 people"),
        ({"people": 3, "names": (2,)}, "names: 2 full names for 3 persons"),
        ({"people": 3, "names": ()}, "names"),
        ({"length": 60}, "length: persons .* 68 tokens"),
        ({"loss": "some"}, "loss: 'some' is none of answer, all"),
        ({"words": 3}, "words"),
        ({"evaluation": 0}, "evaluation"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Multihop(**fields)
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="1-hop, 2-hop and small"):
        Multihop.preset("3-hop", length=128)
