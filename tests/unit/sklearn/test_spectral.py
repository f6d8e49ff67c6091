"""StreamingPCA, PrincipalComponentRegression and LazyCCA against dense decompositions."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA

from airtrack.sklearn import LazyCCA, PrincipalComponentRegression, StreamingPCA, linear, pcr

RNG = np.random.default_rng(3)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_numbers_for_every_test():
    RNG.bit_generator.state = START


def cloud(n=4000, d=12, shift=5.0):
    """Samples whose variances are 1, 1/4, 1/9 … along random directions."""
    turn = np.linalg.qr(RNG.normal(size=(d, d)))[0]
    return RNG.normal(size=(n, d)) / np.arange(1, d + 1) @ turn.T + shift


X = cloud()
KINDS = [csr_matrix, csr_array]


def thinned(rows):
    """The same rows, half of their entries being 0."""
    return rows * (RNG.random(rows.shape) < 0.5)


@pytest.fixture(params=KINDS)
def sparse(request, monkeypatch):
    """Makes sparse rows, which few as they are may not be filled up."""

    def refuse(self):
        raise AssertionError(f"{self.shape} were filled up")

    monkeypatch.setattr(linear, "SMALL", 0)
    monkeypatch.setattr(request.param, "toarray", refuse)
    return request.param


def lost(components, samples):
    """Share of the best explained variance that the components miss."""
    k, centred = len(components), samples - samples.mean(0)
    best = np.linalg.eigvalsh(centred.T @ centred)[::-1][:k].sum()
    return 1 - ((centred @ components.T) ** 2).sum() / best


@pytest.mark.parametrize(
    ("solver", "most"), [("history_pca", 2e-3), ({"name": "oja", "gap": 1 / 9 - 1 / 16, "batch": 16}, 2e-2)]
)
def test_one_pass_finds_the_subspace(solver, most):
    found = StreamingPCA(3, solver=solver).fit(X)
    assert lost(found.components_, X) < most
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(3), atol=1e-12)
    exact = PCA(3).fit(X)
    np.testing.assert_allclose(found.mean_, exact.mean_, atol=1e-10)
    np.testing.assert_allclose(found.explained_variance_, exact.explained_variance_, rtol=0.15)
    np.testing.assert_allclose(found.total_variance_, X.var(0).sum(), rtol=1e-12)
    np.testing.assert_allclose(found.explained_variance_ratio_, exact.explained_variance_ratio_, rtol=0.15)


@pytest.mark.parametrize("solver", ["history_pca", "oja"])
def test_a_stream_is_a_fit_in_pieces(solver):
    whole = StreamingPCA(2, solver=solver, batch_size=500).fit(X)
    pieces = StreamingPCA(2, solver=solver)
    for start in range(0, len(X), 500):
        pieces.partial_fit(X[start : start + 500])
    np.testing.assert_array_equal(whole.components_, pieces.components_)
    assert pieces.n_samples_seen_ == len(X)


@pytest.mark.parametrize("solver", ["history_pca", "oja"])
def test_pieces_of_any_size_and_a_pickle_in_between(solver):
    model = StreamingPCA(2, solver=solver)
    cuts = np.sort(RNG.choice(len(X), 40, replace=False))
    for piece in np.split(X, cuts):
        model = pickle.loads(pickle.dumps(model.partial_fit(piece) if len(piece) else model))
    assert lost(model.components_, X) < (5e-3 if solver == "history_pca" else 0.1)
    np.testing.assert_allclose(model.mean_, X.mean(0), atol=1e-10)


def test_the_last_pieces_may_be_single_samples():
    model = StreamingPCA(2).partial_fit(X[:1])
    for row in X[1:60]:
        model.partial_fit(row[None])
    assert model.n_samples_seen_ == 60
    assert lost(model.components_, X) < 0.5


def test_there_and_back():
    model = StreamingPCA(12).fit(X)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), X, atol=1e-10)
    assert StreamingPCA(2).fit_transform(X).shape == (len(X), 2)
    assert StreamingPCA(2).fit(X).get_feature_names_out().tolist() == ["streamingpca0", "streamingpca1"]


def test_what_it_cannot_do_is_said():
    with pytest.raises(ValueError, match="n_components=13, and n_features=12; take 1 … 12"):
        StreamingPCA(13).fit(X)
    with pytest.raises(ValueError, match="holds what history_pca or oja hold, not Svrg"):
        StreamingPCA(2, solver="svrg").fit(X)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["history_pca", "oja"])
def test_sparse_samples_are_filled_up_some_at_a_time(kind, solver, monkeypatch):
    def watched(self):
        sizes.append(self.shape[0])
        return fill(self)

    sizes, fill, rows = [], kind.toarray, thinned(X)
    monkeypatch.setattr(kind, "toarray", watched)
    dense, sparse = (StreamingPCA(2, solver=solver, batch_size=300) for _ in range(2))
    for start in (0, 1000):
        dense.partial_fit(rows[start : start + 1000])
        sparse.partial_fit(kind(rows[start : start + 1000]))
    assert sizes == [300, 300, 300, 100] * 2
    np.testing.assert_array_equal(sparse.components_, dense.components_)
    np.testing.assert_array_equal(sparse.mean_, dense.mean_)
    np.testing.assert_allclose(sparse.transform(kind(rows)), dense.transform(rows), atol=1e-12)
    np.testing.assert_array_equal(sparse.fit(kind(rows)).components_, dense.fit(rows).components_)


# ----------------------------------------------------------------------------------------------------------- regression


def exact_pcr(rows, y, weights, threshold):
    mean, offset = np.average(rows, axis=0, weights=weights), np.average(y, weights=weights)
    root = np.sqrt(np.ones(len(y)) if weights is None else weights)
    a, b = (rows - mean) * root[:, None], (y - offset) * root
    values, vectors = np.linalg.eigh(a.T @ a)
    kept = vectors[:, values >= threshold * values[-1]]
    coef = kept @ np.linalg.solve(kept.T @ a.T @ a @ kept, kept.T @ a.T @ b)
    return coef, offset - mean @ coef


@pytest.mark.parametrize("weights", [None, RNG.integers(0, 3, 400)])
@pytest.mark.parametrize("threshold", [0.16, 0.05])  # eigenvalues are 1, 1/4, 1/9, 1/16, 1/25 of the largest
def test_pcr_is_the_dense_one(weights, threshold):
    rows = cloud(400, 8)
    y = rows @ RNG.normal(size=8) + RNG.normal(size=400)
    model = PrincipalComponentRegression(threshold, gap=0.1, tol=1e-9).fit(rows, y, sample_weight=weights)
    coef, intercept = exact_pcr(rows, y, weights, threshold)
    np.testing.assert_allclose(model.coef_, coef, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, intercept, atol=1e-5)


def test_pcr_by_conjugate_gradients(monkeypatch):
    rows = cloud(400, 8)
    y = rows @ RNG.normal(size=8)
    inverse = PrincipalComponentRegression(0.16).fit(rows, y)
    monkeypatch.setattr(pcr, "INVERTED", 0)
    iterated = PrincipalComponentRegression(0.16).fit(rows, y)
    np.testing.assert_allclose(iterated.coef_, inverse.coef_, atol=1e-5)


@pytest.mark.parametrize("inverted", [0, 2000])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("weights", [None, RNG.integers(0, 3, 400)])
def test_pcr_of_sparse_rows(sparse, weights, intercept, inverted, monkeypatch):
    monkeypatch.setattr(pcr, "INVERTED", inverted)
    rows = thinned(cloud(400, 8))
    y = rows @ RNG.normal(size=8) + 1
    model = PrincipalComponentRegression(0.16, fit_intercept=intercept, tol=1e-9)
    expected = model.fit(rows, y, sample_weight=weights).coef_, model.intercept_, model.threshold_, model.predict(rows)
    model.fit(sparse(rows), y, sample_weight=weights)
    found = model.coef_, model.intercept_, model.threshold_, model.predict(sparse(rows))
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("inverted", [0, 2000])
@pytest.mark.parametrize("near", [1.0, 1.02, 1.5])  # to an eigenvalue, which is then kept in part
def test_pcr_knows_how_far_off_it_is(near, inverted, monkeypatch):
    monkeypatch.setattr(pcr, "INVERTED", inverted)
    rows = cloud(400, 8)
    y = rows @ RNG.normal(size=8) + RNG.normal(size=400)
    variances = np.linalg.eigvalsh(np.cov(rows.T))
    threshold = near * (1 - 1e-9) * variances[-3] / variances[-1]
    for tol in (1e-3, 1e-9):
        model = PrincipalComponentRegression(threshold, tol=tol).fit(rows, y)
        off = np.linalg.norm(model.coef_ - exact_pcr(rows, y, None, threshold)[0])
        assert off <= (1 + tol) * model.residual_ <= 10 * off
    assert (model.residual_ < 1e-7) == (near == 1.5)


def test_pcr_refuses():
    with pytest.raises(ValueError, match=r"threshold, gap, tol: 0.01, 2.0, 1e-06; take each within \(0, 1\)"):
        PrincipalComponentRegression(gap=2.0).fit(X, X[:, 0])


def test_pcr_of_constant_columns():
    model = PrincipalComponentRegression().fit(np.ones((5, 3)), np.arange(5.0))
    assert model.coef_.tolist() == [0.0, 0.0, 0.0]
    assert model.intercept_ == 2.0


# ----------------------------------------------------------------------------------------------------------------- CCA


def views(n=600, common=2):
    """Two views of `common` hidden numbers."""
    hidden = RNG.normal(size=(n, common)) * [1.0, 0.6]
    of_x = hidden @ RNG.normal(size=(common, 6)) + RNG.normal(size=(n, 6))
    return of_x + 3, hidden @ RNG.normal(size=(common, 4)) + RNG.normal(size=(n, 4))


def exact_cca(x, y, k, ridge):
    x, y = x - x.mean(0), y - y.mean(0)
    n = len(x)
    roots = []
    for view in (x, y):
        values, vectors = np.linalg.eigh(view.T @ view / n + ridge * np.eye(view.shape[1]))
        roots.append(vectors / np.sqrt(values) @ vectors.T)
    left, sizes, right = np.linalg.svd(roots[0] @ (x.T @ y / n) @ roots[1])
    return roots[0] @ left[:, :k], roots[1] @ right[:k].T, sizes[:k]


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("scale", [False, True])
def test_cca_is_the_dense_one(ridge, scale):
    x, y = views()
    model = LazyCCA(2, ridge=ridge, scale=scale, tol=1e-8).fit(x, y)
    spread = (x.std(0), y.std(0)) if scale else (1.0, 1.0)
    phi, psi, rho = exact_cca(x / spread[0], y / spread[1], 2, ridge)
    np.testing.assert_allclose(model.correlations_, rho, atol=1e-7)
    for found, exact in ((model.x_weights_, phi), (model.y_weights_, psi)):
        signs = np.sign((found * exact).sum(0))
        np.testing.assert_allclose(found * signs, exact, atol=1e-5)


def test_cca_variates_correlate_as_said():
    x, y = views()
    model = LazyCCA(2, ridge=0.0).fit(x, y)
    of_x, of_y = model.transform(x, y)
    for j in range(2):
        assert np.corrcoef(of_x[:, j], of_y[:, j])[0, 1] == pytest.approx(model.correlations_[j], abs=1e-5)
    assert abs(np.corrcoef(of_x.T)[0, 1]) < 1e-4
    np.testing.assert_array_equal(model.transform(x), of_x)
    theirs = CCA(2, tol=1e-10, max_iter=5000).fit(x, y).transform(x, y)
    peers = [np.corrcoef(theirs[0][:, j], theirs[1][:, j])[0, 1] for j in range(2)]
    np.testing.assert_allclose(model.correlations_, peers, atol=1e-4)


@pytest.mark.parametrize("scale", [False, True])
def test_cca_of_sparse_views(sparse, scale):
    x, y = views()
    x, y = thinned(x), thinned(y)
    x[:, 2] = 0
    expected = LazyCCA(2, scale=scale, tol=1e-8).fit(x, y)
    for of_x, of_y in ((sparse(x), y), (x, sparse(y)), (sparse(x), sparse(y))):
        model = LazyCCA(2, scale=scale, tol=1e-8).fit(of_x, of_y)
        for name in ("correlations_", "x_weights_", "y_weights_", "x_mean_", "y_mean_", "x_std_", "y_std_"):
            np.testing.assert_allclose(getattr(model, name), getattr(expected, name), atol=1e-6)
        for one, other in zip(model.transform(of_x, of_y), expected.transform(x, y)):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("tol", [1e-2, 1e-8])
def test_cca_has_a_residual(tol):
    x, y = views()
    model = LazyCCA(2, ridge=0.3, scale=False, tol=tol).fit(x, y)
    x, y = x - x.mean(0), y - y.mean(0)
    of_x, of_y = model.x_weights_, model.y_weights_
    crossed = np.concatenate([x.T @ y @ of_y, y.T @ x @ of_x]) / len(x)
    own = np.concatenate([x.T @ x @ of_x, y.T @ y @ of_y]) / len(x) + 0.3 * np.concatenate([of_x, of_y])
    off = np.linalg.norm(crossed - own * model.correlations_, axis=0) / np.linalg.norm(own, axis=0)
    assert model.residual_ == pytest.approx(off.max(), rel=1e-3, abs=1e-14)
    assert model.residual_ <= tol


def test_cca_refuses():
    x, y = views()
    with pytest.raises(ValueError, match="n_components=5, with n_samples=600, n_features=6 and 4 targets; take 1 … 4"):
        LazyCCA(5).fit(x, y)
    with pytest.raises(ValueError, match="5 rows leave the covariance of 6 columns singular; take a ridge above 0"):
        LazyCCA(1, ridge=0.0).fit(x[:5], y[:5])


def test_cca_of_a_constant_column_and_few_samples():
    x, y = views()
    x[:, 0] = 7.0
    assert np.isfinite(LazyCCA(2).fit(x[:5], y[:5]).correlations_).all()
