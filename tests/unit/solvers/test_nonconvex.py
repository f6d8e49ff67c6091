"""Solvers for sums that are not convex, against loops written from their equations, and their ways out of saddles."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from airtrack.core.given import FiniteSum
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build, name_of
from airtrack.core.penalties import L1, Simplex
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.nonconvex import curvature, landscape
from airtrack.solvers.nonconvex.cubic import krylov, minimiser, model
from airtrack.solvers.nonconvex.cubic_newton import CubicNewton
from airtrack.solvers.nonconvex.cubic_newton import dense as dense_hessian
from airtrack.solvers.nonconvex.fast_cubic import FastCubic
from airtrack.solvers.nonconvex.gd import Gd
from airtrack.solvers.nonconvex.natasha import Natasha
from airtrack.solvers.nonconvex.natasha2 import Natasha2
from airtrack.solvers.nonconvex.natasha15 import Natasha15, Plan, epoch
from airtrack.solvers.nonconvex.neon2 import Neon2
from airtrack.solvers.nonconvex.repeat_svrg import RepeatSvrg
from airtrack.solvers.nonconvex.sgd import Sgd
from airtrack.solvers.nonconvex.sgd3 import Sgd3
from airtrack.solvers.nonconvex.sgd5 import Sgd5
from airtrack.solvers.nonconvex.stochastic import Pulls, descend, halvings, stable
from airtrack.solvers.nonconvex.svrg_nc import SvrgNc
from airtrack.tasks.nonconvex.robust_regression import RobustRegression
from airtrack.tasks.nonconvex.saddle import Saddle
from airtrack.tasks.nonconvex.sigmoid_sum import SigmoidSum

STREAMS = Streams(5)
SADDLE = Saddle(d=5, copies=10, offset=0.0)


def posed(task, seed=5):
    return task.pose(Streams(seed) / "task")


def run(solver, task, passes, seed=5):
    given, judge = posed(task, seed)
    meter = Meter(int(passes * given.n))
    given.metered(meter)
    answer = solver.answer(given, meter, Streams(seed) / "recipe")
    assert meter.spent <= meter.budget
    return judge(answer), given, meter


def parts(given):
    """(∇fᵢ without l2, ∇f without l2, Hessian with it)."""

    def gradient(x, i):
        return given.weights[i] * given.loss.slope(given.rows[i] @ x, given.labels[i]) * given.rows[i]

    def full(x):
        return sum(gradient(x, i) for i in range(given.n)) / given.n

    def hessian(x):
        curves = given.weights * given.loss.curve(given.rows @ x, given.labels)
        return (given.rows.T * curves) @ given.rows / given.n + given.l2 * np.eye(given.d)

    return gradient, full, hessian


# ---------------------------------------------------------------------------------------------- against naive loops


def test_natasha_is_the_explicit_step_on_the_paper():
    given, _ = posed(SigmoidSum(n=20, d=3, l2=0.02))
    gradient, full, _ = parts(given)
    sigma, p, m = 0.03, 4, 5
    alpha = 1 / (2 * given.smoothness.max())
    x_hat = np.zeros(3)
    for k in range(3):
        order, snapshot = (STREAMS / "recipe" / "indices").rng(k), x_hat
        mu = full(snapshot)
        for _ in range(p):
            x = x_hat
            for i in order.integers(0, given.n, m):
                g = gradient(x, i) - gradient(snapshot, i) + mu + 2 * sigma * (x - x_hat)
                x = (x - alpha * g) / (1 + alpha * given.l2)  # the prox of l2
            x_hat = x
    meter = Meter(3 * 40)
    given.metered(meter)
    solver = Natasha(params="practical", sigma=sigma, pieces=p)
    assert abs(solver.answer(given, meter, STREAMS / "recipe") - x_hat).max() < 1e-13


def test_natasha_of_theory_stops_a_sub_epoch_at_its_random_iterate():
    given, _ = posed(SigmoidSum(n=20, d=3))
    gradient, full, _ = parts(given)
    sigma, p, m = 0.03, 2, 10
    alpha = 1 / (2 * max(sigma * m, given.smoothness.max()))
    x_hat, work = np.zeros(3), 0
    order, lengths = (STREAMS / "recipe" / "indices").rng(0), (STREAMS / "recipe" / "lengths").rng(0).integers(1, 11, 2)
    mu = full(x_hat)
    for length in lengths:
        x = x_hat
        for i in order.integers(0, given.n, length):
            g = gradient(x, i) - gradient(np.zeros(3), i) + mu + 2 * sigma * (x - x_hat)
            x = (x - alpha * g) / (1 + alpha * given.l2)
        x_hat = x
        work += length
    offered = []
    meter = Meter(200, look=lambda a: offered.append(a) or {}, schedule=[20 + work + 1])
    given.metered(meter)
    Natasha(params="theory", sigma=sigma, pieces=p).answer(given, meter, STREAMS / "recipe")
    assert abs(offered[0] - x_hat).max() < 1e-13  # the snapshot of the second epoch


@pytest.mark.parametrize("radius", [np.inf, 0.01])
def test_an_epoch_of_natasha15_is_that_of_its_equations(radius):
    given, _ = posed(SigmoidSum(n=30, d=3, l2=0.02))
    gradient, _, _ = parts(given)
    y, plan = np.array([0.3, -0.2, 0.1]), Plan(12, 3, 4, 0.7, 0.05, False, radius, 0.4)
    rng = (STREAMS / "indices").rng(2)
    ids = rng.choice(given.n, 12, replace=False)
    order = rng.integers(0, given.n, 12)
    mu = sum(gradient(y, i) for i in ids) / 12

    def fence(x):  # gradient of 0.4 max(0, ‖x − y‖ − radius)²
        away = np.linalg.norm(x - y)
        return 0.8 * max(away - radius, 0.0) * (x - y) / away if away > 0 else 0 * x

    x_hat = y
    for s in range(3):
        x = x_hat
        for i in order[4 * s : 4 * s + 4]:
            g = gradient(x, i) - gradient(y, i) + mu + 0.02 * x + 0.1 * (x - x_hat)
            x = x - 0.7 * (g + (fence(x) if np.isfinite(radius) else 0))
        x_hat = x
    got, norm = epoch(given, y, plan, STREAMS, 2)
    assert abs(got - x_hat).max() < 1e-14
    assert norm == pytest.approx(np.linalg.norm(mu + 0.02 * y))
    assert given.counts["gradients"] == 12 + 2 * 12
    step = 1e-6
    x = y + np.array([0.02, 0.01, -0.02])
    if np.isfinite(radius):  # and the fence's gradient is that of its value
        value = [0.4 * max(np.linalg.norm(x + e - y) - radius, 0) ** 2 for e in (step * np.eye(3)).tolist()]
        plain = 0.4 * max(np.linalg.norm(x - y) - radius, 0) ** 2
        assert np.allclose((np.array(value) - plain) / step, fence(x), atol=1e-5)


def test_stochastic_steps_minimise_the_sum_and_its_pulls():
    given, _ = posed(SigmoidSum(n=25, d=3, l2=0.01))
    gradient, _, _ = parts(given)
    pulls = Pulls(0.0, np.zeros(3)).joined(0.2, np.ones(3)).joined(0.3, np.array([0.0, 1.0, -1.0]))
    x, iterates = np.array([0.5, 0.0, 0.0]), []
    for i in STREAMS.rng(4).integers(0, 25, 40):
        pull = 0.5 * np.array([0.0, 0.0, 0.0]) - 0.2 * np.ones(3) - 0.3 * np.array([0.0, 1.0, -1.0])
        x = (x - 0.6 * (gradient(x, i) + pull)) / (1 + 0.6 * (0.01 + 0.5))
        iterates.append(x)
    start = np.array([0.5, 0.0, 0.0])
    assert np.allclose(descend(given, start, pulls, 0.6, 40, STREAMS.rng(4), False), x, atol=1e-14)
    assert np.allclose(descend(given, start, pulls, 0.6, 40, STREAMS.rng(4), True), np.mean(iterates, 0), atol=1e-14)


@pytest.mark.parametrize("steps", [1, 10, 777, 10_000])
@pytest.mark.parametrize("ratio", [1.0, 7.3, 1e5])
def test_runs_of_sgd_spend_their_share(steps, ratio):
    runs = halvings(steps, ratio)
    assert sum(count for _, count in runs) == steps
    alphas = [alpha for alpha, _ in runs]
    assert alphas[0] == 0.5
    assert alphas == sorted(alphas, reverse=True)


def test_sgd_is_plain_sgd():
    given, _ = posed(SigmoidSum(n=20, d=3))
    gradient, _, _ = parts(given)
    x, eta = np.zeros(3), 1 / given.smoothness.max()
    for stretch in range(2):
        for i in (STREAMS / "recipe" / "indices").rng(stretch).integers(0, 20, 200):
            x = (x - eta * gradient(x, i)) / (1 + eta * given.l2)
    meter = Meter(400)
    given.metered(meter)
    answer = Sgd(params="practical", schedule="constant").answer(given, meter, STREAMS / "recipe")
    assert abs(answer - x).max() < 1e-12


# -------------------------------------------------------------------------------------------------- the cubic model


def optimal(g, hessian, bend, h):
    """The conditions that only a global minimiser of the model meets (Nesterov, Polyak 2006)."""
    shift = bend * np.linalg.norm(h) / 2
    scale = np.abs(hessian).max() + np.sqrt(bend * np.linalg.norm(g)) + shift
    assert np.linalg.norm(hessian @ h + shift * h + g) <= 1e-9 * max(scale * np.linalg.norm(h), np.linalg.norm(g))
    assert np.linalg.eigvalsh(hessian)[0] + shift >= -1e-9 * scale


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [1.0, 1e-9, 1e6])
def test_the_cubic_model_is_minimised_globally(seed, size):
    rng = STREAMS.rng(seed)
    hessian = rng.standard_normal((6, 6))
    hessian, g, bend = hessian + hessian.T, size * rng.standard_normal(6), float(10.0 ** rng.uniform(-3, 3))
    optimal(g, hessian, bend, minimiser(g, hessian, bend))


def test_the_hard_case_is_met():
    hessian, g = np.diag([-1.0, 0.5, 2.0]), np.array([0.0, 0.3, -0.4])
    h = minimiser(g, hessian, 1.0)
    optimal(g, hessian, 1.0, h)
    assert abs(h[0]) > 1
    optimal(0 * g, hessian, 1.0, minimiser(0 * g, hessian, 1.0))
    assert not minimiser(0 * g, 0 * hessian, 1.0).any()
    assert not minimiser(0 * g, np.eye(3), 1.0).any()


def test_a_full_krylov_space_holds_the_minimiser():
    rng = STREAMS.rng()
    hessian = rng.standard_normal((6, 6))
    hessian, g = hessian + hessian.T, rng.standard_normal(6)
    products = []
    h, image = krylov(lambda v: products.append(1) or hessian @ v, g, rng.standard_normal(6), 1e-6, 50)
    assert len(products) <= 6
    assert np.allclose(image, hessian @ h)
    best = minimiser(g, hessian, 1e-6)
    assert model(g, image, h, 1e-6) <= 0.99 * model(g, hessian @ best, best, 1e-6)  # both negative


def test_a_dense_hessian_is_put_together_from_both_signs():
    given, _ = posed(RobustRegression(n=50, d=5))
    x = STREAMS.rng().standard_normal(5)
    assert np.allclose(dense_hessian(given, x), parts(given)[2](x), atol=1e-14)


def test_the_bound_of_the_change_of_the_hessian_holds():
    for task in (SigmoidSum(n=50, d=4), RobustRegression(n=50, d=4), SADDLE):
        given, _ = posed(task)
        rng, bound, hessian = STREAMS.rng(), landscape.twist(given, "test"), parts(given)[2]
        for _ in range(50):
            x = rng.standard_normal(given.d)
            y = x + 0.01 * rng.standard_normal(given.d)
            assert np.linalg.norm(hessian(x) - hessian(y), 2) <= bound * np.linalg.norm(x - y)


@pytest.mark.parametrize("task", [SADDLE, RobustRegression(n=100, d=4), SigmoidSum(n=100, d=4, l2=0.01)])
def test_the_measured_smoothness_holds_everywhere_and_is_no_waste(task):
    given, _ = posed(task)
    measured, rng = landscape.sharp(given, STREAMS), STREAMS.rng()
    points = [parts(given)[2](size * rng.standard_normal(given.d)) for size in (0.0, 0.1, 1.0, 10.0)]
    assert max(np.abs(np.linalg.eigvalsh(h)).max() for h in points) <= measured
    assert measured <= 1.3 * landscape.smooth(given)


# ------------------------------------------------------------------------------------------------ negative curvature


@pytest.mark.parametrize("search", ["det", "online", "svrg", "oja"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_direction_of_negative_curvature_is_found_where_there_is_one(search, seed):
    given, _ = posed(SADDLE, seed)
    size = landscape.sharp(given, Streams(seed))
    v = curvature.SEARCHES[search](given, given.start, 0.1, size, Streams(seed) / search)
    assert np.linalg.norm(v) == pytest.approx(1)
    assert v @ parts(given)[2](given.start) @ v <= -0.05


@pytest.mark.parametrize("search", ["det", "online", "svrg", "oja"])
def test_none_is_found_where_there_is_none(search):
    given, judge = posed(SADDLE)
    size = landscape.sharp(given, STREAMS)
    assert curvature.SEARCHES[search](given, judge.truth["minimum"], 0.1, size, STREAMS) is None


def test_gradients_alone_are_asked_for():
    for search in ("det", "online", "svrg"):
        given, _ = posed(SADDLE)
        meter = Meter(10_000_000)
        given.metered(meter)
        curvature.SEARCHES[search](given, given.start, 0.1, 4.0, STREAMS)
        assert given.counts["gradients"] == meter.spent
        assert not given.counts["products"]


def test_the_sign_of_a_move_is_random_and_its_length_that_of_theory():
    given, _ = posed(SADDLE)
    v, x = np.eye(5)[1], np.zeros(5)
    length = 0.1 / landscape.twist(given, "test")
    moves = [curvature.moved(given, x, v, 0.1, True, Streams(s).rng()) for s in range(200)]
    assert np.allclose(np.abs([m @ v for m in moves]), length)
    assert 70 <= sum(m @ v > 0 for m in moves) <= 130  # 100 ± 4 standard deviations


def test_a_practical_move_ends_lower_and_further_out():
    given, judge = posed(SADDLE)
    v = np.linalg.eigh(parts(given)[2](np.zeros(5)))[1][:, 0]
    for seed in range(6):
        x = curvature.moved(given, np.zeros(5), v, 0.1, False, Streams(seed).rng())
        assert judge(x)["gap"] < 0.5


# ------------------------------------------------------------------------------------------------- leaving a saddle

LEAVE = [
    (Gd(params="practical", noise=1e-3), 1000),
    (Neon2(params="practical", delta=0.1), 1000),
    (Neon2(params="practical", delta=0.1, search="svrg"), 1000),
    (Neon2(params="practical", delta=0.1, search="oja"), 6000),
    (Natasha2(params="practical", delta=0.1, search="det"), 1000),
    (Natasha2(params="practical", delta=0.1, search="online"), 6000),
    (Sgd5(params="practical", delta=0.1, search="det", step=0.1), 1000),
    (FastCubic(params="practical"), 100),
    (FastCubic(params="theory"), 1000),
    (CubicNewton(params="practical"), 100),
    (CubicNewton(params="theory"), 300),
]
STAY = [Gd(), Gd(params="practical"), SvrgNc(params="practical"), SvrgNc(), Natasha(params="practical"), RepeatSvrg()]


@pytest.mark.parametrize(("solver", "passes"), LEAVE, ids=lambda v: str(v))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_leaves_a_strict_saddle_on_which_it_begins(solver, passes, seed):
    readings, _, _ = run(solver, Saddle(d=5, copies=10, offset=0.0, noise=0.05), passes, seed)
    assert readings["gap"] < 0.5
    assert readings["curvature"] > 0


@pytest.mark.parametrize("solver", STAY, ids=lambda v: str(v))
def test_stays_on_a_strict_saddle_on_which_it_begins(solver):
    readings, _, _ = run(solver, SADDLE, 200)
    assert readings["gap"] == pytest.approx(1)
    assert readings["curvature"] == pytest.approx(-1)


def test_both_valleys_are_reached():
    sides = []
    for seed in range(12):
        given, _ = posed(SADDLE)
        given.metered(Meter(300 * given.n))
        solver = Natasha2(params="practical", delta=0.1, search="det")
        sides.append(solver.answer(given, given._meter, Streams(seed) / "recipe")[0] > 0)
    assert 1 <= sum(sides) <= 11


def test_the_fence_keeps_an_epoch_near():
    given, judge = posed(SADDLE)
    way = judge.truth["minimum"] / 4
    far, near = (
        epoch(given, way, Plan(given.n, 1, 4000, 0.02, 0.01, False, radius, 50.0), STREAMS, 0)[0]
        for radius in (np.inf, 1e-3)
    )
    assert np.linalg.norm(far - way) > 0.01
    assert np.linalg.norm(near - way) < 2e-3


# ---------------------------------------------------------------------------------------------- minima and gradients


@pytest.mark.parametrize(
    "solver",
    [
        Gd(params="practical", step=4.0),
        SvrgNc(params="practical"),
        Natasha(params="practical", sigma=0.01, pieces=4),
        RepeatSvrg(params="practical", sigma=0.003),
        Neon2(params="practical"),
        FastCubic(params="practical"),
        CubicNewton(params="practical"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_the_gradient_of_a_sum_of_sigmoids_goes_to_zero(solver):
    readings, _, _ = run(solver, SigmoidSum(n=300, d=5, l2=1e-3), 400)
    assert readings["gradient"] < 1e-8
    assert readings["curvature"] > 0


@pytest.mark.parametrize(
    "solver",
    [
        SvrgNc(params="practical"),
        Natasha2(params="practical", search="det", epsilon=1e-3),
        Natasha15(params="practical", sigma=0.01),
        FastCubic(params="practical"),
        CubicNewton(params="practical"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_outliers_are_forgotten(solver):
    readings, _, _ = run(solver, RobustRegression(n=500, d=5), 300)
    assert readings["distance"] < 1e-3


@pytest.mark.parametrize(
    "solver", [Sgd(), Sgd3(), Sgd(params="practical"), Sgd3(params="practical"), Natasha15(), SvrgNc()]
)
def test_stochastic_methods_make_the_gradient_smaller(solver):
    task = SigmoidSum(n=300, d=5)
    given, judge = posed(task)
    readings, _, _ = run(solver, task, 200)
    assert readings["gradient"] < 0.5 * judge(given.zero())["gradient"]


# -------------------------------------------------------------------------------------------------------- bad input


def test_what_cannot_be_taken_is_refused_before_work():
    import scipy.sparse

    rng = STREAMS.rng()
    rows, labels = rng.standard_normal((8, 3)), np.ones(8)
    sparse = FiniteSum(scipy.sparse.csr_matrix(rows), labels, l2=0.1, loss="sigmoid")
    free = FiniteSum(rows, labels, l2=0.1, loss="sigmoid", free=1)
    quadratic = FiniteSum(rows, labels, l2=0.1, loss="squared")
    huber = FiniteSum(rows, labels, l2=0.1, loss="huber")
    hinge = FiniteSum(rows, labels, l2=0.1, loss="hinge")
    cases = [
        (Natasha2(), sparse, "natasha2 takes dense rows; give rows.toarray"),
        (Natasha15(), sparse, "natasha15 takes dense rows"),
        (Neon2(search="online"), sparse, "neon2 takes dense rows"),
        (Sgd(batch=2), sparse, "batches of dense rows only"),
        (SvrgNc(batch=2), sparse, "batches of dense rows only"),
        (Natasha(), free, "1 are free; append a 1 to every row"),
        (Gd(noise=0.1), FiniteSum(np.eye(3), np.ones(3), l2=0.1, loss="bowl", penalty=L1(0.1)), "leave noise at 0"),
        (CubicNewton(), quadratic, "that of a quadratic does not change; use "),
        (FastCubic(), quadratic, "that of a quadratic does not"),
        (FastCubic(), huber, "Huber does not tell it; give the loss an attribute `third`"),
        (Neon2(), huber, "third derivative"),
        (Sgd(), hinge, "Hinge has a corner"),
        (Gd(), hinge, "Hinge has a corner"),
    ]
    for solver, given, said in cases:
        given.metered(Meter(1000))
        with pytest.raises(SpecError, match=said):
            solver.refuse(given)
        with pytest.raises(SpecError, match=said):
            solver.answer(given, given._meter, STREAMS)
        assert given._meter.spent == 0


@pytest.mark.parametrize("solver", [Sgd(step=1e9, schedule="constant"), Gd(step=1e4), SvrgNc(step=1e9)])
def test_a_step_too_large_is_a_result(solver):
    rows = STREAMS.rng().standard_normal((30, 5))
    given = FiniteSum(rows, rows[:, 0], l2=0.0, loss="squared")
    given.metered(Meter(30_000))
    with pytest.raises(Diverged, match="left the finite numbers"):
        solver.answer(given, given._meter, STREAMS)


LIMITS = [
    (Sgd(schedule="constant"), 2),
    (Sgd(batch=3), 2),
    (Sgd3(), 4),
    (Sgd3(params="practical"), 2),
    (Sgd5(search="none"), 4),
    (Natasha15(), 1),
    (Natasha15(params="practical"), 1),
    (Natasha2(search="det"), 1),
    (Natasha2(params="practical", search="det"), 1),
]


@pytest.mark.parametrize(("solver", "limit"), LIMITS, ids=str)
def test_a_step_beyond_what_is_stable_says_what_is(solver, limit):
    given = FiniteSum(np.ones((100, 1)), STREAMS.rng().standard_normal(100), l2=0.0, loss="squared")  # all alike
    given.metered(Meter(40_000))
    assert abs(replace(solver, step=float(limit)).answer(given, given._meter, STREAMS)) < 100
    given.metered(Meter(40_000))
    with pytest.raises(Diverged, match=f"{name_of(type(solver))} left the finite.*; it is stable for step ≤ {limit}"):
        replace(solver, step=1e3).answer(given, given._meter, STREAMS)


@pytest.mark.parametrize(
    ("solver", "limit"), [(Sgd(schedule="constant"), 2), (Sgd3(), 4), (Sgd5(search="none", delta=1e-3), 4)]
)
def test_steps_on_components_that_are_not_convex_are_stable_on_average(solver, limit):
    """A in one half of the rows, −A in the other, and a little l2."""
    rows = np.repeat(STREAMS.rng().standard_normal((50, 3)), 2, 0)
    fields = {"l2": 1e-3, "loss": "signed", "linear": np.ones(3)}
    given = FiniteSum(rows, np.tile([1.0, -1.0], 50), convexity=1e-3, **fields)
    said = f"it is stable for step ≤ {limit * 1e-3 / given.smoothness.max():.2g} on average"
    assert stable(given, limit).endswith(said)
    given.metered(Meter(400_000))
    with pytest.raises(Diverged, match=said):
        replace(solver, step=100.0).answer(given, given._meter, STREAMS)
    unknown = FiniteSum(rows, np.tile([1.0, -1.0], 50), **fields)
    assert stable(unknown, limit).endswith("no step is proved to be stable; try a tenth of it")


@pytest.mark.parametrize("params", ["theory", "practical"])
@pytest.mark.parametrize("name", ["neon2", "natasha2", "sgd5"])
def test_a_quadratic_without_a_minimum_has_no_end(name, params):
    rows = np.repeat(np.eye(3), 10, 0)
    given = FiniteSum(rows, np.repeat([1.0, 1.0, -1.0], 10), l2=0.01, loss="signed")
    given.metered(Meter(100_000))
    with pytest.raises(Diverged, match=r"F is a quadratic with a curvature below .* raise l2 until it is convex"):
        build("solver", {"name": name, "params": params, "search": "det"}).answer(given, given._meter, STREAMS)


def test_an_endless_budget_cannot_be_shared_out():
    given, _ = posed(SADDLE)
    meter = Meter(np.inf)
    given.metered(meter)
    with pytest.raises(SpecError, match="give a finite budget"):
        Sgd3().answer(given, meter, STREAMS)


@pytest.mark.parametrize("penalty", [L1(0.05), Simplex(0.5), None])
@pytest.mark.parametrize("free", [0, 1])
def test_gd_takes_any_penalty_and_free_coordinates(penalty, free):
    rng = np.random.default_rng(3)
    rows, labels = csr_matrix(rng.normal(size=(40, 3))), np.sign(rng.normal(size=40))
    given = FiniteSum(rows, labels, l2=0.1, penalty=penalty, free=free)
    meter = Meter(3000 * given.n)
    given.metered(meter)
    answer = Gd().answer(given, meter, Streams(0))
    assert given.certificate(answer)["gradient"] < 1e-9
