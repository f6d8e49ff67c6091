"""Cross-entropy of many predictions."""

import numpy as np
import pytest

from airtrack.core.given import FiniteSum
from airtrack.core.losses import Softmax
from airtrack.core.part import SpecError


def problem(l2=0.1, **options):
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(30, 4)), np.arange(30) % 3
    return FiniteSum(rows, labels, l2=l2, loss=Softmax(3), **options), rng.normal(size=(4, 3))


def test_value_is_minus_the_log_probability():
    given, x = problem(l2=0.0)
    u = given.rows @ x
    p = np.exp(u) / np.exp(u).sum(1, keepdims=True)
    np.testing.assert_allclose(given.value(x), -np.log(p[np.arange(30), given.labels.astype(int)]).mean(), rtol=1e-14)
    np.testing.assert_allclose(given.loss.chances(u), p, rtol=1e-13)


def test_gradient_is_the_derivative():
    given, x = problem(l2=0.0, weights=np.arange(30.0))
    slopes = np.zeros((4, 3))
    for j in range(4):
        for c in range(3):
            e = np.zeros((4, 3))
            e[j, c] = 1e-5
            slopes[j, c] = (given.value(x + e) - given.value(x - e)) / 2e-5
    np.testing.assert_allclose(given.gradient(x)[0], slopes, atol=1e-8)


def test_two_classes_are_logistic():
    rng = np.random.default_rng(1)
    rows, labels = rng.normal(size=(30, 4)), rng.integers(0, 2, 30)
    x = rng.normal(size=4)
    two = FiniteSum(rows, labels, l2=0.0, loss=Softmax(2)).value(np.stack([np.zeros(4), x], 1))
    np.testing.assert_allclose(two, FiniteSum(rows, 2.0 * labels - 1, l2=0.0).value(x), rtol=1e-14)


def test_fenchel():
    rng = np.random.default_rng(4)
    u, b, loss = rng.normal(size=(200, 3)), np.arange(200) % 3, Softmax(3)
    a = loss.slope(u, b)
    np.testing.assert_allclose(loss.value(u, b) + loss.conjugate(a, b), (u * a).sum(1), atol=1e-13)
    v = rng.normal(size=(200, 3)) * 3
    assert (loss.value(v, b) + loss.conjugate(a, b) - (v * a).sum(1)).min() > -1e-13


def test_bound_of_the_curvature():
    u = np.random.default_rng(2).normal(size=(1000, 3)) * 3
    p = Softmax(3).chances(u)
    top = max(np.linalg.eigvalsh(np.diag(q) - np.outer(q, q))[-1] for q in p)
    assert 0.45 < top <= Softmax(3).bounds[1]


def test_far_out_is_finite():
    given, _ = problem()
    far = given.certificate(np.full((4, 3), 1e4) * [1, -1, 0])
    assert np.isfinite(list(far.values())).all()


@pytest.mark.parametrize("bad", [-1, 3, 0.5])
def test_labels_are_numbers_of_classes(bad):
    with pytest.raises(SpecError, match=rf"labels\[1\] is {bad:g}; softmax takes 0 … 2"):
        FiniteSum(np.eye(2), [0, bad], l2=0.1, loss=Softmax(3))
    with pytest.raises(SpecError, match="softmax of 1 classes; two at least"):
        FiniteSum(np.eye(2), [0, 0], l2=0.1, loss=Softmax(1))
