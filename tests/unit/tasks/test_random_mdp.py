"""RandomMdp against brute force: all policies, all histories."""

from itertools import product

import numpy as np
import pytest

from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.tasks.random_mdp import RandomMdp, evaluate

STREAMS = Streams(3) / "task"
TINY = RandomMdp(kind="random", states=2, actions=2, horizon=3)


def histories(moves, policy, horizon):
    """(probability, [(s, a), …]) of everything that can happen from state 0."""
    S, A = moves.shape[:2]
    for path in product(product(range(S), range(A)), repeat=horizon):
        chance, s = 1.0, 0
        for h, (at, a) in enumerate(path):
            chance *= (at == s if h == 0 else moves[path[h - 1]][at]) * policy[h, at, a]
        if chance > 0:
            yield chance, path


def test_values_are_the_best_of_all_policies():
    moves, rewards = TINY.draw(STREAMS / "model")
    judge = TINY.pose(STREAMS).judge
    best = -np.inf
    for choice in product(range(2), repeat=6):
        policy = np.eye(2)[np.array(choice).reshape(3, 2)]
        value = sum(p * sum(rewards[step] for step in path) for p, path in histories(moves, policy, 3))
        assert evaluate(moves, rewards, policy)[0, 0] == pytest.approx(value, rel=1e-12)
        assert judge(policy)["policy_gap"] == pytest.approx(
            max((judge.truth["value"][0, 0] - value) / 3, 1e-9), abs=1e-12
        )
        best = max(best, value)
    assert judge.truth["value"][0, 0] == pytest.approx(best, rel=1e-12)
    assert judge(judge.truth["policy"])["policy_gap"] == 1e-9


def test_what_actions_lose_adds_up_to_what_a_policy_loses():
    moves, rewards = TINY.draw(STREAMS / "model")
    truth = TINY.pose(STREAMS).judge.truth
    policy = Streams(8).rng().dirichlet(np.ones(2), (3, 2))
    lost = truth["value"][:-1, :, None] - truth["quality"]
    summed = sum(p * sum(lost[h][step] for h, step in enumerate(path)) for p, path in histories(moves, policy, 3))
    assert summed == pytest.approx(truth["value"][0, 0] - evaluate(moves, rewards, policy)[0, 0], rel=1e-12)


@pytest.mark.parametrize("task", [TINY, RandomMdp(states=3, actions=3, horizon=4)])
def test_regret_of_a_fixed_policy_is_its_gap(task):
    given, judge = task.pose(STREAMS)
    rng = Streams(4).rng()
    uniform = np.ones((task.horizon, task.states, task.actions))
    for _ in range(4000):
        given.reset()
        for a in rng.integers(0, task.actions, task.horizon):
            given.step(int(a))
    readings = judge(uniform)
    assert readings["regret"] == pytest.approx(readings["policy_gap"], rel=0.06)
    assert readings["growth"] == pytest.approx(1, abs=0.1)


def test_the_environment_is_the_model():
    task = RandomMdp(kind="random", states=4, actions=3, horizon=5)
    moves, rewards = task.draw(STREAMS / "model")
    given, _ = task.pose(STREAMS)
    rng = Streams(4).rng()
    went, paid, taken = np.zeros(moves.shape), np.zeros(rewards.shape), np.zeros(rewards.shape)
    for _ in range(6000):
        s = given.reset()
        for a in rng.integers(0, 3, 5):
            reward, after = given.step(int(a))
            went[s, a, after] += 1
            paid[s, a] += reward
            taken[s, a] += 1
            s = after
    assert (abs(went - taken[..., None] * moves) <= 4.5 * np.sqrt(taken[..., None] * moves * (1 - moves)) + 1e-9).all()
    assert (abs(paid - taken * rewards) <= 4.5 * np.sqrt(taken * rewards * (1 - rewards)) + 1e-9).all()


def test_luck_depends_on_the_episode_and_the_step_alone():
    first, second = (RandomMdp(kind="random").pose(STREAMS).given for _ in range(2))
    first.reset()  # one leaves its first episode at once
    second.reset()
    [second.step(0) for _ in range(10)]
    told = [[given.reset(), *(given.step(1) for _ in range(10))] for given in (first, second)]
    assert told[0] == told[1]


def test_luck_never_comes_back():
    given = RandomMdp(kind="random").pose(STREAMS).given
    told = [(given.reset(), *(given.step(0) for _ in range(10))) for _ in range(5000)]
    blocks = [told[i : i + 100] for i in range(0, 5000, 100)]
    assert all(a != b for i, a in enumerate(blocks) for b in blocks[:i])
    at = {tuple(block) for start in range(1024) for block in [told[start : start + 20]]}
    assert not at & {tuple(told[start : start + 20]) for start in range(1024, 4900)}


def test_the_chain_pays_at_its_far_end():
    task = RandomMdp()
    moves, rewards = task.draw(STREAMS / "model")
    assert np.allclose(moves.sum(-1), 1)
    truth = task.pose(STREAMS).judge.truth
    assert truth["value"][0, 0] == pytest.approx(3.66, abs=0.005)  # the specification measured 3.65 on its own chain
    right = moves[0].argmax(-1) == 1
    assert (rewards[0] == np.where(right, 0, 0.05)).all()
    assert sorted(rewards[-1]) == [0, 1]
    assert len({task.draw(Streams(s))[0].tobytes() for s in range(20)}) > 10


def test_walking_away_is_the_worst_that_can_be_done():
    given, judge = RandomMdp().pose(STREAMS)
    for _ in range(10):
        given.reset()
    assert judge(judge.truth["policy"])["regret"] == pytest.approx(judge.truth["value"][0].max() / 10)
    given, judge = RandomMdp().pose(STREAMS)
    assert judge(judge.truth["policy"])["regret"] == 1  # nothing was done at all


def test_regret_of_the_best_policy_is_none():
    given, judge = RandomMdp().pose(STREAMS)
    policy = judge.truth["policy"].argmax(-1)
    for _ in range(50):
        s = given.reset()
        for h in range(10):
            s = given.step(int(policy[h, s]))[1]
    assert judge(judge.truth["policy"]) == {"regret": 1e-9, "growth": 0.0, "policy_gap": 1e-9}


def test_policies_are_made_distributions():
    _, judge = TINY.pose(STREAMS)
    weights = Streams(8).rng().random((3, 2, 2))
    assert judge(weights)["policy_gap"] == pytest.approx(judge(weights * 1e200)["policy_gap"], rel=1e-12)
    assert judge(np.zeros((3, 2, 2))) == judge(np.ones((3, 2, 2)))
    assert judge(-weights) == judge(np.ones((3, 2, 2)))


def test_episodes_are_charged_and_the_rules_are_kept():
    given, _ = TINY.pose(STREAMS)
    meter = Meter(2)
    given.metered(meter)
    with pytest.raises(ValueError, match="call reset"):
        given.step(0)
    given.reset()
    with pytest.raises(ValueError, match="there is no action 2"):
        given.step(2)
    given.reset()
    assert meter.spent == 2
    with pytest.raises(BudgetSpent):
        given.reset()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"states": 1}, "states: "),
        ({"actions": 1}, "actions: "),
        ({"horizon": 0}, "horizon: "),
        ({"states": 6, "horizon": 5}, "horizon: in 5 steps .* chain of 6 states; take horizon ≥ states"),
        ({"kind": "chian"}, "did you mean 'chain'"),
        ({"slip": 1.0}, "slip: "),
        ({"bait": -0.1}, "bait: "),
    ],
)
def test_bad_fields_are_refused_in_one_line(fields, words):
    with pytest.raises(SpecError, match=words):
        RandomMdp(**fields)
