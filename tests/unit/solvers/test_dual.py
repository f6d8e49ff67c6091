"""SDCA, NU_ACDM and the cluster methods against slow references written from the equations."""

import numpy as np
import pytest
from numba import njit
from scipy.sparse import csr_matrix

from airtrack.core.given import Blocks, FiniteSum
from airtrack.core.losses import Hinge, Huber, Logistic, SmoothedHinge, Softmax, Squared, SquaredHinge
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.penalties import L1, Box, Simplex
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.compiled import settle
from airtrack.solvers.convex.cluster_acdm import ClusterAcdm, haar
from airtrack.solvers.convex.cluster_svrg import ClusterSvrg
from airtrack.solvers.convex.clusters import raw_clusters
from airtrack.solvers.convex.epochs import Sampler
from airtrack.solvers.convex.nu_acdm import NuAcdm
from airtrack.solvers.convex.sdca import Sdca
from airtrack.tasks.convex.glm import Glm

STREAMS = Streams(5) / "recipe"
N, D, L2 = 30, 5, 0.05
LOSSES = [Logistic(), Squared(), Hinge(), SmoothedHinge(0.5), SquaredHinge(), Huber(0.7)]
RNG = np.random.default_rng(1)
ROWS = RNG.normal(size=(N, D)) * np.exp(0.5 * RNG.normal(size=(N, 1))) * (RNG.random((N, D)) < 0.7)
SIGNS, WEIGHTS, TILT = np.sign(RNG.normal(size=N)), RNG.uniform(0.2, 3, N), RNG.normal(size=D)
ROWS[3] = 0  # a row of nothing


def run(solver, given, budget):
    meter = Meter(budget)
    given.metered(meter)
    return solver.answer(given, meter, STREAMS)


@njit
def settled(loss, u, s, q, b):
    return settle(loss, u, s, q, b)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_dual_coordinate_is_settled(loss):
    """s' = φ'(u − q (s' − s)), whatever the sizes; by Newton's method a twentieth of what it was off may be left."""
    rng = np.random.default_rng(2)
    for _ in range(2000):
        b, u, q = rng.choice([-1.0, 1.0]), rng.normal() * 10 ** rng.uniform(-2, 2), 10 ** rng.uniform(-4, 4)
        s = float(loss.slope(3 * rng.normal(), b))
        found = settled(loss, u, s, q, b)
        after, before = u - q * (found - s), float(loss.slope(u, b)) - s
        if isinstance(loss, Hinge) and abs(b * after - 1) < 1e-9:  # at the corner: any slope that the hinge has there
            assert -1e-12 <= -b * found <= 1 + 1e-12
            continue
        left = 0.05 * abs(before) if isinstance(loss, Logistic) else 0
        assert abs(found - float(loss.slope(after, b))) <= left + 1e-11 * max(1, q)


def sum_of(loss, *, sparse=False, penalty=None, start=None, linear=TILT, weights=WEIGHTS, rows=ROWS):
    rows = csr_matrix(rows) if sparse else rows
    return FiniteSum(rows, SIGNS, l2=L2, loss=loss, penalty=penalty, weights=weights, linear=linear, start=start)


def orders(budget, n):
    number = 0
    while budget > 0:
        yield (STREAMS / "order").rng(number).permutation(n)[: min(budget, n)]
        budget, number = budget - n, number + 1


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalty", [None, L1(0.3), Box(-0.2, 0.4)])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_sdca_equals_the_slow_reference(loss, penalty, sparse):
    s, budget = np.zeros(N), 3 * N + 7

    def primal():
        v = -((WEIGHTS * s) @ ROWS / N + TILT) / L2
        return v if penalty is None else penalty.prox(v, 1 / L2)

    for order in orders(budget, N):
        for i in order:
            q = WEIGHTS[i] * ROWS[i] @ ROWS[i] / (L2 * N)
            if q > 0:
                s[i] = settled(loss, float(ROWS[i] @ primal()), s[i], q, SIGNS[i])
    found = run(Sdca(), sum_of(loss, sparse=sparse, penalty=penalty), budget)
    np.testing.assert_allclose(found, primal(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("penalty", [None, L1(0.3)])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_sdca_closes_the_duality_gap(loss, penalty):
    given = sum_of(loss, penalty=penalty)
    assert given.certificate(run(Sdca(), given, 3000 * N))["gap"] < 1e-9


def test_weights_are_repeated_rows():
    """What scikit-learn's sag and saga get wrong: a weight of k is the row k times."""
    counts = np.random.default_rng(4).integers(0, 4, N)
    twice = FiniteSum(np.repeat(ROWS, counts, 0), np.repeat(SIGNS, counts), l2=L2)
    once = FiniteSum(ROWS, SIGNS, l2=L2, weights=counts * N / counts.sum())
    for solver in (Sdca(), NuAcdm(), NuAcdm(side="primal")):
        found = [run(solver, given, 600 * N) for given in (twice, once)]
        np.testing.assert_allclose(found[0], found[1], atol=1e-8)


def acdm(coordinate, smooth, convexity, beta, sampler, orders, start):
    """y after the steps of `orders`. coordinate(x, i, z, A, σᵢ) is z's new value in coordinate i."""
    sizes = smooth ** ((1 - beta) / 2)
    total, convexity = sizes.sum(), convexity / smooth.max() ** beta
    tau = 2 / (1 + np.sqrt(4 * total**2 / convexity + 1))
    eta = 1 / (tau * total**2)
    y = z = start.copy()
    for order in orders:
        for i in order:
            x = tau * z + (1 - tau) * y
            stiff = (1 + eta * convexity) * sizes[i] / total * smooth[i] ** beta / eta
            z = (z + eta * convexity * x) / (1 + eta * convexity)  # every coordinate
            moved = coordinate(x, i, z[i], stiff, convexity * smooth[i] ** beta)
            y = x.copy()
            y[i] += stiff / smooth[i] * (moved - z[i])
            z[i] = moved
    return y


def draws(sampler, sizes):
    for number, size in enumerate(sizes):
        yield sampler.draw((STREAMS / "indices").rng(number), size)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "loss", [Logistic(), Squared(), SmoothedHinge(0.5), Huber(0.7)], ids=lambda a: type(a).__name__
)
def test_nu_acdm_on_the_dual_equals_the_slow_reference(loss, beta, sparse):
    roots, curve = np.sqrt(WEIGHTS), loss.bounds[1]
    smooth = 1 / curve + WEIGHTS * (ROWS**2).sum(1) / (L2 * N)

    def primal(t):
        return -((roots * t) @ ROWS / N + TILT) / L2

    def coordinate(x, i, z, stiff, bend):
        u, root = ROWS[i] @ primal(x), roots[i]
        rest = max(stiff - bend, 1e-12 * bend)
        return root * settled(loss, float(u + bend * (z - x[i]) / root), z / root, rest, SIGNS[i])

    sizes = smooth ** ((1 - beta) / 2)
    sampler = Sampler(N, None if beta == 1 else sizes / sizes.sum())
    y = acdm(coordinate, smooth, 1 / curve, beta, sampler, draws(sampler, [N] * 8 + [11]), np.zeros(N))
    found = run(NuAcdm(beta=beta), sum_of(loss, sparse=sparse), 8 * N + 11)
    np.testing.assert_allclose(found, primal(y), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("loss", [Logistic(), Squared()], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("penalty", [None, L1(0.3), Box(-0.2, 0.4)])
def test_nu_acdm_on_the_primal_equals_the_slow_reference(loss, penalty, beta, sparse):
    given = sum_of(loss, sparse=sparse, penalty=penalty)
    smooth = loss.bounds[1] * (WEIGHTS @ ROWS**2) / N + L2

    def coordinate(x, j, z, stiff, bend):
        g = (WEIGHTS * loss.slope(ROWS @ x, SIGNS)) @ ROWS[:, j] / N + L2 * x[j] + TILT[j]
        return z - g / stiff if penalty is None else float(penalty.shrink(z - g / stiff, 1 / stiff))

    sizes = smooth ** ((1 - beta) / 2)
    sampler = Sampler(D, None if beta == 1 else sizes / sizes.sum())
    lengths, work = np.full(D, N) if not sparse else (ROWS != 0).sum(0), N  # n for the smoothness of the columns
    taken = list(draws(sampler, [D] * 12))
    work += sum(int(np.ceil(lengths[order].sum() * N / lengths.sum())) for order in taken)
    if not sparse:  # a dense table has its zeros as entries, unless the reader drops them
        lengths = (ROWS != 0).sum(0)
        work = N + sum(int(np.ceil(lengths[order].sum() * N / lengths.sum())) for order in taken)
    y = acdm(coordinate, smooth, L2, beta, sampler, taken, np.zeros(D))
    np.testing.assert_allclose(run(NuAcdm(side="primal", beta=beta), given, work), y, rtol=1e-8, atol=1e-10)


def test_every_coordinate_of_z_contracts():
    """A published code moves z in the drawn coordinate alone. That is another method, and a slower one."""
    given, judge = Glm(n=60, d=5, kappa=600.0).pose(Streams(0) / "task")
    rows, labels, l2 = given.rows, given.labels, given.l2
    smooth = 1 + (rows**2).sum(1) / (l2 * 60)
    total = np.sqrt(smooth).sum()
    tau = 2 / (1 + np.sqrt(4 * total**2 + 1))
    eta = 1 / (tau * total**2)

    def primal(t):
        return -(t @ rows) / (60 * l2)

    def answer(contract):
        y = z = np.zeros(60)
        for order in draws(Sampler(60, np.sqrt(smooth) / total), [60] * 80):
            for i in order:
                x = tau * z + (1 - tau) * y
                g = x[i] + labels[i] - rows[i] @ primal(x)
                y, z = x.copy(), ((z + eta * x) / (1 + eta) if contract else z.copy())
                y[i] -= g / smooth[i]
                z[i] = z[i] if contract else (z[i] + eta * x[i]) / (1 + eta)
                z[i] -= eta / (1 + eta) * total / np.sqrt(smooth[i]) * g
        return primal(y)

    found, right, wrong = run(NuAcdm(), given, 60 * 80), answer(True), answer(False)
    np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-12)
    assert judge(wrong)["gap"] > 100 * judge(found)["gap"]


def test_small_powers_are_scaled_away_in_time():
    """λᵏ of an epoch is far below the least float here: three rows, each of them nearly nothing to fear."""
    rows = np.random.default_rng(0).normal(size=(3, 2)) * 1e-3
    given = FiniteSum(np.tile(rows, (400, 1)), np.ones(1200), l2=1.0, loss="squared")
    found = run(NuAcdm(side="primal"), given, 1200 * 700)
    given.metered(Meter(1200))
    assert np.abs(given.gradient(found)[0] + found).max() < 1e-15


def test_a_start_elsewhere_is_used():
    best = run(Sdca(), sum_of(Logistic()), 2000 * N)
    given = sum_of(Logistic(), start=best)
    for solver in (Sdca(), NuAcdm(), NuAcdm(side="primal")):
        assert given.certificate(run(solver, given, 4 * N))["gap"] < 1e-9


def test_mapped_rows_give_the_same(tmp_path):
    file = tmp_path / "rows.npy"
    np.save(file, ROWS)
    mapped = sum_of(Logistic(), rows=Blocks.open(file, room=7 * 8 * D))
    for solver in (Sdca(), NuAcdm()):
        np.testing.assert_allclose(run(solver, mapped, 5 * N), run(solver, sum_of(Logistic()), 5 * N), rtol=1e-12)


# ----------------------------------------------------------------------------------------------------------- clusters


@pytest.mark.parametrize("m", [1, 2, 3, 7, 8, 13])
def test_haar_is_orthonormal_with_a_constant_first(m):
    basis = haar(np.eye(m))
    np.testing.assert_allclose(basis @ basis.T, np.eye(m), atol=1e-14)
    np.testing.assert_allclose(basis[0], 1 / np.sqrt(m))


def test_tight_clusters_are_found():
    given, _ = Glm(n=600, d=40, clusters=6, radius=0.02).pose(Streams(1) / "task")
    own = raw_clusters(given, Meter(1e9), STREAMS, 6)
    spread = sum(((given.rows[own == c] - given.rows[own == c].mean(0)) ** 2).sum() for c in np.unique(own)) / 600
    assert spread < 2 * 0.02**2


def test_clusters_are_charged_by_their_multiplications():
    given, _ = Glm(n=600, d=40, clusters=6).pose(Streams(1) / "task")
    meter = Meter(10**6)
    given.metered(meter)
    raw_clusters(given, meter, STREAMS, 6)
    assert meter.spent == -(-(600 * 40 + 2 * 600 * 6 * 16 + 120 * 6 * 16) // 80)
    assert raw_clusters(given, Meter(500), STREAMS, 6) is None


@pytest.mark.parametrize("penalty", [None, L1(0.05)])
@pytest.mark.parametrize("params", ["theory", "practical"])
def test_cluster_svrg_equals_the_slow_reference(params, penalty):
    given = sum_of(Logistic(), penalty=penalty)
    own = raw_clusters(given, Meter(1e9), STREAMS / "clusters", 4)
    meter = Meter(10**5)
    given.metered(meter)
    raw_clusters(given, meter, STREAMS / "clusters", 4)
    budget = int(meter.spent) + 2 * 3 * N
    eta = (1 / 7 if params == "theory" else 0.3) / given.smoothness.max()

    def gradient(x, i):
        return WEIGHTS[i] * Logistic().slope(ROWS[i] @ x, SIGNS[i]) * ROWS[i]

    x = snapshot = np.zeros(D)
    for number in range(2):
        full, zeta, iterates = np.mean([gradient(snapshot, i) for i in range(N)], 0) + TILT, np.zeros((4, D)), []
        for i in (STREAMS / "indices").rng(number).integers(0, N, 2 * N):
            change = gradient(x, i) - gradient(snapshot, i)
            g = full + sum((own == c).mean() * zeta[c] for c in range(4)) + change - zeta[own[i]]
            x = (x - eta * g) / (1 + eta * L2)
            x = x if penalty is None else penalty.prox(x, eta / (1 + eta * L2))
            zeta[own[i]] = change
            iterates.append(x)
        snapshot = np.mean(iterates, 0) if params == "theory" else x
    found = run(ClusterSvrg(clusters=4, params=params), given, budget)
    np.testing.assert_allclose(found, snapshot, rtol=1e-9, atol=1e-12)


def test_cluster_acdm_finds_the_same_optimum_as_without_clusters():
    given = sum_of(Squared())
    best = np.linalg.solve((ROWS.T * WEIGHTS) @ ROWS / N + L2 * np.eye(D), (ROWS.T * WEIGHTS) @ SIGNS / N - TILT)
    np.testing.assert_allclose(run(ClusterAcdm(clusters=4), given, 1000 * N), best, atol=1e-10)


def test_cluster_acdm_counts_what_it_spends():
    given = sum_of(Squared())
    run(ClusterAcdm(clusters=4), given, 100 * N)
    assert given.counts["gradients"] == given._meter.spent > 90 * N


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("solver", "given", "words"),
    [
        (Sdca(), FiniteSum(ROWS, SIGNS, l2=0), "sdca needs l2 > 0.*the reduction adapt_reg"),
        (NuAcdm(), FiniteSum(ROWS, SIGNS, l2=0), "nu_acdm needs l2 > 0"),
        (Sdca(), FiniteSum(ROWS, SIGNS, l2=1, loss="bowl"), "sdca needs convex components, Bowl has none"),
        (Sdca(), FiniteSum(ROWS, SIGNS, l2=1, free=1), "1 are free of it"),
        (Sdca(), FiniteSum(ROWS, abs(SIGNS), l2=1, loss=Softmax(3)), "not softmax; use lbfgs"),
        (Sdca(), FiniteSum(ROWS, SIGNS, l2=1, penalty=Simplex()), "go by coordinates, not Simplex"),
        (NuAcdm(), FiniteSum(ROWS, SIGNS, l2=1, loss="hinge"), "Hinge has a corner; use sdca"),
        (NuAcdm(), FiniteSum(ROWS, SIGNS, l2=1, penalty=L1(0.1)), "whose side is dual; use sdca"),
        (ClusterSvrg(), FiniteSum(csr_matrix(ROWS), SIGNS, l2=1), "works with means of rows"),
        (
            ClusterSvrg(),
            FiniteSum(ROWS, SIGNS, l2=1, loss="hinge"),
            "smooth convex losses of one prediction, not Hinge",
        ),
        (ClusterAcdm(), FiniteSum(ROWS, SIGNS, l2=1), "takes the loss squared without penalty.*Logistic"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(solver, given, words):
    with pytest.raises(SpecError, match=words) as refusal:
        run(solver, given, 1000)
    assert "\n" not in str(refusal.value)
    assert given.counts.total() == 0


@pytest.mark.parametrize("fields", [{"beta": -0.1}, {"beta": 1.1}, {"side": "both"}])
def test_bad_fields_are_refused(fields):
    with pytest.raises(SpecError):
        NuAcdm(**fields)


def test_a_step_near_the_smoothness_diverges_with_what_clusters_remember():
    given, _ = Glm(n=500, d=50, kappa=500.0, clusters=10, radius=0.05).pose(Streams(0) / "task")
    with pytest.raises(Diverged, match="cluster_svrg left the finite numbers"):
        run(ClusterSvrg(clusters=10, params="practical", step=10 / 3), given, 400 * 500)
