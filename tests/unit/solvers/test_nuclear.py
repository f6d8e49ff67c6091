"""Fitting entries under a nuclear norm: the oracle, the task's optimum, and solvers against dense loops."""

import numpy as np
import pytest
from scipy import sparse

from airtrack.core.given import Entries
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.block_fw import BlockFw, line_search
from airtrack.solvers.spectral.frank_wolfe import FrankWolfe
from airtrack.solvers.spectral.lowrank import LowRank, onto_ball
from airtrack.solvers.spectral.svp import Svp
from airtrack.tasks.spectral.completion import Completion

STREAMS = Streams(2)
RNG = np.random.Generator(np.random.Philox(key=5))


def run(solver, iterations, seed=0, **task):
    """(readings after each number of iterations, answer, given)"""
    given, judge = Completion(**task).pose(Streams(seed) / "task")
    cost = solver.step_cost(given)
    meter = Meter(cost * iterations[-1] + cost - 1, look=judge, schedule=[cost * i for i in iterations])
    given.metered(meter)
    answer = solver.answer(given, meter, Streams(seed) / "recipe")
    return [now["gap"] for _, now in meter.curve], answer, given


def problem(dense):
    """Entries [7, 5], some or all of them, with what a naive loop needs: X → f, X → ∇f, and the mask."""
    mask = np.ones((7, 5), bool) if dense else RNG.random((7, 5)) < 0.6
    values, weights = RNG.standard_normal((7, 5)), RNG.uniform(0.5, 3, (7, 5))
    if dense:
        given = Entries(values, weights, radius=2.0)
    else:
        stored = sparse.csr_matrix(mask)
        tables = [sparse.csr_matrix((a[mask], stored.indices, stored.indptr), a.shape) for a in (values, weights)]
        given = Entries(tables[0], tables[1], radius=2.0)

    def value(x):
        pairs = [(i, j) for i in range(7) for j in range(5) if mask[i, j]]
        return sum(weights[i, j] * (x[i, j] - values[i, j]) ** 2 for i, j in pairs) / 2

    return given, value, lambda x: np.where(mask, weights * (x - values), 0), mask


# ------------------------------------------------------------------------------------------------------- the oracle


@pytest.mark.parametrize("dense", [True, False])
def test_the_oracle_says_what_dense_matrices_say_and_counts(dense):
    given, value, gradient, mask = problem(dense)
    meter = Meter(1000)
    given.metered(meter)
    left, right, block = RNG.standard_normal((7, 3)), RNG.standard_normal((5, 3)), RNG.standard_normal((5, 2))
    x = left @ right.T
    shown = given.read(left, right)
    residual = given.residual(shown)
    assert shown == pytest.approx(x[mask], abs=1e-14)
    assert given.value(shown) == pytest.approx(value(x))
    assert given.times(residual, block) == pytest.approx(gradient(x) @ block)
    assert given.back(residual, left) == pytest.approx(gradient(x).T @ left)
    assert given.dense(residual) == pytest.approx(gradient(x))
    assert meter.spent == given.counts["matvecs"] == 3 + 2 + 3 + 5
    step = RNG.standard_normal(given.observed)
    bent = given.value(shown + step) + given.value(shown - step) - 2 * given.value(shown)
    assert given.curvature(step) == pytest.approx(bent)


@pytest.mark.parametrize("dense", [True, False])
def test_the_certificate_bounds_the_distance_to_any_point_of_the_ball(dense):
    given, value, gradient, _ = problem(dense)
    for _ in range(20):
        x, other = (2.0 * a / np.linalg.svd(a)[1].sum() for a in RNG.standard_normal((2, 7, 5)))
        told = given.certificate(x)
        assert told["gap"] >= value(x) - value(other) - 1e-12
        assert told["gap"] == pytest.approx((x * gradient(x)).sum() + 2.0 * np.linalg.norm(gradient(x), 2))
        assert told["norm"] == pytest.approx(1)
        u, s, v = np.linalg.svd(x, full_matrices=False)
        assert given.certificate(np.vstack([u * s, v.T])) == pytest.approx(told)


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("shape", [(7, 5), (5, 7)])
def test_a_large_certificate_bounds_the_norm_from_above(hold, shape, monkeypatch):
    values = RNG.standard_normal(shape)
    given, zero, exact = Entries(hold(values), radius=2.0), np.zeros(shape), 2.0 * np.linalg.norm(values, 2)
    assert given.certificate(zero)["gap"] == pytest.approx(exact, rel=1e-12)
    monkeypatch.setattr("airtrack.core.given.entries.DENSE", 0)
    assert exact <= given.certificate(zero)["gap"] <= exact * (1 + 2e-9)
    monkeypatch.setattr("airtrack.core.given.entries.leading", lambda matrix: matrix @ np.eye(matrix.shape[1], 1))
    for side in (4096, 0):  # the power method got nowhere
        monkeypatch.setattr("airtrack.core.given.entries.SIDE", side)
        assert exact <= given.certificate(zero)["gap"] <= 2.0 * np.linalg.norm(values) * (1 + 1e-12)


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_matrix])
def test_outside_the_ball_nothing_is_proved(hold):
    values = RNG.standard_normal((7, 5))
    given = Entries(hold(values), radius=1.0)
    told = given.certificate(values)  # f = 0, and out of reach
    assert told == {"gap": np.inf, "norm": pytest.approx(np.linalg.norm(values, "nuc"))}
    assert given.certificate(np.vstack([values, np.eye(5)])) == pytest.approx(told)
    edge = values / np.linalg.norm(values, "nuc")
    for more, proved in ((1e-12, True), (1e-8, False)):
        assert np.isfinite(given.certificate((1 + more) * edge)["gap"]) == proved


@pytest.mark.parametrize(
    "twice",
    [
        sparse.coo_matrix(([1.0, 2, 3], ([0, 1, 1], [1, 0, 0])), (2, 2)),
        sparse.csr_matrix(([1.0, 2, 3], [1, 0, 0], [0, 1, 3]), (2, 2)),
        sparse.csc_array(([2.0, 3, 1], [1, 1, 0], [0, 2, 3]), (2, 2)),
    ],
    ids=lambda table: table.format,
)
def test_an_entry_is_stored_once(twice):
    for values, weights in ((twice, None), (sparse.csr_matrix([[0, 1.0], [5, 0]]), twice)):
        with pytest.raises(SpecError, match=r"the entry \(1, 0\) is stored twice; store each once"):
            Entries(values, weights, radius=1.0)


def test_entries_may_be_stored_in_any_order():
    given = Entries(sparse.csr_matrix(([1.0, 2], [1, 0], [0, 2]), (1, 2)), radius=1.0)
    assert (given.observed, given.convexity, given.value(np.array([1.0, 2.0]))) == (2, 1.0, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": 0.0}, "radius: the nuclear norm is to be at most 0.0"),
        ({"values": np.full((2, 2), np.nan)}, "values: entry 0 is not a finite number"),
        ({"values": np.zeros(3)}, "values: expected a matrix"),
        ({"weights": np.zeros((2, 2))}, "weights: the least is 0"),
        ({"weights": -np.ones((2, 2))}, "weights: the least is -1"),
        ({"weights": np.ones((2, 3))}, "weights: an array of shape"),
        ({"values": sparse.csr_matrix((2, 2)), "weights": None}, "no entry is observed"),
        ({"values": sparse.identity(2), "weights": sparse.csr_matrix([[0, 1.0], [1, 0]])}, "for other entries"),
        ({"values": sparse.identity(2), "weights": np.eye(2)}, "weights: they are dense and the values sparse"),
        ({"values": np.array([["a"]])}, "values: they hold <U1, and real numbers are needed"),
        ({"values": sparse.csr_matrix([[1j]])}, "values: they hold complex128, and real numbers"),
        ({"weights": np.full((2, 2), 1j)}, "weights: they hold complex128"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, message):
    fields = {"values": np.eye(2), "weights": None, "radius": 1.0, **change}
    with pytest.raises(SpecError, match=message):
        Entries(fields.pop("values"), fields.pop("weights"), **fields)


# ---------------------------------------------------------------------------------------------------------- the task


@pytest.mark.parametrize("tension", [0.0, 0.02, 0.3])
def test_no_point_of_the_ball_is_below_the_optimum(tension):
    given, judge = Completion(rows=9, columns=7, rank=2, tension=tension).pose(STREAMS)
    best = judge.truth["optimum"]
    assert np.linalg.matrix_rank(best) == 2
    assert given.certificate(best)["gap"] == pytest.approx(0, abs=1e-14)
    assert given.certificate(best)["norm"] == pytest.approx(1)
    for _ in range(50):
        other = RNG.standard_normal((9, 7))
        other *= given.radius / np.linalg.svd(other)[1].sum()
        x = best + 0.1 * (other - best)
        drop = given.value(x.ravel()) - given.value(best.ravel())
        start = given.value(np.zeros(63)) - given.value(best.ravel())
        assert judge(x)["gap"] == pytest.approx(drop / start, rel=1e-9)
        assert drop > 0


def test_answers_outside_the_ball_are_scaled_back():
    _, judge = Completion(rows=9, columns=7, rank=2, tension=0.3).pose(STREAMS)
    best = judge.truth["optimum"]
    assert judge(1e200 * best)["gap"] == 1e-16
    assert judge(0.5 * best)["gap"] > 0.1


# ------------------------------------------------------------------------------------------------------- the solvers


def naive(given, value, gradient, radius, beta, eta, k, iterations):
    """Rank-k Frank-Wolfe on dense matrices with LAPACK's SVD."""
    x = np.zeros(given.shape)
    for _ in range(iterations):
        u, s, v = np.linalg.svd(beta * eta * x - gradient(x), full_matrices=False)
        sizes = np.zeros(len(s))
        sizes[:k] = simplex(s[:k] / (beta * eta), radius)
        x = x + eta * (u * sizes @ v - x)
    return x


def simplex(s, radius):
    """Projection on {σ ≥ 0, Σ σ ≤ radius}, by bisection on the shift."""
    if np.maximum(s, 0).sum() <= radius:
        return np.maximum(s, 0)
    low, high = 0.0, s.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(s - middle, 0).sum() > radius else (low, middle)
    return np.maximum(s - high, 0)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_block_fw_equals_the_dense_algorithm(dense, k):
    given, value, gradient, _ = problem(dense)
    solver = BlockFw(k=k, kappa=6.0, rounds=60)
    given.metered(Meter(12 * solver.step_cost(given)))
    answer = solver.answer(given, given._meter, STREAMS)
    slow = naive(given, value, gradient, 2.0, given.smoothness, 1 / 12, k, 12)
    assert answer[:7] @ answer[7:].T == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("k", [None, 2])
def test_projected_gradient_equals_the_dense_algorithm(k):
    given, _, gradient, _ = problem(False)
    offered = []
    given.metered(Meter(200, look=lambda answer: offered.append(answer) or {}, schedule=list(range(200))))
    Svp(k=k).answer(given, given._meter, STREAMS)
    x = np.zeros((7, 5))
    for answer in offered:
        u, s, v = np.linalg.svd(x - gradient(x) / given.smoothness, full_matrices=False)
        x = u[:, :k] * simplex(s[:k], 2.0) @ v[:k]
        assert answer[:7] @ answer[7:].T == pytest.approx(x, abs=1e-10)
    assert len(offered) > 15


def test_simplex_projection_is_the_nearest_point():
    for _ in range(50):
        s = np.sort(RNG.standard_normal(6))[::-1] * 3
        assert onto_ball(s, 2.0) == pytest.approx(simplex(s, 2.0), abs=1e-12)
    assert onto_ball(np.array([1e300, 1.0]), 2.0) == pytest.approx([2.0, 0.0])


def test_steps_between_factors_are_steps_between_matrices():
    def draw(rank):
        u, s, v = np.linalg.svd(RNG.standard_normal((8, 6)), full_matrices=False)
        return LowRank(u[:, :rank], s[:rank], v[:rank].T)

    a, b = draw(2), draw(3)
    dense = [m.left * m.sizes @ m.right.T for m in (a, b)]
    mixed = a.towards(b, 0.3)
    assert len(mixed.sizes) == 5
    assert mixed.left * mixed.sizes @ mixed.right.T == pytest.approx(0.7 * dense[0] + 0.3 * dense[1])
    best = a.towards(b, 0.3, most=2)
    u, s, v = np.linalg.svd(0.7 * dense[0] + 0.3 * dense[1])
    assert best.left * best.sizes @ best.right.T == pytest.approx(u[:, :2] * s[:2] @ v[:2])


def test_line_search_finds_the_least_value():
    given, *_ = problem(False)
    shown, step = RNG.standard_normal((2, given.observed))
    share = line_search(given, given.residual(shown), step)
    shares = np.linspace(0, 1, 1001)
    assert abs(share - shares[np.argmin([given.value(shown + s * step) for s in shares])]) <= 1e-3
    assert line_search(given, given.residual(shown), 0 * step) == 0


# Anchor: relative f of 2e-5 / 6e-10 after 50 / 100 iterations where k is the rank or more; k = 2 stalls at 1.4e-2.
@pytest.mark.parametrize("seed", [0, 1])
def test_rank_enough_converges_and_too_little_stalls(seed):
    for k in (4, 8):
        gaps = run(BlockFw(k=k), [50, 100, 200], seed)[0]
        assert gaps[0] < 1e-4
        assert gaps[1] < 1e-8
        assert gaps[2] == 1e-16
    assert min(run(BlockFw(k=2), [100, 200, 300], seed)[0]) > 1e-3
    assert run(FrankWolfe(), [300], seed)[0][0] > 1e-5


def test_it_converges_to_an_optimum_that_does_not_fit_the_data():
    for solver, iterations in ((BlockFw(k=4), 300), (BlockFw(k=4, params="practical"), 60), (Svp(), 40)):
        gaps, answer, given = run(solver, [iterations], tension=0.1)
        assert gaps[0] < 1e-13
        assert given.certificate(answer)["norm"] <= 1 + 1e-12


def test_the_line_search_needs_fewer_products_than_the_proof():
    costs = {}
    for params in ("theory", "practical"):
        gaps = run(BlockFw(k=4, params=params), list(range(1, 120)))[0]
        costs[params] = int(np.argmax(np.array(gaps) < 1e-8))
    assert costs["practical"] < costs["theory"] / 5


def test_a_completed_matrix_is_the_one_that_was_hidden():
    _, answer, given = run(BlockFw(k=3, params="practical"), [400], rows=80, columns=60, rank=3, observed=0.4)
    assert given.observed < 0.45 * 80 * 60
    assert len(answer) == 140
    _, judge = Completion(rows=80, columns=60, rank=3, observed=0.4).pose(Streams(0) / "task")
    assert judge(answer)["distance"] < 1e-5


def test_the_rank_can_be_bounded():
    _, answer, _ = run(BlockFw(k=2, keep=5), [40], rank=6, rows=30, columns=25)
    assert answer.shape == (55, 5)


def test_theory_without_convexity_says_what_to_do():
    given, _ = Completion(observed=0.5).pose(STREAMS)
    with pytest.raises(SpecError, match=r"say what κ to assume \(kappa: 20\), or take params: practical"):
        BlockFw().answer(given, Meter(1000), STREAMS)


@pytest.mark.parametrize("fields", [{"k": 0}, {"params": "half"}, {"rounds": 0}, {"kappa": 0.5}])
def test_bad_fields_are_refused(fields):
    with pytest.raises(SpecError):
        BlockFw(**fields)


@pytest.mark.parametrize("fields", [{"rank": 60}, {"tension": 0.1, "observed": 0.5}, {"kappa": 0.5}, {"observed": 0.0}])
def test_a_task_that_makes_no_sense_is_refused(fields):
    with pytest.raises(SpecError):
        Completion(**fields)
