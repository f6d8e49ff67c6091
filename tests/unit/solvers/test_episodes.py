"""UCB-Q and the uniform policy."""

import numpy as np
import pytest

from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.solvers.episodes.eps_greedy import EpsGreedy
from airtrack.solvers.episodes.ucb_q import UcbQ
from airtrack.solvers.episodes.uniform import Uniform
from airtrack.tasks.random_mdp import RandomMdp

STREAMS = Streams(1)


def run(solver, task, budget, seed=1, **options):
    given, judge = task.pose(Streams(seed) / "task")
    meter = Meter(budget, look=judge, **options)
    given.metered(meter)
    answer = solver.answer(given, meter, Streams(seed) / "recipe")
    return answer, meter, given, judge


def reference(given, episodes, c, p=0.05):
    """Algorithm 1, by the letter, on arrays."""
    S, A, H = given.states, given.actions, given.horizon
    Q, V, N = np.full((H, S, A), float(H)), np.full((H + 1, S), float(H)), np.zeros((H, S, A))
    V[H] = 0
    iota = np.log(S * A * H * episodes / p)
    for _ in range(episodes):
        s = given.reset()
        for h in range(H):
            a = int(np.argmax(Q[h, s]))
            reward, after = given.step(a)
            N[h, s, a] += 1
            t = N[h, s, a]
            alpha = (H + 1) / (H + t)
            bonus = c * np.sqrt(H**3 * iota / t)
            Q[h, s, a] = (1 - alpha) * Q[h, s, a] + alpha * (reward + V[h + 1, after] + bonus)
            V[h, s] = min(H, Q[h, s].max())
            s = after
    return np.eye(A)[Q.argmax(-1)]


@pytest.mark.parametrize(("params", "c"), [("theory", 1.0), ("practical", 0.05)])
def test_equals_the_algorithm_by_the_letter(params, c):
    task = RandomMdp(states=4, horizon=5)
    answer, _, given, _ = run(UcbQ(params=params), task, 400)
    other = task.pose(STREAMS / "task").given
    assert (reference(other, 400, c) == answer).all()
    assert other.state()["log"]["visits"].tolist() == given.state()["log"]["visits"].tolist()


def test_an_episode_is_one_unit():
    for solver in (UcbQ(), EpsGreedy(), Uniform()):
        _, meter, given, _ = run(solver, RandomMdp(states=3, horizon=4), 100)
        assert meter.spent == 100
        visits = given.state()["log"]["visits"]
        assert visits.shape == (400,)
        assert (visits >= 0).all()


def test_epsilon_greedy_is_greedy_but_for_epsilon():
    task = RandomMdp(kind="random", states=3, actions=4, horizon=4)
    _, _, given, _ = run(EpsGreedy(epsilon=1.0), task, 3000)
    assert ((np.bincount(given.state()["log"]["visits"] % 4) - 3000) ** 2 / 3000).sum() < 21.1  # χ²₃, as below
    answer, _, given, judge = run(EpsGreedy(epsilon=0.2), task, 6000)
    late = given.state()["log"]["visits"].reshape(-1, 4)[-500:]
    best = answer.argmax(-1)[np.arange(4), late // 4]
    assert (late % 4 != best).mean() == pytest.approx(0.2 * 3 / 4, abs=0.04)
    assert judge(answer)["policy_gap"] < 0.05


def test_uniform_is_uniform():
    answer, _, given, judge = run(Uniform(), RandomMdp(states=3, actions=3, horizon=4), 3000)
    counts = np.bincount(given.state()["log"]["visits"] % 3)
    assert ((counts - 4000) ** 2 / 4000).sum() < 18.4  # χ²₂, one in ten thousand
    assert (answer == 1 / 3).all()
    assert judge(answer)["regret"] == pytest.approx(judge(answer)["policy_gap"], rel=0.05)


@pytest.mark.parametrize("fields", [{"bonus": -1.0}, {"p": 0.0}, {"p": 1.0}, {"params": "half"}])
def test_bad_fields_are_refused(fields):
    with pytest.raises(SpecError):
        UcbQ(**fields)
