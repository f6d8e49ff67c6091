"""A certificate's gap is never below the true one, and closes at the optimum."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from airtrack.core.given import Blocks, FiniteSum
from airtrack.core.losses import Huber, SmoothedHinge, Softmax
from airtrack.core.penalties import L1, Box, Nothing, NuclearBall, Simplex

N, D = 60, 9
LOSSES = ["logistic", "squared", "hinge", "squared_hinge", SmoothedHinge(0.5), Huber(0.7)]
PENALTIES = [Nothing(), L1(0.03), Box(-0.2, 0.1), Box(0.0, np.inf), Simplex(1.5), NuclearBall(0.5, 3)]
smooth = [loss for loss in LOSSES if loss != "hinge"]


def problem(loss, penalty=None, l2=0.02, seed=0, intercept=False, **options):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(N, D)) * np.geomspace(1, 0.1, D)
    noisy = rows @ rng.normal(size=D) + rng.normal(size=N) + 0.7
    labels = noisy if loss == "squared" or isinstance(loss, Huber) else np.where(noisy > 0, 1.0, -1.0)
    rows = np.column_stack([rows, np.ones(N)]) if intercept else rows
    options |= {"weights": rng.random(N) * 3} if seed % 2 else {}
    return FiniteSum(rows, labels, l2=l2, loss=loss, penalty=penalty, free=int(intercept), **options)


def descend(given, steps=1500):
    """Accelerated proximal gradient steps with restarts, slow and plain."""
    rows, n = given.rows, given.n
    size = np.linalg.eigvalsh(rows.T @ (rows * given.weights[:, None]) / n)[-1] * given.loss.bounds[1] + given.l2
    x = y = given.prox(given.zero(), 1.0)
    t = 1.0
    for _ in range(steps):
        g = given.gradient(y)[0] + given.ridge * y
        new, later = given.prox(y - g / size, 1 / size, ridge=False), (1 + np.sqrt(1 + 4 * t * t)) / 2
        if ((y - new) * (new - x)).sum() > 0:
            t = later = 1.0
        x, y, t = new, new + (t - 1) / later * (new - x), later
    return x


def near(given, x, count=30):
    """Feasible points, from far to near."""
    rng = np.random.default_rng(5)
    for size in np.geomspace(3, 1e-7, count):
        moved = x + size * rng.normal(size=x.shape)
        yield given.prox(moved, 1e-12, ridge=False)


@pytest.mark.parametrize("loss", smooth, ids=str)
@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("l2", [0.02, 0.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_gap_bounds_the_truth_and_closes(loss, penalty, l2, seed):
    given = problem(loss, penalty, l2, seed)
    best = descend(given)
    end = given.certificate(best)
    known = l2 > 0 or not isinstance(penalty, Nothing)
    tight = known and not (l2 == 0 and penalty == Box(0.0, np.inf))  # there the dual is feasible at the optimum only
    assert end["gap"] < 1e-10 if tight else end["gap"] > 1e-10 or end["gap"] == 0
    assert end["gradient"] < 1e-7
    for x in near(given, best):
        now = given.certificate(x)
        assert now["gap"] >= now["objective"] - end["objective"] - 1e-14


@pytest.mark.parametrize("loss", smooth, ids=str)
@pytest.mark.parametrize("penalty", [Nothing(), L1(0.03), Box(-0.2, 0.1), Box(0.05, np.inf)], ids=repr)
@pytest.mark.parametrize("l2", [0.02, 0.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_with_an_intercept(loss, penalty, l2, seed):
    given = problem(loss, penalty, l2, seed, intercept=True)
    best = descend(given)
    end = given.certificate(best)
    if l2 > 0 or isinstance(penalty, L1) or penalty == Box(-0.2, 0.1):
        assert end["gap"] < 1e-10
    assert end["gradient"] < 1e-7
    for x in near(given, best):
        now = given.certificate(x)
        assert now["gap"] >= now["objective"] - end["objective"] - 1e-14
        assert abs(now["gradient"]) >= end["gradient"] - 1e-12


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("penalty", [Nothing(), L1(0.03)], ids=repr)
def test_with_corners_the_gap_is_valid(penalty, intercept):
    """The slopes at a corner are arbitrary, so that the gap need not close; it may not be too small."""
    given = problem("hinge", penalty, intercept=intercept)
    rounded = problem(SmoothedHinge(0.01), penalty, intercept=intercept)
    best = descend(rounded)
    least = given.certificate(best)["objective"]
    for x in near(given, best):
        now = given.certificate(x)
        assert now["gap"] >= now["objective"] - least - 1e-14


@pytest.mark.parametrize("l2", [0.02, 0.0])
def test_a_linear_term(l2):
    given = problem("squared", L1(0.3), l2, linear=np.linspace(-0.2, 0.2, D))
    best = descend(given)
    end = given.certificate(best)
    for x in near(given, best):
        now = given.certificate(x)
        assert now["gap"] >= now["objective"] - end["objective"] - 1e-14
    if l2 > 0:
        assert end["gap"] < 1e-10


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("penalty", [Nothing(), L1(0.01)], ids=repr)
@pytest.mark.parametrize("seed", [0, 1])
def test_many_classes(intercept, penalty, seed):
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.normal(size=(N, 4)), np.full(N, 2.0)]) if intercept else rng.normal(size=(N, 4))
    weights = rng.random(N) if seed else None
    options = {"l2": 0.05, "loss": Softmax(3), "penalty": penalty, "free": int(intercept), "weights": weights}
    given = FiniteSum(rows, np.arange(N) % 7 % 3, **options)
    best = descend(given)
    end = given.certificate(best)
    assert end["gap"] < 1e-12
    for x in near(given, best):
        now = given.certificate(x)
        assert now["objective"] - end["objective"] - 1e-14 <= now["gap"] < np.inf


def test_where_nothing_is_known_the_gap_is_infinite():
    assert problem("bowl", l2=0.0).certificate(np.ones(D))["gap"] == np.inf
    assert problem("logistic", l2=0.0).certificate(np.ones(D))["gap"] == np.inf
    assert problem("logistic", l2=0.0, intercept=True).certificate(np.ones(D + 1))["gap"] == np.inf
    empty = FiniteSum(np.ones((4, 3)), [0, 1, 1, 0], l2=0.1, loss=Softmax(3), free=1)
    assert empty.certificate(np.ones((3, 3)))["gap"] == np.inf
    varying = FiniteSum(np.eye(3), [0, 1, 2], l2=0.1, loss=Softmax(3), free=1)
    assert varying.certificate(np.arange(9.0).reshape(3, 3))["gap"] == np.inf
    two = FiniteSum(np.ones((4, 3)) * np.arange(4.0)[:, None], [1, -1, 1, 1], l2=0.1, free=2)
    assert two.certificate(np.ones(3))["gap"] == np.inf


def test_it_is_free_and_costs_a_pass_only_where_nobody_looked():
    given = problem("logistic")
    x = np.ones(D)
    given.gradient(x)
    asked = dict(given.counts)
    given.certificate(x)
    given.value(x)
    assert dict(given.counts) == asked
    given.value(2 * x)
    assert given.counts["values"] == N


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("penalty", [Nothing(), L1(0.03)], ids=repr)
@pytest.mark.parametrize("l2", [0.02, 0.0])
def test_whatever_holds_the_rows(intercept, penalty, l2):
    given = problem("logistic", penalty, l2, seed=1, intercept=intercept)
    x = np.random.default_rng(2).normal(size=given.d)
    options = {"l2": l2, "penalty": penalty, "weights": given.weights, "free": int(intercept)}
    expected = given.certificate(x)
    rows = np.array(given.rows)
    split = Blocks(lambda i: rows[7 * i : 7 * i + 7], rows.shape, 7)
    for held in (csr_matrix(rows), split):
        found = FiniteSum(held, given.labels, **options).certificate(x)
        np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-12)
