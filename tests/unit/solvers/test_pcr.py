"""Principal component regression by ridge calls, against eigenvectors and against scalars."""

import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval
from scipy.sparse import csr_array
from scipy.special import binom

from airtrack.core.given import Regression
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.quick_pcr import QuickPcr, degree_within, margin, matrix_sign, sign_series
from airtrack.solvers.spectral.taylor_pcr import TaylorPcr, taylor_sign
from airtrack.tasks.spectral.pcr import Pcr

STREAMS = Streams(1)


def run(solver, task, budget, seed=1):
    given, judge = task.pose(Streams(seed) / "task")
    meter = Meter(budget)
    given.metered(meter)
    return judge(solver.answer(given, meter, Streams(seed) / "recipe")), meter, given


def ends(alpha, n=4000):
    x = np.geomspace(alpha, 1, n)
    return np.concatenate([-x, x])


# ------------------------------------------------------------------------------------------------ the sign, of scalars


def test_the_series_is_chebyshevs():
    alpha, n = 0.1, 40
    kappa = 2 * alpha**2
    y = np.cos(np.pi * (np.arange(20_000) + 0.5) / 20_000)
    f = ((1 + kappa - y) / 2) ** -0.5
    by_hand = [2 / len(y) * (f * np.cos(r * np.arccos(y))).sum() for r in range(n + 1)]
    by_hand[0] /= 2
    assert sign_series(n, alpha) == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("recurrence", ["backward", "forward"])
def test_either_recurrence_sums_the_series(recurrence):
    alpha, x = 0.2, ends(0.2, 50)
    for n in (0, 1, 2, 17):
        series = sign_series(n, alpha)
        plain = x * chebval(1 + 2 * alpha**2 - 2 * x**2, series)
        calls = []
        got = matrix_sign(lambda v: calls.append(1) or x * v, np.ones_like(x), series, alpha, recurrence=recurrence)
        assert got == pytest.approx(plain, rel=1e-12, abs=1e-12)
        assert len(calls) == 2 * n + 1


@pytest.mark.parametrize(("alpha", "n"), [(0.1, 30), (0.03, 100), (0.01, 300)])
def test_the_error_of_the_sign_is_below_a_thousandth_at_a_times_n_of_three(alpha, n):
    """Anchor 12."""
    x = ends(alpha)
    errors = [
        abs(matrix_sign(lambda v: x * v, np.ones_like(x), sign_series(m, alpha), alpha) - np.sign(x)).max()
        for m in (n // 3, n, 2 * n)
    ]
    assert errors[1] < 1e-3
    assert 0.03 < errors[0] < 0.12
    assert errors[2] < errors[1] ** 2 * 5  # it falls as e^(−2αn)


def test_the_taylor_series_is_the_binomial_one():
    x = ends(0.3, 50)
    plain = x * sum(binom(2 * k, k) / 4**k * (1 - x**2) ** k for k in range(31))
    calls = []
    assert taylor_sign(lambda v: calls.append(1) or x * v, np.ones_like(x), 30) == pytest.approx(plain, rel=1e-9)
    assert len(calls) == 61


@pytest.mark.parametrize("excess", [0.0, 1e-6])
def test_neither_recurrence_is_unstable_under_random_noise(excess):
    """The published instability of the forward one needs eigenvalues further outside than κ/4 = α²/2."""
    alpha, n = 0.01, 300
    x, series, rng = ends(alpha, 200), sign_series(n, alpha), np.random.default_rng(0)
    x[[199, -1]] *= 1 + excess
    for recurrence in ("backward", "forward"):
        exact, noisy = (
            matrix_sign(lambda v, s=s: x * v + s * rng.standard_normal(len(x)), np.ones_like(x), series, alpha,
                        recurrence=recurrence)
            for s in (0, 1e-8)
        )  # fmt: skip
        assert abs(exact - np.sign(x)).max() < 1e-3
        assert abs(noisy - exact).max() < 1e-4


def test_outside_the_interval_the_polynomial_itself_explodes_however_it_is_summed():
    alpha, n = 0.01, 300
    x = np.array([1 + 1e-3])
    both = [matrix_sign(lambda v: x * v, np.ones(1), sign_series(n, alpha), alpha, recurrence=r)[0]
            for r in ("backward", "forward")]  # fmt: skip
    assert min(np.abs(both)) > 1e6
    assert both[0] == pytest.approx(both[1], rel=1e-3)


# ------------------------------------------------------------------------------------------------------- end to end


def test_the_answer_is_principal_component_regression():
    readings, meter, given = run(QuickPcr(gap=0.2), Pcr(gap=0.2), 400)
    assert readings["error"] < 1e-10
    assert meter.spent == given.counts["ridge_calls"] == 400


def test_the_truth_is_that_of_the_eigenvectors():
    given, judge = Pcr(n=40, d=12, kept=5).pose(STREAMS / "task")
    rows, targets = given._rows, given._targets
    values, vectors = np.linalg.eigh(rows.T @ rows)
    assert values[::-1] == pytest.approx(Pcr(n=40, d=12, kept=5).eigenvalues, rel=1e-9)
    kept = vectors[:, values >= given.threshold]
    assert kept.shape == (12, 5)
    best = kept @ np.linalg.lstsq(rows @ kept, targets)[0]
    assert judge(best) == {"error": 1e-13, "projection": 1e-13}
    away = judge(best + 0.1 * np.linalg.norm(best) * vectors[:, -1])
    assert away["error"] == pytest.approx(0.1)
    ridge = np.linalg.solve(rows.T @ rows + np.eye(12), rows.T @ targets)
    assert given.ridge(given.correlation()) == pytest.approx(ridge, rel=1e-9)


def test_half_the_gap_needs_twice_the_calls_of_one_and_four_times_those_of_the_other():
    def needed(solver, gap, most):
        """Calls to an error of 1 %, on a ladder of half octaves."""
        for budget in (int(20 * 2 ** (i / 2)) for i in range(30)):
            if budget > most or run(solver(gap=gap), Pcr(gap=gap), budget)[0]["error"] < 0.01:
                return budget
        return None

    quick = [needed(QuickPcr, gap, 4000) for gap in (0.2, 0.1, 0.05)]
    taylor = [needed(TaylorPcr, gap, 40_000) for gap in (0.4, 0.2, 0.1)]
    assert quick[2] / quick[0] == pytest.approx(4, rel=0.45)
    assert taylor[2] / taylor[0] == pytest.approx(16, rel=0.45)
    assert taylor[2] > 10 * quick[1]


def test_a_wrong_gap_is_no_crash():
    right, narrow, wide = (run(QuickPcr(gap=g), Pcr(gap=0.1), 300)[0]["error"] for g in (0.1, 0.02, 0.5))
    assert right < narrow
    assert right < wide
    assert wide < 1


def test_budget_is_shared_as_it_is_said_to():
    for budget in (1, 2, 3, 10, 1000):
        n = degree_within(budget, 2 * margin(0.1))
        assert 2 * n + 2 <= budget or n == 0
    n = degree_within(1000, 0.1)
    calls = 1000 - (2 * n + 2)
    assert np.exp(-0.1 * n) == pytest.approx(2.0**-calls, rel=0.5)


def test_with_two_calls_there_is_ridge_regression():
    given, _ = Pcr().pose(STREAMS / "task")
    plain = given.ridge(given.correlation())
    for budget in (1, 2):
        meter = Meter(budget)
        given.metered(meter)
        assert (QuickPcr().answer(given, meter, STREAMS) == plain).all()
        assert meter.spent == 1


@pytest.mark.parametrize("fields", [{"gap": 0.0}, {"gap": 1.0}, {"recurrence": "sideways"}])
def test_bad_fields_are_refused(fields):
    with pytest.raises(SpecError):
        QuickPcr(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 10, "d": 20}, "n: 10 rows give AᵀA no 20 positive eigenvalues; take n ≥ d"),
        ({"kept": 80}, "kept: 80 of d = 80 leaves nothing out"),
        ({"gap": 0.9, "spread": 2.0}, "gap: eigenvalues end at 2 and 0.5; take more spread"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(fields, words):
    with pytest.raises(SpecError, match=words):
        Pcr(**fields)


# ------------------------------------------------------------------------------------------------------- the given


def test_a_ridge_call_by_conjugate_gradients():
    given, _ = Pcr(n=60, d=30, kept=10).pose(STREAMS / "task")
    rows, v = given._rows, np.random.default_rng(0).standard_normal(30)
    for accuracy in (1e-2, 1e-6, 1e-12):
        rough = Regression(rows, given._targets, threshold=1.0, accuracy=accuracy)
        x = rough.ridge(v)
        assert np.linalg.norm(rows.T @ (rows @ x) + x - v) <= 1.1 * accuracy * np.linalg.norm(v) + 1e-13
        assert rough.counts["ridge_calls"] == 1
    assert rough.counts["matvecs"] > 10
    assert rough.ridge(np.zeros(30)).tolist() == [0] * 30


@pytest.mark.parametrize("accuracy", [0.0, 1e-10])
def test_sparse_rows_are_rows(accuracy):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((30, 8)) * (rng.random((30, 8)) < 0.3)
    targets, v = rng.standard_normal(30), rng.standard_normal(8)
    dense, sparse = (Regression(r, targets, threshold=0.5, accuracy=accuracy) for r in (rows, csr_array(rows)))
    assert sparse.ridge(v) == pytest.approx(dense.ridge(v), rel=1e-8)
    assert sparse.correlation() == pytest.approx(dense.correlation())


@pytest.mark.parametrize("hold", [np.asarray, csr_array])
@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.float32])
@pytest.mark.parametrize("accuracy", [0.0, 1e-12])
def test_rows_of_any_kind_are_those_numbers(kind, hold, accuracy):
    rows, targets, v = (np.arange(36) / 0.7).reshape(12, 3).astype(kind), np.ones(12), np.array([1.0, -2, 3])
    given, plain = (Regression(a, targets, threshold=9.0, accuracy=accuracy) for a in (hold(rows), rows.astype(float)))
    assert given.ridge(v) == pytest.approx(plain.ridge(v), rel=1e-11)
    assert given.correlation() == pytest.approx(plain.correlation(), rel=1e-14)


@pytest.mark.parametrize(
    ("rows", "targets", "threshold", "words"),
    [
        (np.ones((3, 2)), np.ones(2), 1.0, r"targets have the shape \(2,\), and there are 3 rows"),
        (np.full((3, 2), np.nan), np.ones(3), 1.0, "row 0 is not finite"),
        (csr_array(np.array([[np.inf, 0.0]])), np.ones(1), 1.0, "row 0 is not finite"),
        (np.ones((3, 2)), np.array([1, 2, np.inf]), 1.0, r"targets\[2\] is not finite"),
        (np.ones(3), np.ones(3), 1.0, r"rows have the shape \(3,\); a matrix \[n, d\]"),
        (np.array([["a"]]), np.ones(1), 1.0, "rows hold <U1, and real numbers are needed"),
        (csr_array(np.array([[1j]])), np.ones(1), 1.0, "rows hold complex128"),
        (np.ones((1, 1)), np.array(["a"]), 1.0, "targets are no numbers"),
        (np.ones((1, 1)), np.array([1j]), 1.0, "targets: they are complex"),
        (np.ones((3, 2)), np.ones(3), 0.0, "the threshold is 0.0; eigenvalues"),
        (np.ones((3, 2)), np.ones(3), np.nan, "the threshold is nan"),
    ],
)
def test_data_that_make_no_sense_are_refused(rows, targets, threshold, words):
    with pytest.raises(SpecError, match=words):
        Regression(rows, targets, threshold=threshold)
