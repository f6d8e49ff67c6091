"""Lano: does a language model learn the language of a layered grammar? Every probability it should give is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import PlainValidator

from airtrack.core.answers import generate, log_probs_at
from airtrack.core.given import Batch, Corpus, Floats, Ints
from airtrack.core.part import SpecError, located, nearest, part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams
from airtrack.tasks.language.derivation import Rules, joined, pack, spoil
from airtrack.tasks.language.draw import below, state_of
from airtrack.tasks.language.grammar import Grammar
from airtrack.tasks.language.scoring import LOSSES, standard_error

GAPS = (0.0, 1e4)  # nats a string
EASY, HARD = {"rules": (2, 2), "distinct": True}, {"rules": (3, 4)}
NAMED: dict[str, tuple[int, dict[str, Any], int, int]] = {  # seed, rules, depth, context
    "hard2": (0, HARD, 2, 64),
    "hard3": (2, {**HARD, "lengths": (2, 4)}, 3, 128),
    "easy4": (1, EASY, 4, 128),
    "hard4": (2, HARD, 4, 128),
    "easy6": (2, EASY, 6, 512),
    "hard6": (0, HARD, 6, 512),
    "easy7": (0, EASY, 7, 1536),
    "hard7": (2, HARD, 7, 1536),
}


def _levels(value: Any) -> Any:
    """The rules that a field `grammar` stands for: a name, a path, the published format, or the rules themselves."""
    if isinstance(value, str) and value in NAMED:
        seed, shape, depth, _ = NAMED[value]
        return Grammar.draw(seed, sizes=(1, *[3] * depth), **shape).levels
    if isinstance(value, str):
        path = located(value)
        if not path.is_file():
            raise SpecError(f"no grammar is named {value!r} and there is no file {path}{nearest(value, NAMED)}")
        return Grammar.load(path).levels
    return Grammar.load(value).levels


@part("task")
class Lano:
    """Strings of a layered context-free grammar, whose next-token probabilities are known exactly.

    A grammar has levels of symbols; a symbol becomes, by one of its rules at random, two or three of the next level
    (two to four in hard3), down to the terminals. Training reads

        BOS string EOS BOS string EOS BOS …

    cut into windows, wherever the cuts fall, with loss on every token. Ids: BOS = 0, tokens 1 … T, EOS = T + 1. In the
    source a net reads a window as one text (`apart: false` of the decoder here), otherwise one string at a time.

    grammar      the rules [level][symbol][rule][child], see `Grammar`; or the path of a JSON file, also one in the
                 published format, which is read at once so that the rules are what the task holds; or a name: easy4,
                 easy6, easy7 (2 rules a symbol, of distinct symbols) and hard2, hard3, hard4, hard6, hard7 (3 or 4
                 rules), the digit being the depth: strings of some 8 tokens for 2, 30, 45, 300, 600 for 3, 4, 6, 7
    context      T, tokens a window
    evaluation   fresh strings on which the judge compares probabilities
    completions  strings that the judge has the model write, from each kind of beginning; the source takes 20,000
    cut          tokens of a fresh string that the model is given to continue; at most as many as the shortest has
    implicit     each terminal shows as one of a bag of tokens, all bags together `observable` tokens: "disjoint", or
                 "overlap", where a bag is 1.5 · observable / T tokens drawn with repetition. The bags are drawn with
                 the problem, and all probabilities are exact for what is seen
    increasing   whether the tokens of a bag are as likely as 1 : 2 : 3 : …; uniform otherwise
    corruption   what is spoilt in training: "tokens", or "symbols" between root and tokens, with all that grows from
                 them; in a share `corrupted` of the strings each becomes another one with probability `rate`
    temperature  of the continuations of corrupted beginnings

    The first metric, `kl`, is KL(truth ‖ model) a token in nats: exact at every position of the fresh strings, the end
    included, as far as they fit into a window, averaged over positions. A probability of the model counts as e⁻⁵⁰ at
    least, so that it stays below 50. `loss` is the cross entropy at the same positions, its expectation over the next
    token being exact; the least it can be is `Grammar.floor`. Where training is corrupted, the truth is still the
    clean grammar. With completions:

    completion      share of strings of the grammar among those written at temperature 1 after BOS, up to EOS or to
                    the end of the window. Temperature 1 matters: at 0 the model writes one string, right or wrong
    completion_cut  the same after BOS and the first `cut` tokens of a fresh string
    distinct        share of different strings among those written after BOS; if all M differ, the model holds some
                    M² or more
    entropy_gap     how far −log p(string) of the right strings after BOS is from that of the grammar's own, in
                    absolute nats a string, on average: a model that keeps to few strings is far off
    robust          with corruption: share of continuations, at `temperature`, that complete the beginning as it was
                    before each of its tokens became another one with probability `rate`

    Source: Allen-Zhu, Li, Physics of Language Models: Part 1 (arXiv 2305.13673), and Part 4.1 (arXiv 2512.17351), where
    the grammars cfg3f, cfg3j and cfg3k make the task Lano. Trained there, with 86 million parameters: AdamW (.9, .98),
    weight decay .1, batches of 96 windows of 512 tokens (1536 for cfg3j and cfg3k), 100 thousand steps, no warm-up,
    linear to zero from 3 · 10⁻⁴ (Part 1) or the best of 2, 3, 5, 10 · 10⁻⁴ (Part 4.1). How `robust` counts is our
    reading: the text of that part was not at hand.

    >>> from airtrack.core.streams import Streams
    >>> task = Lano(grammar=[[[[0, 1], [1, 0]]], [[[0, 0], [1]], [[0, 1]]], [[], []]], context=16)
    >>> given, judge = task.pose(Streams(0))
    >>> given.vocab, given.batch(0, 2).x.shape
    (4, (2, 16))
    >>> uniform = judge(lambda ids: np.zeros((*ids.shape, 4)))
    >>> bool(abs(uniform["loss"] - np.log(4)) < 1e-12), 0 < uniform["kl"] < uniform["loss"]
    (True, True)
    """

    grammar: Annotated[Any, PlainValidator(_levels)]
    context: Annotated[int, Ge(2)] = 512
    evaluation: Annotated[int, Ge(1)] = 128
    completions: Annotated[int, Ge(0)] = 0
    cut: Annotated[int, Ge(1)] = 50
    implicit: Literal["disjoint", "overlap"] | None = None
    observable: Annotated[int, Ge(1)] | None = None
    increasing: bool = False
    corruption: Literal["tokens", "symbols"] | None = None
    corrupted: Annotated[float, Gt(0), Le(1)] = 0.1
    rate: Annotated[float, Gt(0), Le(1)] = 0.15
    temperature: Annotated[float, Gt(0)] = 0.1

    version: ClassVar[int] = 2

    unit: ClassVar[str] = "tokens"
    gives: ClassVar[type] = Corpus
    example: ClassVar[dict[str, Any]] = {"grammar": "hard3", "context": 64, "evaluation": 8, "completions": 4, "cut": 9}

    @classmethod
    def preset(cls, name: str, **fields: Any) -> Lano:
        """One of the named grammars, with a window that fits it: 128 tokens at depth 3 and 4, 512 at 6, 1536 at 7.

        >>> Lano.preset("hard7").context
        1536
        """
        if name not in NAMED:
            raise ValueError(f"no grammar is named {name!r}{nearest(name, NAMED)}")
        return cls(**{"grammar": name, "context": NAMED[name][3], **fields})

    def check(self) -> None:
        terminals, least = self.language.terminals, self.language.lengths.least
        if (self.implicit is None) != (self.observable is None):
            raise ValueError("implicit: bags need `observable` tokens, and these need bags; give both or neither")
        if self.increasing and self.implicit is None:
            raise ValueError("increasing: there are no bags; give implicit")
        if self.observable is not None and self.observable < terminals:
            raise ValueError(f"observable: {self.observable} tokens for {terminals} bags; take at least one each")
        if self.completions and self.cut > least:
            raise ValueError(
                f"cut: {self.cut} tokens may be more than a string, some have {least}; take at most that many"
            )
        if self.completions and self.context < least + 1:
            raise ValueError(
                f"context: {self.context} tokens hold BOS and no string, these have {least} or more; take more"
            )

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Distance to the truth with its standard error, loss, and what the model's own strings are worth."""
        share, error = Metric("high", (0.0, 1.0), "logit", exact=False), Metric("low", (0.0, 0.5))
        found = {
            "kl": Metric("low", LOSSES, "log", exact=False),
            "kl_se": Metric("low", (0.0, LOSSES[1])),
            "loss": Metric("low", LOSSES, "log", exact=False),
        }
        if self.completions:
            for name in ("completion", "completion_cut", *(["robust"] if self.corruption else [])):
                found |= {name: share, f"{name}_se": error}
            found |= {"distinct": share, "entropy_gap": Metric("low", GAPS, exact=False)}
        return found

    @cached_property
    def language(self) -> Grammar:
        """The grammar of the terminals."""
        return Grammar(self.grammar)

    def text(self, ids: Ints) -> str:
        """Token ids in words, to look at.

        >>> Lano(grammar="hard3").text(np.array([0, 2, 1, 4, 0]))
        'BOS 2 1 EOS BOS'
        """
        end = (self.observable or self.language.terminals) + 1
        return " ".join({0: "BOS", end: "EOS"}.get(int(i), str(i)) for i in ids)

    def observed(self, streams: Streams) -> Grammar:
        """The grammar of the tokens that are seen: that of the terminals, unless these are implicit."""
        if self.implicit is None or self.observable is None:
            return self.language
        bags, state = self.language.terminals, state_of(streams / "bags", 0)
        tokens = np.arange(self.observable)
        if self.implicit == "disjoint":
            held = np.array_split(tokens, bags)
        else:
            size = max(1, round(1.5 * self.observable / bags))
            held = [np.array([below(state, self.observable) for _ in range(size)]) for _ in range(bags)]
        if self.increasing:
            held = [np.repeat(bag, np.arange(1, len(bag) + 1)) for bag in held]
        return self.language.hidden([bag.tolist() for bag in held], self.observable)

    def pose(self, streams: Streams) -> Problem:
        seen = self.observed(streams)
        end, length = seen.terminals + 1, self.context
        share, rate = (self.corrupted, self.rate) if self.corruption else (0.0, 0.0)
        whole, train = self.corruption == "symbols", streams / "train"
        rules = seen.machine if whole else Rules.of(joined(seen.levels))

        def make(i: int, n: int) -> Batch:
            ids = np.empty(n * length + 1, np.int64)
            pack(rules, state_of(train, i), ids, share, rate, whole)
            return Batch(ids[:-1].reshape(n, length), ids[1:].reshape(n, length).copy())

        given = Corpus(make, vocab=end + 1, length=length, start=0)

        strings = seen.sample(streams / "evaluation", self.evaluation)
        sizes = np.minimum([len(s) + 1 for s in strings], length)  # positions of each string that are compared
        x = np.full((len(strings), sizes.max()), end)
        for row, string, size in zip(x, strings, sizes):
            row[0], row[1:size] = 0, string[: size - 1]
        rows, columns = np.nonzero(np.arange(x.shape[1]) < sizes[:, None])
        true = np.concatenate([p[:size] for p, size in zip(seen.next_token_probs(list(strings)), sizes)])
        logs = np.log(true, where=true > 0, out=np.zeros_like(true))  # 0 log 0 = 0

        def score(answer: Any) -> dict[str, float]:
            scores = np.empty_like(true)
            for here, found in log_probs_at(answer, x, (rows, columns), end + 1):
                scores[here] = np.maximum(found[:, : end + 1], -LOSSES[1])
            gaps = (true * (logs - scores)).sum(1)
            readings = {"kl": gaps.mean(), "kl_se": standard_error(gaps, rows), "loss": -(true * scores).sum(1).mean()}
            return readings | (self._written(answer, seen, streams / "completions") if self.completions else {})

        return Problem(given, Judge(score, self.metrics, {"x": x, "size": sizes, "probs": true}))

    def _written(self, answer: Any, seen: Grammar, streams: Streams) -> dict[str, float]:
        """What the model writes, and what that is worth."""
        fresh = seen.sample(streams / "strings", self.completions)
        none, starts = [np.zeros(0, np.int64)] * len(fresh), [string[: self.cut] for string in fresh]
        kinds = {"completion": (none, none, 1.0), "completion_cut": (starts, starts, 1.0)}  # shown, meant, temperature
        if self.corruption:
            state, spoilt = state_of(streams / "spoil", 0), [start.copy() for start in starts]
            for start in spoilt:
                spoil(state, start, seen.terminals, self.rate)
            kinds["robust"] = (spoilt, starts, self.temperature)
        readings: dict[str, float] = {}
        for name, (shown, meant, temperature) in kinds.items():
            steps = min(self.context, seen.lengths.most + 1) - len(shown[0])  # all are of one length
            uniforms = (streams / name).rng().random((len(shown), steps))
            prompts = [np.concatenate(([0], start)) for start in shown]
            new = generate(answer, prompts, steps, stop=seen.terminals + 1, uniforms=uniforms, temperature=temperature)
            logs = _log_probs(seen, meant, new)
            share = float(np.isfinite(logs).mean())
            readings |= {name: share, f"{name}_se": float(np.sqrt(share * (1 - share) / len(new)))}
            if name == "completion":
                right = logs[np.isfinite(logs)]
                gap = abs(right.mean() - seen.log_prob(fresh).mean()) if len(right) else np.nan
                readings |= {
                    "distinct": len({string.tobytes() for string in new}) / len(new),
                    "entropy_gap": float(gap),
                }
        return readings


def _log_probs(seen: Grammar, starts: Sequence[Ints], new: Sequence[Ints]) -> Floats:
    """[n] log-probability of each start with what was written after it; −inf where this is no string of the grammar."""
    found = np.full(len(new), -np.inf)
    whole = [i for i, n in enumerate(new) if len(n) and n[-1] == seen.terminals + 1]
    whole = [i for i in whole if ((new[i][:-1] >= 1) & (new[i][:-1] <= seen.terminals)).all()]
    if whole:
        found[whole] = seen.log_prob([np.concatenate((starts[i], new[i][:-1])) for i in whole])
    return found
