"""Reductions: when their stages end, and where they end up."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.sparse import csr_matrix

from airtrack.core.given import FiniteSum
from airtrack.core.losses import Hinge, SmoothedHinge
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError
from airtrack.core.penalties import L1
from airtrack.core.streams import Streams
from airtrack.solvers.convex.adapt_reg import AdaptReg, first_sigma
from airtrack.solvers.convex.adapt_smooth import AdaptSmooth
from airtrack.solvers.convex.agd import Agd
from airtrack.solvers.convex.katyusha import Katyusha
from airtrack.solvers.convex.sdca import Sdca
from airtrack.solvers.convex.stages import Stage
from airtrack.solvers.convex.svrg import Svrg
from airtrack.tasks.logistic import optimum

STREAMS = Streams(6) / "recipe"
N, D = 60, 4


def rows(n=N, d=D):
    return np.random.default_rng(1).normal(size=(n, d))


def labels(n=N, d=D):
    return np.sign(rows(n, d) @ np.linspace(1, -1, d) + np.random.default_rng(2).normal(size=n))


def svm(**fields):
    return FiniteSum(rows(), labels(), **({"l2": 0.1, "loss": "hinge"} | fields))


def answer(solver, given, passes):
    meter = Meter(passes * given.n)
    given.metered(meter)
    return solver.answer(given, meter, STREAMS)


def programme(given):
    """The optimum of a hinge sum, from its dual: max Σ wᵢ αᵢ/n − ‖Σ wᵢ αᵢ bᵢ aᵢ‖²/(2 l2 n²) over 0 ≤ α ≤ 1."""
    z = given.rows * (given.labels * given.weights)[:, None] / given.n

    def cost(alpha):
        v = z.T @ alpha
        return v @ v / (2 * given.l2) - (given.weights / given.n) @ alpha, z @ v / given.l2 - given.weights / given.n

    found = minimize(
        cost, np.full(given.n, 0.5), jac=True, bounds=[(0, 1)] * given.n, options={"ftol": 0, "gtol": 1e-12}
    )
    return z.T @ found.x / given.l2, -found.fun


@pytest.mark.parametrize("solver", [Katyusha(), Svrg(params="practical"), Agd(params="practical")])
@pytest.mark.parametrize("weights", [None, np.linspace(0, 3, N)])
def test_the_hinge_gets_to_the_optimum_of_its_dual(solver, weights):
    given = svm(weights=weights)
    best, value = programme(given)
    x = answer(AdaptSmooth(solver=solver), given, 1000)
    found = given.certificate(x)["objective"]
    assert -1e-9 < found - value < 1e-4
    np.testing.assert_allclose(x, best, atol=0.05)


def test_a_hinge_without_l2_is_a_linear_programme():
    given = svm(l2=0)
    cost = np.concatenate([np.zeros(D), np.full(N, 1 / N)])  # of x and of what each row lacks
    table = np.c_[-labels()[:, None] * rows(), -np.eye(N)]
    exact = linprog(cost, table, np.full(N, -1.0), bounds=[(None, None)] * D + [(0, None)] * N).fun
    errors = [given.certificate(answer(AdaptSmooth(), given, k))["objective"] - exact for k in (30, 300, 3000)]
    assert errors[0] > errors[1] > errors[2] >= -1e-12
    assert errors[2] < 1e-4


class Recording:
    """A solver that notes the sums it is given, and how far from each optimum it leaves them."""

    def __init__(self, solver):
        self.solver, self.problems, self.ends = solver, [], []

    def answer(self, given, meter, streams):
        self.problems.append(given)
        try:
            x = self.solver.answer(given, meter, streams)
        except BudgetSpent:
            x = meter.latest
        self.ends.append(x)
        return x


def stages(reduction, given, passes):
    recording = Recording(reduction.solver)
    object.__setattr__(reduction, "solver", recording)
    answer(reduction, given, passes)
    return recording.problems, recording.ends


def test_adapt_reg_halves_its_regulariser_when_that_is_what_is_left():
    given = FiniteSum(rows(), labels(), l2=0)
    problems, ends = stages(AdaptReg(sigma=0.5), given, 400)
    assert [p.l2 for p in problems] == [0.5 / 2**t for t in range(len(problems))]
    assert len(problems) > 5
    for before, problem, x in zip([np.zeros(D), *ends], problems[:-1], ends):  # the last stage ran out of budget
        assert (problem.start == before).all()
        assert problem.certificate(x)["gap"] <= problem.l2 / 2 * (x @ x)
    best = optimum(rows(), labels(), 0.0)
    errors = [given.certificate(x)["objective"] - given.certificate(best)["objective"] for x in ends]
    bias = [p.l2 / 2 * (best @ best) for p in problems]
    assert all(e <= b + 1e-15 for e, b in zip(errors[:-1], bias))
    assert errors[4] > 1e-3 * bias[4]
    assert errors[-1] < 1e-5


def test_adapt_smooth_halves_its_width_when_that_is_what_is_left():
    given = svm()
    problems, ends = stages(AdaptSmooth(width=0.5), given, 400)
    assert [p.loss for p in problems] == [SmoothedHinge(0.5 / 2**t) for t in range(len(problems))]
    assert len(problems) > 5
    for problem, x in zip(problems[:-1], ends):
        width = problem.loss.width
        c = np.clip((1 - labels() * (rows() @ x)) / width, 0, 1)
        assert problem.certificate(x)["gap"] <= width * (c * (1 - c)).mean() * (1 + 1e-9)
    _, value = programme(given)
    for problem, x in zip(problems[:-1], ends):
        assert given.certificate(x)["objective"] - value <= problem.loss.width  # twice the most that rounding can hide


def test_mismatch_is_the_difference_of_the_two_gaps():
    given, x = svm(weights=np.linspace(0, 3, N)), np.array([0.5, 0.1, -0.2, -0.9])
    for hold in (np.asarray, csr_matrix):
        given = FiniteSum(hold(rows()), labels(), l2=0.1, loss="hinge", weights=np.linspace(0, 3, N))
        smooth = given.like(loss=SmoothedHinge(0.3))
        extra = given.mismatch(x, smooth.loss)
        assert extra > 0.01
        assert given.certificate(x)["gap"] == pytest.approx(smooth.certificate(x)["gap"] + extra, rel=1e-12)
    assert given.mismatch(x, Hinge()) == pytest.approx(0, abs=1e-15)


def test_both_at_once():
    problems, _ = stages(AdaptSmooth(sigma=2.0, width=0.5), svm(l2=0), 300)
    assert [(p.l2, p.loss.width) for p in problems] == [(2.0 / 2**t, 0.5 / 2**t) for t in range(len(problems))]


def test_a_reduction_of_a_dual_method():
    """A hinge without l2, which sdca does not take, and does with one that shrinks."""
    given = svm(l2=0)
    found = given.certificate(answer(AdaptReg(solver=Sdca()), given, 2000))["objective"]
    best = given.certificate(answer(AdaptSmooth(), given, 3000))["objective"]
    assert abs(found - best) < 1e-3


def test_the_first_regulariser_is_of_the_scale_of_the_data():
    """Rows a hundred times as long ask for an x a hundred times as short: σ₀ goes with their squares."""
    small, large = (FiniteSum(c * rows(), labels(), l2=0) for c in (1, 100))
    assert first_sigma(large) == pytest.approx(1e4 * first_sigma(small))
    assert first_sigma(small) == pytest.approx(np.log(2) * (rows() ** 2).sum() / N / 100)
    assert np.isfinite(first_sigma(svm(l2=0)))
    found = [answer(AdaptReg(), given, 200) for given in (small, large)]
    np.testing.assert_allclose(found[0], 100 * found[1], atol=1e-5)


def test_a_lasso_through_adapt_reg():
    given = FiniteSum(rows(), labels(), l2=0, loss="squared", penalty=L1(0.2))
    assert given.certificate(answer(AdaptReg(), given, 400))["gap"] < 1e-5


def test_a_stage_passes_everything_on():
    looks, whole = [], Meter(100, look=lambda x: looks.append(x) or {}, schedule=[1, 30, 60])
    part = Stage(whole, done=lambda x: x >= 2, free=lambda x: True)
    part.offer(5)  # before any work: the stage before offered it, and a stage that does nothing is none
    assert part.live(100)
    part.charge(30)
    part.offer(1)
    assert part.grant(40) == 40
    part.offer(2)
    assert looks == [1, 2]
    assert not part.live(1)
    for more in (part.charge, part.grant):
        with pytest.raises(BudgetSpent):
            more(1)
    assert whole.spent == 70
    again = Stage(whole, done=lambda x: False, free=lambda x: True)
    assert again.grant(100) == 30
    with pytest.raises(BudgetSpent):
        again.charge(1)


@pytest.mark.parametrize(
    ("solver", "given", "fact"),
    [
        (AdaptReg(), lambda: FiniteSum(rows(), labels(), l2=0, loss="bowl"), "adapt_reg needs a convex loss, Bowl is"),
        (AdaptReg(), lambda: svm(l2=0), "katyusha needs smooth components, and Hinge has a corner"),
        (AdaptSmooth(), lambda: FiniteSum(rows(), labels(), l2=0), "Logistic has no corner to round off"),
        (
            AdaptSmooth(),
            lambda: FiniteSum(csr_matrix(rows()), labels(), l2=0, loss="hinge", penalty=L1(1.0)),
            "sparse rows leave behind, which takes l2 and no penalty",
        ),
    ],
)
def test_refusals(solver, given, fact):
    given, meter = given(), Meter(1000)
    given.metered(meter)
    with pytest.raises(SpecError, match=fact):
        solver.answer(given, meter, STREAMS)
    assert meter.spent == 0


def test_a_look_that_is_not_free_waits_for_more_work():
    asked, whole = [], Meter(1000)
    part = Stage(whole, done=lambda x: bool(asked.append(x)), free=lambda x: x == 13)
    for number in range(1, 21):
        part.charge(1)
        part.offer(number)
    assert asked == [1, 2, 3, 4, 5, 6, 8, 10, 12, 13, 16, 20]


@pytest.mark.parametrize("solver", ["sdca", "saga", "katyusha"])
@pytest.mark.parametrize("reduction", [AdaptReg, AdaptSmooth])
def test_looks_at_the_rows_are_paid_for(reduction, solver, monkeypatch):
    given = svm() if reduction is AdaptSmooth else FiniteSum(rows(), labels(), l2=0.0)
    seen, blocks = [], FiniteSum._blocks
    monkeypatch.setattr(FiniteSum, "_blocks", lambda self, *size: seen.append(1) or blocks(self, *size))
    answer(reduction(solver=solver), given, 400)
    charged = given.counts["full"] + given.counts["values"] / given.n
    beginnings = 5 * 12  # constants of a stage's sum, and which end was better of one that was cut short
    assert 20 < len(seen) <= charged + beginnings
    assert len(seen) < 400
