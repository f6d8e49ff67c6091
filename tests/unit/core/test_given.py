"""Oracles charge for what they give, and remember where they are."""

import numpy as np
import pytest

from airtrack.core.given import Batch, Corpus, Env, FiniteSum, Stream
from airtrack.core.meter import BudgetSpent, Meter


def metered(oracle, budget=1000, **options):
    meter = Meter(budget, **options)
    oracle.metered(meter)
    return meter


def corpus():
    return Corpus(lambda i, n: Batch(np.full((n, 5), i), np.full((n, 5), -i)), vocab=9, length=5)


def test_corpus_charges_tokens():
    given = corpus()
    meter = metered(given)
    x, y = given.batch(3, 4)
    assert (meter.spent, x.shape, int(x[0, 0]), int(y[0, 0])) == (20, (4, 5), 3, -3)
    tight = metered(given, budget=19)
    with pytest.raises(BudgetSpent):
        given.batch(0, 4)
    assert tight.spent == 0


def test_work_is_free_without_a_meter():
    assert corpus().batch(0, 1_000).x.shape == (1_000, 5)


def finite_sum():
    rng = np.random.default_rng(0)
    return FiniteSum(rng.normal(size=(30, 4)), np.sign(rng.normal(size=30)), l2=0.1)


def test_gradient_agrees_with_differences():
    given, rng = finite_sum(), np.random.default_rng(1)
    rows, labels = given.rows, given.labels

    def value(x):
        return np.mean(np.log1p(np.exp(-labels * (rows @ x))))

    x = rng.normal(size=4)
    slopes = [(value(x + 1e-6 * e) - value(x - 1e-6 * e)) / 2e-6 for e in np.eye(4)]
    gradient, scalars = given.gradient(x)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6)
    np.testing.assert_allclose(rows.T @ scalars / 30, gradient)


def test_gradient_far_out_is_finite():
    gradient, _ = finite_sum().gradient(np.full(4, 1e30))
    assert np.isfinite(gradient).all()


def test_smoothness_bounds_the_curvature():
    given = finite_sum()
    rows = given.rows
    np.testing.assert_allclose(given.smoothness, (rows**2).sum(1) / 4)


def test_finite_sum_charges_components():
    given = finite_sum()
    meter = metered(given, budget=100)
    given.gradient(np.zeros(4))
    assert meter.spent == 30
    assert given.components(50) == 50
    assert given.components(50) == 20  # what was left
    with pytest.raises(BudgetSpent):
        given.components(1)


def stream(block=10):
    return Stream(lambda i: np.arange(i * block, (i + 1) * block, dtype=float)[:, None], d=1, k=1, block=block)


def test_samples_come_in_order_however_they_are_asked_for():
    given = stream()
    meter = metered(given, budget=100)
    drawn = np.concatenate([given.draw(n) for n in (1, 9, 10, 3, 25, 40, 30)])
    assert drawn[:, 0].tolist() == list(range(100))
    assert meter.spent == 100


def test_stream_goes_on_from_its_state():
    given, other = stream(), stream()
    given.draw(17)
    other.restore(given.state())
    assert other.draw(5).tolist() == given.draw(5).tolist()


class Log:
    def __init__(self):
        self.notes = []

    def note(self, *what):
        self.notes.append(what)

    def state(self):
        return {"notes": str(self.notes)}

    def restore(self, state):
        self.notes = eval(state["notes"])


def env(log):
    """Moves by the action; the reward tells where one was."""
    return Env(
        states=5, actions=3, horizon=2, begin=lambda e: e % 5, advance=lambda e, h, s, a: (s / 10, (s + a) % 5), log=log
    )


def test_env_logs_on_the_judges_side_and_charges_episodes():
    log = Log()
    given = env(log)
    meter = metered(given, budget=2)
    assert given.reset() == 0
    assert given.step(2) == (0.0, 2)
    assert given.step(2) == (0.2, 4)
    assert given.reset() == 1
    assert log.notes == [(0, 0, 0, 2), (0, 1, 2, 2)]
    assert meter.spent == 2
    with pytest.raises(BudgetSpent):
        given.reset()


def test_env_refuses_what_is_no_move():
    given = env(Log())
    with pytest.raises(ValueError, match=r"the episode is over after 2 steps; call reset\(\)"):
        given.step(0)
    given.reset()
    for action in (-1, 3):
        with pytest.raises(ValueError, match=f"there is no action {action}; actions are 0 … 2"):
            given.step(action)
    given.step(0), given.step(0)
    with pytest.raises(ValueError, match="the episode is over"):
        given.step(0)


def test_env_goes_on_from_a_checkpoint(tmp_path):
    log, options = Log(), {"checkpoint": tmp_path / "c.npz", "every": 0}
    first = env(log)
    meter = metered(first, **options)
    first.reset(), first.step(1)
    meter.save(dict)
    after = [first.step(2), first.reset(), first.step(0)]
    again = Log()
    second = env(again)
    metered(second, **options)
    assert [second.step(2), second.reset(), second.step(0)] == after
    assert again.notes == log.notes
