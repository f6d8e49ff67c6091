"""Multihop: who was born when, somewhere in a long text?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, Len
from numba import njit

from airtrack.core.given import Batch, Corpus, Ints
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.language.draw import below, shuffle, state_of, windows
from airtrack.tasks.language.scoring import Scored, metrics

YEARS = range(1950, 2010)
BORN, SAME, ASK = "was born in the year of", "was born in the same year as", "Answer me :"
ARTICLES = "the the the the a a this some"  # each as likely as any other here
PREPOSITIONS = "of of of of in in with on"
WORDS = list(dict.fromkeys(f"{BORN} {SAME} {ASK} . {ARTICLES} {PREPOSITIONS}".split()))
STEPS = 2**16  # resolution of the law of words
LONGEST = 12  # tokens of a sentence of filler


@part("task")
class Multihop:
    """The year of birth of one person, told once in a text about other things: by itself or by way of another person.

    With `hops=2, people=2, length=84`, a sample reads

        togin donu lejes a hubi of some vifo. Toha Giri Reto was born in the year of 1985. Dalu Juda Meho was born in
        the same year as Dalu Hadu Tili. Dalu Hadu Tili was born in the year of 1989. Tavo Jepo Tili was born in the
        same year as Toha Giri Reto. the didan fipu lejes a mibon vifo with this vuten kane. Answer me: Tavo Jepo Tili
        was born in the year of 1985

    and the last word is to be predicted. `people` persons have a year that the text states; with two hops, as many
    others are each linked to one of them, with three hops others to these, and so on; a person of the last kind is
    asked for. Years are distinct, 1950 … 2009, and so are full names. The rest of a window of exactly `length` tokens
    is filler, begun within a sentence; the sentences about persons stand at random places between its sentences, in
    random order. A window is one sample.

    hops        1: the year is stated; 2: it is that of another person, whose year is stated; and so on
    people      years that the text states
    length      T, tokens a window
    queries     persons asked for at the end, distinct
    names       how many first, middle, last names there are; persons draw one of each, uniformly
    words       nouns, verbs and adjectives (2 : 1 : 1) of the filler, each drawn by Zipf's law p(rank) ∝ 1 / rank
    loss        "answer": the years asked for are trained on; "all": every token, as in pretraining
    evaluation  windows that the judge draws, once a problem

    Tokens are words. Filler sentences have the form noun phrase, verb, noun phrase, and every second one a preposition
    and a third; a noun phrase is an article, every second time an adjective, and a noun. Words are made of syllables.
    `chance` is 1 / people: places, order and names say nothing about which of the stated years, all equally likely, a
    person has, so that exactly this is the best a model can do that does not connect a name with a year; who does not
    even pick a stated year scores 1 / 60. If everybody is asked for, avoiding the years answered before reaches
    H / people, H = 1 + 1/2 + … + 1 / people (.52 for 4).

    Source: Allen-Zhu, Physics of Language Models: Part 4.1 (arXiv 2512.17351), and its released code, which puts
    questions to models pretrained on real text: 1-hop-L with 5 people, 2-hop-L with 3. There the filler is an
    encyclopaedia, years are stated before links, and the first person is the one asked for; here order and person are
    random, as a model that is trained on the task would learn the place instead.

    >>> from airtrack.core.streams import Streams
    >>> task = Multihop(people=2, length=40, names=(9, 9))
    >>> given, judge = task.pose(Streams(0) / "task")
    >>> given.length, given.vocab
    (40, 395)
    >>> task.text(given.batch(0, 1).x[0])[:83]
    'Toha Giri was born in the year of 2000. Bigi Kiji was born in the year of 1963. dak'
    """

    hops: Annotated[int, Ge(1), Le(60)] = 1
    people: Annotated[int, Ge(2), Le(60)] = 5
    length: Annotated[int, Ge(1)] = 256
    queries: Annotated[int, Ge(1)] = 1
    names: Annotated[tuple[Annotated[int, Ge(1)], ...], Len(1, 3)] = (20, 20, 20)
    words: Annotated[int, Ge(4), Le(10_000)] = 300
    loss: Literal["answer", "all"] = "answer"
    evaluation: Annotated[int, Ge(1)] = 512

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    example: ClassVar[dict[str, Any]] = {"people": 2, "length": 48, "names": (9, 9), "evaluation": 8}

    @classmethod
    def preset(cls, name: Literal["1-hop", "2-hop", "small"], *, length: int, **fields: Any) -> Multihop:
        """1-hop-L with 5 people and 2-hop-L with 3 + 3, of as many names as published; small, for two cores.

        >>> Multihop.preset("2-hop", length=1024).people
        3
        """
        settings = {
            "1-hop": {"people": 5, "names": (400, 400, 1000), "words": 10_000},
            "2-hop": {"hops": 2, "people": 3, "names": (400, 400, 1000), "words": 10_000},
            "small": {"people": 4, "queries": 4, "names": (16, 16), "words": 60},
        }
        if name not in settings:
            raise ValueError(f"{name!r} is no preset; there are 1-hop, 2-hop and small")
        return cls(**{"length": length, **settings[name], **fields})

    def check(self) -> None:
        if self.queries > self.people:
            raise ValueError(f"queries: {self.queries} distinct persons asked for, of {self.people} people; take fewer")
        if prod(self.names) < self.hops * self.people:
            fact = f"{prod(self.names)} full names for {self.hops * self.people} persons"
            raise ValueError(f"names: {fact}; take more")
        if self.length < self._told:
            fact = f"persons and questions alone take {self._told} tokens"
            raise ValueError(f"length: {fact}; take at least that many, not {self.length}")

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy of the years, and the loss on them in nats; the judge's windows are a sample."""
        return metrics(1 / self.people)

    @property
    def _told(self) -> int:
        """Tokens that are not filler."""
        m, born, same, ask = len(self.names), *(len(phrase.split()) for phrase in (BORN, SAME, ASK))
        stated, linked = self.people * (m + born + 2), self.people * (self.hops - 1) * (2 * m + same + 1)
        return stated + linked + self.queries * (ask + m + born + 2) - 1

    @property
    def _counts(self) -> tuple[int, int, int]:
        """Nouns, verbs, adjectives."""
        verbs = self.words // 4
        return self.words - 2 * verbs, verbs, verbs

    @cached_property
    def lexicon(self) -> list[str]:
        """What each id means: years, words of the sentences, nouns, verbs, adjectives, first … last names."""
        endings = [ending for ending, count in zip(("", "s", "n"), self._counts) for _ in range(count)]
        filler = [_spelled(i) + ending for i, ending in enumerate(endings)]
        names = [_spelled(i).title() for i in range(self.words, self.words + sum(self.names))]
        return [*map(str, YEARS), *WORDS, *filler, *names]

    def text(self, ids: Ints) -> str:
        """Token ids as text."""
        return " ".join(self.lexicon[i] for i in ids).replace(" .", ".").replace(" :", ":")

    def pose(self, streams: Streams) -> Problem:
        id_of = {word: i for i, word in enumerate(WORDS, len(YEARS))}
        phrases = tuple(np.array([id_of[w] for w in p.split()]) for p in (BORN, SAME, ASK, ARTICLES, PREPOSITIONS))
        firsts = np.cumsum([len(YEARS) + len(WORDS), *self._counts, *self.names])
        laws = np.array([first + _zipf(count) for first, count in zip(firsts, self._counts)])
        layout = np.array([self.hops, self.people, self.queries, len(YEARS), id_of["."], self.loss == "all"], np.int64)
        name_ids = np.array([firsts[3:-1], self.names])
        filler, vocab = self.length - self._told, int(firsts[-1])

        def make(branch: Streams, i: int, n: int) -> tuple[Ints, Ints, Ints]:
            return windows(
                lambda x, y, group: _fill(x, y, group, state_of(branch, i), layout, name_ids, phrases, laws, filler),
                n,
                self.length,
            )

        train = streams / "train"
        given = Corpus(lambda i, n: Batch(*make(train, i, n)[:2]), vocab=vocab, length=self.length)
        exam = Scored.of(*make(streams / "evaluation", 0, self.evaluation), vocab)
        return Problem(given, Judge(exam.readings, self.metrics, exam.truth))


def _spelled(i: int) -> str:
    """A pronounceable word for each number, all different.

    >>> [_spelled(i) for i in (0, 1, 2, 4900)]
    ['vifo', 'bale', 'boro', 'mevuki']
    """
    size, i = (2, i * 1543 + 977) if i < 70**2 else (3, i * 15_431 + 9_771)  # jumps, so that neighbours look different
    syllables = [s + v for s in "bdfghjklmnprtv" for v in "aeiou"]
    return "".join(syllables[i // 70**k % 70] for k in range(size))


def _zipf(count: int) -> Ints:
    """[65,536] ranks 0 … count − 1, each as often as p(rank) ∝ 1 / (rank + 1) says, to the nearest."""
    shares = np.cumsum(1 / np.arange(1, count + 1))
    return np.searchsorted(shares / shares[-1] * STEPS, np.arange(STEPS) + 0.5).astype(np.int64)


@njit(cache=True, nogil=True)
def _fill(x, y, group, state, layout, name_ids, phrases, laws, filler):  # pragma: no cover  (compiled)
    """Write a sample into each row of x, y and group [n, T]; group is 1 where a year asked for is predicted."""
    hops, people, queries, years, stop, everything = layout
    born, same, ask, articles, prepositions = phrases
    persons = hops * people
    text, ends = np.empty(filler + LONGEST, np.int64), np.empty(filler + 1, np.int64)  # ends of the sentences
    names, before = np.empty((persons, name_ids.shape[1]), np.int64), np.empty(persons, np.int64)
    year, calendar, order = np.empty(persons, np.int64), np.empty(years, np.int64), np.empty(persons, np.int64)
    for row in range(len(x)):
        out = x[row]
        _draw_names(state, names, name_ids)
        shuffle(state, calendar)
        year[:people] = calendar[:people]
        for first in range(people, persons, people):  # each group refers to the one before it
            shuffle(state, before[first : first + people])
            for i in range(first, first + people):
                before[i] += first - people
                year[i] = year[before[i]]
        size, sentences = 0, 0
        while size < filler:
            size = _write_sentence(state, text, size, laws, articles, prepositions, stop)
            ends[sentences] = size
            sentences += 1
        at, done = size - filler, 0  # the first words are cut off, and sentences that lie in them
        while done < sentences and ends[done] <= at:
            done += 1
        shuffle(state, order)
        t, told = 0, 0
        while told < persons or done < sentences:
            if below(state, persons - told + sentences - done) < sentences - done:
                t = _say(out, t, text[at : ends[done]])
                at, done = ends[done], done + 1
                continue
            i = order[told]
            t, told = _say(out, t, names[i]), told + 1
            if i < people:
                t = _say(out, t, born)
                out[t] = year[i]
                t += 1
            else:
                t = _say(out, _say(out, t, same), names[before[i]])
            out[t] = stop
            t += 1
        shuffle(state, order[:people])
        for q in range(queries):
            i = persons - people + order[q]
            t = _say(out, _say(out, _say(out, t, ask), names[i]), born)
            out[t] = year[i]
            y[row, t - 1], group[row, t - 1] = year[i], 1
            if q < queries - 1:
                out[t + 1] = stop
            t += 2
        if everything:
            y[row, :-1] = out[1:]


@njit(cache=True, nogil=True)
def _say(out, t, words):  # pragma: no cover
    """Write words at position t; returns the position behind them."""
    for word in words:
        out[t] = word
        t += 1
    return t


@njit(cache=True, nogil=True)
def _draw_names(state, names, name_ids):  # pragma: no cover
    """Write distinct full names [persons, m]; name_ids [2, m] holds the first id of each kind and their number."""
    i = 0
    while i < len(names):
        for k in range(names.shape[1]):
            names[i, k] = name_ids[0, k] + below(state, name_ids[1, k])
        new = True
        for j in range(i):
            same = True
            for k in range(names.shape[1]):
                same = same and names[i, k] == names[j, k]
            new = new and not same
        i += new


@njit(cache=True, nogil=True)
def _write_sentence(state, text, size, laws, articles, prepositions, stop):  # pragma: no cover
    """Append a sentence of filler, 6 to 12 tokens; returns the new size."""
    phrases = 2 + below(state, 2)
    for phrase in range(phrases):
        if phrase == 1:
            text[size] = laws[1, below(state, STEPS)]  # the verb
            size += 1
        if phrase == 2:
            text[size] = prepositions[below(state, len(prepositions))]
            size += 1
        text[size] = articles[below(state, len(articles))]
        size += 1
        if below(state, 2) == 1:
            text[size] = laws[2, below(state, STEPS)]  # an adjective
            size += 1
        text[size] = laws[0, below(state, STEPS)]  # a noun
        size += 1
    text[size] = stop
    return size + 1
