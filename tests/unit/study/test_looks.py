from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from airtrack.study import looks
from airtrack.study.compare import compare
from airtrack.study.flat import flat

rng = np.random.default_rng(0)
STEADY = 1 + 0.1 * np.sin(np.arange(20))
NOISE = np.sin(7.0 * np.arange(20))


def test_a_clear_difference_stops_at_the_first_look():
    now = looks.look(STEADY[:8], np.zeros(8), names=("x", "y"))
    assert (now.stop, now.next, now.verdict.outcome) == (True, None, "a better")
    assert "(8 paired seeds, look 1 of 3, interval at 98.2 %, p = .0078)" in str(now.verdict)
    assert (now.verdict.look, now.verdict.planned, now.verdict.alpha) == (1, (8, 12, 20), looks.Plan().alpha)


def test_noise_goes_on_to_the_last_look():
    seen = [looks.look(NOISE[:n], np.zeros(n)) for n in (8, 12, 20)]
    assert [(s.stop, s.next) for s in seen] == [(False, 12), (False, 20), (True, None)]
    assert seen[-1].verdict.outcome == "no verdict yet"
    alone = compare(NOISE[:12], np.zeros(12), alpha=looks.Plan().alpha)
    assert seen[1].verdict == replace(alone, look=2, planned=looks.PLANNED)


def test_only_planned_sizes_are_looked_at():
    with pytest.raises(ValueError, match="9 seeds are no planned look; look at 8, 12, 20 seeds"):
        looks.look(NOISE[:9], np.zeros(9))


def test_the_sign_flip_test_can_reject_at_every_planned_look():
    for comparisons in (1, 2, 3, 5):
        plan = looks.planned(comparisons)
        assert 2 / 2 ** plan.sizes[0] <= plan.alpha / comparisons
        assert plan.sizes[-1] == 20
    with pytest.raises(ValueError, match=r"8 seeds can never reject at 0\.0036, its share of the level; start at 10"):
        looks.Plan((8, 12, 20), comparisons=5)
    with pytest.raises(ValueError, match="must increase"):
        looks.Plan((12, 8))


def test_calibration_is_reproducible_and_one_look_is_the_level_itself():
    assert looks.calibrate((8, 12), repetitions=4000) == looks.calibrate((8, 12), repetitions=4000)
    assert looks.calibrate((20,), repetitions=40_000) == pytest.approx(0.05, abs=0.006)
    assert looks.calibrate((8, 12, 20), repetitions=20_000) < looks.calibrate((8, 20), repetitions=20_000)
    assert looks.calibrate((8, 12, 20), alpha=0.01, repetitions=20_000) < 0.01


def test_a_level_of_ones_own_is_calibrated():
    plan = looks.Plan((10,), total=0.1)
    assert plan.alpha == pytest.approx(0.1, rel=0.03)


# -- flat responses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (5, 4)])
def test_flat_is_the_f_test_of_a_randomised_block_design(shape):
    y = rng.normal(size=shape) + rng.normal(size=shape[1]) * 10
    settings, seeds = shape
    total = ((y - y.mean()) ** 2).sum()
    between, block = seeds * ((y.mean(1) - y.mean()) ** 2).sum(), settings * ((y.mean(0) - y.mean()) ** 2).sum()
    df = settings - 1, (settings - 1) * (seeds - 1)
    f = between / df[0] / ((total - between - block) / df[1])
    assert flat(y).p == pytest.approx(stats.f.sf(f, *df))
    if settings == 2:
        assert flat(y).p == pytest.approx(stats.ttest_rel(y[0], y[1]).pvalue)


def test_flat_holds_its_level():
    p = np.array([flat(y).p for y in rng.normal(size=(3000, 3, 2))])
    assert (p <= 0.1).mean() == pytest.approx(0.1, abs=3 * np.sqrt(0.09 / 3000))


def test_flat_where_nothing_varies_or_nothing_can_be_told():
    assert flat([[1, 2], [1, 2], [1, 2]]) == (True, 1.0)
    assert flat([[1, 2], [2, 3]]) == (False, 0.0)
    assert flat([[1], [2]]) == (False, None)
    assert flat([[1, 2], [np.nan, 2]]) == (False, None)
    for bad in ([1, 2], [[1, 2]], np.zeros((2, 0))):
        with pytest.raises(ValueError, match=r"shape \[settings, seeds\]"):
            flat(bad)
