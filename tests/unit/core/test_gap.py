"""What a finite sum proves of a point: never less than the truth, and nothing that rounding or a look could change."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from airtrack.core.given import FiniteSum
from airtrack.core.losses import Bowl, Softmax
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.penalties import L1, NuclearBall, Simplex

RNG = np.random.default_rng(4)
ROWS = RNG.normal(size=(30, 4))
SIGNS = np.sign(RNG.normal(size=30))
CLASSES = np.arange(30) % 3.0


class Group(NamedTuple):
    """strength · ‖x‖₂."""

    strength: float

    def value(self, x):
        return self.strength * np.linalg.norm(x)

    def prox(self, v, step):
        return v * max(0.0, 1 - step * self.strength / max(np.linalg.norm(v), 1e-300))

    def support(self, v):
        return 0.0 if np.linalg.norm(v) <= self.strength * (1 + 1e-12) else np.inf


class Scaled(Group):
    def scale(self, v):
        return min(1.0, self.strength / np.linalg.norm(v))


# ------------------------------------------------------------------------------------------------------------ convexity


def test_more_l2_does_not_make_a_sum_convex():
    bowl = FiniteSum(ROWS, 10 * SIGNS, l2=0.0, loss="bowl")
    assert bowl.convexity == bowl.like(l2=1e-3).convexity == 0
    assert bowl.like(l2=1e-3).certificate(np.full(4, 50.0))["gap"] == np.inf
    assert FiniteSum(ROWS, SIGNS, l2=0.1).like(loss=Bowl()).convexity == 0


def test_known_convexity_follows_l2():
    known = FiniteSum(ROWS, SIGNS, l2=0.25, loss="squared", convexity=0.5)
    assert (known.convexity, known.like(l2=1.0).convexity, known.like(l2=0.0).convexity) == (0.5, 1.25, 0.25)
    assert FiniteSum(ROWS, SIGNS, l2=0.1).like(l2=0.3).convexity == 0.3


# ------------------------------------------------------------------------------------------------------------ penalties


def test_the_norm_of_a_penalty_is_not_guessed():
    """Of x = 0 here the true gap is ⅛; the scale of ‖·‖₁, by its field `strength`, gave 0."""
    ask = {"l2": 0.0, "loss": "squared"}
    assert FiniteSum(np.eye(4), np.ones(4), penalty=Group(0.25), **ask).certificate(np.zeros(4))["gap"] == np.inf
    gap = FiniteSum(np.eye(4), np.ones(4), penalty=Scaled(0.25), **ask).certificate(np.zeros(4))["gap"]
    assert gap == pytest.approx(0.125)


def lasso_of_classes(l2=0.0, free=0):
    rows = np.column_stack([ROWS, np.ones(30)]) if free else ROWS
    given = FiniteSum(rows, CLASSES, l2=l2, loss=Softmax(3), penalty=L1(0.02), free=free)
    x = given.zero()
    for _ in range(3000):
        x = given.prox(x - given.gradient(x)[0] / 2, 0.5)
    return given, x


@pytest.mark.parametrize("free", [0, 1])
def test_gap_of_a_lasso_of_classes(free):
    given, best = lasso_of_classes(free=free)
    least = given.certificate(best)
    assert least["gap"] < 1e-6
    for scale in (0.0, 0.5, 2.0):
        proof = given.certificate(scale * best)
        assert proof["objective"] - least["objective"] - 1e-6 <= proof["gap"] < np.inf


def test_simplex_with_little_l2():
    given = FiniteSum(ROWS, SIGNS, l2=1e-9, penalty=Simplex(0.3))
    assert given.certificate(np.full(4, 0.075))["gap"] < 10


# ------------------------------------------------------------------------------------------------------------ intercept


@pytest.mark.parametrize("weight", [1e-13, 1.0, 1e13])
def test_an_intercept_with_small_weights(weight):
    given = FiniteSum(np.ones((4, 1)), [-1, -1, -1, 1], l2=1.0, free=1, weights=np.full(4, weight))
    best, start = np.array([np.log(1 / 3)]), np.zeros(1)
    true = given.certificate(start)["objective"] - given.certificate(best)["objective"]
    assert given.certificate(start)["gap"] >= true * (1 - 1e-9) > 0
    assert given.certificate(best)["gap"] <= 1e-12 * weight


def test_dual_variables_that_prove_nothing_do_not_hide_those_that_do():
    given = FiniteSum(np.column_stack([ROWS, np.ones(30)]), SIGNS, l2=0.1, loss="hinge", free=1)
    plain = given.certificate(np.zeros(5))["gap"]
    given.propose(-0.5 * SIGNS * (SIGNS > 0))  # their sum is not 0: infeasible
    assert given.certificate(np.zeros(5))["gap"] == plain < np.inf


# --------------------------------------------------------------------------------------------------------- book-keeping


def test_a_gradient_is_the_callers_own():
    given = FiniteSum(ROWS, SIGNS, l2=0.1)
    before = given.certificate(np.ones(4))
    for spoil in (np.zeros_like, np.negative, lambda g: g + 1e-9):
        own, _ = given.gradient(np.ones(4))
        own[:] = spoil(own)
        assert given.certificate(np.ones(4)) == before


def test_looks_do_not_change_the_bill():
    given = FiniteSum(ROWS, SIGNS, l2=0.1)
    meter = Meter(1000)
    given.metered(meter)
    given.certificate(np.ones(4))
    given.value(np.ones(4))
    assert meter.spent == 30
    given.value(np.ones(4))
    given.certificate(np.zeros(4))
    assert meter.spent == 30
    given.gradient(np.zeros(4))
    given.value(np.zeros(4))
    assert meter.spent == 60


# -------------------------------------------------------------------------------------------------------------- softmax


@pytest.mark.parametrize("weights", [None, RNG.random(30) * (np.arange(30) > 3)])
def test_hessian_of_softmax(weights):
    given = FiniteSum(ROWS, CLASSES, l2=0.1, loss=Softmax(3), weights=weights)
    x, v = RNG.normal(size=(2, 4, 3))
    numeric = approx_fprime(0.0, lambda t: (given.gradient(x + t * v)[0] + 0.1 * (x + t * v)).ravel(), 1e-6)
    np.testing.assert_allclose(given.hessian(given.curvature(x), v).ravel(), numeric[:, 0], atol=1e-6)
    assert given.counts["products"] == given.n


def test_linear_part_of_softmax():
    linear = 0.05 * RNG.normal(size=(4, 3))
    given = FiniteSum(ROWS, CLASSES, l2=0.1, loss=Softmax(3), linear=linear)
    found = minimize(lambda x: given.value(x.reshape(4, 3)), np.zeros(12), method="BFGS", tol=1e-7)
    assert given.certificate(found.x.reshape(4, 3))["gradient"] < 1e-5
    assert given.certificate(found.x.reshape(4, 3))["gap"] < 1e-8


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": abs(SIGNS), "l2": 0.0}, "no row is labelled -1, so that logistic without l2 has no minimum; give"),
        ({"labels": CLASSES, "l2": 0.0, "loss": Softmax(4)}, "no row is labelled 3, so that softmax without l2"),
        ({"labels": ["yes"] * 30}, "labels are no numbers: .*yes.*; number the classes"),
        ({"rows": np.ma.masked_invalid(ROWS)}, "rows are a masked array"),
        ({"labels": CLASSES, "loss": Softmax(3), "penalty": Simplex()}, "a simplex is for one vector, and x has the"),
        ({"penalty": NuclearBall(1.0, rows=3)}, r"x has the shape \(4,\), and no matrix of 3 rows has so many entries"),
        ({"linear": [1.0, 2.0]}, r"linear has the shape \(2,\), and x the shape \(4,\); make them alike"),
        ({"labels": 3 * SIGNS, "loss": "signed"}, r"labels\[0\] is .*3; signed takes numbers from -1 to 1"),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_line(fields, words):
    fields = {"rows": ROWS, "labels": SIGNS, "l2": 0.1} | fields
    with pytest.raises(SpecError, match=words) as refusal:
        FiniteSum(fields.pop("rows"), fields.pop("labels"), **fields)
    assert "\n" not in str(refusal.value)


def test_one_class_is_a_problem_where_l2_holds_it_back():
    assert FiniteSum(ROWS, abs(SIGNS), l2=0.1).certificate(np.zeros(4))["gap"] < 10
    assert FiniteSum(ROWS, abs(SIGNS), l2=0.0, loss="hinge").n == 30  # its minimum is attained
