"""Glm: the optimum against dense algebra, the gap against exact arithmetic, rows as the fields say."""

from fractions import Fraction

import numpy as np
import pytest

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.convex import glm
from airtrack.tasks.convex.glm import Glm

STREAMS = Streams(3) / "task"
SETTINGS = {
    "least squares": Glm(n=60, d=5, kappa=600.0),
    "heavy tails": Glm(n=200, d=20, kappa=2e4, spread=2.0),
    "logistic": Glm(loss="logistic", n=80, d=6, kappa=8e3, spread=1.0),
    "sparse": Glm(n=300, d=60, nnz=4, decay=1.0, spread=1.0, kappa=3e4),
    "sparse logistic": Glm(loss="logistic", n=300, d=60, nnz=4, kappa=3e4),
    "clusters": Glm(n=200, d=10, clusters=4, kappa=2e3),
    "wide": Glm(n=20, d=40, kappa=1e3),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_optimum_is_one(name):
    given, judge = SETTINGS[name].pose(STREAMS)
    best = judge.truth["optimum"]
    first = np.linalg.norm(given.gradient(0 * best)[0])
    assert np.linalg.norm(given.gradient(best)[0] + given.l2 * best) < 1e-13 * first
    assert judge(best) == {"gap": 1e-16, "distance": 1e-16}
    assert judge(0 * best) == {"gap": 1.0, "distance": 1.0}


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("sparse", [False, True])
def test_large_dimensions_give_the_same_optimum(loss, sparse, monkeypatch):
    """Above some size the Hessian is not factorised, but conjugate gradients are run to the end."""
    task = Glm(loss=loss, n=150, d=30, nnz=4 if sparse else None, kappa=1.5e3, spread=1.0)
    best = task.pose(STREAMS).judge.truth["optimum"]
    monkeypatch.setattr(glm, "DENSE", 0)
    again = task.pose(STREAMS).judge.truth["optimum"]
    assert np.linalg.norm(again - best) < 1e-12 * np.linalg.norm(best)


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-7])
def test_the_gap_loses_no_digits(size):
    given, judge = SETTINGS["least squares"].pose(STREAMS)
    best = judge.truth["optimum"]
    x = best + size * np.array([0.3, -0.1, 0.2, 0.4, 0.0])

    def value(x):
        total, x = Fraction(0), [Fraction(float(v)) for v in x]
        for row, label in zip(given.rows, given.labels, strict=True):
            u = sum(Fraction(float(r)) * v for r, v in zip(row, x, strict=True))
            total += (u - Fraction(float(label))) ** 2
        return total / (2 * given.n) + Fraction(given.l2) / 2 * sum(v * v for v in x)

    exact = (value(x) - value(best)) / (value(0 * best) - value(best))
    assert judge(x)["gap"] == pytest.approx(float(exact), rel=1e-5, abs=0)


def test_rows_are_as_long_as_the_spread_says():
    lengths = np.sqrt(Glm(n=20_000, d=3, spread=1.5).pose(STREAMS).given.squares)
    assert np.log(lengths).mean() == pytest.approx(0, abs=0.05)
    assert np.log(lengths).std() == pytest.approx(1.5, rel=0.03)
    np.testing.assert_allclose(Glm(n=50, d=9, nnz=3, decay=1.0).pose(STREAMS).given.squares, 1)


def test_the_condition_is_that_of_the_mean():
    for task in SETTINGS.values():
        given = task.pose(STREAMS).given
        assert given.smoothness.mean() / given.l2 == pytest.approx(task.kappa)


def test_columns_are_as_popular_as_their_decay_says():
    given = Glm(n=20_000, d=50, nnz=5, decay=1.0).pose(STREAMS).given
    counts = np.bincount(given.rows.columns, minlength=50)
    assert counts[0] / counts[9] == pytest.approx(10 * 0.7, rel=0.2)  # a row that draws one twice has it once
    assert given.rows.starts[-1] <= 100_000


def test_clusters_have_their_radius():
    rows = np.array(Glm(n=4000, d=30, clusters=3, radius=0.2).pose(STREAMS).given.rows)
    far = np.linalg.norm(rows[:, None] - rows[None, :200], axis=2)
    within = far[far < 0.7]
    assert np.sqrt((within[within > 0] ** 2).mean() / 2) == pytest.approx(0.2, rel=0.1)
    assert 0.2 < (far < 0.7).mean() < 0.5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kappa": float("inf")}, "kappa: "),
        ({"kappa": 0.5}, "kappa: "),
        ({"nnz": 60}, "nnz: 60 entries a row"),
        ({"nnz": 5, "clusters": 3}, "nnz: 5 entries a row is for rows without clusters"),
        ({"noise": 0.0}, "noise: "),
        ({"loss": "hinge"}, "loss: "),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Glm(**fields)
    assert "\n" not in str(refusal.value)
