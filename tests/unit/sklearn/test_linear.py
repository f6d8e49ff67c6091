"""The optimum is scikit-learn's, with weights, classes, intercept, sparse rows; a weight is a repetition."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge
from sklearn.svm import SVC, LinearSVC

from airtrack.sklearn import AirtrackLasso, AirtrackLinearSVC, AirtrackLogisticRegression, AirtrackRidge
from airtrack.sklearn import linear as linear_module

RNG = np.random.default_rng(7)
N, D = 150, 6
X = RNG.normal(size=(N, D)) * np.geomspace(1, 0.2, D) + 1
X[RNG.random((N, D)) < 0.3] = 0
SCORE = (X - X.mean(0)) @ RNG.normal(size=D) + 0.5 * RNG.normal(size=N)
TARGET = SCORE + 3
TWO = np.where(SCORE > 0, "yes", "no")
THREE = np.digitize(SCORE, [-0.5, 0.4])
WEIGHTS = RNG.integers(0, 4, N).astype(float)
TIGHT = {"tol": 1e-13, "max_iter": 100_000}

either_rows = pytest.mark.parametrize("rows", [X, csr_matrix(X), csr_array(X)], ids=["dense", "sparse", "array"])
with_or_without = pytest.mark.parametrize("intercept", [True, False])


def alike(ours, theirs, rows, y, weights=None, atol=1e-6):
    ours.fit(rows, y, sample_weight=weights)
    theirs.fit(rows, y, sample_weight=weights)
    np.testing.assert_allclose(np.ravel(ours.coef_), np.ravel(theirs.coef_), atol=atol)
    np.testing.assert_allclose(np.ravel(ours.intercept_), np.ravel(theirs.intercept_), atol=atol)
    np.testing.assert_array_equal(ours.predict(X) == theirs.predict(X), True) if y is not TARGET else None


@pytest.fixture(params=[False, True], ids=["held dense", "sparse as it is"])
def size(request, monkeypatch):
    """Sparse rows of this size are held dense; here also as if they were large."""
    if request.param:
        monkeypatch.setattr(linear_module, "SMALL", 0)


@either_rows
@with_or_without
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
class TestOptimum:
    def test_ridge(self, rows, intercept, weights, size):
        ours = AirtrackRidge(0.7, fit_intercept=intercept, **TIGHT)
        alike(ours, Ridge(0.7, fit_intercept=intercept, tol=1e-12), rows, TARGET, weights)

    def test_logistic(self, rows, intercept, weights, size):
        ours = AirtrackLogisticRegression(2.0, fit_intercept=intercept, **TIGHT)
        theirs = LogisticRegression(C=2.0, fit_intercept=intercept, solver="newton-cholesky", tol=1e-10)
        alike(ours, theirs, rows, TWO, weights)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
        np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), atol=1e-4)

    def test_multinomial(self, rows, intercept, weights, size):
        ours = AirtrackLogisticRegression(2.0, fit_intercept=intercept, tol=1e-13, max_iter=10_000)
        theirs = LogisticRegression(C=2.0, fit_intercept=intercept, solver="newton-cholesky", tol=1e-10)
        ours.fit(rows, THREE, weights)
        theirs.fit(rows, THREE, weights)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)

    def test_squared_hinge(self, rows, intercept, weights, size):
        ours = AirtrackLinearSVC(0.5, fit_intercept=intercept, **TIGHT)
        theirs = LinearSVC(C=0.5, fit_intercept=intercept, tol=1e-10, max_iter=10**6, random_state=0)
        alike(ours, theirs, rows, TWO, weights)

    def test_lasso(self, rows, intercept, weights):
        ours = AirtrackLasso(0.05, fit_intercept=intercept, **TIGHT)
        alike(ours, Lasso(0.05, fit_intercept=intercept, tol=1e-13, max_iter=10**6), rows, TARGET, weights)

    def test_elastic_net(self, rows, intercept, weights):
        ours = AirtrackLasso(0.1, l1_ratio=0.4, fit_intercept=intercept, **TIGHT)
        theirs = ElasticNet(0.1, l1_ratio=0.4, fit_intercept=intercept, tol=1e-13, max_iter=10**6)
        alike(ours, theirs, rows, TARGET, weights)

    def test_logistic_elastic_net(self, rows, intercept, weights):
        ours = AirtrackLogisticRegression(0.5, l1_ratio=0.6, fit_intercept=intercept, **TIGHT)
        ours.fit(rows, TWO, weights)
        theirs = LogisticRegression(C=0.5, l1_ratio=0.6, fit_intercept=intercept, solver="saga", tol=1e-10)
        # saga treats weights as nobody else does: rows are repeated instead
        repeated = np.repeat(np.arange(N), np.ones(N, int) if weights is None else weights.astype(int))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.set_params(max_iter=20_000, random_state=0).fit(X[repeated], TWO[repeated])
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-6)
        assert (ours.coef_ == 0).sum() == (theirs.coef_ == 0).sum()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_hinge_has_liblinears_optimum(classes):
    y = TWO if classes == 2 else THREE
    ours = AirtrackLinearSVC(0.5, loss="hinge", tol=1e-8, max_iter=20_000).fit(X, y)
    theirs = LinearSVC(C=0.5, loss="hinge", tol=1e-9, max_iter=10**7, random_state=0).fit(X, y)
    assert ours.solver_used_ == "sdca"
    for c in range(len(ours.coef_)):
        sides = np.where(y == ours.classes_[c if classes > 2 else 1], 1, -1)

        def objective(coef, intercept, sides=sides):
            hinges = np.maximum(0, 1 - sides * (X @ coef + intercept)).sum()
            return 0.5 * hinges + (coef @ coef + intercept**2) / 2

        mine = objective(ours.coef_[c], ours.intercept_[c])
        other = objective(theirs.coef_[c], theirs.intercept_[c])
        assert mine <= other + ours.dual_gap_[c] + 1e-12
        assert ours.dual_gap_[c] < 1e-4


def test_the_smoothed_hinge_comes_near_the_hinge():
    hinge = AirtrackLinearSVC(0.5, loss="hinge", tol=1e-7, max_iter=20_000).fit(X, TWO)
    smooth = AirtrackLinearSVC(0.5, loss="smoothed_hinge", width=1e-3, tol=1e-8, max_iter=20_000).fit(X, TWO)
    np.testing.assert_allclose(hinge.decision_function(X), smooth.decision_function(X), atol=0.02)


def test_the_hinge_with_an_intercept_that_is_not_regularised():
    """It is libsvm's optimum."""
    ours = AirtrackLinearSVC(0.1, loss="hinge", regularise_intercept=False).fit(X, TWO)
    theirs = SVC(C=0.1, kernel="linear", tol=1e-10).fit(X, TWO)
    mine, other = (
        0.1 * np.maximum(0, 1 - np.where(TWO == "yes", 1, -1) * model.decision_function(X)).sum()
        + (model.coef_**2).sum() / 2
        for model in (ours, theirs)
    )
    assert mine <= other + ours.dual_gap_[0]
    assert ours.dual_gap_[0] < 1e-5 * other


def test_an_intercept_that_is_not_regularised():
    shifted = AirtrackLinearSVC(regularise_intercept=False, **TIGHT).fit(X + 100, TWO)
    plain = AirtrackLinearSVC(regularise_intercept=False, **TIGHT).fit(X, TWO)
    np.testing.assert_allclose(shifted.coef_, plain.coef_, atol=1e-8)


# ----------------------------------------------------------------------------------------------------------- weights


MODELS = {
    "ridge": (AirtrackRidge(**TIGHT), TARGET),
    "ridge by svrg": (AirtrackRidge(solver="svrg", **TIGHT), TARGET),
    "ridge by saga": (AirtrackRidge(solver="saga", **TIGHT), TARGET),
    "ridge by sag": (AirtrackRidge(solver="sag", **TIGHT), TARGET),
    "lasso": (AirtrackLasso(0.05, **TIGHT), TARGET),
    "elastic net": (AirtrackLasso(0.1, l1_ratio=0.4, **TIGHT), TARGET),
    "logistic": (AirtrackLogisticRegression(**TIGHT), TWO),
    "balanced": (AirtrackLogisticRegression(class_weight="balanced", **TIGHT), TWO),
    "multinomial": (AirtrackLogisticRegression(tol=1e-13, max_iter=10_000), THREE),
    "one against the rest": (AirtrackLogisticRegression(multi_class="ovr", **TIGHT), THREE),
    "l1": (AirtrackLogisticRegression(l1_ratio=1.0, **TIGHT), TWO),
    "squared hinge": (AirtrackLinearSVC(**TIGHT), TWO),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_weight_is_a_repetition(name):
    model, y = MODELS[name]
    again = np.repeat(np.arange(N), WEIGHTS.astype(int))
    weighted = model.fit(X, y, sample_weight=WEIGHTS)
    coef, intercept = weighted.coef_, weighted.intercept_
    repeated = model.fit(X[again], y[again])
    np.testing.assert_allclose(coef, repeated.coef_, atol=1e-6)
    np.testing.assert_allclose(intercept, repeated.intercept_, atol=1e-6)


def test_a_weight_is_a_repetition_for_the_hinge():
    """Up to what the dual ascent reaches: its gap bounds ‖w − w*‖² / 2."""
    again, model = np.repeat(np.arange(N), WEIGHTS.astype(int)), AirtrackLinearSVC(0.02, loss="hinge", tol=1e-10)
    weighted = model.fit(X, TWO, sample_weight=WEIGHTS)
    coef, gap = weighted.coef_, weighted.dual_gap_[0]
    repeated = model.fit(X[again], TWO[again])
    off = np.linalg.norm(coef - repeated.coef_)
    assert off <= np.sqrt(2 * gap) + np.sqrt(2 * repeated.dual_gap_[0])
    assert off < 1e-5


@pytest.mark.parametrize("name", ["ridge", "lasso", "logistic", "squared hinge"])
def test_scaling_the_weights(name):
    """Of lasso a common factor leaves nothing changed; of the others it divides the strength."""
    model, y = MODELS[name]
    coef = model.fit(X, y, sample_weight=np.full(N, 2.0)).coef_
    change = {"lasso": {}, "ridge": {"alpha": 0.5}}.get(name, {"C": 2.0})
    expected = type(model)(**(model.get_params() | change)).fit(X, y).coef_
    np.testing.assert_allclose(coef, expected, atol=1e-6)


@pytest.mark.parametrize("bad", [-np.ones(N), np.zeros(N), np.full(N, np.nan), np.ones(N - 1), np.ones((N, 1))])
def test_bad_weights_are_refused(bad):
    for model, y in ((AirtrackRidge(), TARGET), (AirtrackLogisticRegression(), TWO)):
        with pytest.raises(ValueError, match="sample_weight"):
            model.fit(X, y, sample_weight=bad)


# ----------------------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize("chosen", ["balanced", {"yes": 3.0}, {"yes": 0.5, "no": 2.0}])
def test_class_weights(chosen):
    ours = AirtrackLogisticRegression(class_weight=chosen, **TIGHT)
    alike(ours, LogisticRegression(class_weight=chosen, solver="newton-cholesky", tol=1e-10), X, TWO)


def test_class_weights_that_make_no_sense():
    with pytest.raises(ValueError, match=r"class_weight names \['maybe'\]; the classes are \['no', 'yes'\]"):
        AirtrackLogisticRegression(class_weight={"maybe": 1.0}).fit(X, TWO)
    with pytest.raises(ValueError, match=r"class_weight names \[3, 'maybe'\]; the classes are"):
        AirtrackLogisticRegression(class_weight={"maybe": 1.0, 3: 1.0}).fit(X, TWO)
    for wrong in ("balance", 3.0):
        with pytest.raises(ValueError, match=f"class_weight is {wrong!r}; give 'balanced', a dict {{class: weight}}"):
            AirtrackLogisticRegression(class_weight=wrong).fit(X, TWO)
    for wrong in (-1.0, np.inf):
        with pytest.raises(ValueError, match=f"class_weight is {{'yes': {wrong}}}; the weight of a class is a finite"):
            AirtrackLogisticRegression(class_weight={"yes": wrong}).fit(X, TWO)


@pytest.mark.parametrize("kind", [AirtrackLogisticRegression, AirtrackLinearSVC])
def test_class_weights_that_leave_classes_out(kind):
    with pytest.raises(ValueError, match="class_weight leave every class out; give two of them a weight above 0"):
        kind(class_weight={"yes": 0, "no": 0}).fit(X, TWO)
    with pytest.raises(ValueError, match="one class only after class_weight has left the others out, 'no'; a class"):
        kind(class_weight={"yes": 0}).fit(X, TWO)
    with pytest.raises(ValueError, match="one class only after sample_weight has left the others out, 'yes'; a class"):
        kind(class_weight="balanced").fit(X, TWO, sample_weight=(TWO == "yes").astype(float))


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="there is one class only, 'a'; a classifier needs samples of two classes"):
        AirtrackLogisticRegression().fit(X, ["a"] * N)
    with pytest.raises(ValueError, match="one class only after sample_weight has left the others out"):
        AirtrackLinearSVC().fit(X, TWO, sample_weight=(TWO == "yes").astype(float))


def test_a_class_without_weight_gets_no_mass():
    weights = (THREE != 2).astype(float)
    found = AirtrackLogisticRegression().fit(X, THREE, sample_weight=weights)
    assert found.predict_proba(X)[:, 2].max() < 0.05


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (AirtrackRidge(-1.0), TARGET, "alpha is -1.0; the strength of a regulariser is at least 0"),
        (AirtrackLasso(1.0, l1_ratio=2.0), TARGET, r"l1_ratio is 2.0; take alpha at least 0, l1_ratio within \[0, 1\]"),
        (AirtrackLogisticRegression(0.0), TWO, "C is 0.0 and l1_ratio is 0.0; take C above 0"),
        (AirtrackLogisticRegression(multi_class="auto"), TWO, "multi_class is 'auto'; give 'multinomial' or 'ovr'"),
        (AirtrackLinearSVC(loss="log"), TWO, "loss is 'log'; give 'squared_hinge', 'hinge' or 'smoothed_hinge'"),
        (AirtrackLinearSVC(-1.0), TWO, "C is -1.0; it is the inverse of a strength, above 0"),
        (AirtrackRidge(solver="svgr"), TARGET, "no solver is named 'svgr'; did you mean 'svrg'"),
        (AirtrackRidge(tol=0.0), TARGET, r"tol is 0.0 and passes are None; take tol within \(0, 1\)"),
        (
            AirtrackLinearSVC(loss="hinge", regularise_intercept=False, solver="sdca"),
            TWO,
            "sdca needs l2 on every coordinate",
        ),
    ],
)
def test_bad_parameters_are_refused(model, y, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


# ------------------------------------------------------------------------------------------------------------- others


@pytest.mark.parametrize("kind", [AirtrackRidge, AirtrackLasso])
def test_float32_is_taken(kind):
    exact, short = kind(0.1, **TIGHT).fit(X, TARGET), kind(0.1).fit(X.astype(np.float32), TARGET.astype(np.float32))
    np.testing.assert_allclose(short.coef_, exact.coef_, atol=2e-3)
    sparse = kind(0.1).fit(csr_matrix(X, dtype=np.float32), TARGET)
    np.testing.assert_allclose(sparse.coef_, exact.coef_, atol=2e-3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("model", [AirtrackRidge(), AirtrackLasso(1e-4), AirtrackLogisticRegression()])
def test_float32_far_from_zero(model, weighted):
    rng = np.random.default_rng(0)
    rows, noise = (3000 + rng.standard_normal((200_000, 2))).astype(np.float32), rng.standard_normal(200_000)
    score = rows.astype(np.float64) @ [1, 2] - 9000 + noise
    same_in_float64(model, rows, score, 1 + noise**2 if weighted else None, 1e-3)


@pytest.mark.parametrize("model", [AirtrackRidge(**TIGHT), AirtrackLogisticRegression(**TIGHT)])
def test_float32_columns_that_are_alike_but_for_small_parts(model):
    """Their means are no float32, and neither is what is left without."""
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((2000, 2)) + 10_000 * (np.arange(2000) % 3 == 0)[:, None]).astype(np.float32)
    same_in_float64(model, rows, rows @ [1.0, -1.0] + 0.1 * rng.standard_normal(2000), None, 1e-7)


def same_in_float64(model, rows, score, weights, rtol):
    y = score > 0 if isinstance(model, AirtrackLogisticRegression) else score
    coef = model.fit(rows, y, sample_weight=weights).coef_
    np.testing.assert_allclose(coef, model.fit(rows.astype(np.float64), y, sample_weight=weights).coef_, rtol=rtol)


def test_a_column_of_ones_may_pass_two_to_the_31():
    before = np.array([0, 2**31 - 4, 2**31 - 3, 2**31 - 1], np.int32)
    starts, ends = linear_module.with_one_more(before)
    assert starts.tolist() == [0, 2**31 - 3, 2**31 - 1, 2**31 + 2]
    assert ends.tolist() == before[1:].tolist()
    assert starts.dtype == ends.dtype == np.int64
    added = linear_module.with_ones(csr_array(X))
    np.testing.assert_array_equal(added.toarray(), np.column_stack([X, np.ones(N)]))


@pytest.mark.parametrize("multi_class", ["multinomial", "ovr"])
@pytest.mark.parametrize("kind", [AirtrackLogisticRegression, AirtrackLinearSVC])
def test_warm_start_begins_afresh_where_a_class_has_come_or_gone(kind, multi_class):
    model = kind(warm_start=True, tol=1e-8)
    if kind is AirtrackLogisticRegression:
        model.set_params(multi_class=multi_class)
    four = np.digitize(SCORE, [-1, 0, 1])
    for y in (TWO, THREE, four, THREE, TWO):
        coef = model.fit(X, y).coef_
        np.testing.assert_allclose(coef, kind(**model.get_params()).fit(X, y).coef_, atol=1e-2)


@pytest.mark.parametrize("name", ["ridge by svrg", "lasso", "l1", "multinomial", "one against the rest"])
def test_warm_start_begins_where_it_ended(name):
    model, y = MODELS[name]
    model = type(model)(**(model.get_params() | {"warm_start": True, "tol": 1e-8}))
    cold = np.sum(model.fit(X, y).n_iter_)
    coef = model.coef_
    warm = np.sum(model.fit(X, y).n_iter_)
    assert warm <= cold / 3
    np.testing.assert_allclose(model.coef_, coef, atol=1e-3)


def test_warm_start_on_sparse_rows(monkeypatch):
    monkeypatch.setattr(linear_module, "SMALL", 0)
    model = AirtrackRidge(solver="katyusha", warm_start=True, tol=1e-7, max_iter=100_000)
    cold = model.fit(csr_matrix(X), TARGET).n_iter_
    assert model.fit(csr_matrix(X), TARGET).n_iter_ <= cold / 3


def test_too_few_passes_warn_and_say_what_to_do():
    with pytest.warns(ConvergenceWarning, match="svrg spent 4 passes and its gap is .* allow more passes, method='new"):
        AirtrackLogisticRegression(solver="svrg", max_iter=4, tol=1e-10).fit(X, TWO)


@pytest.mark.parametrize("solver", ["svrg", "katyusha", {"name": "saga", "step": 0.5}])
def test_any_solver_gives_the_same_answer(solver):
    found = AirtrackLogisticRegression(solver=solver, **TIGHT).fit(X, TWO)
    expected = AirtrackLogisticRegression(**TIGHT).fit(X, TWO)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-5)
    assert found.solver_used_ == (solver if isinstance(solver, str) else solver["name"])
    assert found.dual_gap_[0] < 1e-9


def test_the_gap_is_in_the_objectives_units():
    """A fit that stops early is off by less than its dual gap, in each estimator's own objective."""
    for loose, tight, y, value in (
        (AirtrackRidge(solver="svrg", tol=1e-2), AirtrackRidge(**TIGHT), TARGET, ridge_value),
        (AirtrackLasso(0.1, tol=1e-2), AirtrackLasso(0.1, **TIGHT), TARGET, lasso_value),
        (AirtrackLogisticRegression(solver="svrg", tol=1e-2), AirtrackLogisticRegression(**TIGHT), TWO, logistic_value),
    ):
        off = value(loose.fit(X, y)) - value(tight.fit(X, y))
        gap = float(np.max(loose.dual_gap_))
        zero = type(loose)(**(loose.get_params() | {"tol": 0.5})).fit(X, y)
        zero.coef_ = np.zeros_like(zero.coef_)
        zero.intercept_ = np.mean(y) if y is TARGET else 0.0
        assert 0 < off <= gap <= 0.01 * value(zero)


def ridge_value(model):
    return ((TARGET - model.predict(X)) ** 2).sum() + (model.coef_**2).sum()


def lasso_value(model):
    return ((TARGET - model.predict(X)) ** 2).sum() / (2 * N) + 0.1 * np.abs(model.coef_).sum()


def logistic_value(model):
    signs = np.where(TWO == "yes", 1, -1)
    return np.logaddexp(0, -signs * model.decision_function(X)).sum() + (model.coef_**2).sum() / 2


@pytest.mark.parametrize("seed", [0, 1])
def test_random_state_is_the_seed(seed):
    first, again = (
        AirtrackLogisticRegression(solver="svrg", tol=1e-3, random_state=s).fit(X, TWO).coef_
        for s in (seed, np.random.RandomState(seed) if seed else seed)
    )
    assert (first == again).all() == (seed == 0)


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_bundled_classes(load):
    rows, y = load(return_X_y=True)
    rows = (rows - rows.mean(0)) / rows.std(0)
    ours = AirtrackLogisticRegression(tol=1e-10, max_iter=10_000).fit(rows, y)
    theirs = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(rows, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)


def test_bundled_targets():
    rows, y = load_diabetes(return_X_y=True)
    ours, theirs = AirtrackLasso(0.1, tol=1e-12, max_iter=50_000).fit(rows, y), Lasso(0.1, tol=1e-12).fit(rows, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
