"""SVRG, SVRG++, Katyusha and Katyusha X against slow references written from the equations; lazy, mapped and float32
rows against dense ones in float64; what they refuse."""

from contextlib import suppress
from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from airtrack.core.given import Blocks, FiniteSum
from airtrack.core.losses import Softmax
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError
from airtrack.core.penalties import L1, Box, Simplex
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.convex import epochs
from airtrack.solvers.convex.epochs import Sampler
from airtrack.solvers.convex.katyusha import Katyusha
from airtrack.solvers.convex.katyusha_x import KatyushaX
from airtrack.solvers.convex.svrg import Svrg
from airtrack.solvers.convex.svrg_pp import SvrgPp

STREAMS = Streams(4) / "recipe"
N, D = 30, 5


def rows(n=N, d=D, spread=0.5):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, d)) * np.exp(spread * rng.normal(size=(n, 1)))


def weighted(n=N):
    return np.exp(np.random.default_rng(2).normal(size=n))


def signs(n=N):
    return np.sign(np.random.default_rng(3).normal(size=n))


def targets():
    return rows() @ [1.0, -0.5, 0.2, 0.0, 0.0] + 0.3 * signs()


SUMS = {
    "l2": lambda: FiniteSum(rows(), signs(), l2=0.01),
    "no l2": lambda: FiniteSum(rows(), signs(), l2=0),
    "elastic net": lambda: FiniteSum(rows(), targets(), l2=0.02, loss="squared", penalty=L1(0.15)),
    "lasso": lambda: FiniteSum(rows(), targets(), l2=0, loss="squared", penalty=L1(0.15)),
    "box": lambda: FiniteSum(rows(), targets(), l2=0.01, loss="squared", penalty=Box(-0.1, 0.6)),
    "weights": lambda: FiniteSum(rows(), signs(), l2=0.01, weights=weighted()),
    "intercept": lambda: FiniteSum(np.c_[rows(), np.ones(N)], signs(), l2=0.05, weights=weighted(), free=1),
    "intercept, l1": lambda: FiniteSum(
        np.c_[rows(), np.ones(N)], targets(), l2=0.05, loss="squared", penalty=L1(0.1), free=1
    ),
    "linear": lambda: FiniteSum(rows(), signs(), l2=0.01, linear=np.linspace(-0.1, 0.1, D)),
    "elsewhere": lambda: FiniteSum(rows(), signs(), l2=0.01, start=np.linspace(-1, 1, D)),
    "not convex": lambda: FiniteSum(rows(), -np.ones(N), l2=4.0, loss="signed", convexity=0.5, linear=np.ones(D)),
}


class Naive:
    """The sum once more, one component at a time."""

    SLOPES = {
        "Logistic": lambda u, b: -b / (1 + np.exp(b * u)),
        "Squared": lambda u, b: u - b,
        "Signed": lambda u, b: b * u,
    }
    CURVES = {"Logistic": 0.25, "Squared": 1.0, "Signed": 1.0}

    def __init__(self, given):
        self.given, self.kind = given, type(given.loss).__name__
        self.a, self.b, self.w, self.n = np.array(given.rows, float), given.labels, given.weights, given.n
        self.sizes = np.array([self.w[i] * self.CURVES[self.kind] * self.a[i] @ self.a[i] for i in range(self.n)])

    def gradient(self, x, i):
        return self.w[i] * self.SLOPES[self.kind](self.a[i] @ x, self.b[i]) * self.a[i]

    def full(self, x):
        mean = sum(self.gradient(x, i) for i in range(self.n)) / self.n
        return mean if self.given.linear is None else mean + self.given.linear

    def reduced(self, x, snapshot, mu, i, chances):
        return mu + (self.gradient(x, i) - self.gradient(snapshot, i)) / (self.n * chances[i])

    def moved(self, z, g, alpha):
        """argmin over z' of ‖z' − z‖²/2α + ⟨g, z'⟩ + (σ/2) ‖z'‖² + ψ(z'), coordinate by coordinate."""
        out, penalty = z - alpha * g, self.given.penalty
        for j in range(self.given.d - self.given.free):
            v, scale = out[j] / (1 + alpha * self.given.l2), alpha / (1 + alpha * self.given.l2)
            if isinstance(penalty, L1):
                v = np.sign(v) * max(abs(v) - scale * penalty.strength, 0)
            elif isinstance(penalty, Box):
                v = min(max(v, penalty.low), penalty.high)
            out[j] = v
        return out

    def sampling(self, by):
        """(the chance of each component, L)"""
        if by == "uniform":
            return np.full(self.n, 1 / self.n), self.sizes.max()
        return self.sizes / self.sizes.sum(), self.sizes.mean()

    def orders(self, budget, length, by):
        """The indices of each epoch; the last one takes what is left of the budget."""
        sampler, number = Sampler(self.n, None if by == "uniform" else self.sizes), 0
        while budget >= self.n + 1:
            budget -= self.n
            steps = length(number)
            count = steps if budget >= steps + self.n + 1 else min(budget, steps + self.n)
            rng = (STREAMS / "indices").rng(number)
            yield number, np.concatenate([np.zeros(0, int), *sampler.chunks(rng, count)])
            budget -= count
            number += 1


def svrg(naive, budget, params, sampling):
    convex = naive.kind != "Signed"
    chances, L = naive.sampling(sampling)
    m = 2 * naive.n if convex else naive.n
    eta = 1 / L if params == "practical" else 1 / (7 * L) if convex else 1 / (2 * L * np.sqrt(m))
    x = snapshot = naive.given.start
    for _, order in naive.orders(budget, lambda epoch: m, sampling):
        mu, iterates = naive.full(snapshot), []
        for i in order:
            x = naive.moved(x, naive.reduced(x, snapshot, mu, i, chances), eta)
            iterates.append(x)
        snapshot = np.mean(iterates, 0) if params == "theory" else x
    return snapshot


def svrg_pp(naive, budget, params, sampling):
    chances, L = naive.sampling(sampling)
    eta = 1 / (7 * L) if params == "theory" else 1 / L
    x = snapshot = naive.given.start

    def length(epoch):
        steps = 2**epoch * (naive.n // 4)
        return steps if params == "theory" else min(steps, 8 * naive.n)

    for _, order in naive.orders(budget, length, sampling):
        mu, iterates = naive.full(snapshot), []
        for i in order:
            x = naive.moved(x, naive.reduced(x, snapshot, mu, i, chances), eta)
            iterates.append(x)
        snapshot = np.mean(iterates, 0)  # and x goes on from the last one
    return snapshot


def katyusha(naive, budget, params, sampling, batch=1):
    chances, L = naive.sampling(sampling)
    m, sigma = (2 if params == "theory" else 1) * naive.n, naive.given.l2
    largest = max(L / batch, naive.sizes.mean())
    tau2 = L / (2 * batch * largest)
    y = z = snapshot = naive.given.start
    for s, order in naive.orders(budget, lambda epoch: m, sampling):
        tau1 = min(np.sqrt(2 * tau2 * (m / batch) * sigma / (3 * largest)), tau2) if sigma > 0 else 2 / (s + 4)
        alpha = 1 / (3 * tau1 * largest)
        mu, iterates = naive.full(snapshot), []
        for first in range(0, len(order), batch):
            x = tau1 * z + tau2 * snapshot + (1 - tau1 - tau2) * y
            some = order[first : first + batch]
            g = np.mean([naive.reduced(x, snapshot, mu, i, chances) for i in some], 0)
            moved = naive.moved(z, g, alpha)
            y, z = x + tau1 * (moved - z), moved
            iterates.append(y)
        shares = (1 + alpha * sigma) ** np.arange(len(iterates))
        snapshot = shares @ iterates / shares.sum() if params == "theory" else y
    return snapshot


def katyusha_x(naive, budget, params, sampling):
    convex, m = naive.kind != "Signed", naive.n
    chances, L = naive.sampling(sampling)
    theory = params == "theory"
    eta = (1 / (7 * L) if theory else 1 / (2 * L)) if convex else (1 if theory else 4) / (2 * L * np.sqrt(m))
    sigma = naive.given.convexity
    tau = min(0.5, 0.5 * np.sqrt(m * eta * sigma))

    def length(epoch):
        drawn = (STREAMS / "lengths").rng(epoch).geometric(1 / m)
        return min(drawn, 8 * m) if theory else m

    x = y = before = naive.given.start  # x₀ = y₀ = y₋₁
    for k, order in naive.orders(budget, length, sampling):
        if sigma > 0:
            x = (1.5 * y + 0.5 * x - (1 - tau) * before) / (1 + tau)
        else:
            x = ((3 * k + 1) * y + (k + 1) * x - (2 * k - 2) * before) / (2 * k + 4)
        before, y, mu = y, x, naive.full(x)
        for i in order:
            y = naive.moved(y, naive.reduced(y, x, mu, i, chances), eta)
    return y


def answer(solver, given, budget=400):
    meter = Meter(budget)
    given.metered(meter)
    found = solver.answer(given, meter, STREAMS)
    assert meter.spent == budget
    return found


def passes(solver, given, share=1e-6, most=1000):
    """Passes until the duality gap is that share of what it is at 0."""
    first = given.certificate(np.zeros(given.d))["gap"]
    schedule = [given.n * i for i in range(1, most)]
    meter = Meter(
        most * given.n, look=given.certificate, schedule=schedule, stop=lambda now: now["gap"] <= share * first
    )
    given.metered(meter)
    with suppress(BudgetSpent):
        solver.answer(given, meter, STREAMS)
    return meter.reached / given.n


def same(a, b, tolerance=1e-12):
    return np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1)


SOLVERS = [(Svrg, svrg), (SvrgPp, svrg_pp), (Katyusha, katyusha), (KatyushaX, katyusha_x)]


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("params", ["theory", "practical"])
@pytest.mark.parametrize(("solver", "reference"), SOLVERS)
def test_equals_the_slow_reference(solver, reference, params, name):
    if solver is Katyusha and name == "not convex":
        pytest.skip("katyusha refuses it")
    given = SUMS[name]()
    for sampling in ("uniform",) if solver is SvrgPp else ("uniform", "smoothness"):
        fields = {} if solver is SvrgPp else {"sampling": sampling}
        slow = reference(Naive(given), 400, params, sampling)
        assert not same(slow, given.start)
        assert same(answer(solver(params=params, **fields), given), slow)


@pytest.mark.parametrize("batch", [2, 7, 64])
@pytest.mark.parametrize("name", ["l2", "no l2", "elastic net", "weights", "intercept"])
def test_batches_equal_the_slow_reference(name, batch):
    for sampling, params in product(("uniform", "smoothness"), ("theory", "practical")):
        given = SUMS[name]()
        slow = katyusha(Naive(given), 400, params, sampling, batch)
        assert same(answer(Katyusha(params=params, sampling=sampling, batch=batch), given), slow)


@pytest.mark.parametrize("batch", [4, 16])
def test_batches_cost_no_more_passes(batch):
    """The linear speed-up of the paper, for up to √n components a step, where both terms of the bound are alike."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 10)) * np.arange(1, 11.0) ** -2
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    given = FiniteSum(a, np.sign(a @ rng.normal(size=10) + 0.3 * rng.normal(size=400)), l2=0.25 / (10_000 * 400))
    assert passes(Katyusha(batch=batch), given) <= 2 * passes(Katyusha(), given)


@pytest.mark.parametrize(("solver", "reference"), SOLVERS)
@pytest.mark.parametrize("budget", [31, 90, 500, 1013])
def test_any_budget_is_spent_to_the_last_component(solver, reference, budget):
    given = SUMS["l2"]()
    assert same(answer(solver(), given, budget), reference(Naive(given), budget, "theory", "uniform"))


# ------------------------------------------------------------------------------------- the same sum, held differently

KINDS = [
    (Svrg, "theory"), (Svrg, "practical"), (Katyusha, "theory"), (Katyusha, "practical"),
    (KatyushaX, "theory"), (KatyushaX, "practical"), (SvrgPp, "theory"),
]  # fmt: skip


@pytest.mark.parametrize("free", [0, 1])
@pytest.mark.parametrize("l2", [0.01, 0.0])
@pytest.mark.parametrize("sampling", ["uniform", "smoothness"])
@pytest.mark.parametrize(("solver", "params"), KINDS)
def test_lazy_is_dense(solver, params, sampling, l2, free):
    """Sparse rows, whose untouched coordinates catch up in closed form, and the same rows with all their zeros."""
    if solver is SvrgPp and sampling != "uniform":
        pytest.skip("svrg_pp samples uniformly")
    n, d = 120, 40
    rng = np.random.default_rng(5)
    a = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.06)
    a[:, 3] = 0  # a coordinate that no row ever touches
    a[:, -1] = 1
    b, w = np.sign(rng.normal(size=n)), weighted(n)
    dense, sparse = (FiniteSum(r, b, l2=l2, weights=w, free=free) for r in (a, csr_matrix(a)))
    recipe = solver(params=params) if solver is SvrgPp else solver(params=params, sampling=sampling)
    assert sparse.sparse
    assert same(answer(recipe, sparse, 20 * n), answer(recipe, dense, 20 * n))


@pytest.mark.parametrize(("solver", "params"), KINDS)
def test_lazy_is_dense_over_several_chunks(solver, params, monkeypatch):
    monkeypatch.setattr(epochs, "CHUNK", 64)
    a = np.random.default_rng(5).normal(size=(100, 30)) * (np.random.default_rng(6).random((100, 30)) < 0.1)
    a[:, 0] = 0.1
    dense, sparse = (FiniteSum(r, signs(100), l2=0.01) for r in (a, csr_matrix(a)))
    assert same(answer(solver(params=params), sparse, 2000), answer(solver(params=params), dense, 2000))


@pytest.mark.parametrize(("solver", "params"), KINDS)
def test_lazy_is_dense_for_coordinates_that_are_left_behind_for_long(solver, params):
    """A column that one of 600 rows has waits for hundreds of steps: more than the table of single ones holds."""
    n = 600
    a = np.zeros((n, 80))
    a[np.arange(n), np.arange(n) % 4] = 1
    a[np.arange(76) * 5, 4 + np.arange(76)] = 0.5
    dense, sparse = (FiniteSum(r, signs(n), l2=0.001, free=1) for r in (a, csr_matrix(a)))
    assert same(answer(solver(params=params), sparse, 20 * n), answer(solver(params=params), dense, 20 * n))


def test_wide_indices_are_taken():
    a = csr_matrix(rows())
    a.indices, a.indptr = a.indices.astype(np.int64), a.indptr.astype(np.int64)
    narrow, wide = FiniteSum(rows(), signs(), l2=0.01), FiniteSum(a, signs(), l2=0.01)
    assert same(answer(Katyusha(), wide), answer(Katyusha(), narrow))


def in_blocks(a, size=7):
    return Blocks(lambda i: a[i * size : (i + 1) * size], a.shape, size)


@pytest.mark.parametrize(("solver", "params"), KINDS)
def test_blocks_are_the_array(solver, params):
    whole = FiniteSum(rows(), signs(), l2=0.01, weights=weighted())
    mapped = FiniteSum(in_blocks(rows()), signs(), l2=0.01, weights=weighted())
    assert same(answer(solver(params=params), mapped), answer(solver(params=params), whole))


@pytest.mark.parametrize("batch", [1, 7])
def test_blocks_that_are_gathered_in_parts_are_the_array(batch, monkeypatch):
    monkeypatch.setattr("airtrack.core.given.finite_sum.GATHERED", 8 * D * 10)  # ten rows: batches of 7 stay whole
    monkeypatch.setattr(epochs, "CHUNK", 25)
    whole, mapped = (FiniteSum(r, signs(), l2=0.01) for r in (rows(), in_blocks(rows())))
    expected = katyusha(Naive(whole), 400, "theory", "uniform", batch)
    for given in (whole, mapped):
        assert same(answer(Katyusha(batch=batch), given), expected)


@pytest.mark.parametrize(("solver", "params"), KINDS)
def test_float32_rows_are_their_float64_values(solver, params):
    """Only the rows are short: every sum is taken in float64."""
    short = rows().astype(np.float32)
    given, same_numbers = (FiniteSum(r, signs(), l2=0.01) for r in (short, short.astype(np.float64)))
    assert given.rows.dtype == np.float32
    assert same(answer(solver(params=params), given), answer(solver(params=params), same_numbers))


# ------------------------------------------------------------------------------------------------------------ sampling


def test_aliases_have_the_chances_asked_for():
    """Where nothing is rounded, exactly; else every giver and taker adds half a unit of the 24th bit."""
    for sizes in (np.array([1.0]), np.array([3.0, 1.0]), np.array([0.0, 1.0, 0.0, 5.0]), weighted(1000) ** 4):
        sampler, n = Sampler(len(sizes), sizes), len(sizes)
        keep = sampler._keep.astype(np.float64)
        chance = (keep + np.bincount(sampler._other, 1 - keep, n)) / n
        rounded = (1 + np.bincount(sampler._other, minlength=n)) * 2.0**-25 / n
        assert (np.abs(chance - sizes / sizes.sum()) <= rounded + 1e-14).all()


def test_draws_follow_the_chances():
    sizes, count = np.array([0.0, 1, 2, 3, 10]), 200_000
    for sampler, chance in ((Sampler(5, sizes), sizes / 16), (Sampler(5, None), np.full(5, 0.2))):
        drawn = np.concatenate(list(sampler.chunks(STREAMS.rng(), count)))
        assert len(drawn) == count
        share = np.bincount(drawn, minlength=5) / count
        assert (np.abs(share - chance) <= 5 * np.sqrt(chance / count)).all()
        assert share[0] == chance[0] or chance[0] > 0


@pytest.mark.parametrize(("solver", "power"), [(Svrg, 1), (Katyusha, 0.5)])
def test_sampling_by_smoothness_is_for_rows_of_unlike_lengths(solver, power):
    """The mean Lᵢ takes the place of the greatest one: in SVRG's κ, and under the square root of Katyusha's. A
    quarter of that at least shows."""
    a = rows(400, 10, spread=1.5)
    mean = float((a**2).sum(1).mean())
    given = FiniteSum(a, a @ np.ones(10), l2=1e-3 * mean, loss="squared")
    gain = passes(solver(), given, most=20_000) / passes(solver(sampling="smoothness"), given)
    assert gain > 0.25 * (given.smoothness.max() / mean) ** power


# ---------------------------------------------------------------------------------------------------- costs, and edges


@pytest.mark.parametrize(
    ("solver", "costs"),
    [(Svrg(), 3), (Katyusha(), 3), (Katyusha(params="practical"), 2), (KatyushaX(params="practical"), 2)],
)
def test_an_epoch_costs_what_the_theory_counts(solver, costs):
    given = SUMS["l2"]()
    meter = Meter(10 * costs * N, look=given.certificate, schedule=[1 + i * N for i in range(10 * costs)])
    given.metered(meter)
    solver.answer(given, meter, STREAMS)
    ends = [costs * N * i + N for i in range(10)]  # a look at every snapshot, and one at the end
    assert [work for work, _ in meter.curve] == [*ends, 10 * costs * N]
    assert given.counts["full"] == 10
    assert given.counts["gradients"] == meter.spent == meter.budget


def test_the_epochs_of_svrg_pp_double():
    given = SUMS["l2"]()
    for params, lengths in (("theory", [7, 14, 28, 56, 112, 224, 448]), ("practical", [7, 14, 28, 56, 112, 224, 240])):
        meter = Meter(5000, look=given.certificate, schedule=list(range(1, 5000)))
        given.metered(meter)
        SvrgPp(params=params).answer(given, meter, STREAMS)
        spent = np.array([work for work, _ in meter.curve])
        assert (np.diff(spent)[: len(lengths)] - N).tolist() == lengths


@pytest.mark.parametrize("params", ["theory", "practical"])
@pytest.mark.parametrize("solver", [Svrg, SvrgPp, Katyusha, KatyushaX])
def test_finds_the_optimum_to_rounding(solver, params):
    if solver is SvrgPp and params == "theory":
        pytest.skip("its epochs grow without end, so that it never is linear")
    for name in ("elastic net", "intercept", "weights"):
        given = SUMS[name]()
        x = answer(solver(params=params), given, 3000 * N)
        assert given.certificate(x)["gap"] < 1e-13


def test_a_lasso_is_solved_to_its_zeros():
    given = FiniteSum(rows(), targets(), l2=0, loss="squared", penalty=L1(0.25))
    for solver in (SvrgPp(params="practical"), Katyusha(), KatyushaX()):
        x = answer(solver, given, 5000 * N)
        assert given.certificate(x)["gap"] < 1e-7
        assert (np.abs(x) < 1e-9).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("solver", [Svrg, SvrgPp, Katyusha, KatyushaX])
def test_no_budget_for_an_epoch_leaves_the_start(solver):
    given, meter = SUMS["elsewhere"](), Meter(N)
    given.metered(meter)
    assert (solver().answer(given, meter, STREAMS) == given.start).all()
    assert meter.spent == 0


@pytest.mark.parametrize("solver", [Svrg, SvrgPp, KatyushaX])
@pytest.mark.parametrize("hold", [np.asarray, csr_matrix])
def test_a_step_too_large_is_a_result(solver, hold):
    given = FiniteSum(hold(rows()), signs(), l2=1e-3, loss="squared")
    given.metered(Meter(200_000))
    with pytest.raises(Diverged, match=r"left the finite numbers in epoch \d+; it is stable for step ≤ 1"):
        solver(step=1e3).answer(given, given._meter, STREAMS)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("solver", [Svrg, SvrgPp, Katyusha, KatyushaX])
@pytest.mark.parametrize("fields", [{"step": 0.0}, {"step": -1.0}, {"params": "theoretical"}, {"step": "big"}])
def test_bad_fields_are_refused(solver, fields):
    with pytest.raises(SpecError):
        solver(**fields)


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        (lambda: FiniteSum(rows(), signs(), l2=0.1, loss="hinge"), "Hinge has a corner; use sdca"),
        (
            lambda: FiniteSum(rows(), signs(), l2=0.1, penalty=Simplex()),
            "penalties that go by coordinates, not Simplex; use agd",
        ),
        (
            lambda: FiniteSum(csr_matrix(rows()), signs(), l2=0.1, penalty=L1(0.1)),
            "sparse rows leave behind, which takes l2 and no penalty; use sdca",
        ),
        (
            lambda: FiniteSum(rows(), np.arange(N) % 3, l2=0.1, loss=Softmax(3)),
            "losses of one prediction, not softmax; use lbfgs",
        ),
        (lambda: FiniteSum(np.zeros((N, D)), signs(), l2=0.1), "every row is zero"),
    ],
)
@pytest.mark.parametrize("solver", [Svrg(), SvrgPp(), Katyusha(), KatyushaX()])
def test_what_cannot_be_solved_is_refused_before_any_work(solver, given, fact):
    given, meter = given(), Meter(1000)
    given.metered(meter)
    with pytest.raises(SpecError, match=fact):
        solver.answer(given, meter, STREAMS)
    assert meter.spent == 0


def test_katyusha_says_what_it_does_not_take():
    with pytest.raises(SpecError, match="batches of dense rows only; leave batch at 1"):
        Katyusha(batch=2).refuse(FiniteSum(csr_matrix(rows()), signs(), l2=0.1))
    with pytest.raises(SpecError, match="needs convex components, Signed has none; use svrg with params: theory"):
        Katyusha().refuse(SUMS["not convex"]())
