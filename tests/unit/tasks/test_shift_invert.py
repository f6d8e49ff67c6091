"""Shift-and-invert against a linear solve, and the support vector machine as a sum against the one that lingers."""

import numpy as np
import pytest

from airtrack.core.meter import Meter
from airtrack.core.streams import Streams
from airtrack.solvers.convex.sdca import Sdca
from airtrack.tasks.convex.hinge_svm import HingeSvm
from airtrack.tasks.convex.shift_invert import ShiftInvert
from airtrack.tasks.convex.svm import Svm

STREAMS = Streams(2) / "task"
TASKS = [ShiftInvert(n=60, d=4, gap=0.3), ShiftInvert(), ShiftInvert(n=30, d=40, gap=1e-5), ShiftInvert(n=9, d=1)]


def quadratic(given):
    """(λI − C, b)"""
    covariance = given.rows.T @ given.rows / given.n
    return given.l2 * np.eye(given.d) - covariance, -given.linear


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_the_optimum_is_that_of_the_linear_system(task):
    given, judge = task.pose(STREAMS)
    matrix, b = quadratic(given)
    best = np.linalg.solve(matrix, b)
    np.testing.assert_allclose(judge.truth["optimum"], best, rtol=1e-9 / task.gap, atol=1e-12 / task.gap)
    sizes = np.linalg.eigvalsh(matrix)
    top = given.l2 - sizes[0]
    assert sizes[0] == pytest.approx(task.gap * top, rel=1e-6)
    assert given.convexity == pytest.approx(sizes[0], rel=1e-6)
    assert given.l2 == pytest.approx((1 + task.gap) * top)
    assert np.linalg.norm(given.gradient(judge.truth["optimum"])[0] + given.l2 * judge.truth["optimum"]) < 1e-10


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_metrics_are_what_they_say(task):
    given, judge = task.pose(STREAMS)
    matrix, b = quadratic(given)
    best = judge.truth["optimum"]

    def value(x):
        return x @ matrix @ x / 2 - b @ x

    for x in np.random.default_rng(0).normal(size=(5, task.d)) * np.linalg.norm(best):
        gap = (value(x) - value(best)) / (value(0 * x) - value(best))
        cosine = (x @ best) / np.linalg.norm(x) / np.linalg.norm(best)
        found = judge(x)
        assert found["gap"] == pytest.approx(min(gap, 1.0), rel=1e-6)
        assert found["angle"] == pytest.approx(1 - cosine**2, rel=1e-6, abs=1e-15)
    assert judge(0 * best) == {"gap": pytest.approx(1), "angle": 1.0}


def test_the_sum_is_convex_and_its_components_are_not():
    given, _ = TASKS[0].pose(STREAMS)
    for row in given.rows:
        own = np.linalg.eigvalsh(given.l2 * np.eye(4) - np.outer(row, row))
        assert own[0] == pytest.approx(given.l2 - 1)
        assert own[0] < 0
    assert np.linalg.eigvalsh(quadratic(given)[0])[0] > 0
    assert given.loss.bounds[0] < 0 < given.convexity


def test_the_certificate_bounds_the_gap():
    given, judge = TASKS[0].pose(STREAMS)
    scale = given.certificate(np.zeros(4))["objective"] - given.certificate(judge.truth["optimum"])["objective"]
    for x in np.random.default_rng(1).normal(size=(20, 4)):
        missed = given.certificate(x)["objective"] - given.certificate(judge.truth["optimum"])["objective"]
        assert scale * 1e-12 < missed <= given.certificate(x)["gap"]


def test_the_machine_is_the_one_that_lingers():
    fields = {"n": 80, "d": 5, "l2": 0.02}
    (given, judge), same = Svm(**fields).pose(STREAMS), HingeSvm(**fields).pose(STREAMS).judge
    best = judge.truth["optimum"]
    assert (best == same.truth["optimum"]).all()
    for x in (0.3 * best, -best, best + 0.01):
        assert judge(x) == same(x)
        full, _ = given.gradient(x)
        missing = np.maximum(0, 1 - given.labels * (given.rows @ x))
        assert given.certificate(x)["objective"] == pytest.approx(missing.mean() + 0.01 * x @ x)
        np.testing.assert_allclose(full, -(given.rows * given.labels[:, None])[missing > 0].sum(0) / 80)
    given.metered(Meter(2000 * 80))
    x = Sdca().answer(given, given._meter, Streams(0))
    assert judge(x)["gap"] < 1e-8
