"""Losses against differences, brute force and Fenchel's equality; compiled ones against numpy."""

import numpy as np
import pytest
from numba import njit

from airtrack.core.losses import LOSSES, Huber, SmoothedHinge
from airtrack.solvers import compiled

PLAIN = {name: cls() for name, cls in LOSSES.items() if name != "softmax"}
PLAIN |= {"narrow": SmoothedHinge(0.25), "narrow huber": Huber(0.3)}
CONVEX = [name for name, loss in PLAIN.items() if loss.bounds[0] >= 0]
CORNERS = {"hinge", "smoothed_hinge", "squared_hinge", "huber", "narrow", "narrow huber"}  # of the slope
h = 1e-5

pytestmark = pytest.mark.parametrize("name", PLAIN)


def draw(name, n=400):
    """Predictions [n] and labels [n], off the corners."""
    rng = np.random.default_rng(3)
    u = rng.normal(size=n) * 2
    b = rng.normal(size=n) if not hasattr(PLAIN[name], "labels") and name != "signed" else np.sign(rng.normal(size=n))
    if name in CORNERS:
        width = getattr(PLAIN[name], "width", 0.0)
        bends = [b - width, b + width] if "huber" in name else [b, b * (1 - width)]
        away = np.min([np.abs(u - bend) for bend in bends], 0) > 10 * h
        u, b = u[away], b[away]
    return u, b


def test_slope_and_curve_are_derivatives(name):
    loss, (u, b) = PLAIN[name], draw(name)
    assert len(u) > 300
    slope = (loss.value(u + h, b) - loss.value(u - h, b)) / (2 * h)
    np.testing.assert_allclose(loss.slope(u, b), slope, atol=1e-8)
    curve = (loss.slope(u + h, b) - loss.slope(u - h, b)) / (2 * h)
    np.testing.assert_allclose(loss.curve(u, b), curve, atol=1e-8)


def test_bounds_are_those_of_the_curve(name):
    loss = PLAIN[name]
    if name == "hinge":  # its slope jumps
        assert loss.bounds == (0.0, np.inf)
        return
    u = np.linspace(-40, 40, 200_001)[:, None]
    b = np.array([-1.0, 1.0])
    found = loss.curve(u, b)
    np.testing.assert_allclose((found.min(), found.max()), loss.bounds, atol=2e-6)


def test_fenchel(name):
    """φ(u) + φ*(φ'(u)) = u φ'(u), and φ(v) + φ*(φ'(u)) ≥ v φ'(u) for every other v."""
    loss, (u, b) = PLAIN[name], draw(name)
    if name not in CONVEX:
        assert not hasattr(loss, "conjugate")
        return
    a = loss.slope(u, b)
    dual = loss.conjugate(a, b)
    np.testing.assert_allclose(loss.value(u, b) + dual, u * a, atol=1e-12)
    v = np.linspace(-50, 50, 2001)[:, None]
    assert (loss.value(v, b) + dual - v * a).min() > -1e-12


def test_conjugate_between_the_slopes(name):
    """φ*(a) = max a u − φ(u), by brute force over u, for a between 0 and the slopes: where certificates scale to."""
    if name not in CONVEX:
        return
    loss, (u, b) = PLAIN[name], draw(name, 20)
    v = np.linspace(-60, 60, 120_001)[:, None]  # the corners are on it
    for share in (0.0, 0.3, 0.9):
        a = share * loss.slope(u, b)
        brute = (a * v - loss.value(v, b)).max(0)
        np.testing.assert_allclose(loss.conjugate(a, b), brute, atol=1e-6)


def test_far_out_is_finite(name):
    loss = PLAIN[name]
    for u in (-1e4, 1e4):
        for b in (-1.0, 1.0):
            found = [loss.value(u, b), loss.slope(u, b), loss.curve(u, b)]
            assert np.isfinite(found).all()


@njit
def apply(loss, u, b):
    out = np.empty((3, len(u)))
    for i in range(len(u)):
        out[0, i] = compiled.value(loss, u[i], b[i])
        out[1, i] = compiled.slope(loss, u[i], b[i])
        out[2, i] = compiled.curve(loss, u[i], b[i])
    return out


def test_compiled_is_numpy(name):
    loss, (u, b) = PLAIN[name], draw(name)
    expected = [loss.value(u, b), loss.slope(u, b), loss.curve(u, b)]
    np.testing.assert_allclose(apply(loss, u, b), expected, rtol=1e-13, atol=1e-15)
