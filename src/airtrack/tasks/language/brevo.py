"""Brevo: can a language model list everything that a node depends on, in an order that respects the dependencies?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numba import njit

from airtrack.core.answers import generate
from airtrack.core.given import IGNORE, Batch, Corpus, Ints
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.language.draw import (
    ALWAYS,
    below,
    check_names,
    draw_names,
    draw_size,
    forget,
    packed,
    pick,
    predict,
    put_name,
    size_law,
    state_of,
)
from airtrack.tasks.language.scoring import Scored, metrics, standard_error

PARENTS = 4  # of a node, and children: the most of either


@part("task")
class Brevo:
    """A topological listing of all ancestors of a node, after the edges of an acyclic graph in random order.

    With `n=6`, one sample reads

        BOS | 3 0 | 5 0 | 4 2 | 3 4 | 0 2  QUERY 2 ANS 3 5 0 4 2 EOS
                                               ^   ^ ^ ^ ^ ^ ^      these predictions count

    for the edges parent → child 3 → 0, 5 → 0, 4 → 2, 3 → 4, 0 → 2. The graph: of n nodes in order the first L have no
    parents, L uniform on 1 … ⌊(n − 1) / 4⌋ + 1; each later one in turn has p parents, uniform among the earlier nodes
    that have fewer than 4 children, p uniform on 1 … min(4, how many those are). The listing holds the queried node
    and all that can be reached from it by going to parents. It is drawn from its end: first the query, then always one
    of the nodes whose children in the listing have all been placed, each as likely as the other.

    n            nodes of the graph; the most, if `drawn`
    drawn        n ~ p(n) ∝ 1 / (n + √N) on 3 … N in training; evaluation keeps n = N
    query        "last": the last node, as in the released code; "quarter": a random one of ⌊3 n / 4⌋ … n − 1, as in the
                 paper
    alphabet     V, tokens that names are made of; N if None. Names are distinct and random
    name_length  least and most tokens of a name; with several, the last is from a second alphabet that marks the end
    context      T, tokens a window; the longest sample if None. Samples follow each other, the first is whole and the
                 last may be cut; a sample of more than T tokens is drawn again
    evaluation   windows that the judge draws, once a problem; the first sample of each is a question

    Ids: [letters] [last letters] BOS, QUERY, ANS, EOS; the released code gives ANS and EOS the same id, which makes its
    own listings unreadable to its parser, so here they differ. Trained on ANS, the listing and EOS.

    The judge has the model write after ANS, its likeliest token each time, until EOS. `accuracy` is the share of
    listings that hold each node they should exactly once, and nothing else, each after all its parents; the rest
    counts for nothing, and a failed model scores 0. `loss` is that of one right listing and EOS, a token in nats; as
    many listings are right and one is drawn, it cannot fall to zero.

    `preset` gives the published settings. Source: Allen-Zhu, Physics of Language Models: Part 4.1 (arXiv 2512.17351),
    Appendix A. Trained there with weight decay .03 and the best learning rate of 3, 5, 10, 20 · 10⁻⁴: brevo1 with batch
    256 for 100, 125, 150 thousand steps, brevo2 with batch 192 for 200, 225, 250 thousand.

    >>> from airtrack.core.streams import Streams
    >>> task = Brevo(n=6)
    >>> given, judge = task.pose(Streams(0))
    >>> given.length, given.vocab
    (39, 10)
    >>> prompt = [6, 3, 0, 5, 0, 4, 2, 3, 4, 0, 2, 7, 2, 8]  # the example
    >>> task.valid(prompt, [3, 5, 0, 4, 2, 9]), task.valid(prompt, [3, 0, 5, 4, 2, 9])
    (True, False)
    """

    n: Annotated[int, Ge(3)]
    drawn: bool = False
    query: Literal["last", "quarter"] = "last"
    alphabet: Annotated[int, Ge(2)] | None = None
    name_length: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]] = (1, 1)
    context: Annotated[int, Ge(1)] | None = None
    evaluation: Annotated[int, Ge(1)] = 256

    version: ClassVar[int] = 2

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    example: ClassVar[dict[str, Any]] = {"n": 6, "context": 90, "evaluation": 8}

    @classmethod
    def preset(cls, name: Literal["brevo1", "brevo2", "small"], *, n: int, **fields: Any) -> Brevo:
        """The published settings: brevo1 with n = 70, 90, 110, brevo2 with n = 30, 40, 50; small, n ≤ 20.

        >>> Brevo.preset("brevo2", n=30).name_length
        (2, 4)
        """
        settings = {
            "brevo1": {"context": 1024},
            "brevo2": {"context": 1536, "alphabet": 4, "name_length": (2, 4)},
            "small": {"context": 256},
        }
        if name not in settings:
            raise ValueError(f"{name!r} is no preset; there are brevo1, brevo2 and small")
        return cls(**{"n": n, "drawn": True, **settings[name], **fields})

    def check(self) -> None:
        check_names(self._letters, self.name_length, self.n)
        if self.context is not None and self.context < self._usual:
            fact = f"samples of {self._usual} tokens are usual and the first of a window is never cut"
            raise ValueError(f"context: {fact}; take at least that many, not {self.context}")

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Share of right listings with its standard error, and loss in nats; the judge's questions are a sample."""
        return metrics(None)

    @property
    def _letters(self) -> int:
        return self.alphabet or self.n

    @property
    def _bos(self) -> int:
        return self._letters * (1 + (self.name_length[1] > 1))

    def _tokens(self, edges: float, length: float) -> int:
        """Of a sample with so many edges and names of this length that lists every node."""
        return 4 + int(np.ceil((2 * edges + 1 + self.n) * length))

    @property
    def _longest(self) -> int:
        return self._tokens(sum(min(i, PARENTS) for i in range(1, self.n)), self.name_length[1])

    @property
    def _usual(self) -> int:
        """What nearly all samples of n nodes stay below: mean number of edges + 4 standard deviations."""
        edges = 2.5 * (self.n - 1) + 4 * np.sqrt(1.25 * (self.n - 1))
        return min(self._tokens(edges, sum(self.name_length) / 2), self._longest)

    def text(self, ids: Ints) -> str:
        """Token ids in words, to look at."""
        words = dict(enumerate(("BOS", "QUERY", "ANS", "EOS"), self._bos))
        return " ".join(words.get(int(i), str(i)) for i in ids)

    def valid(self, prompt: Any, listing: Any) -> bool:
        """Whether token ids `listing`, which end with EOS, answer token ids `prompt`, which end with ANS."""
        bos, prompt, listing = self._bos, [int(i) for i in prompt], [int(i) for i in listing]
        edges, asked = (
            self._names(prompt[1 : prompt.index(bos + 1)]),
            self._names(prompt[prompt.index(bos + 1) + 1 : -1]),
        )
        named = self._names(listing[:-1])
        if not edges or not asked or not named or listing[-1] != bos + 3:
            return False
        parents: dict[Any, set[Any]] = {}
        for parent, child in zip(edges[::2], edges[1::2]):
            parents.setdefault(child, set()).add(parent)
        reached, queue = set(asked), list(asked)
        while queue:
            new = parents.get(queue.pop(), set()) - reached
            reached |= new
            queue += new
        places = {name: i for i, name in enumerate(named)}
        ordered = all(places.get(p, i) < i for i, name in enumerate(named) for p in parents.get(name, ()))
        return ordered and len(named) == len(places) and set(named) == reached

    def _names(self, ids: list[int]) -> list[tuple[int, ...]] | None:
        """The names that these tokens spell; None if they end within one."""
        if self.name_length[1] == 1:
            return [(i,) for i in ids]
        ends = [j + 1 for j, i in enumerate(ids) if i >= self._letters]
        names = [tuple(ids[a:b]) for a, b in zip([0, *ends], ends)]
        return names if ends and ends[-1] == len(ids) else None

    def pose(self, streams: Streams) -> Problem:
        (least, most), bos, length = self.name_length, self._bos, self.context or self._longest
        last, longest = self.query == "last", self._longest
        layout = np.array([self.n, self._letters, least, most, bos, last, length, longest], np.int64)
        vocab = bos + 4

        def make(branch: Streams, law: Ints, i: int, n: int) -> tuple[Ints, Ints, Ints]:
            state = state_of(branch, i)
            return packed(lambda x, y, group: _fill(x, y, group, state, layout, law), n, length, longest)

        train, law = streams / "train", size_law(self.n) if self.drawn else ALWAYS
        given = Corpus(lambda i, n: Batch(*make(train, law, i, n)[:2]), vocab=vocab, length=length, start=bos)

        x, y, group = make(streams / "evaluation", ALWAYS, 0, self.evaluation)
        ends = (x == bos + 3).argmax(1)  # of the first sample, which alone is a question
        later = np.arange(length) >= ends[:, None]
        y[later], group[later] = IGNORE, 0
        width = ends.max() + 1
        exam = Scored.of(x[:, :width], y[:, :width], group[:, :width], vocab)
        prompts = [row[: (row == bos + 2).argmax() + 1] for row in x]

        def score(answer: Any) -> dict[str, float]:
            loss = exam.readings(answer)["loss"]
            listings = generate(answer, prompts, self.n * most + 1, stop=bos + 3)
            right = np.array([self.valid(prompt, listing) for prompt, listing in zip(prompts, listings)])
            error = standard_error(right, np.arange(len(right)))
            return {"accuracy": float(right.mean()), "accuracy_se": error, "loss": loss}

        return Problem(given, Judge(score, self.metrics, exam.truth))


@njit(cache=True, nogil=True)
def _fill(x, y, group, state, layout, law):  # pragma: no cover  (compiled)
    """Write samples into x, y and group of `packed`; group is 1 where a listing or EOS is predicted."""
    n, letters, least, most, bos, last, length, longest = layout
    seen = np.zeros(2 * letters**most, np.int32)
    names, lengths = np.empty((max(n, letters), most), np.int64), np.ones(n, np.int64)
    names[:, 0] = np.arange(len(names))
    parents, count = np.empty((n, PARENTS), np.int64), np.empty(n, np.int64)
    edges, order, spare = np.empty((PARENTS * n, 2), np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    number = t = 0
    for end in range(length, len(x) - longest + 1, length):
        while t < end:
            number += 1
            if len(law) > 0:
                n = draw_size(state, law)
            if most == 1:
                for i in range(n):  # distinct at once, as all of them may be needed
                    pick(state, names[:letters, 0], i)
            else:
                draw_names(state, names, lengths, n, letters, least, most, seen, number)
            m = _draw_graph(state, parents, count, edges, n, order, spare)
            start, x[t] = t, bos
            t += 1
            for i in range(m - 1, -1, -1):
                j = below(state, i + 1)
                for side in range(2):
                    node, edges[j, side] = edges[j, side], edges[i, side]
                    t = put_name(x, t, names, lengths, node)
            query = n - 1 if last else 3 * n // 4 + below(state, n - 3 * n // 4)
            x[t] = bos + 1
            t = put_name(x, t + 1, names, lengths, query)
            answer, x[t] = t, bos + 2
            t += 1
            first = _draw_listing(state, parents, count, query, order[:n], spare)
            for i in order[first:n]:
                t = put_name(x, t, names, lengths, i)
            x[t] = bos + 3
            t += 1
            if t - start > length:
                t = start
                continue
            predict(x, y, group, answer, answer + 1, 0)
            predict(x, y, group, answer + 1, t, 1)
        forget(y, group, end - 1, t)
        t = end


@njit(cache=True, nogil=True)
def _draw_graph(state, parents, count, edges, n, free, children):  # pragma: no cover
    """Write parents [n, 4], count [n] of them, and edges [m, 2] from parent to child; returns m. The rest is space."""
    leaves = 1 + below(state, (n - 1) // 4 + 1)
    children[:n] = 0
    count[:leaves] = 0
    ready, m = leaves, 0  # nodes that may have more children: the first so many of `free`
    for i in range(leaves):
        free[i] = i
    for i in range(leaves, n):
        count[i] = 1 + below(state, min(PARENTS, ready))
        for j in range(count[i]):
            k = j + below(state, ready - j)
            free[j], free[k] = free[k], free[j]
            parent = free[j]
            parents[i, j] = parent
            children[parent] += 1
            edges[m, 0], edges[m, 1] = parent, i
            m += 1
        for j in range(count[i] - 1, -1, -1):
            if children[free[j]] == PARENTS:
                ready -= 1
                free[j] = free[ready]
        free[ready] = i
        ready += 1
    return m


@njit(cache=True, nogil=True)
def _draw_listing(state, parents, count, query, order, children):  # pragma: no cover
    """Write a random topological listing of the ancestors of `query` to the end of order [n]; returns its first place.

    From the end: each place is drawn among the nodes whose listed children all have theirs.
    """
    children[: query + 1] = 0
    children[query] = 1  # so that it counts as listed
    for i in range(query, -1, -1):  # children come later than parents
        if children[i] > 0:
            for j in range(count[i]):
                children[parents[i, j]] += 1
    order[0], ready, place = query, 1, len(order)  # the nodes that may be placed now stand at the front
    while ready > 0:
        k = below(state, ready)
        node = order[k]
        ready, place = ready - 1, place - 1
        order[k], order[place] = order[ready], node
        for j in range(count[node]):
            parent = parents[node, j]
            children[parent] -= 1
            if children[parent] == 0:
                order[ready] = parent
                ready += 1
    return place
