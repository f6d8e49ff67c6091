"""Proximal maps against the inequality that characterises them, and against brute force."""

import numpy as np
import pytest
from numba import njit

from airtrack.core.given import FiniteSum
from airtrack.core.part import SpecError
from airtrack.core.penalties import L1, Box, Nothing, NuclearBall, Simplex, separable
from airtrack.solvers import compiled

PENALTIES = [
    Nothing(), L1(0.7), L1(0.0), Box(-0.5, 1.0), Box(0.2, np.inf), Simplex(), Simplex(2.5), NuclearBall(1.5, 3),
]  # fmt: skip
by_name = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)


def points(count=50):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 12)) * np.geomspace(0.01, 10, count)[:, None]


@by_name
def test_prox_is_a_fixed_point_of_fenchel(penalty):
    """p = prox(v) if and only if (v − p)/step is a subgradient at p: ψ(p) + ψ*(g) = ⟨p, g⟩."""
    for v in points():
        for step in (0.1, 1.0, 20.0):
            p = penalty.prox(v, step)
            g = (v - p) / step
            if isinstance(penalty, Nothing):
                assert (p == v).all()
                continue
            if isinstance(penalty, L1):  # rounding of v − p: ψ* is 0 or infinite
                g = np.clip(g, -penalty.strength, penalty.strength)
            both = penalty.value(p) + penalty.support(g)
            np.testing.assert_allclose(both, p @ g, atol=1e-12 * max(1, np.abs(v).max() ** 2 / step))


@by_name
def test_support_is_never_exceeded(penalty):
    """⟨x, g⟩ ≤ ψ(x) + ψ*(g) for every feasible x."""
    candidates = [penalty.prox(v, 1.0) for v in points()]
    for g in points()[::5]:
        assert max(x @ g - penalty.value(x) for x in candidates) <= penalty.support(g) + 1e-12


@by_name
def test_prox_by_brute_force(penalty):
    rng, v = np.random.default_rng(1), points()[30]
    p = penalty.prox(v, 0.6)

    def cost(x):
        return penalty.value(x) + ((x - v) ** 2).sum() / 1.2

    assert np.isfinite(cost(p))
    for size in (1e-3, 0.1, 1.0):
        for _ in range(200):
            assert cost(penalty.prox(p + size * rng.normal(size=12), 1.0)) >= cost(p) - 1e-12


@njit
def apply(penalty, v, step):
    out = np.empty(len(v))
    for j in range(len(v)):
        out[j] = compiled.shrink(penalty, v[j], step)
    return out


@by_name
def test_compiled_is_numpy(penalty):
    if not separable(penalty):
        assert isinstance(penalty, (Simplex, NuclearBall))
        return
    for v in points()[::7]:
        np.testing.assert_array_equal(apply(penalty, v, 0.3), penalty.prox(v, 0.3))


def test_values_outside_are_infinite():
    x = np.full(12, 2.0)
    for penalty in (Box(-1.0, 1.0), Simplex(), NuclearBall(1.5, 3)):
        assert penalty.value(x) == np.inf
        assert penalty.value(penalty.prox(x, 1.0)) == 0
    assert Nothing().support(np.zeros(3)) == 0
    assert Nothing().support(np.ones(3)) == np.inf
    assert L1(1.0).support(np.array([0.5, -1.1])) == np.inf


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (L1(-0.1), "l1's strength is -0.1; take a finite one, at least 0"),
        (L1(np.nan), "l1's strength is nan"),
        (Box(1.0, 0.0), "nothing is within the box 1 … 0; low ≤ high"),
        (Simplex(0.0), "the simplex has the total 0; take a finite one above 0"),
        (NuclearBall(np.inf, 3), "the ball's radius is inf; take a finite one above 0"),
    ],
)
def test_parameters_without_sense_are_refused(penalty, message):
    with pytest.raises(SpecError, match=message):
        FiniteSum(np.eye(3), np.ones(3), l2=0.1, penalty=penalty)
