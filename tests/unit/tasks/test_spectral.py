"""Tasks about singular vectors and canonical pairs, against dense linear algebra."""

import numpy as np
import pytest
from scipy.linalg import eigh

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.spectral import leading
from airtrack.tasks.spectral.sparse_spectrum import SparseSpectrum
from airtrack.tasks.spectral.spectrum import Spectrum
from airtrack.tasks.spectral.two_views import TwoViews

STREAMS = Streams(2) / "task"
TASKS = [
    Spectrum(n=30, d=20, k=3),
    Spectrum(n=20, d=20, k=3, power=0.0, gap=0.1),
    SparseSpectrum(n=60, d=20, k=3, per_row=4),
    SparseSpectrum(n=12, d=30, k=3, per_row=4),
]


def dense(given):
    return given.apply(np.eye(given.d))


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_metrics_are_what_they_say(task):
    given, judge = task.pose(STREAMS)
    a = dense(given)
    _, sizes, right = np.linalg.svd(a)
    k, vectors = task.k, right[: task.k].T
    assert judge.truth["eigenvalues"] == pytest.approx(sizes[: k + 1] ** 2, rel=1e-10)
    rng = Streams(5).rng()
    for noise in (1e-3, 0.1, 1.0):
        answer = vectors + noise * rng.standard_normal(vectors.shape)
        q = np.linalg.qr(answer)[0]
        ritz = np.sort(np.linalg.svd(a @ q, compute_uv=False))[::-1] ** 2
        readings = judge(answer)
        assert readings["sin2"] == pytest.approx(np.linalg.norm(vectors - q @ q.T @ vectors) ** 2 / k, rel=1e-6)
        assert readings["eigenvalue"] == pytest.approx(max(1 - ritz / sizes[:k] ** 2), rel=1e-6)
        assert readings["excess"] == pytest.approx(np.linalg.norm(a - a @ q @ q.T, 2) / sizes[k] - 1, rel=1e-6)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_only_the_span_counts_and_the_truth_is_perfect(task):
    judge = task.pose(STREAMS).judge
    rng = Streams(6).rng()
    answer = rng.standard_normal(judge.truth["subspace"].shape)
    mixed = answer @ rng.standard_normal((task.k, task.k))
    for metric, reading in judge(answer).items():
        assert judge(mixed)[metric] == pytest.approx(reading, rel=1e-8)
        assert judge(answer * [1e200, -1e-200, 1])[metric] == pytest.approx(reading, rel=1e-8)
        assert judge(judge.truth["subspace"])[metric] == judge.metrics[metric].bounds[0]
    with_a_hole = judge(judge.truth["subspace"] * [1, 1, 0])
    assert with_a_hole["eigenvalue"] == 1
    assert with_a_hole["sin2"] == pytest.approx(1 / 3)


def test_the_spectrum_is_the_one_that_was_chosen():
    natural, moved = Spectrum(n=30, d=20, k=3, power=0.5), Spectrum(n=30, d=20, k=3, power=0.5, gap=0.2)
    assert natural.eigenvalues == pytest.approx(np.arange(1, 21) ** -0.5)
    assert moved.eigenvalues[:3] == pytest.approx(natural.eigenvalues[:3])
    assert 1 - moved.eigenvalues[3] / moved.eigenvalues[2] == pytest.approx(0.2)
    assert moved.eigenvalues[3:] / moved.eigenvalues[3] == pytest.approx(
        natural.eigenvalues[3:] / natural.eigenvalues[3]
    )
    for task in (natural, moved):
        found = np.linalg.svd(dense(task.pose(STREAMS).given), compute_uv=False) ** 2
        assert found == pytest.approx(task.eigenvalues, rel=1e-12)


def test_many_columns_are_judged_as_few_are(monkeypatch):
    judge = Spectrum(n=90, d=80, k=4).pose(STREAMS).judge
    answers = [judge.truth["subspace"], Streams(7).rng().standard_normal((80, 4)), np.eye(80)[:, :4]]
    few = [judge(answer)["excess"] for answer in answers]
    monkeypatch.setattr(leading, "DENSE", 10)
    assert [judge(answer)["excess"] for answer in answers] == pytest.approx(few, rel=1e-9, abs=1e-13)


def test_popular_columns_have_more_entries():
    task = SparseSpectrum(n=5000, d=50, k=2, per_row=10, decay=1.0)
    a = dense(task.pose(STREAMS).given)
    assert (a != 0).sum(1).max() <= 10
    shares = 1 / np.arange(1, 51)
    expected = 50_000 * shares / shares.sum()
    energy = (a**2).sum(0)  # a sum of about Poisson(expected) squares of Gaussians: its variance is 3 · expected
    assert (abs(energy - expected) < 5 * np.sqrt(3 * expected)).all()


def pencil(x, y, ridge):
    n, p, q = len(x), x.shape[1], y.shape[1]
    a = np.block([[np.zeros((p, p)), x.T @ y], [y.T @ x, np.zeros((q, q))]]) / n
    b = np.block([[x.T @ x, np.zeros((p, q))], [np.zeros((q, p)), y.T @ y]]) / n + ridge * np.eye(p + q)
    return a, b


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize(("p", "q"), [(6, 4), (3, 5)])
def test_canonical_pairs_are_generalised_eigenvectors(p, q, ridge):
    task = TwoViews(n=40, p=p, q=q, k=2, ridge=ridge)
    given, judge = task.pose(STREAMS)
    x, y = given.forward(np.eye(p + q))[0][:, :p], given.forward(np.eye(p + q))[1][:, p:]
    values, vectors = eigh(*pencil(x, y, ridge))
    assert judge.truth["correlations"] == pytest.approx(values[::-1][:2], rel=1e-10)
    if ridge == 0:
        assert judge.truth["correlations"] == pytest.approx(0.95 * np.array([1, 2]) ** -0.3, rel=1e-10)
        assert np.linalg.cond(x.T @ x) == pytest.approx(100)
    found = vectors[:, ::-1][:, :2]
    assert judge(found) == {"sin2": 1e-16, "correlation": 1e-12}
    assert judge(found @ [[1.0, 2.0], [3.0, -1.0]]) == {"sin2": 1e-16, "correlation": 1e-12}
    worse = judge(found[:, [0, 0]])
    assert worse["sin2"] == pytest.approx(0.5)
    assert worse["correlation"] == 1
    second = judge(vectors[:, ::-1][:, [0, 2]])["correlation"]
    assert second == pytest.approx((values[::-1][1] - values[::-1][2]) / values[::-1][1], rel=1e-6)


@pytest.mark.parametrize(
    ("task", "fields", "words"),
    [
        (Spectrum, {"n": 10, "d": 20}, "n: 10 rows cannot hold 20"),
        (Spectrum, {"n": 20, "d": 20, "k": 20}, "k: a subspace of 20"),
        (Spectrum, {"power": 0.0}, "gap: equal eigenvalues"),
        (Spectrum, {"gap": 1.0}, "gap: "),
        (SparseSpectrum, {"n": 5, "k": 5}, "k: a subspace of 5 dimensions is not smaller than 5"),
        (TwoViews, {"n": 50}, r"n: 50 rows cannot hold 60 \+ 40"),
        (TwoViews, {"k": 41}, "k: there are 40 pairs"),
        (TwoViews, {"strength": 1.0}, "strength: "),
    ],
)
def test_bad_fields_are_refused_in_one_line(task, fields, words):
    with pytest.raises(SpecError, match=words):
        task(**fields)
