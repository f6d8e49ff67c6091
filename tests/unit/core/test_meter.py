"""The meter: what is charged, when the judge looks, what a killed trial finds again."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airtrack.core.given import Stream
from airtrack.core.meter import BudgetSpent, Meter, read_state, replacing, write_state
from airtrack.core.part import SpecError


def worked(meter, step=1, answer=lambda spent: spent):
    while meter.live(step):
        meter.charge(step)
        meter.offer(answer(meter.spent))
    return meter


@given(st.integers(0, 60), st.integers(1, 20))
def test_no_more_is_spent_than_there_is(budget, step):
    meter = worked(Meter(budget), step)
    assert meter.spent == budget // step * step
    with pytest.raises(BudgetSpent):
        meter.charge(budget - meter.spent + 1)
    assert meter.spent == budget // step * step  # what does not fit is not counted


def test_grant_gives_what_is_left():
    meter = Meter(10)
    assert [meter.grant(7), meter.grant(7)] == [7, 3]
    with pytest.raises(BudgetSpent):
        meter.grant(1)
    assert meter.spent == 10


def test_judge_looks_at_the_first_offer_at_or_after_each_point():
    meter = worked(Meter(20, look=lambda x: {"x": x}, schedule=[2, 3, 9, 10, 20]), step=4)
    assert meter.curve == [(4, {"x": 4}), (12, {"x": 12}), (20, {"x": 20})]  # one look where two points are passed


def test_offers_between_points_are_not_judged():
    calls = []
    worked(Meter(100, look=lambda x: calls.append(x) or {}, schedule=[50, 100]))
    assert calls == [50, 100]


def test_a_look_is_left_out_where_the_recipe_guesses_that_it_is_not_worth_it():
    meter = Meter(8, look=lambda x: {"x": x}, schedule=[1, 2, 3], worth=lambda guess: guess["x"] >= 5)
    while meter.live():
        meter.charge(1)
        meter.offer(meter.spent, {"x": meter.spent})
    assert meter.curve == [(5, {"x": 5})]
    assert worked(Meter(2, look=lambda x: {"x": x}, schedule=[1, 2], worth=lambda guess: False)).curve  # no guess


def test_a_guess_changes_nothing_where_nobody_asked_for_it():
    meter = Meter(1, look=lambda x: {"x": x}, schedule=[1])
    meter.charge(1)
    meter.offer(7, {"x": 0})
    assert meter.curve == [(1, {"x": 7})]


def test_latest_answer_is_kept_without_a_judge():
    meter = worked(Meter(3))
    assert (meter.latest, meter.curve) == (3, [])


def test_stop_ends_the_budget_where_the_threshold_is_met():
    meter = Meter(100, look=lambda x: {"x": x}, schedule=[10, 20, 30], stop=lambda m: m["x"] >= 15)
    worked(meter)
    assert (meter.spent, meter.reached) == (20, 20)
    assert not meter.live()


def test_cap_ends_a_pilot_that_plans_for_the_whole_budget():
    meter = worked(Meter(100, cap=7), step=2)
    assert (meter.spent, meter.budget) == (6, 100)


def test_progress_is_told_at_each_look():
    told = []
    worked(Meter(4, look=lambda x: {"x": x}, schedule=[1, 3], progress=lambda spent, m: told.append((spent, dict(m)))))
    assert told == [(1, {"x": 1}), (3, {"x": 3})]


class Clock:
    """A clock that moves only when told."""

    now = 0.0

    def tick(self, seconds):
        self.now += seconds

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", made)
    return made


def test_the_judges_time_is_not_the_recipes(clock):
    meter = Meter(10, look=lambda x: clock.tick(100) or {"x": x}, schedule=[2, 4, 6])
    while meter.live():
        meter.charge(1)
        clock.tick(1)
        meter.offer(0)
    assert meter.seconds == 10


def test_time_of_saving_is_not_the_recipes(clock, tmp_path):
    meter = Meter(3, checkpoint=tmp_path / "c.npz", every=0)
    while meter.live():
        meter.charge(1)
        clock.tick(1)
        meter.save(lambda: clock.tick(50) or {})
    assert meter.seconds == 3


def test_rate_leaves_out_set_up_and_the_first_step(clock):
    meter = Meter(40)
    clock.tick(1000)  # compilation
    for _ in range(4):
        meter.charge(10)
        clock.tick(500 if meter.spent == 10 else 20)
    assert meter.rate == pytest.approx(60 / 30)
    assert np.isnan(Meter(1).rate)


def test_seconds_go_on_after_a_resume(clock, tmp_path):
    first = Meter(4, checkpoint=tmp_path / "c.npz", every=0)
    first.charge(1)
    clock.tick(5)
    first.save(dict)
    clock.tick(1000)  # while nobody runs
    second = Meter(4, checkpoint=tmp_path / "c.npz", every=0)
    clock.tick(2)
    assert second.seconds == 7


def test_a_save_is_due_only_every_so_often(clock, tmp_path):
    meter, calls = Meter(100, checkpoint=tmp_path / "c.npz", every=10), []
    for _ in range(35):
        clock.tick(1)
        meter.save(lambda: calls.append(clock.now) or {})
    assert calls == [10, 20, 30]


def test_nothing_is_saved_without_a_checkpoint():
    asked = []
    Meter(1, every=0).save(lambda: asked.append(1) or {})
    assert not asked


def average(given, meter, kill=None):
    """A recipe that averages samples; `kill` ends it after so many rounds."""
    state = meter.resume() or {"round": 0, "sum": np.zeros(given.d)}
    number, total = state["round"], state["sum"].copy()
    while meter.live(7):
        total += given.draw(7).sum(0)
        number += 1
        meter.offer(total / number)
        meter.save(lambda: {"round": number, "sum": total})  # called at once
        if number == kill:
            raise KeyboardInterrupt
    return total


def test_resume_is_bit_identical_wherever_it_was_killed(tmp_path):
    def once(checkpoint=None, kill=None):
        meter = Meter(80, look=lambda x: {"x": float(x[0])}, schedule=[10, 30, 50, 70], checkpoint=checkpoint, every=0)
        stream = Stream(lambda i: np.random.Generator(np.random.Philox(key=i)).normal(size=(10, 3)), d=3, k=1, block=10)
        stream.metered(meter)
        return average(stream, meter, kill).tobytes(), meter.spent, meter.curve

    whole = once()
    for kill in range(1, 12):
        path = tmp_path / f"{kill}.npz"
        with pytest.raises(KeyboardInterrupt):
            once(path, kill)
        assert once(path) == whole


def test_resume_remembers_that_the_threshold_was_met(tmp_path):
    def meter():
        given = {"look": lambda x: {"x": x}, "schedule": [2, 4], "stop": lambda m: m["x"] >= 2}
        return Meter(10, **given, checkpoint=tmp_path / "c.npz", every=0)

    first = meter()
    first.charge(3)
    first.offer(3)
    first.save(dict)
    second = meter()
    assert (second.reached, second.spent, second.live()) == (3, 3, False)


# ------------------------------------------------------------------------------------------------------------ states

names = st.text(max_size=5)
leaves = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), names)
arrays = st.sampled_from(
    [np.arange(3), np.zeros((0, 2)), np.float32(1.5) * np.ones((2, 2), np.float32), np.array(7), np.array([True])]
)
states = st.recursive(leaves | arrays, lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=8)


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return type(a) is type(b) and a == b


@given(st.dictionaries(names, states, max_size=4))
def test_state_comes_back_as_it_was(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("state") / "s.npz"
    write_state(path, state)
    assert same(read_state(path), state)


def test_state_that_is_not_there():
    assert read_state(Path("nowhere.npz")) is None


@pytest.mark.parametrize("keep", [0, 1, 50, -30, -1])
def test_damaged_state_is_named(keep, tmp_path):
    path = tmp_path / "s.npz"
    write_state(path, {"a": np.arange(50.0), "b": 1})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SpecError, match=r"s\.npz is truncated or damaged; delete it"):
        read_state(path)


def test_foreign_state_is_named(tmp_path):
    np.savez(tmp_path / "s.npz", a=np.arange(3))
    with pytest.raises(SpecError, match=r"s\.npz is no saved state; delete it"):
        read_state(tmp_path / "s.npz")


def test_a_state_replaces_another_at_once_or_not_at_all(tmp_path):
    path = tmp_path / "s.npz"
    write_state(path, {"a": 1})
    with pytest.raises(TypeError):
        write_state(path, {"a": object()})
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half" * (1 // 0))
    assert read_state(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["s.npz"]


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match=r"cannot write .*s\.npz: .*; make room there, or use another folder"):
        write_state(tmp_path / "file" / "s.npz", {})
