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
    assert judge.read(np.zeros((12, 3))) == ({"sin2": 1.0, "variance": 1.0}, "the answer is zero and spans nothing")


@pytest.mark.parametrize("task", [Spiked(d=9, k=3, gap=0.3), Spiked(d=9, k=4, spectrum="power", decay=1.0)])
def test_variance_is_what_the_span_does_not_explain(task):
    judge = task.pose(STREAMS).judge
    gaussian = (STREAMS / "basis").rng().standard_normal((9, 9))
    basis, triangle = np.linalg.qr(gaussian)
    basis = basis * np.sign(np.diag(triangle))
    covariance = basis * task.eigenvalues @ basis.T
    best = task.eigenvalues[: task.k].sum()
    for answer in (Streams(2).rng().standard_normal((9, task.k)), basis[:, 1 : task.k + 1], basis[:, : task.k] * 7):
        span = np.linalg.qr(answer)[0]
        plain = 1 - np.trace(span.T @ covariance @ span) / best
        assert judge(answer)["variance"] == pytest.approx(max(plain, 1e-16), abs=1e-14)
    one = basis[:, [0] * task.k]
    assert judge(one)["variance"] == pytest.approx(1 - task.eigenvalues[0] / best, rel=1e-9)
    tilted = basis[:, : task.k] + 1e-6 * basis[:, task.k : 2 * task.k]
    lost = task.eigenvalues[: task.k] - task.eigenvalues[task.k : 2 * task.k]
    assert judge(tilted)["variance"] == pytest.approx(1e-12 * lost.sum() / best, rel=1e-3)


def test_a_power_law_has_its_own_gap():
    task = Spiked(d=20, k=4, spectrum="power", decay=1.0)
    assert task.eigenvalues == pytest.approx(1 / np.arange(1, 21))
    given, _ = task.pose(STREAMS)
    assert (given.draw(100_000) ** 2).sum(1).mean() == pytest.approx((1 / np.arange(1, 21)).sum(), rel=0.01)


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
        ({"spectrum": "power", "decay": 0.0}, "decay: with 0 all eigenvalues"),
        ({"spectrum": "cauchy"}, "spectrum: 'cauchy' is none of"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words):
        Spiked(**fields)
