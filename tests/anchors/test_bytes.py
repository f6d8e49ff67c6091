"""The same seed gives the same bytes on every platform, and two seeds share nothing."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest

import airtrack as at
from airtrack.core.given import Corpus
from airtrack.core.part import build, lookup, shipped

CORPORA = sorted(name for name in shipped("task") if issubclass(lookup("task", name).gives, Corpus))

# SHA-256 of the first training batches and of the evaluation of each task's example, computed on Linux x86-64. A change
# of these is a change of the task: raise its `version`, and say in the change log why.
KNOWN = {
    "biod": "f17e4f9358bbdc59",
    "bios": "9c7f27751254879b",
    "brevo": "0bfe86b8874dc3e3",
    "copy": "d142e4ec14db169e",
    "depo": "92a3faf92ac5134b",
    "lano": "11cff97ed7313c6b",
    "mano": "b530130e414b9d09",
    "multihop": "5fed34febf6c369f",
}

# One setting of each task at which samples cannot coincide by chance: windows, and how many of each seed.
LARGE = {
    "biod": ({"people": 5000, "context": 64}, 250_000),
    "bios": ({"people": 5000, "context": 64, "multi": None, "permute": "full"}, 250_000),
    "brevo": ({"n": 20}, 250_000),
    "copy": ({"n": 50}, 250_000),
    "depo": ({"n": 16, "separator": True}, 250_000),
    "lano": ({"grammar": "hard4", "context": 100}, 250_000),
    "mano": ({"length": 10, "context": 60}, 250_000),
    "multihop": ({"hops": 2, "people": 3, "length": 100}, 250_000),
}


def example(name):
    cls = lookup("task", name)
    return cls(**cls.example)


def digest(task):
    given, judge = task.pose(at.Streams(0) / "task")
    shown = hashlib.sha256()
    for array in (*given.batch(0, 5), *given.batch(7, 3), judge.truth["x"]):
        shown.update(np.ascontiguousarray(array, "<i8").tobytes())
    return shown.hexdigest()[:16]


@pytest.mark.parametrize("name", KNOWN)
def test_these_bytes_never_change(name):
    assert digest(example(name)) == KNOWN[name]


def test_every_task_of_tokens_is_looked_at():
    assert set(KNOWN) == set(LARGE) == set(CORPORA)


@pytest.mark.parametrize("name", LARGE)
def test_two_seeds_share_no_window_in_a_million_and_evaluation_meets_no_training(name):
    fields, windows = LARGE[name]
    groups = []
    for seed in range(4):
        given, judge = build("task", {"name": name, **fields}).pose(at.Streams(seed) / "task")
        groups.append(np.concatenate([_hashes(given.batch(i, windows // 25).x) for i in range(25)]))
        held_out = judge.truth["x"]
        if held_out.shape[1] == given.length:  # bioS, bioD and Lano are asked for in single documents, no windows
            groups.append(_hashes(held_out))
    groups = [np.unique(g) for g in groups]  # bioD tells of its people again, now and then in the same order
    together = sum(map(len, groups))
    assert together > 0.9999 * 4 * windows
    assert len(np.unique(np.concatenate(groups))) == together


def test_strings_of_lano_that_are_judged_are_not_among_a_hundred_thousand_of_training():
    """This grammar has 10¹⁸ derivations; hard2 has 120, of which all are seen."""
    given, judge = build("task", {"name": "lano", "grammar": "hard4", "context": 100}).pose(at.Streams(0) / "task")
    x = np.concatenate([given.batch(i, 6000).x.ravel() for i in range(10)])
    starts = np.flatnonzero(x == 0)
    shown = {x[a + 1 : b].tobytes() for a, b in pairwise(starts)}
    held_out = [row[1:size].tobytes() for row, size in zip(judge.truth["x"], judge.truth["size"])]
    asked = {row + np.array([given.vocab - 1]).tobytes() for row in held_out}
    assert len(starts) > 100_000
    assert len(asked) == len(held_out)
    assert not asked & shown


def _hashes(rows):
    """[n] 64-bit hashes of rows [n, T]: two of 10⁶ coincide by chance once in 3 · 10⁷ times."""
    weights = np.random.Generator(np.random.Philox(key=1)).integers(1, 2**63, rows.shape[1], np.uint64) * 2 + 1
    mixed = (rows.astype(np.uint64) + 1) * weights
    mixed ^= mixed >> np.uint64(29)
    return (mixed * np.uint64(0xBF58476D1CE4E5B9)).sum(1, np.uint64)
