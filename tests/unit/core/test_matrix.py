"""Matrices and views: products, what they charge, certificates, refusals."""

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from airtrack.core.given import Matrix, Views
from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams

RNG = Streams(3).rng
A = RNG(0).standard_normal((9, 5))


class Operator:
    """Nothing but a shape, @ and .T."""

    def __init__(self, dense):
        self._dense, self.shape = dense, dense.shape

    def __matmul__(self, x):
        return self._dense @ x

    @property
    def T(self):
        return Operator(self._dense.T)


@pytest.mark.parametrize("form", [np.array, csr_array, Operator])
def test_products_and_what_they_cost(form):
    given, x, y = Matrix(form(A), k=2), RNG(1).standard_normal((5, 3)), RNG(2).standard_normal((9, 4))
    meter = Meter(100)
    given.metered(meter)
    assert given.apply(x) == pytest.approx(A @ x, rel=1e-14)
    assert meter.spent == 3
    assert given.adjoint(y) == pytest.approx(A.T @ y, rel=1e-14)
    assert meter.spent == 7
    assert given.gram(x[:, 0]) == pytest.approx(A.T @ A @ x[:, 0], rel=1e-13)
    assert meter.spent == given.counts["matvecs"] == 9
    meter.charge(90)
    with pytest.raises(BudgetSpent):
        given.apply(x)
    assert given.counts["matvecs"] == 9


def test_a_dense_matrix_cannot_be_changed_by_a_learner():
    given = Matrix(A, k=1)
    with pytest.raises(ValueError, match="read-only"):
        given._array[0, 0] = 1


def test_a_certificate_is_zero_for_singular_vectors_and_free():
    given = Matrix(A, k=2)
    right = np.linalg.svd(A)[2].T
    assert given.certificate(right[:, [0, 1]])["residual"] < 1e-14
    assert given.certificate(right[:, [3, 1]])["residual"] < 1e-14  # invariant, though not leading: it says so
    assert given.counts["matvecs"] == 0


def test_a_certificate_bounds_the_distance_to_eigenvalues():
    given, gram = Matrix(A, k=2), A.T @ A
    eigenvalues = np.linalg.eigvalsh(gram)
    for i in range(50):
        answer = RNG(10 + i).standard_normal((5, 2))
        q = np.linalg.qr(answer)[0]
        ritz = np.linalg.eigvalsh(q.T @ gram @ q)
        residual = given.certificate(answer)["residual"]
        assert residual * ritz[-1] == pytest.approx(np.linalg.norm(gram @ q - q @ (q.T @ gram @ q), 2))
        assert all(abs(eigenvalues - value).min() <= residual * ritz[-1] for value in ritz)


@pytest.mark.parametrize("form", [np.array, csr_array, Operator])
def test_a_certificate_proves_nothing_of_what_spans_too_little(form):
    given, e = Matrix(form(np.diag([3.0, 2.0, 0.0])), k=2), np.eye(3)
    for answer in (e[:, [0, 0]], np.zeros((3, 2)), e[:, [0]] * [1, 0], np.full((3, 2), np.nan), np.ones((3, 4))):
        assert given.certificate(answer)["residual"] == np.inf
    assert Matrix(form(np.diag([3.0, 2.0, 0.0])), k=1).certificate(e[:, [2]])["residual"] == np.inf  # the null space
    assert given.certificate(e[:, :2] * [1e-200, 1e200])["residual"] == 0  # only the span counts
    noise = RNG(20).standard_normal((5000, 1))
    assert Matrix(form(np.ones((2, 5000))), k=2).certificate(np.hstack([noise, 7 * noise]))["residual"] == np.inf


def test_of_zero_everything_is_a_singular_vector():
    given = Matrix(Operator(np.zeros((4, 3))), k=2)
    assert given.certificate(np.eye(3, 2))["residual"] == 0
    assert given.certificate(np.zeros((3, 2)))["residual"] == np.inf


@pytest.mark.parametrize(
    ("array", "k", "words"),
    [
        (np.ones(3), 1, r"shape \(3,\); give \[n, d\]"),
        (np.ones((0, 3)), 1, r"shape \(0, 3\)"),
        (np.full((3, 2), np.nan), 1, "NaN or infinity"),
        (csr_array(np.diag([1.0, np.inf])), 1, "NaN or infinity"),
        (np.ones((2, 2), complex), 1, "complex128, no real numbers"),
        (np.ones((3, 2)), 3, r"3 × 2 has no 3 singular vectors; take 1 … 2"),
        (np.ones((3, 2)), 0, "no 0 singular vectors"),
        ([[1.0]], 1, "shape"),
        (np.zeros((3, 2)), 1, "largest entry is 0, and AᵀA would not fit float64; rescale"),
        (np.full((3, 2), 1e150), 1, r"largest entry is 1e\+150"),
    ],
)
def test_what_is_no_matrix_is_refused(array, k, words):
    with pytest.raises(SpecError, match=words):
        Matrix(array, k=k)


def test_views_multiply_and_charge():
    x, y = random_array((20, 4), density=0.5, format="csr", rng=RNG(5)), RNG(6).standard_normal((20, 3))
    given = Views(x, y, k=2, ridge=0.1)
    w, a, b = RNG(7).standard_normal(7), RNG(8).standard_normal(20), RNG(9).standard_normal(20)
    forward, back = given.forward(w), given.backward(a, b)
    assert forward[0] == pytest.approx(x.toarray() @ w[:4])
    assert forward[1] == pytest.approx(y @ w[4:])
    assert back == pytest.approx(np.concatenate([x.toarray().T @ a, y.T @ b]))
    assert given.counts["matvecs"] == 4


def test_a_certificate_of_views_is_the_residual_of_the_pencil():
    x, y = RNG(11).standard_normal((30, 3)), RNG(12).standard_normal((30, 4))
    given = Views(x, y, k=2, ridge=0.5)
    a = np.block([[np.zeros((3, 3)), x.T @ y], [y.T @ x, np.zeros((4, 4))]]) / 30
    b = np.block([[x.T @ x, np.zeros((3, 4))], [np.zeros((4, 3)), y.T @ y]]) / 30 + 0.5 * np.eye(7)
    w = RNG(13).standard_normal((7, 2))
    sizes = []
    for v in w.T:
        rho = v @ a @ v / (v @ b @ v)
        sizes.append(np.linalg.norm(a @ v - rho * b @ v) / np.linalg.norm(b @ v))
    assert given.certificate(w)["residual"] == pytest.approx(max(sizes))
    assert given.counts["matvecs"] == 0


def test_a_pair_that_is_there_twice_is_no_two_pairs():
    x, y = RNG(14).standard_normal((30, 3)), RNG(15).standard_normal((30, 3))
    given = Views(x, y, k=2)
    left, _, right = np.linalg.svd(np.linalg.qr(x)[0].T @ np.linalg.qr(y)[0])
    phi, psi = np.linalg.solve(np.linalg.qr(x)[1], left), np.linalg.solve(np.linalg.qr(y)[1], right.T)
    pairs = np.vstack([phi, psi])
    assert given.certificate(pairs[:, :2])["residual"] < 1e-12
    turned = np.vstack([phi[:, :1], -psi[:, :1]])  # an eigenvector of its own, at −ρ
    for other in (pairs[:, :1], turned, 0 * turned, np.vstack([phi[:, 1:2], 0 * psi[:, :1]])):
        assert given.certificate(np.hstack([pairs[:, :1], other]))["residual"] == np.inf


@pytest.mark.parametrize(
    ("x", "y", "fields", "words"),
    [
        (np.ones((4, 2)), np.ones((5, 2)), {"k": 1}, "X has 4 rows and Y has 5"),
        (np.ones((4, 2)), np.ones((4, 2)), {"k": 3}, "no 3 pairs; take 1 … 2"),
        (np.ones((4, 2)), np.ones((4, 2)), {"k": 1, "ridge": -1.0}, "ridge: -1.0 would not keep"),
        (np.ones((4, 9)), np.ones((4, 2)), {"k": 1}, "4 rows leave the covariance of 9 columns singular; take a ridge"),
        (np.full((4, 2), np.inf), np.ones((4, 2)), {"k": 1}, "X holds NaN or infinity"),
    ],
)
def test_what_are_no_views_are_refused(x, y, fields, words):
    with pytest.raises(SpecError, match=words):
        Views(x, y, **fields)
