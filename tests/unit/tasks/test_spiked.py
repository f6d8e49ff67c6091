"""Spiked against the covariance of its own samples."""

import numpy as np
import pytest

from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.spiked import Spiked

STREAMS = Streams(1) / "task"


def test_samples_have_the_covariance_and_the_judge_its_subspace():
    task = Spiked(d=12, k=3, gap=0.4)
    given, judge = task.pose(STREAMS)
    samples = given.draw(200_000)
    values, vectors = np.linalg.eigh(samples.T @ samples / len(samples))
    assert values[::-1] == pytest.approx(task.eigenvalues, abs=0.02)
    assert task.eigenvalues[2] - task.eigenvalues[3] == pytest.approx(0.4)
    assert judge(vectors[:, -3:])["sin2"] < 1e-3
    assert judge(vectors[:, :3])["sin2"] > 0.99
    assert abs(samples.mean(0)).max() < 0.02


def test_only_the_span_counts():
    _, judge = Spiked(d=12, k=3).pose(STREAMS)
    rng = Streams(9).rng()
    answer = rng.standard_normal((12, 3))
    mixed = answer @ rng.standard_normal((3, 3))
    assert judge(answer)["sin2"] == pytest.approx(judge(mixed)["sin2"], rel=1e-9)
    assert judge(answer)["sin2"] == pytest.approx(judge(answer * [1e200, -1e-200, 3])["sin2"], rel=1e-9)
    truth = judge.truth["subspace"]
    assert judge(truth @ rng.standard_normal((3, 3)))["sin2"] < 1e-12
    assert judge(truth[:, [0, 0, 0]])["sin2"] == pytest.approx(2 / 3)
    assert judge(truth * [1, 1, 0])["sin2"] == pytest.approx(1 / 3)
    assert judge.read(np.zeros((12, 3))) == ({"sin2": 1.0}, "the answer is zero and spans nothing")


def test_rounding_an_answer_never_makes_it_better_than_perfect():
    _, judge = Spiked(d=12, k=3).pose(STREAMS)
    for levels in (2, 4, 16, 256):
        rounded = np.round(judge.truth["subspace"] * levels) / levels
        assert 0 < judge(rounded)["sin2"] < 1


def test_the_subspace_is_uniform():
    first = np.array([Spiked(d=3, k=1).pose(Streams(s)).judge.truth["subspace"][:, 0] for s in range(400)])
    assert abs(first.mean(0)).max() < 0.1  # signs too
    assert (first**2).mean(0) == pytest.approx(1 / 3, abs=0.07)


def test_draws_are_one_sequence_however_they_are_cut():
    whole = Spiked(d=4, k=1).pose(STREAMS).given.draw(3000)
    given = Spiked(d=4, k=1).pose(STREAMS).given
    cut = np.concatenate([given.draw(size) for size in (1, 7, 1016, 1, 1000, 975)])
    assert (whole == cut).all()


def test_samples_are_charged_and_the_last_ones_are_fewer():
    given, _ = Spiked(d=4, k=1).pose(STREAMS)
    meter = Meter(10)
    given.metered(meter)
    assert given.draw(8).shape == (8, 4)
    assert given.draw(8).shape == (2, 4)
    with pytest.raises(BudgetSpent):
        given.draw(1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"d": 3, "k": 3}, "k: a subspace of 3 .* d = 3; take k < d"),
        ({"k": 0}, "k: "),
        ({"gap": 0.0}, "gap: "),
        ({"gap": 1.5}, "gap: "),
        ({"decay": -0.1}, "decay: "),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words):
        Spiked(**fields)
