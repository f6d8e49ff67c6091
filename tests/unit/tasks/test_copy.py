"""Copy against a reader of its text."""

import numpy as np
import pytest

from airtrack.core.given import IGNORE
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.language.copy import Copy

STREAMS = Streams(5) / "task"

SETTINGS = {
    "permutation": Copy(n=9),
    "part": Copy(n=9, length=4),
    "one": Copy(n=2, length=1, context=30),
    "packed": Copy(n=9, length=4, context=47),
    "published": Copy.preset("copy"),
    "small": Copy.preset("small"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_copy_is_a_copy_and_it_alone_is_trained_on(name):
    task = SETTINGS[name]
    given, judge = task.pose(STREAMS)
    length = task.length or task.n
    assert (given.start is None) == (task.context is None)
    for x, y in (given.batch(0, 20), given.batch(1, 20), (judge.truth["x"], judge.truth["y"])):
        labels = np.full_like(y, IGNORE)
        for row, out in zip(x, labels):
            for start in range(0, len(row), 2 * length + 2):
                sample = row[start : start + 2 * length + 2]
                items, copy = sample[1 : length + 1], sample[length + 2 :]
                assert sample[0] == task.n
                assert sorted(set(items)) == sorted(items)
                assert (items < task.n).all()
                assert (sample[length + 1 : length + 2] == task.n + 1).all()
                assert (copy == items[: len(copy)]).all()
                out[start + length + 1 : start + length + 1 + len(copy)] = copy
        assert (y == labels).all()
    assert (judge.truth["target"] == judge.truth["y"][judge.truth["y"] != IGNORE]).all()


def chi2_fits(counts, expected):
    """Pearson's χ² below its .9999 quantile (Wilson–Hilferty)."""
    k = len(counts) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < k * (1 - 2 / (9 * k) + 3.72 * np.sqrt(2 / (9 * k))) ** 3


@pytest.mark.parametrize(("length", "orders"), [(4, 24), (2, 12)])
def test_every_order_is_as_likely_as_any_other(length, orders):
    x = Copy(n=4, length=length).pose(STREAMS).given.batch(0, 12_000).x
    _, counts = np.unique(x[:, 1 : length + 1], axis=0, return_counts=True)
    assert len(counts) == orders
    assert chi2_fits(counts, np.full(orders, 12_000 / orders))


def back(steps, vocab):
    """A model that predicts what stood `steps` tokens before the next one."""
    return lambda ids: 60 * np.eye(vocab)[np.roll(ids, steps - 1, axis=1)]


def test_a_copier_scores_one_in_packed_windows_too():
    readings = Copy(n=9, length=4, context=47).pose(STREAMS).judge(back(5, 11))
    assert readings == {"accuracy": 1, "accuracy_se": 0, "whole": 1, "whole_se": 0, "loss": 1e-9}


def test_one_fault_spoils_a_window_and_costs_one_token():
    task = Copy(n=8, evaluation=100)
    judge = task.pose(STREAMS).judge

    def stumbles(ids):
        scores = back(9, 10)(ids)
        scores[:25, 12] = 60 * np.eye(10)[9]  # one token of a quarter of the windows
        return scores

    readings = judge(stumbles)
    assert readings["whole"] == 0.75
    assert readings["whole_se"] == pytest.approx(np.sqrt(0.75 * 0.25 / 99))
    assert readings["accuracy"] == 1 - 25 / 800
    assert readings["accuracy_se"] == pytest.approx(np.sqrt(0.75 * 0.25 / 99) / 8)


def test_what_guessing_scores_is_as_stated():
    task = Copy(n=20, length=16, evaluation=2000)
    given, judge = task.pose(STREAMS)
    rng = (STREAMS / "guess").rng()

    def guesses(ids, avoid):
        scores = np.zeros((*ids.shape, given.vocab))
        for row, out in zip(ids, scores):
            items = row[1:17]
            for j in range(16):
                out[17 + j, rng.choice(items[j:] if avoid else items)] = 9
        return scores

    assert task.metrics["accuracy"].chance == 1 / 16
    assert task.metrics["whole"].chance is None
    any_item, others = (judge(lambda ids, avoid=avoid: guesses(ids, avoid)) for avoid in (False, True))
    assert abs(any_item["accuracy"] - 1 / 16) < 4 * any_item["accuracy_se"]
    harmonic = sum(1 / j for j in range(1, 17)) / 16
    assert round(harmonic, 2) == 0.21
    assert abs(others["accuracy"] - harmonic) < 4 * others["accuracy_se"]


def test_these_bytes_never_change():
    task = Copy(n=6, length=4)
    assert task.text(task.pose(Streams(0) / "task").given.batch(0, 1).x[0]) == "BOS 5 4 3 2 COPY 5 4 3 2"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 1}, "n"),
        ({"n": 4, "length": 5}, "length: 5 .* n = 4"),
        ({"n": 4, "length": 0}, "length"),
        ({"n": 4, "context": 9}, "context: .* 10 tokens"),
        ({"n": 4, "evaluation": 0}, "evaluation"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Copy(**fields)
    assert "\n" not in str(refusal.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="copy and small"):
        Copy.preset("large")
