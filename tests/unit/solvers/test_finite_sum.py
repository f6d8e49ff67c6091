"""SVRG and Katyusha against slow references with the same indices, and what they charge."""

import numpy as np
import pytest

from airtrack.core.given import FiniteSum
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.convex.katyusha import Katyusha
from airtrack.solvers.convex.svrg import Svrg
from airtrack.tasks.logistic import Logistic

STREAMS = Streams(4)
TASK = Logistic(n=30, d=5, kappa=900.0)


def components(given):
    rows, labels = given.rows, given.labels

    def gradient(x, i):  # of φ alone
        return -labels[i] / (1 + np.exp(labels[i] * (rows[i] @ x))) * rows[i]

    def full(x):
        return sum(gradient(x, i) for i in range(given.n)) / given.n

    return gradient, full


def epochs(given, budget, steps):
    """The indices of each epoch; the last one takes what is left of the budget."""
    number = 0
    while budget >= given.n + 1:
        budget -= given.n
        count = steps if budget >= steps + given.n + 1 else budget
        yield (STREAMS / "recipe" / "indices").rng(number).integers(0, given.n, count)
        budget -= count
        number += 1


def svrg(given, budget, params, step):
    gradient, full = components(given)
    eta = step * (4 / 7 if params == "theory" else 4)
    x = snapshot = np.zeros(given.d)
    for order in epochs(given, budget, 2 * given.n):
        mu, iterates = full(snapshot), []
        for i in order:
            x = (x - eta * (gradient(x, i) - gradient(snapshot, i) + mu)) / (1 + eta * given.l2)
            iterates.append(x)
        snapshot = np.mean(iterates, 0) if params == "theory" else x
    return snapshot


def katyusha(given, budget, params, step):
    gradient, full = components(given)
    m = (2 if params == "theory" else 1) * given.n
    L, sigma = 0.25 / step, given.l2
    tau1, tau2 = min(np.sqrt(m * sigma / (3 * L)), 0.5), 0.5
    alpha = 1 / (3 * tau1 * L)
    y = z = snapshot = np.zeros(given.d)
    for order in epochs(given, budget, m):
        mu, iterates = full(snapshot), []
        for i in order:
            x = tau1 * z + tau2 * snapshot + (1 - tau1 - tau2) * y
            g = mu + gradient(x, i) - gradient(snapshot, i)
            moved = (z - alpha * g) / (1 + alpha * sigma)  # argmin ‖z' − z‖²/2α + ⟨g, z'⟩ + σ‖z'‖²/2
            y, z = x + tau1 * (moved - z), moved
            iterates.append(y)
        weights = (1 + alpha * sigma) ** np.arange(len(order))
        snapshot = weights @ iterates / weights.sum() if params == "theory" else y
    return snapshot


@pytest.mark.parametrize("params", ["theory", "practical"])
@pytest.mark.parametrize("step", [1.0, 0.3])
@pytest.mark.parametrize("budget", [31, 90, 500, 1013])
@pytest.mark.parametrize(("solver", "reference"), [(Svrg, svrg), (Katyusha, katyusha)])
def test_equals_the_slow_reference(solver, reference, budget, step, params):
    given, _ = TASK.pose(STREAMS / "task")
    slow = reference(given, budget, params, step)
    meter = Meter(budget)
    given.metered(meter)
    fast = solver(params=params, step=step).answer(given, meter, STREAMS / "recipe")
    assert abs(fast - slow).max() <= 1e-12 * max(abs(slow).max(), 1)
    assert meter.spent == budget


@pytest.mark.parametrize(("solver", "passes"), [(Svrg(), 3), (Katyusha(), 3), (Katyusha(params="practical"), 2)])
def test_an_epoch_costs_what_the_theory_counts(solver, passes):
    given, judge = TASK.pose(STREAMS / "task")
    meter = Meter(10 * passes * given.n, look=judge, schedule=[1 + i * given.n for i in range(10 * passes)])
    given.metered(meter)
    solver.answer(given, meter, STREAMS / "recipe")
    epochs = [passes * given.n * i + given.n for i in range(10)]  # a look at every snapshot, and one at the end
    assert [work for work, _ in meter.curve] == [*epochs, 10 * passes * given.n]
    assert meter.spent == meter.budget


@pytest.mark.parametrize("solver", [Svrg, Katyusha])
@pytest.mark.parametrize("params", ["theory", "practical"])
def test_finds_the_optimum_to_rounding(solver, params):
    given, judge = Logistic(n=100, d=5, kappa=1e3).pose(STREAMS / "task")
    meter = Meter(400 * given.n)
    given.metered(meter)
    assert judge(solver(params=params).answer(given, meter, STREAMS / "recipe"))["gap"] < 1e-13


@pytest.mark.parametrize("solver", [Svrg, Katyusha])
def test_no_budget_for_an_epoch_leaves_the_start(solver):
    given, judge = TASK.pose(STREAMS / "task")
    meter = Meter(given.n)
    given.metered(meter)
    assert judge(solver().answer(given, meter, STREAMS / "recipe"))["gap"] == 1
    assert meter.spent == 0


def test_a_step_too_large_is_a_result():
    rows = STREAMS.rng().standard_normal((30, 5))
    given = FiniteSum(rows, rows[:, 0], l2=1e-3, loss="squared")
    given.metered(Meter(200_000))
    with pytest.raises(Diverged, match="svrg left the finite numbers in epoch"):
        Svrg(step=1e3).answer(given, given._meter, STREAMS / "recipe")


@pytest.mark.parametrize("solver", [Svrg, Katyusha])
@pytest.mark.parametrize("fields", [{"step": 0.0}, {"step": -1.0}, {"params": "theoretical"}, {"step": "big"}])
def test_bad_fields_are_refused(solver, fields):
    with pytest.raises(SpecError):
        solver(**fields)


def test_another_loss_is_refused():
    given = FiniteSum(np.eye(3), np.ones(3), l2=0.1, loss="hinge")
    for solver in (Svrg(), Katyusha()):
        with pytest.raises(SpecError, match="Hinge has a corner; use its smoothed form"):
            solver.answer(given, Meter(100), STREAMS)
