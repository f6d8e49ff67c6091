"""Linear coupling against references from the equations, in both geometries, and its steps against brute force."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from airtrack.core.given import FiniteSum
from airtrack.core.losses import Softmax
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.penalties import L1, NuclearBall, Simplex
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.convex.agd import Agd, _moved, _tilted, top_curvature

STREAMS = Streams(5) / "recipe"
N, D = 40, 6


def rows(n=N, d=D, seed=1):
    return np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1.0, d + 1) ** -1


def targets(n=N, d=D):
    return rows(n, d) @ np.linspace(1, -0.5, d) + 0.1 * np.random.default_rng(2).normal(size=n)


def squared(**fields):
    return FiniteSum(rows(), targets(), loss="squared", **({"l2": 0.01} | fields))


def answer(solver, given, passes):
    meter = Meter(passes * given.n)
    given.metered(meter)
    return solver.answer(given, meter, STREAMS)


def gradient(given, x):
    return rows().T @ (rows() @ x - targets()) / N + given.l2 * x


def shrunk(v, strength):
    return np.sign(v) * np.maximum(np.abs(v) - strength, 0)


def coupling(given, steps, strength=0.0):
    """y and z by their two steps with one gradient; a restart after √(8κ) of them."""
    L = sum((a @ a) for a in rows()) / N + given.l2
    period = int(np.ceil(np.sqrt(8 * L / given.l2))) if given.l2 else 10**9
    y = z = np.zeros(D)
    for step in range(steps):
        k = step % period
        z = y if k == 0 else z
        alpha = (k + 2) / (2 * L)
        tau = 2 / (k + 2)
        x = tau * z + (1 - tau) * y
        g = gradient(given, x)
        y, z = shrunk(x - g / L, strength / L), shrunk(z - alpha * g, alpha * strength)
    return y


def nesterov(given, steps, L, strength=0.0):
    q = given.l2 / L
    y = x = np.zeros(D)
    for _ in range(steps):
        before, y = y, shrunk(x - gradient(given, x) / L, strength / L)
        x = y + (1 - np.sqrt(q)) / (1 + np.sqrt(q)) * (y - before)
    return y


@pytest.mark.parametrize("steps", [1, 2, 30, 200])
@pytest.mark.parametrize(("l2", "strength"), [(0.01, 0.0), (0.3, 0.0), (0.0, 0.0), (0.01, 0.05), (0.0, 0.05)])
def test_theory_equals_the_reference(l2, strength, steps):
    given = squared(l2=l2, penalty=L1(strength) if strength else None)
    np.testing.assert_allclose(answer(Agd(), given, steps), coupling(given, steps, strength), atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 30, 200])
@pytest.mark.parametrize("strength", [0.0, 0.05])
def test_practical_equals_nesterov(strength, steps):
    given = squared(penalty=L1(strength) if strength else None)
    L = 1.2 * top_curvature(given, STREAMS / "power") + given.l2
    found = answer(Agd(params="practical"), given, 10 + steps)  # ten passes of power iteration come first
    np.testing.assert_allclose(found, nesterov(given, steps, L, strength), atol=1e-12)


def test_power_iteration_finds_the_greatest_eigenvalue():
    for hold in (np.asarray, csr_matrix):
        given = FiniteSum(hold(rows()), np.sign(targets()), l2=0.1, weights=np.linspace(0, 2, N))
        exact = np.linalg.eigvalsh(rows().T @ (rows() * np.linspace(0, 2, N)[:, None]) / (4 * N))[-1]
        assert 0.99 * exact <= top_curvature(given, STREAMS) <= exact * (1 + 1e-12)


def test_a_restart_halves_the_error():
    given = squared(l2=1e-3)
    best = np.linalg.solve(rows().T @ rows() / N + 1e-3 * np.eye(D), rows().T @ targets() / N)
    L = float((rows() ** 2).sum(1).mean()) + 1e-3
    period = int(np.ceil(np.sqrt(8 * L / 1e-3)))

    def error(x):
        return (x - best) @ (rows().T @ rows() / N + 1e-3 * np.eye(D)) @ (x - best)

    errors = [error(answer(Agd(), given, k * period)) for k in range(1, 6)]
    assert all(later <= first / 2 for first, later in pairwise(errors))


def test_the_error_falls_as_one_over_k_squared():
    """F(y) − F* ≤ 4 ΘL/(k + 1)², Θ = ‖x*‖²/2, where nothing is strongly convex."""
    d = 60  # more dimensions than rows
    a = rows(30, d, seed=3)
    given = FiniteSum(a, a @ np.ones(d), l2=0, loss="squared")
    nearest = np.linalg.pinv(a) @ (a @ np.ones(d))
    L = float((a**2).sum(1).mean())
    for k in (5, 20, 80, 320):
        y = answer(Agd(), given, k)
        assert given.certificate(y)["objective"] <= 4 * L * (nearest @ nearest / 2) / (k + 1) ** 2


# -------------------------------------------------------------------------------------------------------- the simplex


def entropic(given, L, steps):
    """The same coupling with relative entropy for z and the 1-norm for y, both by a general solver."""
    d, total = given.d, given.penalty.total
    y = z = np.full(d, total / d)
    for k in range(steps):
        alpha, tau = (k + 2) / (2 * L), 2 / (k + 2)
        x = tau * z + (1 - tau) * y
        g = gradient(given, x)
        y = brute(x, g, L, total)
        z = z * np.exp(-alpha * g / total)
        z *= total / z.sum()
    return y


def brute(x, g, L, total):
    """argmin over the simplex of (L/2) ‖y − x‖₁² + ⟨g, y⟩, as a smooth programme in y − x = p − q."""
    d = len(x)

    def cost(v):
        return L / 2 * v.sum() ** 2 + g @ (v[:d] - v[d:])

    def slope(v):
        return L * v.sum() + np.concatenate([g, -g])

    level = {"type": "eq", "fun": lambda v: v[:d].sum() - v[d:].sum()}
    bounds = [(0, total)] * d + [(0, a) for a in x]
    found = minimize(cost, np.zeros(2 * d), jac=slope, bounds=bounds, constraints=[level], options={"ftol": 1e-16})
    return x + found.x[:d] - found.x[d:]


@pytest.mark.parametrize("d", [2, 3, 5])
@pytest.mark.parametrize("size", [0.01, 0.3, 3.0, 100.0])
def test_the_gradient_step_in_the_1_norm(d, size):
    rng = np.random.default_rng(7)
    for total in (1.0, 2.5):
        for _ in range(20):
            x, g = total * rng.dirichlet(np.ones(d)), size * rng.normal(size=d)
            y, slow = _moved(x, g, 1.3, total), brute(x, g, 1.3, total)

            def cost(v):
                return 0.65 * np.abs(v - x).sum() ** 2 + g @ v

            assert y.min() >= 0
            assert y.sum() == pytest.approx(total)
            assert cost(y) <= cost(slow) + 1e-7 * size
            assert cost(y) <= min(cost(total * rng.dirichlet(np.ones(d))) for _ in range(200))


def test_the_mirror_step_is_the_one_of_relative_entropy():
    rng = np.random.default_rng(8)
    z, move = 2 * rng.dirichlet(np.ones(4)), rng.normal(size=4)
    found = _tilted(z, move, 2.0)

    def cost(v):
        return (v * np.log(v / z)).sum() + move @ v

    assert found.sum() == pytest.approx(2)
    assert cost(found) < min(cost(2 * rng.dirichlet(np.ones(4) + 50 * found / 2)) for _ in range(2000))
    assert (_tilted(z, 1e5 * move, 2.0).round(9) == 2 * (move == move.min())).all()  # nothing overflows


@pytest.mark.parametrize("total", [1.0, 2.0])
def test_simplex_equals_the_reference(total):
    given = squared(penalty=Simplex(total))
    L = float((rows() ** 2).max()) + given.l2
    found = answer(Agd(geometry="simplex"), given, 12)
    np.testing.assert_allclose(found, entropic(given, L, 12), atol=1e-5)  # of the general solver


def test_the_rate_does_not_depend_on_the_size_of_the_simplex():
    left = []
    for total in (0.01, 1.0, 1000.0):
        given = FiniteSum(rows(), total * targets(), l2=0.01, loss="squared", penalty=Simplex(total))
        start = given.certificate(np.full(D, total / D))["gap"]
        left.append(given.certificate(answer(Agd(geometry="simplex"), given, 400))["gap"] / start)
    assert left == pytest.approx([left[1]] * 3, rel=1e-3)
    assert left[1] < 1e-4


@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_over_a_wide_simplex_a_coordinate_comes_back(l2):
    """Gradient steps make zeros. A restart at such a point would keep the mirror steps there."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(60, 200))
    given = FiniteSum(
        a, a @ rng.dirichlet(np.full(200, 0.1)) + 0.05 * rng.normal(size=60), l2=l2, loss="squared", penalty=Simplex()
    )
    gaps = [given.certificate(answer(Agd(geometry="simplex"), given, k))["gap"] for k in (400, 1600)]
    assert gaps[1] < 1e-5
    assert gaps[1] < gaps[0] / 16


def test_both_geometries_find_the_same():
    given = squared(penalty=Simplex())
    found = [answer(Agd(geometry=geometry), given, 3000) for geometry in ("euclidean", "simplex")]
    assert max(given.certificate(x)["gap"] for x in found) < 1e-9
    np.testing.assert_allclose(*found, atol=1e-4)


# --------------------------------------------------------------------------------------------------- what it takes


def test_it_takes_what_others_do_not():
    x = answer(Agd(params="practical"), squared(penalty=NuclearBall(0.4, 2)), 400)
    assert np.linalg.svd(x.reshape(2, 3), compute_uv=False).sum() <= 0.4 * (1 + 1e-9)
    assert squared(penalty=NuclearBall(0.4, 2)).certificate(x)["gap"] < 1e-10
    lasso = FiniteSum(csr_matrix(rows()), targets(), l2=0, loss="squared", penalty=L1(0.02))
    assert lasso.certificate(answer(Agd(params="practical"), lasso, 3000))["gap"] < 1e-10


@pytest.mark.parametrize("params", ["theory", "practical"])
def test_it_takes_several_classes_with_intercepts(params):
    a = np.c_[rows(), np.ones(N)]
    given = FiniteSum(a, np.arange(N) % 3, l2=0.1, loss=Softmax(3), free=1)
    assert given.certificate(answer(Agd(params=params), given, 2000))["gap"] < 1e-12


@pytest.mark.parametrize("params", ["theory", "practical"])
def test_an_intercept_does_not_cost_the_linear_rate(params):
    a = np.c_[rows(), np.ones(N)]
    given = FiniteSum(a, np.sign(targets() + 0.3 * np.sin(np.arange(N))), l2=1e-4, free=1)
    linear = given.certificate(answer(Agd(params=params), given, 1000))["gap"]
    slow = given.certificate(answer(Agd(params=params), given.like(convexity=0.0), 1000))["gap"]
    assert linear < 1e-3 * slow


def test_a_step_too_large_is_a_result():
    with pytest.raises(Diverged, match=r"agd left the finite numbers after \d+ steps; it is stable for step ≤ 1"):
        answer(Agd(step=100), squared(), 1000)


@pytest.mark.parametrize(
    ("solver", "given", "fact"),
    [
        (Agd(geometry="simplex"), lambda: squared(), "geometry simplex needs a sum over one, not Nothing"),
        (Agd(), lambda: FiniteSum(rows(), np.sign(targets()), l2=1, loss="hinge"), "Hinge has a corner; use sdca"),
        (Agd(), lambda: FiniteSum(rows(), targets(), l2=0, loss="bowl"), "needs a convex sum, and Bowl may give none"),
    ],
)
def test_refusals(solver, given, fact):
    given, meter = given(), Meter(1000)
    given.metered(meter)
    with pytest.raises(SpecError, match=fact):
        solver.answer(given, meter, STREAMS)
    assert meter.spent == 0
