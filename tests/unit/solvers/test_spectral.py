"""Solvers for singular vectors and canonical pairs, against dense linear algebra and slow references."""

import numpy as np
import pytest
from scipy.linalg import eigh, subspace_angles
from scipy.sparse import csr_array

from airtrack.core.given import Matrix
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.solvers.solution import solve
from airtrack.solvers.spectral.appx_pca import (
    Deflation,
    Plan,
    Search,
    accelerated,
    advance,
    begin,
    conjugate_gradient,
)
from airtrack.solvers.spectral.arpack import Arpack
from airtrack.solvers.spectral.block_krylov import BlockKrylov
from airtrack.solvers.spectral.lanczos import lanczos, steps_for
from airtrack.solvers.spectral.lazy_cca import Cross, LazyCca, canonical
from airtrack.solvers.spectral.lazy_ev import Progress, complete, generalised, step
from airtrack.solvers.spectral.lazy_svd import Gram, LazySvd
from airtrack.solvers.spectral.lobpcg import Lobpcg
from airtrack.solvers.spectral.propack import Propack
from airtrack.solvers.spectral.randomised_svd import RandomisedSvd
from airtrack.tasks.spectral.spectrum import Spectrum
from airtrack.tasks.spectral.two_views import TwoViews

STREAMS = Streams(1)
TASK = Spectrum(n=60, d=40, k=3)


def run(solver, task, budget, seed=1):
    given, judge = task.pose(Streams(seed) / "task")
    meter = Meter(budget)
    given.metered(meter)
    return solver.answer(given, meter, Streams(seed) / "recipe"), meter, given, judge


def dense(given):
    return given._array @ np.eye(given.d)


# ------------------------------------------------------------------------------------------------------- AppxPCA


def search(given, out, shift, w):
    return begin(Gram(given), out, w, shift, 0.1)


@pytest.mark.parametrize("solve", [conjugate_gradient, accelerated])
@pytest.mark.parametrize("left_out", [0, 2])
def test_a_solve_is_the_inverse_on_what_is_left(solve, left_out):
    given, _ = TASK.pose(STREAMS)
    a, rng = dense(given), STREAMS.rng()
    v = np.linalg.svd(a)[2][:left_out].T
    out = Deflation(v, v)
    rest = np.eye(40) - v @ v.T
    at = search(given, out, 1.1, rng.standard_normal(40))
    x, image, positive = solve(Gram(given), out, at, 0.0)
    assert positive
    assert x == pytest.approx(np.linalg.solve(1.1 * np.eye(40) - rest @ a.T @ a @ rest, at.w), abs=1e-10)
    assert image == pytest.approx(a @ x, abs=1e-10)
    assert abs(v.T @ x).max(initial=0) < 1e-12


@pytest.mark.parametrize("solve", [conjugate_gradient, accelerated])
def test_a_shift_below_the_eigenvalue_is_noticed_and_undone(solve):
    given, _ = TASK.pose(STREAMS)  # λ₁ = 1
    out, rng = Deflation(np.zeros((40, 0)), np.zeros((40, 0))), STREAMS.rng()
    for shift in (0.3, 0.9, 0.99):
        at = search(given, out, shift, rng.standard_normal(40))
        assert not solve(Gram(given), out, at, 0.0)[2]
        plan, shifts = Plan.of("practical", 40, 0.05, 1e-3, 0.1), []
        while not at.done:
            at = advance(Gram(given), out, at, plan, solve)
            shifts.append(at.shift)
        assert max(shifts) > 1
        assert at.shift > 1
        assert at.value > 0.95


def slow_appx_pca(m, w, shift, plan):
    """The algorithm with exact inverses; returns the vector and every shift."""
    d, shifts = len(m), []
    while True:
        for _ in range(plan.locate):
            w = np.linalg.solve(shift * np.eye(d) - m, w)
            w /= np.linalg.norm(w)
        v = np.linalg.solve(shift * np.eye(d) - m, w)
        distance = 0.5 / (w @ v - plan.margin)
        shift -= distance / 2
        shifts.append(shift)
        w = v / np.linalg.norm(v)
        if distance <= plan.delta * shift / 3:
            break
    for _ in range(plan.polish):
        w = np.linalg.solve(shift * np.eye(d) - m, w)
        w /= np.linalg.norm(w)
    return w, shifts


def test_the_search_is_the_algorithm_by_the_letter():
    given, _ = Spectrum(n=12, d=8, k=1).pose(STREAMS)
    a, w = dense(given), STREAMS.rng().standard_normal(8)
    plan = Plan.of("theory", 8, 0.05, 1e-2, 0.1)
    expected, slow = slow_appx_pca(a.T @ a, w / np.linalg.norm(w), 1.5, plan)
    at, shifts, out = search(given, Deflation(np.zeros((8, 0)), np.zeros((8, 0))), 1.5, w), [], None
    out = Deflation(np.zeros((8, 0)), np.zeros((8, 0)))
    while not at.done:
        before, at = at, advance(Gram(given), out, at, plan, conjugate_gradient)
        shifts += [at.shift] if at.shift != before.shift else []
    assert shifts == pytest.approx(slow, rel=1e-9)
    assert abs(at.w @ expected) == pytest.approx(1, abs=1e-12)


def test_theory_uses_the_numbers_of_the_paper():
    plan = Plan.of("theory", 400, 0.1, 1e-3, 0.1)
    assert plan.locate == int(np.ceil(4 * np.log(288 * 400 / 0.01)))
    assert plan.polish == int(np.ceil(np.log(36 * 400 / (0.01 * 1e-3))))
    assert plan.margin == pytest.approx((0.1 / 6) ** plan.locate / (64 * plan.locate))
    assert plan.tolerance == 0


# --------------------------------------------------------------------------------------------- LazySVD and Lanczos


@pytest.mark.parametrize("inner", ["cg", "agd", "lanczos"])
@pytest.mark.parametrize("params", ["theory", "practical"])
@pytest.mark.parametrize("power", [0.1, 1.0])
def test_lazy_svd_keeps_its_promises_without_a_gap(params, inner, power):
    task = Spectrum(n=50, d=40, k=4, power=power)
    for seed in range(1 if params == "theory" else 3):
        given, _ = task.pose(Streams(seed) / "task")
        solver = LazySvd(params=params, inner=inner, delta=0.1)
        at = complete(Gram(given), Progress.start(40, 4, STREAMS), solver.method(given), STREAMS)
        v, a = at.answer, dense(given)
        assert v.T @ v == pytest.approx(np.eye(4), abs=1e-10)
        assert np.linalg.norm(a - a @ v @ v.T, 2) <= 1.1 * np.sqrt(task.eigenvalues[4])
        assert ((v.T @ a.T @ a @ v).diagonal() >= 0.9 * task.eigenvalues[:4]).all()


@pytest.mark.parametrize("inner", ["cg", "lanczos"])
def test_a_further_run_is_more_accurate(inner):
    given, judge = Spectrum(n=200, d=150, k=3, power=0.1).pose(STREAMS)
    method, at, errors = LazySvd(inner=inner, delta=0.5).method(given), Progress.start(150, 3, STREAMS), []
    for _ in range(3):
        at = complete(Gram(given), at, method, STREAMS)
        errors.append(judge(at.answer)["eigenvalue"])
    assert errors[2] < errors[1] / 10 < errors[0] / 100


def test_equal_eigenvalues_are_all_found():
    _, _, _, judge = answer = run(LazySvd(), Spectrum(n=60, d=40, k=5, power=0.0, gap=0.3), 4000)
    assert judge(answer[0])["sin2"] < 1e-6


def test_lanczos_is_rayleigh_ritz_on_the_krylov_space():
    a = dense(TASK.pose(STREAMS)[0])
    m, w = a.T @ a, STREAMS.rng().standard_normal(40)
    basis = np.linalg.qr(np.column_stack([np.linalg.matrix_power(m, i) @ w for i in range(5)]))[0]
    values, vectors = np.linalg.eigh(basis.T @ m @ basis)
    found, value = lanczos(lambda x: m @ x, w, 5)
    assert value == pytest.approx(values[-1], rel=1e-10)
    assert abs(found @ basis @ vectors[:, -1]) == pytest.approx(1, abs=1e-10)
    found, value = lanczos(lambda x: m @ x, w, 40, tolerance=1e-3)
    assert np.linalg.norm(m @ found - value * found) <= 1e-3 * value


def test_chance_leaves_lanczos_below_its_bound_as_seldom_as_was_proved():
    m = np.diag(1 - 0.3 * np.arange(60) / 59)  # many eigenvalues near the first: a hard case
    for p in (0.5, 0.1):
        steps = steps_for(60, 0.05, p)
        values = [lanczos(lambda x: m @ x, Streams(s).rng().standard_normal(60), steps)[1] for s in range(100)]
        assert np.mean(np.array(values) < 0.95) <= p
    assert steps_for(60, 0.05, 1e-3) > steps_for(60, 0.05, 0.1) > steps_for(60, 0.2, 0.1)


# ------------------------------------------------------------------------------------------------------- baselines


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_block_krylov_is_rayleigh_ritz_on_all_powers(steps):
    answer, meter, given, _ = run(BlockKrylov(extra=1), TASK, 8 * steps)
    assert meter.spent == 8 * steps
    a, x = dense(given), (Streams(1) / "recipe" / "start").rng().standard_normal((40, 4))
    powers = np.hstack([np.linalg.matrix_power(a.T @ a, i) @ x for i in range(steps)])
    basis = np.linalg.qr(powers)[0]
    expected = basis @ np.linalg.eigh(basis.T @ a.T @ a @ basis)[1][:, -3:]
    assert subspace_angles(answer, expected).max() < 1e-7


def test_a_short_block_krylov_goes_on_where_it_was():
    errors = []
    for budget in (60, 120, 240):
        answer, _, _, judge = run(BlockKrylov(depth=3), Spectrum(n=200, d=150, k=3, power=0.1), budget)
        errors.append(judge(answer)["eigenvalue"])
    assert errors[2] < errors[1] / 3 < errors[0] / 9


@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e120])
@pytest.mark.parametrize("depth", [2, 3, 16])
def test_block_krylov_knows_its_residual(depth, scale):
    """Kept blocks, restarts, subspaces that close: what it works out beside its steps is what the certificate says."""
    a = STREAMS.rng().standard_normal((60, 9)) * np.array([5, 3, 2, 1, 1, 0.5, 0.3, 0.1, 0]) * scale
    seen = []

    class Listener(Meter):
        def offer(self, answer, guess=None):
            super().offer(answer)
            if guess is not None:
                seen.append((guess["residual"], Matrix(a, k=2).certificate(answer)["residual"]))

    given, meter = Matrix(a, k=2), Listener(60)
    given.metered(meter)
    BlockKrylov(depth=depth).answer(given, meter, STREAMS)
    guessed, proved = np.transpose(seen)
    np.testing.assert_allclose(guessed, proved, rtol=1e-6, atol=1e-13)
    assert proved[0] > 0.01 > 1e-8 > proved[-1]


def test_an_invariant_subspace_is_left():
    matrix = np.diag([3.0, 2.0, 1.0, 0.5, 0.25, 0.125])
    given = Matrix(matrix, k=2)
    meter = Meter(200)
    given.metered(meter)
    answer = BlockKrylov(extra=1).answer(given, meter, STREAMS)
    assert abs(answer[2:]).max() < 1e-12
    assert meter.spent > 190


@pytest.mark.parametrize(("shape", "k", "extra"), [((3, 3), 3, 0), ((3, 3), 1, 5), ((2, 4), 2, 9), ((9, 4), 4, 0)])
def test_block_krylov_ends_when_its_basis_is_the_whole_space(shape, k, extra):
    given, meter = Matrix(STREAMS.rng().standard_normal(shape), k=k), Meter(1000)
    given.metered(meter)
    answer = BlockKrylov(extra=extra).answer(given, meter, STREAMS)
    assert given.certificate(answer)["residual"] < 1e-12
    assert meter.spent == 2 * shape[1]
    assert solve(given, "block_krylov", extra=extra).converged


@pytest.mark.parametrize("budget", [1, 5, 17, 18, 50, 1000])
def test_lobpcg_ends_with_its_budget_where_scipy_makes_the_matrix_dense(budget):
    given, meter = Matrix(np.diag(np.arange(8.0, 0, -1)), k=2), Meter(budget)  # d < 5 k: 16 products at once
    given.metered(meter)
    answer = Lobpcg().answer(given, meter, STREAMS)
    assert meter.spent <= budget
    assert (given.certificate(answer)["residual"] < 1e-12) == (budget >= 18)


def test_what_a_matrix_itself_raises_is_not_taken_for_the_end_of_the_budget():
    class Broken(Counting):
        def __matmul__(self, x):
            if x.shape[1:] == (8,):
                raise OSError("the file is gone")
            return super().__matmul__(x)

    with pytest.raises(Exception, match="the file is gone"):
        Lobpcg().answer(Matrix(Broken(np.eye(8)), k=2), Meter(100), STREAMS)


@pytest.mark.parametrize("steps", [1, 3])
def test_randomised_svd_is_the_published_one(steps):
    answer, meter, given, _ = run(RandomisedSvd(extra=2), TASK, 10 * steps)
    assert meter.spent == 10 * steps
    a, x = dense(given), (Streams(1) / "recipe" / "start").rng().standard_normal((40, 5))
    q = np.linalg.qr(np.linalg.matrix_power(a @ a.T, steps - 1) @ a @ x)[0]
    expected = np.linalg.svd(q.T @ a)[2][:3].T
    assert abs(np.sum(answer * expected, 0)) == pytest.approx(np.ones(3), abs=1e-8)


class Counting:
    """A matrix that counts its own products."""

    def __init__(self, array, done=None):
        self.array, self.shape, self.done = array, array.shape, [] if done is None else done

    def __matmul__(self, x):
        self.done.append(1 if x.ndim == 1 else x.shape[1])
        return self.array @ x

    @property
    def T(self):
        return Counting(self.array.T, self.done)


SOLVERS = [
    Arpack(),
    Propack(),
    Lobpcg(),
    BlockKrylov(),
    RandomisedSvd(extra=3),
    LazySvd(),
    LazySvd(inner="agd"),
    LazySvd(inner="lanczos"),
]


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("form", [np.array, csr_array])
def test_everyone_finds_the_subspace_and_pays_for_every_product(solver, form):
    for shape in ((60, 40), (40, 60)):
        array = STREAMS.rng().standard_normal(shape) * np.arange(1.0, shape[1] + 1) ** -0.5
        matrix = Counting(form(array))
        given = Matrix(matrix, k=3)
        meter = Meter(3000)
        given.metered(meter)
        answer = solver.answer(given, meter, STREAMS)
        _, sizes, right = np.linalg.svd(array)
        residual = np.sqrt(3) * 1e-7 * sizes[0] ** 2  # the least that the tolerances of the libraries' solvers ask for
        assert subspace_angles(answer, right[:3].T).max() < residual / (sizes[2] ** 2 - sizes[3] ** 2)  # Davis, Kahan
        assert sum(matrix.done) == meter.spent == given.counts["matvecs"]


def test_arpack_has_no_full_rank_answer():
    given = Matrix(np.eye(3), k=3)
    with pytest.raises(SpecError, match="fewer than 3 singular vectors"):
        Arpack().answer(given, Meter(100), STREAMS)


# --------------------------------------------------------------------------------------- generalised eigenvectors


def test_both_ends_and_pairs_of_opposite_sign():
    rng = STREAMS.rng()
    c = rng.standard_normal((20, 12))
    b = c.T @ c / 20 + 0.1 * np.eye(12)
    basis = np.linalg.inv(np.linalg.cholesky(b)).T @ np.linalg.qr(rng.standard_normal((12, 12)))[0]  # WᵀBW = I
    wanted = np.array([2.0, -2.0, -1.7, 1.5, 0.9, -0.8, 0.5, 0.4, -0.3, 0.2, 0.1, 0.0])
    dual = b @ basis
    values, vectors = generalised(dual * wanted @ dual.T, b, 5, bound=2.2, delta=1e-3, epsilon=1e-6)
    assert sorted(values) == pytest.approx(sorted(wanted[:5]), rel=1e-6)
    assert abs(values) == pytest.approx(abs(wanted[:5]), rel=1e-6)
    assert vectors.T @ b @ vectors == pytest.approx(np.eye(5), abs=1e-8)
    for value, vector in zip(values, vectors.T):  # a mixture of the pair ±2 would solve neither
        assert dual * wanted @ dual.T @ vector == pytest.approx(value * b @ vector, abs=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "fields", "words"),
    [
        (np.eye(3), np.eye(2), {"k": 1, "bound": 1.0}, "both are to be d × d"),
        (np.eye(3), np.eye(3), {"k": 4, "bound": 1.0}, "k = 4"),
        (np.eye(3), np.eye(3), {"k": 1, "bound": 0.0}, "bound: 0.0 bounds no eigenvalue"),
        ([[1.0]], np.eye(1), {"k": 1, "bound": 2.0}, r"A has the shape \(\)"),
        (np.eye(3), 1j * np.eye(3), {"k": 1, "bound": 1.0}, "B holds complex128"),
    ],
)
def test_what_is_no_pencil_is_refused(a, b, fields, words):
    with pytest.raises(SpecError, match=words):
        generalised(a, b, **fields)


NOT_DEFINITE = "B is not positive definite.* add a ridge to it|add a ridge to B if it is not positive definite"


@pytest.mark.parametrize("form", [np.array, csr_array, Counting])
@pytest.mark.parametrize(
    ("which", "changed", "words"),
    [
        ("A", lambda a: a + np.diag([np.nan] + 11 * [0]), "A holds NaN or infinity|A w is not finite for some w; resc"),
        ("B", lambda b: b + np.diag(11 * [0] + [np.inf]), "B holds NaN or infinity|B w is not finite for some w; resc"),
        ("A", lambda a: a + 0.01 * np.eye(12, k=1), r"A is not symmetric; give \(A \+ Aᵀ\) / 2"),
        ("B", lambda b: b + 0.01 * np.eye(12, k=1), r"B is not symmetric; give \(B \+ Bᵀ\) / 2"),
        ("B", lambda b: -b, NOT_DEFINITE),
        ("B", lambda b: 0 * b, NOT_DEFINITE),
        ("B", lambda b: b - 1.001 * np.linalg.eigvalsh(b)[0] * np.eye(12), NOT_DEFINITE),
        ("B", lambda b: np.diag(11 * [1.0] + [0.0]), NOT_DEFINITE),
        ("B", lambda b: b[:, :3] @ b[:3], NOT_DEFINITE),
        ("B", lambda b: 5 - 6 * np.eye(12), NOT_DEFINITE),  # on its diagonal −1, off it 5
    ],
)
def test_matrices_that_are_no_pencil_are_refused_by_name(form, which, changed, words):
    rng = STREAMS.rng()
    c, a = rng.standard_normal((30, 12)), rng.standard_normal((12, 12))
    a, b = a + a.T, c.T @ c / 30
    bound = 1.01 * abs(eigh(a, b, eigvals_only=True)).max()
    assert generalised(form(a), form(b), 1, bound=bound)[1].shape == (12, 1)
    a, b = (changed(a), b) if which == "A" else (a, changed(b))
    with pytest.raises(SpecError, match=words):
        generalised(form(a), form(b), 2, bound=bound)


@pytest.mark.parametrize("share", [0.99, 0.5, 0.1, 1e-3])
def test_a_bound_that_is_none_is_refused(share):
    a = np.diag(np.arange(1.0, 21)) * np.where(np.arange(20) % 2, 1, -1)
    for form in (np.array, Counting):
        assert abs(generalised(form(a), form(np.eye(20)), 2, bound=20.0)[0]) == pytest.approx([20, 19], rel=1e-3)
        with pytest.raises(SpecError, match=r"bound: \S+ bounds no .* of \S+; take .*"):
            generalised(form(a), form(np.eye(20)), 2, bound=20 * share)


def test_a_pencil_without_a_metric_is_said_to_be_none():
    class Flat(Gram):
        def combine(self, w, image, a, b):
            return 0 * w

    none = Deflation(np.zeros((40, 0)), np.zeros((40, 0)))
    with pytest.raises(SpecError, match="B is not positive definite, xᵀBx being 0 for an x of the search; add a ridge"):
        begin(Flat(TASK.pose(STREAMS)[0]), none, np.ones(40), 1.5, 0.5)


@pytest.mark.parametrize("form", [np.array, csr_array])
@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_canonical_pairs_are_those_of_a_dense_solver(form, ridge):
    rng = STREAMS.rng()
    shared = rng.standard_normal((200, 3))
    x = np.hstack([shared + 0.5 * rng.standard_normal((200, 3)), rng.standard_normal((200, 3))])
    y = np.hstack([shared @ rng.standard_normal((3, 3)) + rng.standard_normal((200, 3)), rng.standard_normal((200, 2))])
    sxx, syy, sxy = x.T @ x / 200 + ridge * np.eye(6), y.T @ y / 200 + ridge * np.eye(5), x.T @ y / 200
    phi, psi, rho = canonical(form(x), form(y), 3, ridge=ridge, tolerance=1e-9)
    squares = eigh(sxy @ np.linalg.solve(syy, sxy.T), sxx, eigvals_only=True)[::-1]
    assert rho == pytest.approx(np.sqrt(squares[:3]), rel=1e-9)
    assert phi.T @ sxx @ phi == pytest.approx(np.eye(3), abs=1e-7)
    assert psi.T @ syy @ psi == pytest.approx(np.eye(3), abs=1e-7)
    assert phi.T @ sxy @ psi == pytest.approx(np.diag(rho), abs=1e-7)


def test_lazy_cca_finds_each_pair_once():
    given, judge = TwoViews(n=200, p=10, q=8, k=4).pose(STREAMS)
    pencil, method = Cross(given), LazyCca().method(given)
    at = complete(pencil, Progress.start(18, 4, STREAMS), method, STREAMS)
    found = [pencil.quotient(w, pencil.image(w)) for w in at.answer.T]
    assert found == pytest.approx(judge.truth["correlations"], rel=1e-4)
    assert judge(at.answer)["sin2"] < 1e-4


def test_the_same_pairs_whatever_the_columns_are_mixed_by():
    rng = STREAMS.rng()
    x = rng.standard_normal((100, 4))
    y = x @ rng.standard_normal((4, 3)) + rng.standard_normal((100, 3))
    rho = canonical(x, y, 2, tolerance=1e-9)[2]
    mixed = canonical(x @ rng.standard_normal((4, 4)), y @ rng.standard_normal((3, 3)), 2, tolerance=1e-9)[2]
    assert mixed == pytest.approx(rho, rel=1e-8)


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_a_rank_below_k_is_no_trouble(solver):
    matrix = np.outer(STREAMS.rng().standard_normal(20), np.arange(1.0, 13))
    given = Matrix(matrix, k=3)
    given.metered(Meter(1000))
    answer = solver.answer(given, given._meter, STREAMS)
    assert np.isfinite(answer).all()
    assert given.certificate(answer)["residual"] < 1e-12
    assert np.linalg.norm(matrix @ np.linalg.qr(answer)[0]) == pytest.approx(np.linalg.norm(matrix), rel=1e-10)


def test_no_correlation_is_an_answer_and_no_scale_is_an_error():
    assert abs(canonical(np.eye(50)[:, :4], np.eye(50)[:, 4:7], 2)[2]).max() < 1e-9
    x, y = STREAMS.rng().standard_normal((50, 4)), STREAMS.rng(1).standard_normal((50, 3))
    twice, rho = canonical(np.hstack([x, x[:, :1]]), y, 2)[2], canonical(x, y, 2)[2]
    assert twice == pytest.approx(rho, rel=1e-6)
    with pytest.raises(SpecError, match=r"lost in rounding errors; bring the columns to one scale, or add a ridge"):
        canonical(1e8 * x, 1e-8 * y, 2)


def test_a_tolerance_out_of_reach_is_said_to_be():
    x = np.vander(np.linspace(0.5, 1, 60), 9)  # condition of XᵀX: 10¹³
    with pytest.raises(SpecError, match="residual of 1e-14 is out of reach; rounding leaves"):
        canonical(x - x.mean(0), STREAMS.rng().standard_normal((60, 3)), 2, ridge=1e-9, tolerance=1e-14)


# ------------------------------------------------------------------------------------------------- state and fields


def test_progress_survives_being_written_down():
    given, _ = TASK.pose(STREAMS)
    method, at = LazySvd().method(given), Progress.start(40, 3, STREAMS)
    for _ in range(40):
        again = Progress.of(at.state())
        assert all(isinstance(search, Search) for search in again.searches)
        one, other = (step(Gram(given), progress, method, STREAMS) for progress in (at, again))
        assert one.answer.tobytes() == other.answer.tobytes()
        at = one


@pytest.mark.parametrize(
    ("solver", "fields"),
    [
        (LazySvd, {"delta": 0.0}),
        (LazySvd, {"delta": 0.6}),
        (LazySvd, {"epsilon": 1.0}),
        (LazySvd, {"inner": "svrg"}),
        (LazyCca, {"p": 0.0}),
        (Arpack, {"tol": 0.0}),
        (BlockKrylov, {"depth": 1}),
        (RandomisedSvd, {"extra": -1}),
        (Lobpcg, {"iterations": 0}),
        (Propack, {"tol": -1.0}),
    ],
)
def test_bad_fields_are_refused(solver, fields):
    with pytest.raises(SpecError):
        solver(**fields)
