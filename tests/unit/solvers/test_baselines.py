"""SAGA, SAG, Newton's methods, conjugate gradients and L-BFGS against slow references and exact optima."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from airtrack.core.given import Blocks, FiniteSum
from airtrack.core.losses import Logistic, Softmax
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.penalties import L1, Box
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.convex.lbfgs import Lbfgs
from airtrack.solvers.convex.newton_cg import NewtonCg
from airtrack.solvers.convex.newton_cholesky import NewtonCholesky
from airtrack.solvers.convex.pcg import Pcg
from airtrack.solvers.convex.sag import Sag
from airtrack.solvers.convex.saga import Saga

STREAMS = Streams(6) / "recipe"
N, D, L2 = 30, 5, 0.05
RNG = np.random.default_rng(1)
ROWS = RNG.normal(size=(N, D)) * np.exp(0.5 * RNG.normal(size=(N, 1))) * (RNG.random((N, D)) < 0.7)
SIGNS, WEIGHTS, TILT = np.sign(RNG.normal(size=N)), RNG.uniform(0.2, 3, N), 0.3 * RNG.normal(size=D)


def run(solver, given, budget):
    meter = Meter(budget)
    given.metered(meter)
    x = solver.answer(given, meter, STREAMS)
    given.metered(Meter(np.inf))
    return x


def sums(sparse=False, **changes):
    fields = {"l2": L2, "weights": WEIGHTS, "linear": TILT, "loss": "logistic"} | changes
    rows = ROWS if "free" not in fields else np.c_[ROWS[:, :-1], np.ones(N)]
    return FiniteSum(csr_matrix(rows) if sparse else rows, SIGNS, **fields)


def slow(given, boost, eta, budget):
    rows = given.rows if not given.sparse else csr_matrix(tuple(given.rows), shape=(given.n, given.d)).toarray()
    ridge, prox = given.ridge * np.ones(D), given.penalty.prox
    head = D - given.free

    def change(x, s, i):
        return WEIGHTS[i] * (Logistic().slope(rows[i] @ x, SIGNS[i]) - s) * rows[i]

    x = np.zeros(D)
    slopes = Logistic().slope(rows @ x, SIGNS)
    mean, number, budget = (WEIGHTS * slopes) @ rows / N + TILT, 0, budget - N
    while budget > 0:
        for i in (STREAMS / "indices").rng(number).integers(0, N, min(N, budget)):
            move = change(x, slopes[i], i)
            slopes[i] = Logistic().slope(rows[i] @ x, SIGNS[i])
            x = (x - eta * (mean + boost * move)) / (1 + eta * ridge)
            x[:head] = prox(x[:head], eta / (1 + eta * L2))
            mean = mean + move / N
        number, budget = number + 1, budget - N
    return x


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("free", [0, 1])
@pytest.mark.parametrize("params", ["theory", "practical"])
@pytest.mark.parametrize(
    ("solver", "boost", "slowness"),
    [(Saga, 1, {"theory": 3, "practical": 2}), (Sag, 1 / N, {"theory": 16, "practical": 1})],
)
def test_remembered_slopes_equal_the_slow_reference(solver, boost, slowness, params, free, sparse):
    given = sums(sparse, free=free) if free else sums(sparse)
    eta = 0.7 / (slowness[params] * given.smoothness.max())
    found = run(solver(params=params, step=0.7), given, 5 * N + 11)
    np.testing.assert_allclose(found, slow(given, boost, eta, 5 * N + 11), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("penalty", [L1(0.1), Box(-0.1, 0.2)])
def test_saga_takes_a_penalty(penalty):
    given = sums(penalty=penalty)
    eta = 1 / (3 * given.smoothness.max())
    np.testing.assert_allclose(run(Saga(), given, 5 * N), slow(given, 1, eta, 5 * N), rtol=1e-10, atol=1e-12)
    assert given.certificate(run(Saga(), given, 2000 * N))["gradient"] < 1e-9


@pytest.mark.parametrize("solver", [Saga(), Sag()])
def test_weights_are_repeated_rows(solver):
    counts = np.random.default_rng(4).integers(0, 4, N)
    twice = FiniteSum(np.repeat(ROWS, counts, 0), np.repeat(SIGNS, counts), l2=L2)
    once = FiniteSum(ROWS, SIGNS, l2=L2, weights=counts * N / counts.sum())
    found = [run(solver, given, 3000 * N) for given in (twice, once)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-8)


@pytest.mark.parametrize("solver", [Saga(), Sag(params="practical")])
def test_mapped_rows_give_the_same(solver, tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    mapped = FiniteSum(Blocks.open(tmp_path / "rows.npy", room=7 * 8 * D), SIGNS, l2=L2)
    whole = FiniteSum(ROWS, SIGNS, l2=L2)
    np.testing.assert_allclose(run(solver, mapped, 5 * N), run(solver, whole, 5 * N), rtol=1e-12)


@pytest.mark.parametrize("solver", [Saga, Sag])
def test_a_step_too_large_is_a_result(solver):
    with pytest.raises(Diverged, match="left the finite numbers in epoch"):
        run(solver(step=1e4), sums(loss="squared"), 500 * N)


# -------------------------------------------------------------------------------------- second-order methods, and scipy


def exact(given):
    """The optimum by scipy's trust region, with dense derivatives."""
    rows = given.rows if not given.sparse else csr_matrix(tuple(given.rows), shape=(given.n, given.d)).toarray()
    ridge, loss = given.ridge * np.ones(D), given.loss

    def value(x):
        return (WEIGHTS * loss.value(rows @ x, SIGNS)).mean() + ridge @ x**2 / 2 + TILT @ x

    def gradient(x):
        return (WEIGHTS * loss.slope(rows @ x, SIGNS)) @ rows / N + ridge * x + TILT

    def hessian(x):
        return (rows.T * (WEIGHTS * loss.curve(rows @ x, SIGNS))) @ rows / N + np.diag(ridge)

    found = minimize(value, np.zeros(D), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-12})
    return found.x


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("solver", [NewtonCholesky(), NewtonCg(), Lbfgs()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("changes", [{}, {"free": 1}, {"loss": "squared"}, {"loss": "huber"}], ids=str)
def test_finds_the_optimum(solver, changes, sparse):
    given = sums(sparse, **changes)
    np.testing.assert_allclose(run(solver, given, 300 * N), exact(given), atol=1e-7)


def test_a_newton_step_costs_what_it_says():
    """And takes the factors of the one before, where that was good enough."""
    given, solver = sums(), NewtonCholesky()
    fresh, again = solver.step_cost(given), N + -(-D // 2)
    seen = []
    meter = Meter(N + fresh + again, look=lambda x: seen.append(x) or {}, schedule=list(range(1, 10 * N)))
    given.metered(meter)
    solver.answer(given, meter, STREAMS)
    assert [work for work, _ in meter.curve] == [N, N + fresh, N + fresh + again]
    first = sums()
    hessian = first.gram(first.curvature(np.zeros(D)))
    for before, after in pairwise(seen):
        slope = first.gradient(before)[0] + L2 * before
        np.testing.assert_allclose(after, before - np.linalg.solve(hessian, slope), rtol=1e-12)


def test_newton_takes_a_fresh_hessian_where_the_old_one_leads_astray():
    given = FiniteSum(ROWS * 30, SIGNS, l2=1e-3)
    meter = Meter(40 * N)
    given.metered(meter)
    NewtonCholesky().answer(given, meter, STREAMS)
    assert given.counts["grams"] > 4
    assert given.certificate(meter.latest)["gap"] < 1e-9


@pytest.mark.parametrize("solver", [NewtonCholesky(), NewtonCg()])
def test_the_first_length_may_be_too_long(solver):
    """Far out on the logistic loss a plain Newton step overshoots by far; halving makes it safe."""
    given = FiniteSum(np.eye(1), np.ones(1), l2=1e-6, start=np.array([-30.0]))
    x = run(solver, given, 200)
    assert given.certificate(x)["gradient"] < 1e-9


def test_a_hessian_of_lower_rank_is_factorised():
    rows = np.repeat(ROWS[:, :2], 2, 1)
    given = FiniteSum(rows, ROWS[:, 0], l2=0, loss="squared")
    assert given.certificate(run(NewtonCholesky(), given, 100 * N))["gradient"] < 1e-9


@pytest.mark.parametrize("precondition", ["diagonal", "none"])
def test_conjugate_gradients_are_those_of_the_textbook(precondition):
    given = sums(loss="squared")
    hessian = (ROWS.T * WEIGHTS) @ ROWS / N + L2 * np.eye(D)
    target = (ROWS.T * WEIGHTS) @ SIGNS / N - TILT
    scale = 1 / np.diag(hessian) if precondition == "diagonal" else np.ones(D)
    x, r = np.zeros(D), target.copy()
    p, before = scale * r, r @ (scale * r)
    for steps in range(1, 4):
        length = before / (p @ hessian @ p)
        x, r = x + length * p, r - length * hessian @ p
        p, before = scale * r + (r @ (scale * r)) / before * p, r @ (scale * r)
        paid = (steps + 1 + (precondition == "diagonal")) * N
        np.testing.assert_allclose(run(Pcg(precondition=precondition), given, paid), x, rtol=1e-10)
    found = run(Pcg(precondition=precondition), given, 60 * N)
    np.testing.assert_allclose(found, np.linalg.solve(hessian, target), rtol=1e-9)


def test_the_residual_is_computed_anew_without_losing_the_direction():
    """A spectrum that takes some hundred steps: a direction lost at every fiftieth of them would take many more."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 100)) * np.geomspace(1, 1e-2, 100)
    given = FiniteSum(rows, rng.normal(size=400), l2=1e-9, loss="squared")
    hessian, target = rows.T @ rows / 400 + 1e-9 * np.eye(100), rows.T @ given.labels / 400
    x, r, p = np.zeros(100), target, target
    for _ in range(250):
        length = (r @ r) / (p @ hessian @ p)
        before, x, r = r @ r, x + length * p, r - length * hessian @ p
        p = r + (r @ r) / before * p
    best = np.linalg.solve(hessian, target)
    found = run(Pcg(precondition="none"), given, 256 * 400)
    assert 1e-12 < np.linalg.norm(x - best) / np.linalg.norm(best) < 1e-3
    assert np.linalg.norm(found - best) < 2 * np.linalg.norm(x - best)


@pytest.mark.parametrize("changes", [{}, {"start": np.arange(1.0, D + 1), "linear": None}])
def test_conjugate_gradients_know_their_gap_at_every_step(changes):
    """So that `solve` looks, which costs a pass, when there is something to see."""
    given, told = sums(loss="squared", **changes), []

    def look(x):
        told.append((meter.spent, given.certificate(x)))
        return told[-1][1]

    class Listening(Meter):
        def offer(self, answer, guess=None):
            super().offer(answer)
            wanted = told[-1][1]
            np.testing.assert_allclose(guess["objective"], wanted["objective"], rtol=1e-12)
            np.testing.assert_allclose(guess["gap"], wanted["gap"], rtol=1e-6, atol=1e-14)

    meter = Listening(6 * N, look=look, schedule=list(range(N, 7 * N, N)))
    given.metered(meter)
    Pcg().answer(given, meter, STREAMS)
    assert len(told) == 5


def test_lbfgs_takes_a_box_and_softmax():
    boxed = sums(penalty=Box(-0.1, 0.2))
    assert boxed.certificate(run(Lbfgs(), boxed, 300 * N))["gradient"] < 1e-8
    classes = FiniteSum(ROWS, np.arange(N) % 3, l2=L2, loss=Softmax(3))
    x = run(Lbfgs(), classes, 300 * N)
    assert x.shape == (D, 3)
    assert classes.certificate(x)["gradient"] < 1e-7


@pytest.mark.parametrize(
    ("solver", "given", "words"),
    [
        (Saga(), FiniteSum(ROWS, SIGNS, l2=1, loss="hinge"), "saga needs smooth components"),
        (Saga(), FiniteSum(ROWS, SIGNS, l2=1, loss="bowl"), "saga needs convex components, Bowl has none"),
        (Sag(), FiniteSum(ROWS, SIGNS, l2=1, penalty=L1(0.1)), "sag takes no penalty, .* L1; use sdca"),
        (Lbfgs(), FiniteSum(ROWS, SIGNS, l2=1, penalty=L1(0.1)), "lbfgs takes l2 and a box.*L1; use sdca"),
        (Lbfgs(), FiniteSum(ROWS, SIGNS, l2=1, loss="hinge"), "Hinge has a corner"),
        (NewtonCg(), FiniteSum(ROWS, SIGNS, l2=1, loss="bowl"), "Bowl is not convex"),
        (NewtonCholesky(), FiniteSum(ROWS, SIGNS, l2=1, penalty=L1(0.1)), "takes l2 and no penalty"),
        (NewtonCholesky(), FiniteSum(csr_matrix((5, 30_000)), np.ones(5), l2=1), "holds d² numbers, and d is 30000"),
        (NewtonCholesky(), FiniteSum(ROWS, abs(SIGNS), l2=1, loss=Softmax(3)), "not softmax; use lbfgs"),
        (Pcg(), FiniteSum(ROWS, SIGNS, l2=1), "takes the loss squared without penalty, and this sum has Logistic"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(solver, given, words):
    with pytest.raises(SpecError, match=words) as refusal:
        run(solver, given, 1000)
    assert "\n" not in str(refusal.value)
    assert given.counts.total() == 0
