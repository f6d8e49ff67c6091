"""Biographies as token ids: people by number, sentences from templates, rendered in compiled code."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from airtrack.core.given import Ints
from airtrack.core.streams import Streams
from airtrack.tasks.language.draw import below, state_of
from airtrack.tasks.language.encoding import Encoding, Words, gpt2
from airtrack.tasks.language.lexicon import DAYS, MONTHS, YEARS, lexicon

EOS, DOMAIN = "<eos>", "<useful>"  # ids 0 and 1
ATTRIBUTES = ("birth date", "birth city", "university", "major", "employer", "company city")
FIELDS = ("first", "middle", "last", "month", "day", "year", "birth city", "university", "major", "employer", "seat")
PARTS = np.array([0, 3, 6, 7, 8, 9, 10, 11])  # fields of the name, then of each attribute, lie between these
GENDER = 11  # a field without a span of its own: which pronoun
MARKS = GENDER + 2  # a token's mark is 0, or 1 + the field it tells
NAME, PERSON, PRONOUN = 0, 1, 2  # ways to refer to a person
PRONOUNS = (("He", "She", "They"), ("His", "Her", "Their"), ("his", "her", "their"))
ENDING = "{S's} name is {V}."
PEOPLE = 400 * 400 * 1000  # N₀, as many as there are full names


@cache
def templates() -> dict[str, tuple[str, ...]]:
    """The sentences of each attribute; up to its value none is the beginning of another, so that a value can be known
    for certain where it starts.

    Their numbers are those of bioS (arXiv 2309.14316, Appendix A.1): 46 birth date, 49 birth city, 49 university,
    52 major, 48 employer, 47 company city. The paper has the last two the other way round; these are the released
    code's.

    >>> [len(templates()[a]) for a in ATTRIBUTES]
    [46, 49, 49, 52, 48, 47]
    """
    found: dict[str, list[str]] = {}
    for line in Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            found[line.strip("[]")] = []
        elif line and line[0] != "#":
            found[list(found)[-1]].append(line)
    return {attribute: tuple(found[attribute]) for attribute in ATTRIBUTES}


def phrase(template: str, kind: int, gender: int) -> tuple[str, str]:
    """A sentence before and behind its value; what comes before it starts with a blank, or with 's behind a name.

    >>> phrase("{S} celebrate{s} {his} birthday on {V}.", PRONOUN, 2)
    (' They celebrate their birthday on', '.')
    >>> phrase("{S's} life began on {V}.", NAME, 0)
    ("'s life began on", '.')
    """
    many = kind == PRONOUN and gender == 2
    he, his_, his = (forms[gender] for forms in PRONOUNS)
    subject, owner = [("", "'s"), (" The person", " The person's"), (f" {he}", f" {his_}")][kind]
    words = {"{S}": subject, "{S's}": owner, "{his}": his, "{was}": "were" if many else "was"}
    words |= {"{has}": "have" if many else "has", "{s}": "" if many else "s"}
    for blank, word in words.items():
        template = template.replace(blank, word)
    before, behind = template.split(" {V}")
    return before, behind


class Book(NamedTuple):
    """All that rendering needs, as flat arrays. A document is a list of pieces: stretches of `tokens`."""

    tokens: npt.NDArray[
        np.int32
    ]  # EOS, DOMAIN, sentences without their values, the values of one field after the other
    marks: npt.NDArray[np.int32]  # like tokens: 1 + the field it tells (GENDER in a sentence), else 0
    cuts: Ints  # [292, 9, 3] template, 3 · kind + gender → start, place of the value, end
    first: Ints  # [7] first template of each attribute
    spans: Ints  # value number base[field] + v is tokens[spans[…] : spans[… + 1]]
    base: Ints  # [11]
    sizes: Ints  # [12] number of values of each field, and of pronouns
    seat: Ints  # [E] company city of each employer


class Language(NamedTuple):
    """Sentences and values in one encoding."""

    book: Book
    encoding: Encoding
    pronouns: Ints  # [3, G] ids: He She They, His Her Their, his her their


@cache
def language_of(
    tokens: Literal["words", "gpt2"], names: tuple[int, ...], values: tuple[int, ...], pronouns: int
) -> Language:
    """names: how many first, middle and last names; values: birth cities, universities, majors and employers."""
    lists = lexicon()
    seat = lists.seat[: values[3]]
    used, seat = np.unique(seat, return_inverse=True)
    fields = [
        [f" {word}" for word in words]
        for words in (
            *(part[:n] for part, n in zip((lists.first, lists.middle, lists.last), names)),
            MONTHS,
            [f"{day}," for day in DAYS],
            YEARS,
            *(part[:n] for part, n in zip((lists.cities, lists.universities, lists.majors, lists.employers), values)),
            [lists.company_cities[i] for i in used],
        )
    ]
    sentences = [t for a in ATTRIBUTES for t in templates()[a]] + [ENDING]
    forms = [(kind, gender) for kind in (NAME, PERSON, PRONOUN) for gender in range(3)]
    phrases = [[phrase(t, kind, min(gender, pronouns - 1)) for kind, gender in forms] for t in sentences]
    texts = [part for forms_ in phrases for pair in forms_ for part in pair] + [v for vs in fields for v in vs]
    heads = [f" {word}" for row in PRONOUNS for word in row[:pronouns]]
    encoding = Encoding(Words() if tokens == "words" else gpt2(), texts + heads, (EOS, DOMAIN))
    if any(len(encoding.encode(head)) != 1 for head in heads):
        raise ValueError("tokens: he, his, she, her … must each be one token, to tell what a model knows of them")
    he = np.array([encoding.encode(head)[0] for head in heads], np.int64).reshape(3, pronouns)

    flat = encoding.encode(EOS + DOMAIN)
    cuts = np.zeros((len(phrases), 9, 3), np.int64)
    for i, row in enumerate(phrases):
        for j, (before, behind) in enumerate(row):
            cuts[i, j, 0] = len(flat)
            flat += encoding.encode(before)
            cuts[i, j, 1] = len(flat)
            flat += encoding.encode(behind)
            cuts[i, j, 2] = len(flat)
    gendered = np.where(np.isin(flat, he), 1 + GENDER, 0)
    pieces = [encoding.encode(value) for values_ in fields for value in values_]
    sizes = np.array([*map(len, fields), pronouns])
    counts = [len(templates()[a]) for a in ATTRIBUTES]
    lengths = np.array([len(p) for p in pieces])
    base = np.concatenate(([0], np.cumsum(sizes[:GENDER])[:-1]))
    first = np.concatenate(([0], np.cumsum(counts)))
    told = np.repeat(np.arange(1, 1 + GENDER), sizes[:GENDER])  # [values] marks
    book = Book(
        np.array(flat + [token for p in pieces for token in p], np.int32),
        np.concatenate((gendered, np.repeat(told, lengths))).astype(np.int32),
        cuts,
        first,
        len(flat) + np.concatenate(([0], np.cumsum(lengths))),
        base,
        sizes,
        seat.astype(np.int64),
    )
    return Language(book, encoding, he)


class Style(NamedTuple):
    """How people are written about; exposure by exposure, a person's texts change as it says."""

    people: int  # number of useful people; those with greater numbers are junk
    multi: int  # sets of templates a person has; 0: a fresh one at every exposure
    orders: int  # orders of the sentences for each of them; 0: a fresh one at every exposure
    order: Ints  # [O, 6] the orders that may be drawn
    kinds: Ints  # [6] or [7] how the subject of each sentence is named; a seventh tells the name at the end
    domain: bool  # DOMAIN before a useful biography


def all_orders(*, couples: bool) -> Ints:
    """Orders [O, 6] of the attributes: all 720, or the 6 in which birth date and birth city, university and major,
    employer and company city stay together in this order.

    >>> all_orders(couples=False).shape, all_orders(couples=True)[1].tolist()
    ((720, 6), [0, 1, 4, 5, 2, 3])
    """
    if couples:
        return np.array([[2 * pair + i for pair in order for i in (0, 1)] for order in permutations(range(3))])
    return np.array(list(permutations(range(6))))


class Biographies:
    """Documents about people, by number: person k has the same facts in every one of them.

    Person k < `style.people` is useful, the others are junk; no two of the N₀ people share a full name. A document is
    a function of (seed, person, exposure) alone and nothing about anybody is stored.
    """

    def __init__(self, language: Language, style: Style, streams: Streams) -> None:
        self._book, self._style = language.book, style
        names = ("names", "facts", "cycle", "sentences", "order")
        self._keys = np.stack([state_of(streams / name, 0) for name in names])

    def lengths(self, people: Ints, exposures: Ints) -> Ints:
        """Tokens [D] of each document."""
        return _measure(people, exposures, self._book, self._style, self._keys)

    def write(self, out: npt.NDArray[np.int32], starts: Ints, people: Ints, exposures: Ints) -> None:
        """Write documents [D] into out [m], each from its place in starts [D]; what lies outside of out is cut off."""
        _write(out, starts, people, exposures, self._book.tokens, self._book, self._style, self._keys)

    def rows(self, people: Ints, exposures: Ints) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Documents in rows [D, L], filled up with EOS, and the mark [D, L] of every token."""
        width = int(self.lengths(people, exposures).max())
        starts = np.arange(len(people)) * width
        ids, marks = np.zeros(len(people) * width, np.int32), np.zeros(len(people) * width, np.int32)
        for out, source in ((ids, self._book.tokens), (marks, self._book.marks)):
            _write(out, starts, people, exposures, source, self._book, self._style, self._keys)
        return ids.reshape(-1, width), marks.reshape(-1, width)

    def facts(self, people: Ints) -> Ints:
        """Values [P, 12]: FIELDS and the pronoun."""
        return _facts(people, self._book, self._keys)


@njit(cache=True, nogil=True)
def seek(state, key, index):  # pragma: no cover  (compiled)
    """Make draw number `index` of a key the next one."""
    state[0] = key[0] + np.uint64(index) * key[1]
    state[1] = key[1]


@njit(cache=True, nogil=True)
def _around(state, x, size):  # pragma: no cover
    """x plus a random number, modulo size."""
    x += below(state, size)
    return x - size if x >= size else x


@njit(cache=True, nogil=True)
def draw_name(who, state, key, person, sizes):  # pragma: no cover
    """Fill who [3] with the full name of a person: a Feistel network on its three parts, a permutation of all names."""
    a, b, c = sizes[0], sizes[1], sizes[2]
    rest = person // a
    x, z = person - rest * a, rest // b
    y = rest - z * b
    for turn in range(4):
        seek(state, key, (3 * turn << 40) + y * c + z)
        x = _around(state, x, a)
        seek(state, key, (3 * turn + 1 << 40) + x * c + z)
        y = _around(state, y, b)
        seek(state, key, (3 * turn + 2 << 40) + x * b + y)
        z = _around(state, z, c)
    who[0], who[1], who[2] = x, y, z


@njit(cache=True, nogil=True)
def _draw(who, state, person, sizes, seat, keys):  # pragma: no cover
    """Fill who [12] with the values of a person."""
    draw_name(who, state, keys[0], person, sizes)
    seek(state, keys[1], person * 16)
    for field in range(3, 10):
        who[field] = below(state, sizes[field])
    who[10] = seat[who[9]]
    who[GENDER] = below(state, sizes[GENDER])


@njit(cache=True, nogil=True)
def _facts(people, book, keys):  # pragma: no cover
    who, state = np.empty((len(people), 12), np.int64), np.empty(2, np.uint64)
    for i in range(len(people)):
        _draw(who[i], state, people[i], book.sizes, book.seat, keys)
    return who


@njit(cache=True, nogil=True)
def _turn(state, key, person, exposure, scratch):  # pragma: no cover
    """Which version a person shows: each of len(scratch) once in as many exposures, in an order drawn anew."""
    versions = len(scratch)
    if versions == 1:
        return 0
    seek(state, key, (person + PEOPLE * (exposure // versions)) * versions)
    for i in range(versions):
        scratch[i] = i
    shown = exposure % versions
    for i in range(shown + 1):
        j = i + below(state, versions - i)
        scratch[i], scratch[j] = scratch[j], scratch[i]
    return scratch[shown]


@njit(cache=True, nogil=True)
def _pieces(pieces, who, state, scratch, person, exposure, book, style, keys):  # pragma: no cover
    """Fill pieces [·, 2] with the starts and ends of the pieces of a document; returns their number and its length."""
    first, base, spans, cuts = book.first, book.base, book.spans, book.cuts
    _draw(who, state, person, book.sizes, book.seat, keys)
    sets, orders = exposure, exposure
    if style.multi > 0:
        version = _turn(state, keys[2], person, exposure, scratch)
        sets = version // max(style.orders, 1)
        if style.orders > 0:
            orders = version
    row = 0
    if len(style.order) > 1:
        seek(state, keys[4], person + PEOPLE * orders)
        row = below(state, len(style.order))
    seek(state, keys[3], (person + PEOPLE * sets) * 8)
    pieces[0, 0], pieces[0, 1] = 0, 1 + (style.domain and person < style.people)
    start, count, length = state[0], 1, 0
    for place in range(len(style.kinds)):
        kind = style.kinds[place]
        template, section = first[6], 0
        if place < 6:
            attribute = style.order[row, place]
            state[0] = start + np.uint64(attribute) * state[1]
            template = first[attribute] + below(state, first[attribute + 1] - first[attribute])
            section = attribute + 1
        if kind == NAME:
            for field in range(3):
                span = base[field] + who[field]
                pieces[count, 0], pieces[count, 1] = spans[span], spans[span + 1]
                count += 1
        form = 3 * kind + who[GENDER]
        value = cuts[template, form, 1]
        pieces[count, 0], pieces[count, 1] = cuts[template, form, 0], value
        count += 1
        for field in range(PARTS[section], PARTS[section + 1]):
            span = base[field] + who[field]
            pieces[count, 0], pieces[count, 1] = spans[span], spans[span + 1]
            count += 1
        pieces[count, 0], pieces[count, 1] = value, cuts[template, form, 2]
        count += 1
    for i in range(count):
        length += pieces[i, 1] - pieces[i, 0]
    return count, length


@njit(cache=True, nogil=True)
def _measure(people, exposures, book, style, keys):  # pragma: no cover
    pieces, who, state = np.empty((64, 2), np.int64), np.empty(12, np.int64), np.empty(2, np.uint64)
    scratch = np.empty(max(style.multi, 1) * max(style.orders, 1), np.int64)
    lengths = np.empty(len(people), np.int64)
    for i in range(len(people)):
        _, lengths[i] = _pieces(pieces, who, state, scratch, people[i], exposures[i], book, style, keys)
    return lengths


@njit(cache=True, nogil=True)
def _write(out, starts, people, exposures, source, book, style, keys):  # pragma: no cover
    """Copy the pieces of documents from `source`, which is aligned with the book's tokens."""
    pieces, who, state = np.empty((64, 2), np.int64), np.empty(12, np.int64), np.empty(2, np.uint64)
    scratch = np.empty(max(style.multi, 1) * max(style.orders, 1), np.int64)
    size = len(out)
    for i in range(len(people)):
        count, _ = _pieces(pieces, who, state, scratch, people[i], exposures[i], book, style, keys)
        t = starts[i]
        for piece in range(count):
            start, end = pieces[piece, 0], pieces[piece, 1]
            for j in range(max(start, start - t), min(end, start + size - t)):
                out[t + j - start] = source[j]
            t += end - start
