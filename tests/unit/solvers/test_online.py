"""The online eigenvector problem: regret by brute force, and those who play it."""

import numpy as np
import pytest
from scipy.linalg import expm, sqrtm
from scipy.optimize import brentq

from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.solvers.online.follow_leader import FollowLeader
from airtrack.solvers.online.ftcl import Ftcl, shift
from airtrack.solvers.online.mmwu import Mmwu
from airtrack.tasks.spectral.online_eigenvector import OnlineEigenvector, factor

STREAMS = Streams(1)


def run(solver, task, budget, seed=1):
    given, judge = task.pose(Streams(seed) / "task")
    meter = Meter(budget)
    given.metered(meter)
    return judge(solver.answer(given, meter, Streams(seed) / "recipe"))


class Recorder:
    """Rounds that remember what was played."""

    def __init__(self, given):
        self.d, self._given, self.actions, self.seen = given.d, given, [], []

    def play(self, action):
        self.actions.append(np.array(action))
        self.seen.append(self._given.play(action))
        return self.seen[-1]


def recorded(solver, task, budget):
    given, _ = task.pose(STREAMS / "task")
    meter = Meter(budget)
    given.metered(meter)
    record = Recorder(given)
    solver.answer(record, meter, STREAMS / "recipe")
    return record


def density(action):
    return action @ action.T / (action**2).sum()


# ----------------------------------------------------------------------------------------------------------- the task


@pytest.mark.parametrize("stream", ["stochastic", "alternating"])
def test_regret_is_that_of_the_best_fixed_direction(stream):
    given, judge = OnlineEigenvector(d=5, stream=stream).pose(STREAMS / "task")
    rng = np.random.default_rng(0)
    total, gained, half = np.zeros((5, 5)), 0.0, None
    for t in range(400):
        action = rng.standard_normal((5, 1 + t % 3))
        x = given.play(action if t % 3 else action[:, 0])
        picks = (action**2).sum(0) / (action**2).sum()
        gained += sum(p * (v @ x) ** 2 / (v @ v) for p, v in zip(picks, action.T))
        total += np.outer(x, x)
        if t == 199:
            half = np.linalg.eigvalsh(total)[-1] - gained
    best, lead = (part[-1] if part.ndim == 1 else part[:, -1] for part in np.linalg.eigh(total))
    readings = judge(lead * 1e200)
    assert readings["regret"] == pytest.approx((best - gained) / 400)
    assert readings["growth"] == pytest.approx(np.log2((best - gained) / half))
    assert readings["lag"] < 1e-8
    assert judge(np.eye(5))["lag"] == pytest.approx(1 - np.trace(total) / 5 / best)


def test_a_random_stream_is_of_length_one_and_has_its_directions():
    task = OnlineEigenvector(d=6)
    given, _ = task.pose(STREAMS / "task")
    seen = np.array([given.play(np.ones(6)) for _ in range(3000)])
    assert (seen**2).sum(1) == pytest.approx(1)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200_000, 6)) * np.sqrt(task.spectrum)
    expected = ((z / np.linalg.norm(z, axis=1, keepdims=True)) ** 2).mean(0)
    assert np.linalg.eigvalsh(seen.T @ seen / 3000)[::-1] == pytest.approx(np.sort(expected)[::-1], abs=0.02)


def test_the_alternating_stream_gives_the_leader_nothing():
    given, judge = OnlineEigenvector(d=5, stream="alternating").pose(STREAMS / "task")
    total, gains = np.zeros((5, 5)), []
    for _ in range(600):
        leader = np.linalg.eigh(total + 1e-12 * np.eye(5))[1][:, -1]
        x = given.play(leader)
        gains.append((leader @ x) ** 2)
        total += np.outer(x, x)
    assert sum(gains[1:]) < 1e-12
    assert judge(leader)["regret"] == pytest.approx(0.5, abs=0.01)
    assert judge(leader)["growth"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("action", [None, "up", np.ones(4), np.zeros(5), [np.nan] * 5, np.ones((5, 2, 2)), 1.0, {}])
def test_what_is_no_action_is_refused(action):
    given, judge = OnlineEigenvector(d=5).pose(STREAMS / "task")
    with pytest.raises(ValueError, match=r"an action is (finite )?numbers,? \[5\] or \[5, m\]"):
        given.play(action)
    assert judge.read(action)[1]


def test_actions_of_any_size_are_actions():
    v = np.arange(1.0, 5.0)
    for scale in (1e-300, 1.0, -1e300):
        assert np.abs(factor(v * scale, 4)) == pytest.approx(np.abs(v[:, None]) / np.linalg.norm(v))


def test_rounds_are_charged_and_the_log_resumes():
    task = OnlineEigenvector(d=5)
    given, judge = task.pose(STREAMS / "task")
    meter = Meter(3)
    given.metered(meter)
    for _ in range(3):
        given.play(np.ones(5))
    with pytest.raises(BudgetSpent):
        given.play(np.ones(5))
    again, other = task.pose(STREAMS / "task")
    again.restore(given.state())
    assert other(np.ones(5)) == judge(np.ones(5))
    assert given.counts["rounds"] == 3


# -------------------------------------------------------------------------------------------------------- the players


@pytest.mark.parametrize("params", ["theory", "practical"])
def test_the_whole_leader_is_the_regularised_one(params):
    record = recorded(Ftcl(m=None, params=params), OnlineEigenvector(d=4), 30)
    eta = 4 if params == "practical" else np.sqrt(4 * np.log(30) / 30)
    total = np.zeros((4, 4))
    for x, action in zip(record.seen, record.actions):
        top = eta * np.linalg.eigvalsh(total)[-1]
        c = brentq(lambda c: np.trace(np.linalg.inv(c * np.eye(4) - eta * total)) - 1, top + 1e-3, top + 5)
        assert density(action) == pytest.approx(np.linalg.inv(c * np.eye(4) - eta * total), abs=1e-9)
        total += np.outer(x, x)


def test_the_whole_leader_maximises_gain_plus_log_det():
    record, eta = recorded(Ftcl(m=None, step=0.5), OnlineEigenvector(d=3), 12), 1.5
    total = sum(np.outer(x, x) for x in record.seen[:-1])
    played = density(record.actions[-1])

    def value(w):
        return eta * np.trace(w @ total) + np.linalg.slogdet(w)[1]

    rng = np.random.default_rng(0)
    for _ in range(50):
        other = density(rng.standard_normal((3, 3)))
        for mix in (0.01, 0.3):
            assert value((1 - mix) * played + mix * other) <= value(played) + 1e-12


def test_a_compressed_leader_is_the_root_of_x_on_gaussians():
    for m in (1, 3):
        record = recorded(Ftcl(m=m, step=2.0), OnlineEigenvector(d=4), 20)
        total, eta = np.zeros((4, 4)), 8.0
        for t, (x, action) in enumerate(zip(record.seen, record.actions)):
            assert action.shape == (4, m)
            vectors = np.linalg.eigh(total)[1]
            u = vectors @ (STREAMS / "recipe" / "directions").rng(t).standard_normal((4, m))
            top = eta * np.linalg.eigvalsh(total)[-1]

            def inverse(c, total=total):
                return np.linalg.inv(c * np.eye(4) - eta * total)

            c = brentq(lambda c, u=u: np.trace(u.T @ inverse(c) @ u) / m - 1, top + 1e-9, top + 1e3)
            root = sqrtm(inverse(c)).real
            assert density(action) == pytest.approx(root @ u @ u.T @ root / m, abs=1e-6)
            total += np.outer(x, x)


def test_the_compressed_leader_is_the_whole_one_on_average():
    poles = 4 * np.sort(np.random.default_rng(0).random(5))
    rng, total = np.random.default_rng(1), np.zeros(5)
    for _ in range(4000):
        g = rng.standard_normal((5, 400)) / 20  # many directions: the shift hardly varies, and neither does W
        total += (g**2).sum(1) / (shift(poles, (g**2).sum(1)) - poles) / 4000
    assert total == pytest.approx(1 / (shift(poles, np.ones(5)) - poles), rel=0.02)


def test_multiplicative_weights_are_the_exponential():
    for params, eta in (("theory", np.sqrt(np.log(4) / 30)), ("practical", 0.5)):
        record = recorded(Mmwu(params=params), OnlineEigenvector(d=4), 30)
        total = np.zeros((4, 4))
        for x, action in zip(record.seen, record.actions):
            weights = expm(eta * total)
            assert density(action) == pytest.approx(weights / np.trace(weights), abs=1e-9)
            total += np.outer(x, x)


def test_the_proved_step_keeps_its_bound_where_rounds_are_adversarial():
    for stream in ("stochastic", "alternating"):
        regret = 600 * run(Mmwu(params="theory"), OnlineEigenvector(d=10, stream=stream), 600)["regret"]
        assert regret < 2 * np.sqrt(600 * np.log(10))


def test_the_leader_loses_half_of_the_alternating_rounds_and_few_of_the_random_ones():
    for stream, least, most in (("alternating", 0.48, 0.51), ("stochastic", 0.0, 0.02)):
        assert least < run(FollowLeader(), OnlineEigenvector(d=10, stream=stream), 600)["regret"] < most


def test_shift_solves_its_equation():
    rng = np.random.default_rng(0)
    for scale in (0.0, 1.0, 1e6):
        for _ in range(50):
            poles, weights = scale * np.sort(rng.random(8)), rng.standard_normal((8, 2)).__pow__(2).sum(1)
            c = shift(poles, weights)
            assert c > poles.max()
            assert (weights / (c - poles)).sum() == pytest.approx(1, rel=1e-6)
    assert shift(np.array([0.0, 5.0]), np.array([1.0, 0.0])) > 5  # a direction of no weight still bounds c


@pytest.mark.parametrize("fields", [{"m": 0}, {"step": 0.0}, {"params": "best"}])
def test_bad_fields_are_refused(fields):
    with pytest.raises(SpecError):
        Ftcl(**fields)


@pytest.mark.parametrize("eta", [1.0, 10.0, 100.0])
def test_three_directions_cost_no_more_than_fifteen_per_cent(eta):
    """Anchor 21: three seeds of a random stream in 20 dimensions, and moderate steps."""
    task = OnlineEigenvector(d=20)
    for seed in (0, 1, 2):
        whole, three = (run(Ftcl(m=m, step=eta / 20), task, 400, seed)["regret"] for m in (None, 3))
        assert abs(three - whole) <= 0.15 * whole
