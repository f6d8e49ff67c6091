"""Lingering gradients: radii, the heap, the same iterates for a smaller bill, and the tasks' optima."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from airtrack.core.given import Choices, Hinges
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.convex.gd_lin import GdLin
from airtrack.solvers.convex.lingering import Lingering
from airtrack.solvers.convex.scsg_lin import ScsgLin
from airtrack.solvers.convex.subgradient import Subgradient
from airtrack.solvers.convex.svrg_lin import SvrgLin
from airtrack.solvers.solution import solve
from airtrack.tasks.convex.hinge_svm import HingeSvm
from airtrack.tasks.convex.margins import dual_optimum, gap
from airtrack.tasks.convex.revenue import Revenue

RNG = np.random.Generator(np.random.Philox(key=6))
SMALL = (HingeSvm(n=80, d=5, l2=0.02), Revenue(n=80, d=4))


def hinges(n=60, d=4, l2=0.02):
    rows, labels = RNG.standard_normal((n, d)), np.where(RNG.random(n) < 0.5, 1.0, -1.0)
    labels[:2] = 1, -1
    return Hinges(rows, labels, l2=l2), rows, labels


def choices(n=60, d=4):
    values, capacity = RNG.random((n, d)), RNG.uniform(0.05, 0.2, d)
    return Choices(values, capacity), values, capacity


def run(solver, task, budget, seed=0, looks=True):
    """(answer, every answer on the way, judge, given)"""
    given, judge = task.pose(Streams(seed) / "task")
    offered = []
    schedule = list(range(budget)) if looks else []
    meter = Meter(budget, look=lambda answer: offered.append(answer.copy()) or {}, schedule=schedule)
    given.metered(meter)
    return solver.answer(given, meter, Streams(seed) / "recipe"), offered, judge, given


# --------------------------------------------------------------------------------------------------------- oracles


def test_hinges_by_the_letter():
    given, rows, labels = hinges()
    for _ in range(20):
        x = RNG.standard_normal(4)
        which = RNG.permutation(60)[:17]
        pieces, radii = given.look(x, which)
        for p, r, i in zip(pieces, radii, which, strict=True):
            margin = labels[i] * (rows[i] @ x)
            assert p == (margin < 1)
            assert r == pytest.approx(abs(1 - margin) / np.linalg.norm(rows[i]))
        assert given.slope(pieces, which) == pytest.approx(
            -sum((p * labels[i]) * rows[i] for p, i in zip(pieces, which))
        )
        value = np.mean([max(0, 1 - b * (a @ x)) for a, b in zip(rows, labels)]) + 0.01 * (x @ x)
        assert given.value(x) == pytest.approx(value)


def test_choices_by_the_letter():
    given, values, capacity = choices()
    for _ in range(20):
        x, which = RNG.random(4), RNG.permutation(60)[:17]
        pieces, radii = given.look(x, which)
        for p, r, i in zip(pieces, radii, which, strict=True):
            worth = [*(values[i] - x), 0.0]
            assert p == np.argmax(worth)
            leads = [(worth[p] - w) / (np.sqrt(2) if 4 not in (p, q) else 1) for q, w in enumerate(worth) if q != p]
            assert r == pytest.approx(min(leads))
        assert given.slope(pieces, which) == pytest.approx(-np.eye(5)[pieces].sum(0)[:4])
        value = capacity @ x + np.mean([max(0, *(v - x)) for v in values])
        assert given.value(x) == pytest.approx(value)


@pytest.mark.parametrize("make", [hinges, choices])
def test_within_the_radius_nothing_changes_and_just_beyond_it_can(make):
    given, everyone = make()[0], np.arange(60)
    for _ in range(200):
        x = RNG.random(given.d)
        pieces, radii = given.look(x, everyone)
        move = RNG.standard_normal(given.d)
        move *= RNG.choice(radii) / np.linalg.norm(move)
        after, _ = given.look(x + move, everyone)
        kept = radii >= np.linalg.norm(move) * (1 - 1e-12)
        assert (after[kept] == pieces[kept]).all()
    pieces, radii = given.look(x, everyone)
    for i in everyone:  # a hair further, in the worst direction, changes the piece: no larger radius would do
        one, names = np.array([i]), range(2 if isinstance(given, Hinges) else given.d + 1)
        slopes = [given.slope(np.array([piece]), one) for piece in names]
        ways = [slope - slopes[pieces[i]] for slope in slopes if (slope != slopes[pieces[i]]).any()]
        ends = [x + 1.0001 * radii[i] * way / np.linalg.norm(way) for way in ways]
        assert any(given._look(end, one)[0][0] != pieces[i] for end in ends)


def test_the_value_is_what_the_gradient_integrates():
    for given, *_ in (hinges(), choices()):
        x = RNG.random(given.d)
        pieces, radii = given.look(x, np.arange(60))
        gradient = given.slope(pieces, np.arange(60)) / 60 + given.smooth(x)
        for way in np.eye(given.d) * radii.min() / 2:
            bend = given.l2 / 2 * (way @ way)
            assert given.value(x + way) - given.value(x) == pytest.approx(gradient @ way + bend, abs=1e-14)


def test_sparse_rows_are_dense_rows():
    _, rows, labels = hinges()
    rows = rows * (RNG.random(rows.shape) < 0.4)
    dense, thin = (Hinges(a, labels, l2=0.02) for a in (rows, sparse.csr_matrix(rows)))
    x, which = RNG.standard_normal(4), np.arange(3, 40)
    for a, b in zip(dense.look(x, which), thin.look(x, which)):
        assert a == pytest.approx(b)
    pieces, _ = dense.look(x, which)
    assert dense.slope(pieces, which) == pytest.approx(thin.slope(pieces, which))
    assert dense.certificate(x) == pytest.approx(thin.certificate(x))


def test_a_look_is_charged_and_an_empty_one_costs_a_step():
    given, *_ = hinges()
    given.metered(Meter(100))
    given.look(np.zeros(4), np.arange(7))
    given.look(np.zeros(4), np.arange(0))
    assert given._meter.spent == 8
    assert given.counts == {"gradients": 7, "looks": 2}


@pytest.mark.parametrize("task", SMALL)
def test_certificates_bound_the_gap_and_close_at_the_optimum(task):
    given, judge = task.pose(Streams(3))
    best = judge.truth["optimum"]
    scale = given.value(np.zeros(given.d)) - given.value(best)
    for size in (0.0, 1e-3, 0.1, 10.0):
        x = np.abs(best + size * RNG.standard_normal(given.d)) if given.positive else best + size * RNG.random(given.d)
        assert given.certificate(x)["gap"] >= judge(x)["gap"] * scale * (1 - 1e-6) - 2e-12
    assert given.certificate(best)["gap"] < (1e-12 if given.l2 else 2 / given.n * given.d)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hinges(np.eye(2), np.ones(2), l2=0.1), "labels are −1 and \\+1, both"),
        (lambda: Hinges(np.eye(2), np.array([0.0, 1]), l2=0.1), "labels are −1 and \\+1"),
        (lambda: Hinges(np.eye(2), np.array([-1.0, 1]), l2=0.0), "no strongly convex sum"),
        (lambda: Hinges(np.eye(3), np.array([-1.0, 1]), l2=0.1), "there are 3 rows; one for every row"),
        (lambda: Hinges(np.diag([np.inf, 1]), np.array([-1.0, 1]), l2=0.1), "row 0 is not finite"),
        (lambda: Hinges(np.array([["a"], ["b"]]), np.array([-1.0, 1]), l2=0.1), "rows hold <U1, and real numbers"),
        (lambda: Hinges(sparse.csr_matrix(1j * np.eye(2)), np.array([-1.0, 1]), l2=0.1), "rows hold complex128"),
        (lambda: Hinges(np.ones(2), np.array([-1.0, 1]), l2=0.1), r"shape \(2,\); a matrix \[n, d\]"),
        (lambda: Hinges(np.eye(2), ["no", "yes"], l2=0.1), "labels are no numbers"),
        (lambda: Choices(np.eye(2), np.ones(3)), "do not fit values"),
        (lambda: Choices(np.eye(2), np.array([0.0, 1])), "shares of the customers are positive"),
        (lambda: Choices(np.full((2, 2), np.nan), np.ones(2)), "not finite"),
        (lambda: Revenue(capacity=1.5), "take less than 1"),
        (lambda: HingeSvm(noise=0.7), "at most 0.5"),
        (lambda: Choices(np.array([["a", "b"]]), np.ones(2)), "a table and a row of numbers, and these are not"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()


# ----------------------------------------------------------------------------------------------------------- optima


@pytest.mark.parametrize(("n", "p", "l2"), [(50, 3, 1.0), (200, 5, 1e-3), (200, 5, 1e-6), (40, 60, 1e-2)])
def test_the_dual_optimum_has_no_gap(n, p, l2):
    signed = RNG.standard_normal((n, p))
    alpha, told = dual_optimum(signed, l2)
    x = signed.T @ alpha / (n * l2)
    primal = np.maximum(1 - signed @ x, 0).mean() + l2 / 2 * (x @ x)
    dual = alpha.mean() - l2 / 2 * (x @ x)
    assert (alpha >= 0).all()
    assert (alpha <= 1).all()
    rounding = 1e-14 + 1e-17 / l2  # of x, which is a sum over l2
    assert told < rounding
    assert primal - dual == pytest.approx(told, abs=rounding)
    some = RNG.random(n)
    x = signed.T @ some / (n * l2)
    assert gap(signed, some, l2) == pytest.approx(
        np.maximum(1 - signed @ x, 0).mean() + l2 * (x @ x) - some.mean(), rel=1e-9
    )


def test_the_judge_of_the_svm_measures_the_plain_difference():
    given, judge = SMALL[0].pose(Streams(1))
    best = judge.truth["optimum"]
    for size in (1e-2, 1.0, 100.0):
        x = best + size * RNG.standard_normal(5)
        plain = (given.value(x) - given.value(best)) / (given.value(np.zeros(5)) - given.value(best))
        assert judge(x)["gap"] == pytest.approx(min(plain, 1), rel=1e-9)


def test_the_prices_are_the_dual_of_the_sales():
    given, judge = SMALL[1].pose(Streams(1))
    n, d = given._values.shape
    c = np.concatenate([given.linear, np.full(n, 1 / n)])  # the dual itself: prices and surpluses
    rows = np.hstack([-np.tile(np.eye(d), (n, 1)), -np.repeat(np.eye(n), d, axis=0)])
    found = linprog(c, A_ub=rows, b_ub=-given._values.ravel(), method="highs")
    assert given.value(judge.truth["optimum"]) == pytest.approx(found.fun, abs=1e-12)


# ---------------------------------------------------------------------------------------------------------- the heap


def test_the_heap_gives_what_has_expired():
    given, *_ = hinges(n=200)
    kept = Lingering(given)
    for _ in range(300):
        due = kept.due()
        assert due.tolist() == np.flatnonzero(kept.expiry <= kept.path).tolist()
        kept.gradient(0.3 * RNG.standard_normal(4), due)
        kept.travel(0.05 * RNG.random())
        keys = kept.expiry[kept._heap]
        assert sorted(kept._heap.tolist()) == list(range(200))
        assert all(keys[i] >= keys[(i - 1) // 2] for i in range(1, 200))


# ----------------------------------------------------------------------------------------------------------- solvers


def plain(given, rule, steps):
    """The subgradient method as a naive loop, and the average of its iterates with weights t."""
    x, iterates = np.zeros(given.d), []
    for t in range(steps):
        pieces, _ = given._look(x, np.arange(given.n))
        g = given.slope(pieces, np.arange(given.n)) / given.n + given.linear + given.l2 * x
        x = x - rule(t, g) * g
        x = np.maximum(x, 0) if given.positive else x
        iterates.append(x)
    weights = np.arange(1, steps + 1)
    return iterates, weights @ iterates / weights.sum()


def rules(given):
    bound = given.steepest + np.linalg.norm(given.linear)
    theory = (
        (lambda t, g: 0.7 / (given.l2 * (t + 1)))
        if given.l2
        else lambda t, g: 0.7 * given.reach / bound / (t + 1) ** 0.5
    )

    def practical(t, g):
        stage = 0
        while t >= 4 * (2 ** (stage + 1) - 1):
            stage += 1
        return 0.7 * given.reach / (4**stage * 4) / np.linalg.norm(g)

    return {"theory": theory, "practical": practical}


@pytest.mark.parametrize("task", SMALL)
@pytest.mark.parametrize("params", ["theory", "practical"])
def test_descent_equals_the_naive_loop_with_and_without_lingering(task, params):
    given, _ = task.pose(Streams(0) / "task")
    iterates, average = plain(given, rules(given)[params], 400)
    slow, told, *_ = run(Subgradient(params=params, step=0.7), task, 400 * given.n)
    _, offered, *_ = run(GdLin(params=params, step=0.7), task, 400 * given.n)
    end = average if params == "theory" else iterates[-1]
    assert slow == pytest.approx(end, rel=1e-9, abs=1e-10)
    assert len(told) == 400
    assert len(offered) > 400
    for a, b in zip(told, offered):
        assert abs(a - b).max() <= 1e-12 * max(abs(a).max(), 1)


# Anchor: 35 passes for a thousand iterations, at n = 4000 and d = 20.
@pytest.mark.parametrize("seed", [0, 1])
def test_a_thousand_iterations_for_fifty_passes(seed):
    _, offered, *_ = run(GdLin(params="theory"), HingeSvm(), 4000 * 50, seed)
    assert len(offered) >= 1000
    fewer = run(GdLin(params="theory"), HingeSvm(), 4000 * 20, seed)[1]
    assert len(fewer) < 1000


@pytest.mark.parametrize("task", [HingeSvm(n=500, d=10), Revenue(n=500, d=6)])
@pytest.mark.parametrize(
    ("lin", "other"),
    [("gd_lin", {"name": "subgradient"}), ("svrg_lin", {"name": "svrg_lin", "lingers": False})],
)
@pytest.mark.parametrize("params", ["theory", "practical"])
def test_lingering_is_ahead_after_the_same_number_of_gradients(task, lin, other, params):
    ratios = []
    for seed in range(3):
        gaps = []
        for spec in ({"name": lin}, other):
            answer, _, judge, _ = run(build("solver", {**spec, "params": params}), task, 100 * 500, seed, looks=False)
            gaps.append(judge(answer)["gap"])
        ratios.append(np.log(gaps[1] / gaps[0]))
    assert np.exp(np.mean(ratios)) > 3


def test_the_estimate_of_svrg_has_no_bias_within_the_radius():
    for given, *_ in (hinges(n=90), choices(n=90)):
        kept = Lingering(given)
        x = 0.2 * np.ones(given.d)
        mean = kept.gradient(x, kept.due()) / 90
        near, radius = kept.nearest(15, 90)
        assert len(near) == 15
        for _ in range(50):
            way = RNG.standard_normal(given.d)
            y = x + way * radius * RNG.random() / np.linalg.norm(way)
            estimates = []
            for i in near:
                one = np.array([i])
                change = given.slope(given.look(y, one)[0], one) - given.slope(kept.pieces[one], one)
                estimates.append(mean + len(near) / 90 * change)
            everyone = np.arange(90)
            exact = given.slope(given.look(y, everyone)[0], everyone) / 90
            assert np.mean(estimates, 0) == pytest.approx(exact, abs=1e-13)


def test_svrg_without_lingering_pays_three_passes_an_epoch():
    *_, given = run(SvrgLin(lingers=False, batch=10), SMALL[0], 80 * 30)
    assert given.counts["gradients"] == 80 * 30
    assert given.counts["looks"] == 10 * (1 + 16)


def test_scsg_starts_before_a_pass_is_over():
    few = [run(ScsgLin(first=20, batch=4, params="theory"), Revenue(n=1000, d=4), 1000, s) for s in range(3)]
    assert np.mean([judge(answer)["gap"] for answer, _, judge, _ in few]) < 0.2
    assert run(SvrgLin(batch=4, params="theory"), Revenue(n=1000, d=4), 1000)[2](np.zeros(4))["gap"] == 1
    answer, _, judge, _ = run(ScsgLin(first=20), Revenue(n=1000, d=4), 200_000)
    assert judge(answer)["gap"] < 1e-6  # all components belong in the end


def test_a_step_beyond_all_numbers_is_a_result():
    with pytest.raises(Diverged, match="gd_lin left the finite numbers after 0 steps, with a step of 5e"):
        run(GdLin(params="theory", step=1e306), SMALL[0], 1000)


@pytest.mark.parametrize("name", ["gd_lin", "subgradient", "svrg_lin", "scsg_lin"])
@pytest.mark.parametrize("fields", [{"step": 0.0}, {"params": "half"}, {"step": "big"}])
def test_bad_fields_are_refused(name, fields):
    with pytest.raises(SpecError):
        build("solver", {"name": name, **fields})


@pytest.mark.parametrize("make", [hinges, choices])
def test_solve_measures_from_zero(make):
    given = make()[0]
    start = given.certificate(np.zeros(4))
    found = solve(given, tol=0.3)
    assert found.trace[0] == (0, start)
    assert found.gap <= 0.3 * start["gap"]


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_matrix, sparse.coo_array, sparse.csc_matrix])
@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.float32, bool])
def test_rows_of_any_kind_are_those_numbers(kind, hold):
    rows, labels, which = (np.arange(60) / 0.7).reshape(6, 10).astype(kind), np.array([1.0, -1] * 3), np.arange(6)
    given, plain = (Hinges(a, labels, l2=0.1) for a in (hold(rows), rows.astype(float)))
    x = np.linspace(-0.1, 0.2, 10)
    for a, b in zip(given.look(x, which), plain.look(x, which)):
        assert a == pytest.approx(b, rel=1e-14)
    assert given.value(x) == pytest.approx(plain.value(x), rel=1e-14)
