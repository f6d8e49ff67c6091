"""`solve`: which method, when it stops, what it tells."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from airtrack.core.given import Blocks, Entries, FiniteSum, Matrix, Stream, Views
from airtrack.core.losses import Softmax
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, lookup
from airtrack.core.penalties import L1, Box, Simplex
from airtrack.core.problem import Problem
from airtrack.core.streams import Streams
from airtrack.solvers import solve as solve_of_the_package
from airtrack.solvers.convex.svrg import Svrg
from airtrack.solvers.rules import RULES, choose
from airtrack.solvers.solution import NotConverged, Solution, least_curvature, solve
from airtrack.tasks.logistic import Logistic

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_numbers_for_every_test():
    RNG.bit_generator.state = START


def rows(n=60, d=5, spread=0.0):
    return RNG.normal(size=(n, d)) * np.exp(spread * RNG.normal(size=n))[:, None]


def signs(n=60):
    return np.where(np.arange(n) % 3 == 0, 1.0, -1.0)


def sparse(n=60, d=300, spread=0.0):
    cells = RNG.random((n, d)) < 0.05
    cells[np.arange(n), RNG.integers(0, d, n)] = True
    held = np.where(cells, 1.0, 0.0)
    held /= np.linalg.norm(held, axis=1, keepdims=True)
    return csr_matrix(held * np.exp(spread * RNG.normal(size=n))[:, None])


# --------------------------------------------------------------------------------------------------------- the rules

CASES = {
    "not convex": (lambda: FiniteSum(rows(), signs(), l2=0.1, loss="sigmoid"), "svrg"),
    "classes": (lambda: FiniteSum(rows(), np.arange(60) % 3, l2=0.1, loss=Softmax(3)), "lbfgs"),
    "classes and a penalty": (
        lambda: FiniteSum(rows(), np.arange(60) % 3, l2=0.1, loss=Softmax(3), penalty=L1(0.1)),
        "agd",
    ),
    "a corner": (lambda: FiniteSum(rows(), signs(), l2=0.1, loss="hinge"), "sdca"),
    "a simplex": (lambda: FiniteSum(rows(), signs(), l2=0.1, penalty=Simplex()), "agd"),
    "sparse elastic net": (lambda: FiniteSum(sparse(), signs(), l2=0.1, penalty=L1(0.1)), "sdca"),
    "sparse lasso": (lambda: FiniteSum(sparse(), signs(), l2=0.0, penalty=L1(0.1)), "agd"),
    "elastic net, rows unlike": (lambda: FiniteSum(rows(spread=2.0), signs(), l2=0.1, penalty=L1(0.1)), "katyusha"),
    "elastic net": (lambda: FiniteSum(rows(), signs(), l2=0.1, penalty=L1(0.1)), "sdca"),
    "elastic net, ill-conditioned": (lambda: FiniteSum(rows(), signs(), l2=1e-4, penalty=L1(0.1)), "katyusha"),
    "lasso": (lambda: FiniteSum(rows(), signs(), l2=0.0, penalty=L1(0.1)), "saga"),
    "box": (lambda: FiniteSum(rows(), signs(), l2=0.1, penalty=Box(-1.0, 1.0)), "sdca"),
    "flat": (lambda: FiniteSum(rows(), signs(), l2=0.1, loss="huber"), "lbfgs"),
    "strong": (lambda: FiniteSum(rows(), signs(), l2=0.1), "sdca"),
    "small": (lambda: FiniteSum(rows(), signs(), l2=1e-4), "newton_cholesky"),
    "small and sparse": (lambda: FiniteSum(sparse(d=50), signs(), l2=1e-4), "newton_cholesky"),
    "least squares": (lambda: FiniteSum(sparse(), signs(), l2=0.1, loss="squared"), "pcg"),
    "least squares, rows unlike": (lambda: FiniteSum(unlike(), signs(2000), l2=0.01, loss="squared"), "nu_acdm"),
    "large": (lambda: FiniteSum(sparse(), signs(), l2=1e-4), "newton_cg"),
    "large and strong": (lambda: FiniteSum(sparse(), signs(), l2=0.1), "sdca"),
    "large, with an intercept": (lambda: FiniteSum(sparse(), signs(), l2=0.1, free=1), "newton_cg"),
}


def unlike():
    """One of 2000 rows is a hundred times as long as the others."""
    long = np.ones(2000)
    long[5] = 100.0
    return csr_matrix(sparse(2000).multiply(long[:, None]))


@pytest.mark.parametrize("name", CASES)
def test_each_rule(name):
    make, method = CASES[name]
    given = make()
    rule = choose(given)
    assert rule.name == method
    found = solve(given, tol=1e-4, passes=20_000)
    assert found.converged
    assert found.method["name"] == method
    assert found.why == rule.why


def test_every_rule_names_a_solver_and_is_in_reach():
    for rule in RULES:
        cls = lookup("solver", rule.name)
        assert issubclass(FiniteSum, cls.accepts)
        cls(**rule.fields)
        assert rule.why
    assert RULES[-1].when(None)  # the last holds always


# ------------------------------------------------------------------------------------------------------------ stopping


@pytest.mark.parametrize("method", ["svrg", "katyusha", "agd", "lbfgs", "newton_cholesky", "newton_cg", "sdca", "saga"])
@pytest.mark.parametrize("tol", [1e-2, 1e-6])
def test_what_is_proved_is_true(method, tol):
    """(F(x) − F*) / (F(0) − F*) ≤ tol, by a judge who knows the optimum."""
    problem = Logistic(n=100, d=5, kappa=100.0).pose(Streams(1) / "task")
    found = solve(problem, method, tol=tol)
    assert found.converged
    assert problem.judge(found.x)["gap"] <= tol
    assert found.gap <= tol * (found.trace[0][1]["objective"] - found.objective)


def test_tol_is_relative():
    """To the scale of the loss, of the labels, of the weights."""
    held, b = rows(), RNG.normal(size=60)
    plain = solve(FiniteSum(held, b, l2=0.1, loss="squared"), "svrg", tol=1e-5)
    for scale in (1e-6, 1e6):
        found = solve(FiniteSum(held, b * scale, l2=0.1, loss="squared"), "svrg", tol=1e-5)
        assert found.passes == plain.passes
        np.testing.assert_allclose(found.x, plain.x * scale, rtol=1e-6)


def test_by_the_gradient_where_there_is_no_gap():
    noisy = np.where(RNG.random(60) < 0.3, -signs(), signs())
    found = solve(FiniteSum(rows(), noisy, l2=0.0), "svrg", tol=1e-4)
    assert found.converged
    assert found.gap == np.inf
    assert found.gradient <= 1e-4 * found.trace[0][1]["gradient"]
    bowl = solve(FiniteSum(rows(), RNG.normal(size=60), l2=0.0, loss="bowl"), tol=1e-3, passes=50_000)
    assert bowl.converged
    assert bowl.gap == np.inf


def test_spent_passes_warn_once_and_say_what_to_do():
    given = FiniteSum(rows(), signs(), l2=1e-5)
    with pytest.warns(NotConverged) as caught:
        found = solve(given, "svrg", tol=1e-12, passes=6)
    assert len(caught) == 1
    assert str(caught[0].message) == found.advice
    assert "svrg spent 6 passes and its gap is" in found.advice
    assert "allow more passes, method='newton_cholesky', a larger tol" in found.advice
    assert caught[0].filename == __file__
    assert not found.converged
    assert found.passes <= 6
    assert found.gap > 0


def test_the_answer_is_the_one_that_was_certified():
    given = FiniteSum(rows(), signs(), l2=0.01)
    for method in ("svrg", "katyusha", "sdca", "lbfgs"):
        found = solve(given, method, tol=1e-5)
        assert given.certificate(found.x) == pytest.approx(found.trace[-1][1], rel=1e-9, abs=1e-15)
        assert found.objective == pytest.approx(given.value(found.x), rel=1e-12)


def test_the_trace_runs_from_the_start_to_the_answer():
    found = solve(FiniteSum(rows(), signs(), l2=1e-3), "svrg")
    works = [work for work, _ in found.trace]
    assert works == sorted(set(works))
    assert works[0] == 0
    assert found.trace[0][1]["objective"] == pytest.approx(np.log(2))
    assert works[-1] == found.passes * 60
    assert found.trace[-1][1]["gap"] == found.gap


def test_counts_are_of_this_call():
    given = FiniteSum(rows(), signs(), l2=0.01)
    first, second = solve(given, "svrg"), solve(given, "svrg")
    assert first.counts == second.counts
    assert first.counts["gradients"] == first.passes * 60
    np.testing.assert_array_equal(first.x, second.x)
    assert (solve(given, "svrg", seed=1).x != first.x).any()


def test_a_start_that_is_good_enough_is_the_answer():
    given = FiniteSum(rows(), signs(), l2=0.01)
    best = solve(given, tol=1e-10).x
    again = solve(given.like(start=best), "svrg", tol=1e-8)
    np.testing.assert_array_equal(again.x, best)
    assert again.passes == 0
    nothing = solve(FiniteSum(rows(), np.zeros(60), l2=0.1, loss="squared"))
    assert nothing.x.tolist() == [0.0] * 5
    assert nothing.converged
    strong = solve(FiniteSum(rows(), RNG.normal(size=60), l2=0.0, loss="squared", penalty=L1(100.0)))
    assert strong.x.tolist() == [0.0] * 5


def test_a_warm_start_is_shorter():
    given = FiniteSum(rows(), signs(), l2=1e-4)
    rough = solve(given, "katyusha", tol=1e-4)
    warm, cold = solve(given.like(start=rough.x), "katyusha", tol=1e-5), solve(given, "katyusha", tol=1e-5)
    assert warm.passes < cold.passes


def test_a_given_is_free_again_afterwards():
    given = FiniteSum(rows(), signs(), l2=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        solve(given, "svrg", passes=5, tol=1e-12)
    before = given.counts["gradients"]
    for _ in range(20):
        given.gradient(np.zeros(5))
    assert given.counts["gradients"] == before + 20 * given.n


# ------------------------------------------------------------------------------------------------------------- methods


def test_a_method_is_a_name_a_spec_or_a_part():
    given = FiniteSum(rows(), signs(), l2=0.01)
    named = solve(given, "svrg", params="theory", step=2.0)
    spec = solve(given, {"name": "svrg", "params": "theory", "step": 2.0})
    part = solve(given, Svrg(params="theory", step=2.0))
    assert named.method == spec.method == part.method
    np.testing.assert_array_equal(named.x, part.x)
    assert solve(given, "svrg").method["params"] == "practical"
    assert named.why == "it was asked for"
    assert isinstance(named, Solution)
    assert solve_of_the_package is solve


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "svgr"}, "no solver is named 'svgr'; did you mean 'svrg'"),
        ({"method": "svrg", "steep": 1.0}, "svrg has no field 'steep'; did you mean 'step'"),
        ({"method": Svrg(), "step": 1.0}, "fields and params are for a solver that is named; this one has its own"),
        ({"method": "svrg", "tol": 0.0}, r"tol is 0.0 and passes are None; take tol within \(0, 1\), passes above 0"),
        ({"method": "svrg", "passes": -1}, "passes are -1; take tol within"),
        ({"method": "sdca", "params": "theory"}, "sdca has no field 'params'"),
        ({"method": "oja"}, "oja works on Stream, this is FiniteSum; there is .*katyusha.*svrg"),
        ({"method": {"step": 1.0}}, "a solver needs a name"),
        ({"method": 3}, "expected a solver, such as .*, got 3"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(SpecError, match=message):
        solve(FiniteSum(rows(), signs(), l2=0.01), **arguments)


def test_without_a_certificate_nothing_says_when_to_stop():
    stream = Stream(lambda i: np.ones((4, 2)), d=2, k=1, block=4)
    with pytest.raises(
        SpecError, match="Stream offers no certificate, so that nothing says when to stop; give a solver"
    ):
        solve(stream)


# ------------------------------------------------------------------------------------------------------- other problems


def test_a_matrix():
    matrix = RNG.normal(size=(40, 8)) * np.geomspace(1, 0.01, 8)
    found = solve(Matrix(matrix, k=2), tol=1e-6)
    exact = np.linalg.svd(matrix)[2][:2]
    np.testing.assert_allclose(np.linalg.norm(exact @ np.linalg.qr(found.x)[0]), np.sqrt(2), atol=1e-9)
    assert found.trace[-1][1]["residual"] <= 1e-6
    assert np.isnan(found.objective)


def test_a_matrix_is_looked_at_when_its_solver_says_that_it_is_time():
    found = solve(Matrix(RNG.normal(size=(90, 60)), k=2), tol=1e-6)
    assert found.converged
    assert len(found.trace) <= 2 < found.counts["matvecs"] / 4  # steps


# ------------------------------------------------------------------------------------------ sums that are not convex


def well():
    """(u² − 1)²/4 in every coordinate: a hill at 0, 2³ valleys at ±1."""
    return FiniteSum(np.tile(np.eye(3), (5, 1)), np.zeros(15), l2=0.0, loss="well")


@pytest.mark.parametrize("method", ["neon2", "fast_cubic", "natasha2"])
def test_a_saddle_where_one_begins_is_left(method):
    found = solve(well(), method)
    assert found.converged
    np.testing.assert_allclose(abs(found.x), 1, atol=1e-3)
    np.testing.assert_allclose(found.curvature, 1 / 3, rtol=1e-2)  # 2/3 of L = 2, what one part may have


@pytest.mark.parametrize("method", ["auto", "svrg", "gd"])
def test_a_saddle_is_no_answer(method):
    with pytest.warns(NotConverged, match="at a saddle, with a curvature of -0.17 L; take .*'neon2' with delta=0.17"):
        found = solve(well(), method, passes=50)
    assert not found.converged
    np.testing.assert_allclose(found.curvature, -1 / 6, atol=1e-12)
    assert solve(well(), "neon2", delta=0.16).converged


def test_curvature_is_that_of_the_hessian():
    given = FiniteSum(RNG.normal(size=(40, 6)), 3 * RNG.normal(size=40), l2=0.01, loss="bowl")
    x, size = RNG.normal(size=6), float(given.smoothness.mean()) + given.l2
    dense = np.array([given.hessian(given.curvature(x), e) for e in np.eye(6)])
    before = dict(given.counts)
    found = least_curvature(given, x, size, 1e-6)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(dense)[0] / size, atol=1e-10)
    assert dict(given.counts) == before


def test_a_corner_without_a_dual_is_rounded_off():
    rows, labels = RNG.normal(size=(50, 3)), np.where(RNG.random(50) < 0.5, -1.0, 1.0)
    free = FiniteSum(np.column_stack([rows, np.ones(50)]), labels, l2=0.1, loss="hinge", free=1)
    found = solve(free, tol=1e-3)
    assert found.method["name"] == "adapt_smooth"
    assert 0 <= found.gap <= 1e-3


def test_two_views():
    x = RNG.normal(size=(100, 4))
    found = solve(Views(x, x[:, :3] + 0.5 * RNG.normal(size=(100, 3)), k=1), tol=1e-5)
    assert found.converged


def test_entries():
    low = RNG.normal(size=(20, 2)) @ RNG.normal(size=(2, 15))
    found = solve(Entries(low, radius=float(np.linalg.norm(low, "nuc")) / 2), tol=1e-3)
    assert found.converged
    radius = float(np.linalg.norm(low, "nuc")) / 2
    gap = found.trace[0][1]["gap"]
    assert gap == pytest.approx(radius * np.linalg.norm(low, 2))  # at X = 0
    assert found.trace[-1][1]["gap"] <= 1e-3 * gap


class Parabola:
    """Somebody else's problem: (x − 3)², certified."""

    solved_by = "test_solution.py:Walk"

    def __init__(self):
        self.counts = {}

    def metered(self, meter):
        self.meter = meter

    def certificate(self, x):
        return {"objective": float((x - 3) ** 2), "gap": float((x - 3) ** 2), "gradient": abs(float(x - 3))}


def test_somebody_elses_problem_names_its_solver():
    with pytest.raises(SpecError, match=r"there is no file .*test_solution\.py"):
        solve(Parabola())
    Nameless = type("Nameless", (Parabola,), {"solved_by": None})
    with pytest.raises(SpecError, match="auto has no rule for Nameless; name a method, or give the class solved_by"):
        solve(Nameless())


def test_rows_on_disk(tmp_path):
    file = tmp_path / "rows.npy"
    held = rows(500, 6)
    np.save(file, held)
    given = FiniteSum(Blocks.open(file, room=48 * 64), signs(500), l2=1e-3)
    found, plain = solve(given, "katyusha"), solve(FiniteSum(held, signs(500), l2=1e-3), "katyusha")
    np.testing.assert_allclose(found.x, plain.x, atol=1e-9)
    assert found.converged


def test_a_problem_with_its_judge():
    problem = Logistic(n=60, d=4, kappa=100.0).pose(Streams(0) / "task")
    assert isinstance(problem, Problem)
    assert problem.judge(solve(problem).x)["gap"] < 1e-6
    assert isinstance(problem.given._meter, Meter)
