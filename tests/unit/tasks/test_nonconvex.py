"""Tasks that are not convex: closed forms against dense ones, and minima that are minima."""

import numpy as np
import pytest

from airtrack.core import losses
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.convex.flat_quadratic import FlatQuadratic
from airtrack.tasks.nonconvex.robust_regression import RobustRegression
from airtrack.tasks.nonconvex.saddle import Saddle
from airtrack.tasks.nonconvex.sigmoid_sum import SigmoidSum
from airtrack.tasks.nonconvex.stationary import Sum

STREAMS = Streams(3)


def dense(given):
    """(value, gradient, Hessian) of a sum, by loops over its components."""

    def at(x):
        value, gradient, hessian = given.l2 / 2 * x @ x, given.l2 * x, given.l2 * np.eye(given.d)
        for a, b in zip(given.rows, given.labels):
            u = a @ x
            value = value + given.loss.value(u, b) / given.n
            gradient = gradient + given.loss.slope(u, b) * a / given.n
            hessian = hessian + given.loss.curve(u, b) * np.outer(a, a) / given.n
        return value, gradient, hessian

    return at


@pytest.mark.parametrize("loss", [losses.Well(), losses.Well(0.5), losses.Bowl(), losses.Sigmoid(), losses.Logistic()])
def test_bounds_of_the_derivatives_are_tight(loss):
    u, step = np.linspace(-4, 4, 80_001), 1e-4
    for b in (1.0, -1.0):
        slopes, curves = loss.slope(u, b), loss.curve(u, b)
        centre = (loss.value(u + step, b) - loss.value(u - step, b)) / (2 * step)
        assert abs(slopes - centre).max() < 1e-6
        assert abs((loss.slope(u + step, b) - loss.slope(u - step, b)) / (2 * step) - curves).max() < 1e-3
        assert loss.bounds[0] <= curves.min() + 1e-9
        assert curves.max() <= loss.bounds[1] + 1e-9
        assert np.abs(np.diff(curves)).max() / step == pytest.approx(loss.third, rel=1e-3)


@pytest.mark.parametrize("negatives", [1, 3])
def test_the_closed_forms_of_the_saddle_are_those_of_its_sum(negatives):
    task = Saddle(d=6, copies=4, negatives=negatives, noise=0.3)
    given, judge = task.pose(STREAMS / "task")
    at, zero = dense(given), np.zeros(6)
    minimum = judge.truth["minimum"]
    at_zero, at_minimum = at(zero)[0], at(minimum)[0]
    assert np.allclose(np.linalg.eigvalsh(at(zero)[2]), np.sort(task.spectrum), atol=1e-12)
    assert np.linalg.norm(at(zero)[1]) < 1e-15
    rng = STREAMS.rng()
    for size in (1e-3, 0.03, 0.1, 0.3, 2.0):
        x = size * rng.standard_normal(6)
        value, gradient, hessian = at(x)
        readings = judge(x)
        assert readings["gap"] == pytest.approx(min((value - at_minimum) / (at_zero - at_minimum), 1), rel=1e-8)
        assert readings["gradient"] == pytest.approx(np.linalg.norm(gradient), rel=1e-9)
        least = np.linalg.eigvalsh(hessian)[0] / task.delta
        assert readings["curvature"] == pytest.approx(np.clip(least, -1, 2), rel=1e-9)


def test_the_valleys_are_minima_and_all_alike():
    given, judge = Saddle(d=6, copies=4, negatives=2).pose(STREAMS / "task")
    at, minimum = dense(given), judge.truth["minimum"]
    assert np.linalg.norm(at(minimum)[1]) < 1e-15
    assert np.linalg.eigvalsh(at(minimum)[2])[0] == pytest.approx(0.2)
    _, vectors = np.linalg.eigh(at(np.zeros(6))[2])
    down = vectors[:, :2]  # the sum is symmetric in both axes, whichever basis of their plane is found: move by halves
    other = minimum - 2 * down @ (down.T @ minimum)
    assert judge(other) == pytest.approx(judge(minimum), abs=1e-12)
    assert judge(other)["gap"] < 1e-14


def test_components_disagree_at_the_saddle_only_with_noise():
    for noise, expected in ((0.0, 0.0), (0.4, 0.4)):
        given, _ = Saddle(d=10, copies=100, noise=noise).pose(STREAMS / "task")
        slopes = given.gradient(np.zeros(10))[1]
        assert slopes.std() == pytest.approx(expected, rel=0.1)
        assert abs(slopes.mean()) < 1e-15


def test_a_flat_quadratic_has_its_spectrum_and_the_same_noise_in_all_directions():
    given, judge = FlatQuadratic(d=5, copies=4000, noise=0.3).pose(STREAMS / "task")
    at, best = dense(given), judge.truth["optimum"]
    hessian = given.rows.T @ given.rows / given.n
    sizes = np.sort([1.0, *np.geomspace(1e-2, 1e-4, 4)])
    assert np.allclose(np.linalg.eigvalsh(hessian), sizes, rtol=1e-9)
    single = given.rows * given.loss.slope(given.rows @ best, given.labels)[:, None]
    assert np.linalg.norm(single.mean(0)) < 1e-14
    assert np.allclose(np.linalg.eigvalsh(single.T @ single / given.n), 0.3**2 / 5, rtol=0.1)
    x = STREAMS.rng().standard_normal(5)
    assert judge(x)["gradient"] == pytest.approx(np.linalg.norm(hessian @ (x - best)), rel=1e-9)
    x = best + 0.1 * x
    least, value, start = at(best)[0], at(x)[0], at(np.zeros(5))[0]
    assert judge(x)["gap"] == pytest.approx((value - least) / (start - least), rel=1e-9)


def test_the_start_is_where_it_is_said_to_be():
    given, judge = Saddle(offset=1e-3).pose(STREAMS / "task")
    assert np.linalg.norm(given.start) == pytest.approx(1e-3)
    assert judge(given.zero())["gap"] > 0.99


@pytest.mark.parametrize("outliers", [0.0, 0.3])
def test_the_known_minimum_of_robust_regression_is_one(outliers):
    given, judge = RobustRegression(n=300, d=5, outliers=outliers).pose(STREAMS / "task")
    _, gradient, hessian = dense(given)(judge.truth["minimum"])
    assert np.linalg.norm(gradient) < 1e-13
    assert np.linalg.eigvalsh(hessian)[0] > 0.1
    near = dense(given)(judge.truth["minimum"] + 1e-3)[0]
    assert near > dense(given)(judge.truth["minimum"])[0]


def test_lies_hardly_move_the_known_minimum():
    honest, lied = (
        RobustRegression(n=4000, d=5, outliers=o).pose(STREAMS / "task")[1].truth["minimum"] for o in (0.0, 0.3)
    )
    assert np.linalg.norm(honest - lied) < 0.02


def test_readings_of_a_sum_are_those_of_its_loops():
    given, judge = SigmoidSum(n=50, d=4, l2=0.01).pose(STREAMS / "task")
    for size in (0.1, 3.0):
        x = size * STREAMS.rng().standard_normal(4)
        _, gradient, hessian = dense(given)(x)
        readings = judge(x)
        assert readings["gradient"] == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
        top = 3**0.5 / 18 + 0.01
        assert readings["curvature"] == pytest.approx(np.linalg.eigvalsh(hessian)[0] / top, rel=1e-9)


def test_no_eigenvalue_passes_the_bound():
    sum_ = Sum(STREAMS.rng().standard_normal((40, 4)), np.zeros(40), losses.Bowl())
    assert np.abs(np.linalg.eigvalsh(sum_.hessian(np.zeros(4)))).max() <= sum_.size


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"copies": 5}, "5 is odd, and labels come in pairs; take 6"),
        ({"d": 3, "negatives": 3}, "0 is no saddle"),
        ({"delta": 0.5}, "delta"),
        ({"offset": -1.0}, "offset"),
    ],
)
def test_bad_saddles_are_refused(fields, said):
    with pytest.raises(SpecError, match=said):
        Saddle(**fields)
