"""Oja's rule against one plain step, and its step sizes."""

import numpy as np
import pytest

from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.solvers.spectral.oja import Oja, OjaState
from airtrack.tasks.spiked import Spiked

STREAMS = Streams(1)


def run(solver, task, budget, seed=1, **options):
    given, judge = task.pose(Streams(seed) / "task")
    meter = Meter(budget, look=judge, **options)
    given.metered(meter)
    return solver.answer(given, meter, Streams(seed) / "recipe"), meter, judge


def test_one_batch_is_one_step():
    task = Spiked(d=7, k=2)
    samples = task.pose(STREAMS / "task").given.draw(5)
    start = np.linalg.qr((STREAMS / "recipe" / "init").rng().standard_normal((7, 2)))[0]
    eta = Oja().rate(0, (samples**2).sum() / 5, 7, 2)
    moved = start + eta * sum(np.outer(x, x) for x in samples) @ start
    answer, *_ = run(Oja(batch=5), task, 5)
    assert answer == pytest.approx(np.linalg.qr(moved)[0], rel=1e-12)
    assert answer.T @ answer == pytest.approx(np.eye(2), abs=1e-12)


def test_steps_fall_as_they_are_said_to():
    for params in ("theory", "practical"):
        fall = [Oja(params=params, power=power).rate(10**9, 4.0, 50, 3) for power in (0.0, 0.5, 1.0)]
        start = Oja(params=params, power=1.0).rate(0, 4.0, 50, 3)
        assert fall[0] == start
        assert fall[1] ** 2 == pytest.approx(fall[0] * fall[2])
    assert Oja(gap=0.2).rate(10**9, 4.0, 50, 3) * 0.2 * 1e9 == pytest.approx(2, rel=1e-4)
    assert Oja().rate(0, 4.0, 50, 3) * 4 == pytest.approx(0.2)
    assert Oja(step=3.0).rate(5, 4.0, 50, 3) == pytest.approx(3 * Oja().rate(5, 4.0, 50, 3))


def test_the_last_batch_is_what_the_budget_holds():
    answer, meter, judge = run(Oja(batch=32), Spiked(d=7, k=2), 1000)
    assert meter.spent == 1000
    assert judge(answer)["sin2"] < 0.1


def test_the_batch_hardly_matters():
    last = [run(Oja(batch=batch), Spiked(d=20, k=2), 8000)[0] for batch in (1, 8, 64)]
    judge = Spiked(d=20, k=2).pose(STREAMS / "task").judge
    readings = [judge(answer)["sin2"] for answer in last]
    assert max(readings) < 2 * min(readings)


def test_a_step_beyond_all_numbers_is_a_result():
    with pytest.raises(
        Diverged, match=r"oja left the finite numbers after 0 samples; it is stable for step ≤ 5, where"
    ):
        run(Oja(step=1e308), Spiked(d=7, k=2, gap=0.01), 100)
    for params, most in (("practical", "5"), ("theory", "4e-06")):  # theory: k R / gap
        held = OjaState(Oja(step=1e308, params=params), 1, basis=np.eye(2, 1))
        with pytest.raises(Diverged, match=rf"it is stable for step ≤ {most}, where η ≤ 1 / mean ‖x‖²$"):
            held.update(np.full((4, 2), 1e-3))
        OjaState(Oja(step=float(most), params=params), 1, basis=np.eye(2, 1)).update(np.full((4, 2), 1e-3))


@pytest.mark.parametrize("params", ["theory", "practical"])
def test_data_whose_squares_leave_float64_are_to_be_rescaled(params):
    held = OjaState(Oja(params=params), 1, basis=np.eye(2, 1))
    for scale in (1e200, 1e-155):
        with pytest.raises(Diverged, match="oja left the finite numbers after 0 samples; bring the data to a scale"):
            held.update(np.full((4, 2), scale))
    assert held.t == held.energy == 0


@pytest.mark.parametrize("fields", [{"gap": 0.0}, {"batch": 0}, {"power": -1.0}, {"step": 0.0}, {"params": "best"}])
def test_bad_fields_are_refused(fields):
    with pytest.raises(SpecError):
        Oja(**fields)
