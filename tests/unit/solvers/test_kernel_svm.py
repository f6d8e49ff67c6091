"""Kernel rows, packs of steps against a loop on dense matrices, and the optimum."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics.pairwise import pairwise_kernels

from airtrack.core.given import Kernel
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.solvers.kernel.kernel_pegasos import KernelPegasos
from airtrack.solvers.kernel.pack_svm import BLOCK, PackSvm
from airtrack.solvers.solution import solve
from airtrack.tasks.convex.kernel_svm import KernelSvm

STREAMS = Streams(3)
RNG = np.random.Generator(np.random.Philox(key=7))
OPTIONS = [("rbf", {"gamma": 0.4}), ("linear", {}), ("polynomial", {"gamma": 0.4, "coef0": 1, "degree": 2})]


def given_and_matrix(kernel="rbf", options=OPTIONS[0][1], n=40):
    points, labels = RNG.standard_normal((n, 3)), np.where(np.arange(n) % 3, 1.0, -1.0)
    given = Kernel(points, labels, kernel=kernel, gamma=0.4, degree=2, l2=0.05)
    return given, pairwise_kernels(points, metric=kernel.replace("polynomial", "poly"), **options), points


def run(solver, task, budget, seed=0):
    given, judge = task.pose(Streams(seed) / "task")
    given.metered(Meter(budget))
    return solver.answer(given, given._meter, Streams(seed) / "recipe"), judge, given


@pytest.mark.parametrize(("kernel", "options"), OPTIONS)
def test_rows_are_those_of_scikit_learn(kernel, options):
    given, matrix, points = given_and_matrix(kernel, options)
    given.metered(Meter(100))
    which, against = RNG.permutation(40)[:7], RNG.permutation(40)[:11]
    assert given.rows(which, against) == pytest.approx(matrix[np.ix_(which, against)])
    assert given._meter.spent == 7
    assert given.counts == {"rows": 7, "rounds": 1, "values": 77}
    assert given.diagonal(which) == pytest.approx(np.diag(matrix)[which])
    thin = Kernel(sparse.csr_matrix(points), given.labels, kernel=kernel, gamma=0.4, degree=2, l2=0.05)
    assert thin.rows(which, against) == pytest.approx(matrix[np.ix_(which, against)])


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_matrix, sparse.coo_array, sparse.csc_matrix])
@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.float32, bool])
@pytest.mark.parametrize("kernel", ["rbf", "linear", "polynomial"])
def test_points_of_any_kind_are_those_numbers(kernel, kind, hold):
    points, everyone = np.arange(-60, 60, 10).reshape(6, 2).astype(kind), np.arange(6)
    labels = np.array([1.0, -1, 1, -1, 1, -1])
    given, plain = (Kernel(a, labels, kernel=kernel, gamma=1e-4, l2=0.1) for a in (hold(points), points.astype(float)))
    assert (given.rows(everyone, everyone) == plain.rows(everyone, everyone)).all()
    assert (given.decide(labels, hold(points)) == plain.decide(labels, points.astype(float))).all()


@pytest.mark.parametrize(("kernel", "options"), OPTIONS)
def test_value_scores_and_certificate_by_the_letter(kernel, options, monkeypatch):
    monkeypatch.setattr("airtrack.core.given.kernel.CELLS", 100)  # a few rows at a time
    given, matrix, points = given_and_matrix(kernel, options)
    b, n, l2 = given.labels, 40, 0.05

    def value(alpha):
        return np.maximum(1 - b * (matrix @ (alpha * b)), 0).mean() + l2 / 2 * (alpha * b) @ matrix @ (alpha * b)

    best = min((value(a) for a in RNG.random((3000, n)) * RNG.random((3000, 1)) / (n * l2)), default=0)
    for alpha in (RNG.random(n), np.zeros(n), RNG.standard_normal(n)):
        assert given.decide(alpha, points) == pytest.approx(matrix @ (alpha * b))
        assert given.value(alpha) == pytest.approx(value(alpha))
        assert given.certificate(alpha)["gap"] >= value(alpha) - best


@pytest.mark.parametrize("task", [KernelSvm(n=60), KernelSvm(n=60, kernel="linear"), KernelSvm(n=300, l2=1e-4)])
def test_the_optimum_has_no_duality_gap(task):
    given, judge = task.pose(STREAMS)
    best = judge.truth["optimum"]
    assert (best >= 0).all()
    assert (best <= 1 / (given.n * given.l2) * (1 + 1e-12)).all()
    assert abs(given.certificate(best)["gap"]) < 1e-10
    other = best + 0.1 * best.max() * RNG.standard_normal(given.n)
    plain = (given.value(other) - given.value(best)) / (1 - given.value(best))
    assert judge(other)["gap"] == pytest.approx(min(plain, 1), rel=1e-6)


@pytest.mark.parametrize("hold", [np.asarray, sparse.csr_matrix])
def test_solve_measures_from_zero(hold):
    plain, *_ = given_and_matrix()
    given = Kernel(hold(plain._points), plain.labels, l2=0.05)
    start = given.certificate(given.zero())
    assert start == {"gap": 1.0}
    found = solve(given, tol=0.3)
    assert found.trace[0] == (0, start)
    assert found.gap <= 0.3 < found.trace[1][1]["gap"]


def pegasos(given, matrix, steps, project):
    """Kernel Pegasos on the whole matrix, w = Σ α b φ, by the letter."""
    b, alpha = given.labels, np.zeros(given.n)
    indices = (STREAMS / "indices").rng(0).integers(0, given.n, BLOCK)
    for t, i in enumerate(indices[:steps], start=1):
        short = b[i] * (matrix[i] @ (alpha * b)) < 1
        alpha *= 1 - 1 / t
        if short:
            alpha[i] += 1 / (given.l2 * t)
        norm = np.sqrt((alpha * b) @ matrix @ (alpha * b))
        if project and norm > 1 / np.sqrt(given.l2):
            alpha /= np.sqrt(given.l2) * norm
    return alpha


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("pack", [1, 2, 7, 64, 500])
@pytest.mark.parametrize(("kernel", "options"), OPTIONS)
def test_packs_change_no_step(kernel, options, pack, project):
    given, matrix, _ = given_and_matrix(kernel, options)
    given.metered(Meter(300))
    fast = PackSvm(pack=pack, project=project).answer(given, given._meter, STREAMS)
    slow = pegasos(given, matrix, 300, project)
    assert abs(fast - slow).max() <= 1e-11 * slow.max()
    assert ((fast > 0) == (slow > 0)).all()
    assert given.counts["rows"] == 300


def test_indices_do_not_depend_on_the_pack_at_the_end_of_a_block():
    task = KernelSvm(n=30)
    one, many = (run(PackSvm(pack=pack), task, BLOCK + 300)[0] for pack in (1, 97))
    assert abs(one - many).max() <= 1e-11 * one.max()


def test_pegasos_is_a_pack_of_one():
    task = KernelSvm(n=30)
    assert (run(KernelPegasos(), task, 500)[0] == run(PackSvm(pack=1), task, 500)[0]).all()


def test_a_scale_that_vanishes_is_multiplied_out(monkeypatch):
    given, matrix, _ = given_and_matrix()
    monkeypatch.setattr("airtrack.solvers.kernel.pack_svm.LEAST", 0.01)  # compiled in: used by the plain function
    from airtrack.solvers.kernel import pack_svm

    monkeypatch.setattr(pack_svm, "_steps", pack_svm._steps.py_func)
    given.metered(Meter(300))
    fast = PackSvm(pack=16, project=True).answer(given, given._meter, STREAMS)
    slow = pegasos(given, matrix, 300, True)
    assert abs(fast - slow).max() <= 1e-11 * slow.max()


# Anchor: breast cancer, RBF, λ = 1e-3, T = 20 000: F = .083 with 20 000, 2 500, 313 rounds.
@pytest.mark.parametrize("project", [False, True])
def test_the_objective_does_not_depend_on_the_pack(project):
    task, answers = KernelSvm(data="breast_cancer", l2=1e-3), []
    for pack, rounds in ((8, 2500), (64, 313), (1, 20_000)):
        answer, judge, given = run(PackSvm(pack=pack, project=project), task, 20_000)
        assert given.counts["rounds"] == rounds
        assert given.value(answer) == pytest.approx(0.083, rel=0.03)
        assert judge(answer)["gap"] < 5e-3
        answers.append(answer)
    for answer in answers[:2]:
        assert abs(answer - answers[2]).max() <= 1e-11 * answer.max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "gauss"}, "'gauss' is no kernel; known: linear, polynomial, rbf"),
        ({"l2": 0.0}, "give a positive number"),
        ({"gamma": -1.0}, "is no width"),
        ({"labels": np.ones(2)}, "labels are −1 and \\+1, both of them"),
        ({"labels": np.ones(3)}, r"labels have the shape \(3,\), and there are 2 rows"),
        ({"labels": np.array([-1.0, 1j])}, "labels: they are complex"),
        ({"labels": ["a", "b"]}, "labels are no numbers"),
        ({"points": np.full((2, 2), np.inf)}, "row 0 is not finite"),
        ({"points": np.array([["a"], ["b"]])}, "rows hold <U1, and real numbers are needed"),
        ({"points": sparse.csr_matrix(1j * np.eye(2))}, "rows hold complex128"),
        ({"points": np.ones(2)}, r"rows have the shape \(2,\); a matrix \[n, d\]"),
    ],
)
def test_bad_input_is_refused(change, message):
    fields = {"points": np.eye(2), "labels": np.array([-1.0, 1]), "l2": 0.1, **change}
    with pytest.raises(SpecError, match=message):
        Kernel(fields.pop("points"), fields.pop("labels"), **fields)
    with pytest.raises(SpecError):
        PackSvm(pack=0)
    with pytest.raises(SpecError, match="has its own size"):
        KernelSvm(data="breast_cancer", n=20)
