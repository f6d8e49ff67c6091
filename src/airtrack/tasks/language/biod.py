"""bioD: how many bits of random knowledge does a model hold, whatever its amount and shape?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Lt

from airtrack.core.answers import parameters
from airtrack.core.given import Batch, Corpus, Floats, Ints, treated
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.language.capacity import LN2, biod_bits, biod_most_bits
from airtrack.tasks.language.identities import FIRST, FIXED, NAME, Identities, distinct, document_size
from airtrack.tasks.language.lexicon import lexicon
from airtrack.tasks.language.passes import Passes, check_people
from airtrack.tasks.language.recall import Facts

HELD_BACK = 1 << 32  # the exposure that the judge shows: no training gets there
MOST_STRINGS = 10**8  # numbers in the table of values that are kept in memory
Count = Annotated[int, Ge(1)]


@part("task")
class Biod:
    """bioD(N, K, C, D, L, T): N people with K attributes, each a value of C chunks out of D strings of L letters.

    With `attributes=2, chunks=2, length=3` a document reads, its sentences in a random order at every exposure,

        <eos> Dratine Heagan Kuvolm's ID 1 is x8 x8 x14, x7 x6 x15. Their ID 2 is x7 x15 x15, x9 x14 x15.

    where a name is three tokens, uniform on the full names without replacement; each attribute has its own set of D
    distinct strings over T letters, and a chunk is uniform on it. Documents are of one length. Every person is
    seen once in each pass; batch i of n windows starts at token i · n · T of the stream. Budget for a number of
    exposures: exposures · `tokens_per_exposure`.

    people      N
    attributes  K
    chunks      C, in a value
    diversity   D, strings for each attribute
    length      L, letters in a string
    alphabet    T, letters there are
    names       how many first, middle and last names there are; their product is N₀
    junk        share of documents about others
    junk_people  of whom there are so many, exposed in turn; null: each is seen only once
    domain_token  a token before every document that is not junk; the judge then asks with it and without, and the
                better way counts
    context     tokens a window
    evaluation  people that the judge asks for; all of them if null

    The judge reads the losses in nats on names (p₁), on values (p₂) and on their first chunks (p₃), and from them the
    bits of Part 3.3: names, values, and the sets of strings.

    Source: Allen-Zhu and Li, Physics of Language Models: Part 3.3 (arXiv 2404.05405), Section 2; its number
    of names is in `preset`. It says "Her ID" for everybody; we say "Their ID". The defaults fit two cores: 10⁶ names
    and small sets of strings, so that the vocabulary, hence the embedding, stays small.

    >>> from airtrack.core.streams import Streams
    >>> task = Biod(people=10, attributes=2, chunks=2, length=3, context=64)
    >>> given, judge = task.pose(Streams(0))
    >>> given.vocab, given.batch(0, 8).x.shape, task.tokens_per_exposure
    (326, (8, 64), 280)
    >>> task.about(0)
    "Dratine Heagan Kuvolm's ID 1 is x8 x8 x14, x7 x6 x15. Their ID 2 is x7 x15 x15, x9 x14 x15."
    >>> judge(lambda ids: np.zeros((*ids.shape, given.vocab)))["accuracy"] < 0.2
    True
    """

    people: Count = 1000
    attributes: Count = 4
    chunks: Count = 1
    diversity: Count = 64
    length: Count = 2
    alphabet: Annotated[int, Ge(2)] = 16
    names: tuple[Count, Count, Count] = (100, 100, 100)
    junk: Annotated[float, Ge(0), Lt(1)] = 0.0
    junk_people: Count | None = None
    domain_token: bool = False
    context: Count = 512
    evaluation: Count | None = None

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    treatments: ClassVar[tuple[str, ...]] = ("junk", "junk_people", "domain_token")
    example: ClassVar[dict[str, Any]] = {
        "people": 40,
        "attributes": 3,
        "chunks": 2,
        "diversity": 10,
        "length": 3,
        "alphabet": 4,
        "names": [4, 5, 6],
        "context": 90,
    }

    @classmethod
    def preset(cls, name: Literal["part3.3"], *, people: int, **fields: Any) -> Biod:
        """The published number of names, 400 · 400 · 1000. Part 3.3 varies K and C in 1 … 50, D in 10 … 10 000, L in
        1 … 50 and T in 20 … 40 000, for 1000 exposures; AdamW lr 5e-4, weight decay .01, batch 192. The judge asks for
        a thousand people.

        >>> Biod.preset("part3.3", people=10_000, diversity=10).most_people
        160000000
        """
        if name != "part3.3":
            raise ValueError(f"{name!r} is no published setting; there is part3.3")
        published: dict[str, Any] = {"names": (400, 400, 1000)} | ({"evaluation": 1000} if people > 1000 else {})
        return cls(**{"people": people, **published, **fields})

    def check(self) -> None:
        if any(asked > most for asked, most in zip(self.names, (400, 400, 1000))):
            raise ValueError(f"names: the lexicon has (400, 400, 1000), not {self.names}; take at most as many of each")
        check_people(self)
        if self.diversity > self.alphabet**self.length:
            fact = f"{self.alphabet} letters make {self.alphabet**self.length} strings of {self.length}"
            raise ValueError(f"diversity: {fact}, not {self.diversity}; take fewer, or longer ones")
        if self.attributes * self.diversity * self.length > MOST_STRINGS:
            fact = f"{self.attributes} sets of {self.diversity} strings of {self.length} letters"
            raise ValueError(f"diversity: {fact} are more than {MOST_STRINGS:,} letters to keep; take fewer")

    @property
    def most_people(self) -> int:
        """N₀, the number of full names."""
        return math.prod(self.names)

    @property
    def most_bits(self) -> float:
        """Bits that there are to know: N log₂(N₀ / N) + N K C log₂ D + K D log₂(T^L / D).

        >>> round(Biod(people=1000).most_bits)  # 1000 · 9.97 + 4000 · 6 + 256 · 2
        34478
        """
        return biod_most_bits(self.people, self.most_people, **self._shape)

    @property
    def tokens_per_exposure(self) -> int:
        """Tokens of one pass, junk included, to the next integer."""
        size = document_size(self.attributes, self.chunks, self.length)
        return round(self.people * (size / (1 - self.junk) + self.domain_token))

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Bits a parameter (R), bits, their share of `most_bits`; p₁, p₂, p₃ in nats; whole values predicted right.

        bits_per_parameter is over all parameters of the answer, embeddings too; an answer that cannot be counted reads
        worst. The accuracy counts values all of whose tokens are the likeliest, given the true ones before.
        """
        exact = self.evaluation is None or self.evaluation == self.people
        found = {"bits_per_parameter": Metric("high", (0.0, 32.0), exact=exact)}
        if not exact:
            found["bits_per_parameter_se"] = Metric("low", (0.0, 32.0))
        found["bits"] = Metric("high", (0.0, self.most_bits), exact=exact)
        found["share"] = Metric("high", (0.0, 1.0), exact=exact)
        for loss in ("loss_name", "loss_value", "loss_first"):
            found[loss] = Metric("low", (0.0, 5000.0), exact=exact)
        chance = float(self.diversity) ** -self.chunks
        found["accuracy"] = Metric("high", (0.0, 1.0), "logit", exact, chance)
        return found

    def text(self, ids: Ints) -> str:
        """Token ids as text."""
        words, lists = [*FIXED, *(str(k + 1) for k in range(self.attributes))], lexicon()
        words += [f"x{i}" for i in range(self.alphabet)]
        words += [w for part, n in zip((lists.first, lists.middle, lists.last), self.names) for w in part[:n]]
        return "".join(w if w in {"'s", ",", "."} else f" {w}" for w in (words[i] for i in ids)).strip()

    def about(self, person: int, exposure: int = 0, *, seed: int = 0) -> str:
        """What the training data of a study's seed say about a person, 0 … N − 1, at an exposure."""
        documents = self._documents(Streams(seed) / "task", self.domain_token)
        rows, _ = documents.rows(np.array([person]), np.array([exposure]))
        return self.text(rows[0, 1:].astype(np.int64))

    def pose(self, streams: Streams) -> Problem:
        vocab, chosen = len(FIXED) + self.attributes + self.alphabet + sum(self.names), np.arange(self.people)
        given = Corpus(
            self._passes(streams),
            vocab=vocab,
            length=self.context,
            start=0,
            treat=lambda fields: treated(self, fields)._passes(streams),
        )
        if self.evaluation is not None:
            chosen = np.sort((streams / "evaluation").rng().choice(self.people, self.evaluation, replace=False))
        ways = [self._documents(streams, marked) for marked in ((True, False) if self.domain_token else (False,))]
        exams = [Facts.of(*way.rows(chosen, np.full(len(chosen), HELD_BACK))) for way in ways]

        def score(answer: Any) -> dict[str, float]:
            read = (self._readings(exam, *exam.read(answer, vocab), parameters(answer)) for exam in exams)
            return max(read, key=lambda readings: readings["bits"])

        truth = {"x": exams[0].x, "target": exams[0].target, "mark": exams[0].mark}
        return Problem(given, Judge(score, self.metrics, truth=truth))

    def _passes(self, streams: Streams) -> Callable[[int, int], Batch]:
        passes = Passes.of(self, self._documents(streams, self.domain_token), streams / "order")
        return lambda i, n: passes.batch(i, n, self.context)

    def _readings(
        self, facts: Facts, told: Floats, right: npt.NDArray[np.bool_], count: int | None
    ) -> dict[str, float]:
        """From log-probabilities [m] and whether each token is the likeliest [m]."""
        n, N, K = len(facts.x), self.people, self.attributes
        of_name, of_first = (np.bincount(facts.row, -told * (facts.mark == m), n) for m in (NAME, FIRST))  # [n]
        of_value = np.bincount(facts.row, -told * (facts.mark != NAME), n) / K  # means over attributes
        of_first /= K

        def bits(name: float, value: float, first: float) -> float:
            return biod_bits(N, self.most_people, name, value, first, **self._shape)

        held = bits(of_name.mean(), of_value.mean(), of_first.mean())
        values = right[facts.mark != NAME].reshape(n * K, -1)  # in the order of the text
        readings = {}
        if n < N:
            # bits are linear in the losses, so their error is that of this sum, drawn without replacement from N
            each = N * (of_name + K * of_value) + K * self.diversity * of_first
            spread = float(np.std(each, ddof=1)) / LN2 if n > 1 else math.nan
            error = spread * math.sqrt((1 - n / N) / n)
            readings["bits_per_parameter_se"] = error / count if count else math.nan
        return {
            "bits_per_parameter": held / count if count else math.nan,
            "bits": held,
            "share": held / self.most_bits,
            "loss_name": float(of_name.mean()),
            "loss_value": float(of_value.mean()),
            "loss_first": float(of_first.mean()),
            "accuracy": float(values.all(1).mean()),
            **readings,
        }

    @property
    def _shape(self) -> dict[str, int]:
        return {
            "attributes": self.attributes,
            "chunks": self.chunks,
            "diversity": self.diversity,
            "length": self.length,
            "alphabet": self.alphabet,
        }

    def _documents(self, streams: Streams, marked: bool) -> Identities:
        rng = (streams / "strings").rng()
        sets = np.stack([distinct(rng, self.diversity, self.length, self.alphabet) for _ in range(self.attributes)])
        names, first = np.array(self.names), self.people if marked else 0
        return Identities(sets.astype(np.int32), self.chunks, names, self.alphabet, first, streams / "people")
