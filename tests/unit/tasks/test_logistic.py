"""Logistic against scipy, and the reading of the gap against exact arithmetic."""

import sys
from decimal import Decimal, getcontext

import numpy as np
import pytest
from scipy.optimize import minimize

from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.logistic import Logistic

STREAMS = Streams(2) / "task"
SETTINGS = {
    "small": Logistic(n=60, d=4, kappa=600.0),
    "ill-conditioned": Logistic(n=300, d=20, kappa=3e7),
    "one dimension": Logistic(n=10, d=1, kappa=1.0),
    "wide": Logistic(n=10, d=30, kappa=1e3),
    "breast_cancer": Logistic(data="breast_cancer", kappa=569e2),
    "digits": Logistic(data="digits", kappa=1797e2),
}


def parts(task):
    given, judge = task.pose(STREAMS)
    rows, labels = given.rows, given.labels

    def value(x):
        return np.logaddexp(0, -labels * (rows @ x)).mean() + given.l2 / 2 * (x @ x)

    def gradient(x):
        return given.gradient(x)[0] + given.l2 * x

    return given, judge, value, gradient


@pytest.mark.parametrize("name", SETTINGS)
def test_the_optimum_is_one(name):
    _, judge, value, gradient = parts(SETTINGS[name])
    best = judge.truth["optimum"]
    assert np.linalg.norm(gradient(best)) < 1e-14
    found = minimize(
        value, np.zeros_like(best), jac=gradient, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 0, "gtol": 1e-9}
    )
    assert value(best) <= found.fun + 1e-15
    assert value(best) == pytest.approx(found.fun, rel=1e-6)
    assert judge(best) == {"gap": 1e-16, "distance": 1e-16}
    assert judge(np.zeros_like(best)) == {"gap": 1.0, "distance": 1.0}


@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-4, 1e-6, 1e-7])
def test_the_gap_loses_no_digits(size):
    given, judge, *_ = parts(SETTINGS["small"])
    rows, labels = given.rows, given.labels
    best = judge.truth["optimum"]
    x = best + size * np.array([0.3, -0.1, 0.2, 0.4])
    getcontext().prec = 60

    def value(x):
        x = [Decimal(float(v)) for v in x]
        total = Decimal(0)
        for row, label in zip(rows, labels, strict=True):
            u = sum(Decimal(float(r)) * v for r, v in zip(row, x, strict=True))
            total += (1 + (-Decimal(float(label)) * u).exp()).ln()
        return total / len(rows) + Decimal(float(given.l2)) / 2 * sum(v * v for v in x)

    exact = (value(x) - value(best)) / (value(np.zeros(4)) - value(best))
    assert judge(x)["gap"] == pytest.approx(float(exact), rel=1e-5, abs=0)


def test_rows_have_length_one_and_components_the_smoothness_that_is_said():
    for task in SETTINGS.values():
        given, *_ = parts(task)
        rows, labels = given.rows, given.labels
        assert np.allclose(np.linalg.norm(rows, axis=1), 1)
        assert set(labels) == {-1.0, 1.0}
        assert given.smoothness.max() == pytest.approx(0.25)
        assert given.l2 == pytest.approx(0.25 / task.kappa)


def test_the_hessian_is_as_ill_conditioned_as_the_field_says():
    given, judge, *_ = parts(Logistic())
    rows, labels = given.rows, given.labels
    p = 1 / (1 + np.exp(labels * (rows @ judge.truth["optimum"])))
    least = np.linalg.eigvalsh((rows * (p * (1 - p))[:, None]).T @ rows / given.n)[0]
    assert least < 0.1 * given.l2  # so that σ, not the data, decides


def test_gradients_are_charged_one_a_component():
    given, judge = SETTINGS["small"].pose(STREAMS)
    meter = Meter(200)
    given.metered(meter)
    given.gradient(np.zeros(4))
    assert meter.spent == 60
    assert given.components(100) == 100
    assert given.components(100) == 40
    with pytest.raises(BudgetSpent):
        given.gradient(np.zeros(4))
    assert meter.spent == 200
    judge(np.zeros(4))
    assert meter.spent == 200


def test_bundled_data_are_the_same_for_every_seed():
    first, second = (Logistic(data="digits", kappa=1e4).pose(Streams(s)).judge.truth["optimum"] for s in (0, 1))
    assert first.tobytes() == second.tobytes()
    assert first.shape == (61,)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SpecError, match=r"data: digits comes with scikit-learn, .* pip install scikit-learn"):
        Logistic(data="digits").pose(STREAMS)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kappa": 0.5}, "kappa: .*greater than or equal to 1, got 0.5"),
        ({"kappa": float("inf")}, "kappa"),
        ({"kappa": float("nan")}, "kappa"),
        ({"n": 1}, "n: "),
        ({"d": 0}, "d: "),
        ({"decay": -1.0}, "decay: "),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"data": "digits", "n": 100}, "n, d: digits has its own size"),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words) as refusal:
        Logistic(**fields)
    assert "\n" not in str(refusal.value)


def test_without_a_regulariser():
    given, judge, value, gradient = parts(Logistic(n=500, d=10, kappa=None))
    best = judge.truth["optimum"]
    assert given.l2 == given.convexity == 0
    assert np.linalg.norm(gradient(best)) < 1e-14
    found = minimize(value, np.zeros(10), jac=gradient, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 0})
    assert value(best) <= found.fun + 1e-15
    assert judge(best)["gap"] == 1e-16
    with pytest.raises(SpecError, match="a hyperplane parts these 12 labels: no optimum without kappa; take more rows"):
        Logistic(n=12, d=10, kappa=None).pose(STREAMS)
    with pytest.raises(SpecError, match="without a regulariser digits may have no optimum; give kappa a number"):
        Logistic(data="digits", kappa=None)
