"""RandomMdp: an episodic decision process that has to be explored; values and regret are exact."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, Lt

from airtrack.core.answers import array
from airtrack.core.given import Env, Floats
from airtrack.core.meter import State
from airtrack.core.part import part
from airtrack.core.problem import Judge, Metric, Problem
from airtrack.core.streams import Streams

BLOCK = 1024  # episodes whose noise is drawn together
FLOOR = 1e-9


@part("task")
class RandomMdp:
    """Learn to act in S states with A actions, H steps an episode, rewards 0 or 1; episodes start in state 0.

        chain    (0) ⇄ (1) ⇄ (2) ⇄ … ⇄ (S−1)     one action a state leads right, unless it slips; all others lead left
                  ↑ reward .05          ↑ reward 1, if the right action is taken here

        random   next state ~ Dirichlet(1/S, …), mean reward U⁸ with U uniform, so that few pairs pay

    In the chain the action that leads right is drawn for every state. Whoever acts at random gets to the far end
    rarely, and the near reward is bait. The transitions' noise depends on (seed, episode, step) alone: every arm
    meets the same luck.

    Answer: weights [H, S, A] ≥ 0 of the actions; each row is scaled to a distribution.

    regret      Σ over episodes of (V*₁ − V^π₁), per episode and step, by the identity
                V*₁(s₁) − V^π₁(s₁) = E Σ_h [V*_h(s_h) − Q*_h(s_h, a_h)]; steps not taken count as the worst state's
    growth      log₂ of regret so far over regret at half the episodes: 1 is linear, what learns is below
    policy_gap  (V*₁ − V^π₁) / H of the answer

    >>> from airtrack.core.streams import Streams
    >>> given, judge = RandomMdp(states=3, horizon=4).pose(Streams(0))
    >>> given.reset(), given.states, given.actions, given.horizon
    (0, 3, 2, 4)
    >>> judge(judge.truth["policy"])["policy_gap"]
    1e-09
    """

    states: Annotated[int, Ge(2)] = 6
    actions: Annotated[int, Ge(2)] = 2
    horizon: Annotated[int, Ge(1)] = 10
    kind: Literal["chain", "random"] = "chain"
    slip: Annotated[float, Ge(0), Lt(1)] = 0.1
    bait: Annotated[float, Ge(0), Le(1)] = 0.05

    unit: ClassVar[str] = "episodes"
    gives: ClassVar[type] = Env
    metrics: ClassVar[Mapping[str, Metric]] = {
        "regret": Metric("low", (FLOOR, 1.0), "log"),
        "growth": Metric("low", (0.0, 2.0)),
        "policy_gap": Metric("low", (FLOOR, 1.0), "log"),
    }
    example: ClassVar[dict[str, Any]] = {"states": 3, "actions": 2, "horizon": 3}

    def check(self) -> None:
        if self.kind == "chain" and self.horizon < self.states:
            fact = f"in {self.horizon} steps nobody is rewarded at the end of a chain of {self.states} states"
            raise ValueError(f"horizon: {fact}; take horizon ≥ states")

    def pose(self, streams: Streams) -> Problem:
        moves, rewards = self.draw(streams / "model")
        value, quality = solve(moves, rewards, self.horizon)
        log, noise = Log(self.actions, self.horizon), streams / "noise"
        reach = np.cumsum(moves, -1)
        reach[..., -1] = 2  # rounding must not lead out of the states
        reaches, means, horizon = reach.tolist(), rewards.tolist(), self.horizon

        @lru_cache(maxsize=2)
        def luck(block: int) -> list[list[list[float]]]:
            return noise.rng(block).random((BLOCK, horizon, 2)).tolist()

        def begin(episode: int) -> int:
            log.open()
            return 0

        def advance(episode: int, h: int, state: int, action: int) -> tuple[float, int]:
            to, pay = luck(episode // BLOCK)[episode % BLOCK][h]
            return (1.0 if pay < means[state][action] else 0.0), bisect_right(reaches[state][action], to)

        given = Env(states=self.states, actions=self.actions, horizon=horizon, begin=begin, advance=advance, log=log)
        lost = np.maximum(value[:-1, :, None] - quality, 0).reshape(horizon, -1)  # [H, S · A]
        worst = value[:-1].max(-1)  # [H] whoever leaves an episode at step h loses at most that

        def score(answer: Any) -> dict[str, float]:
            policy = distribution(array(answer, quality.shape))
            regret = np.cumsum(log.regret(lost, worst)) / horizon
            scores = {"policy_gap": (value[0, 0] - evaluate(moves, rewards, policy)[0, 0]) / horizon}
            if len(regret):
                scores["regret"] = regret[-1] / len(regret)
            if len(regret) > 1:
                half = regret[len(regret) // 2 - 1]
                scores["growth"] = np.log2(regret[-1] / half) if half > 0 else 0.0 if regret[-1] == 0 else 2.0
            return scores

        policy = np.eye(self.actions)[quality.argmax(-1)]
        return Problem(given, Judge(score, self.metrics, truth={"value": value, "quality": quality, "policy": policy}))

    def draw(self, streams: Streams) -> tuple[Floats, Floats]:
        """Transition probabilities [S, A, S] and mean rewards [S, A] in [0, 1]."""
        rng, shape = streams.rng(), (self.states, self.actions)
        if self.kind == "random":
            return rng.dirichlet(np.full(self.states, 1 / self.states), shape), rng.random(shape) ** 8
        moves, rewards = np.zeros((*shape, self.states)), np.zeros(shape)
        right, last = rng.integers(0, self.actions, self.states), self.states - 1
        for s in range(self.states):
            moves[s, :, max(s - 1, 0)] = 1
            moves[s, right[s]] = 0
            moves[s, right[s], min(s + 1, last)] += 1 - self.slip
            moves[s, right[s], max(s - 1, 0)] += self.slip
        rewards[0] = self.bait
        rewards[0, right[0]] = 0
        rewards[last, right[last]] = 1
        return moves, rewards


class Log:
    """What was done, kept on the judge's side: H codes s · A + a an episode, −1 for a step not taken."""

    def __init__(self, actions: int, horizon: int) -> None:
        self._actions, self._horizon, self._blank = actions, horizon, [-1] * horizon
        self._visits: list[int] = []

    def open(self) -> None:
        """Begin an episode."""
        self._visits += self._blank

    def note(self, episode: int, h: int, state: int, action: int) -> None:
        self._visits[episode * self._horizon + h] = state * self._actions + action

    def regret(self, lost: Floats, worst: Floats) -> Floats:
        """Σ_h of what each action lost [episodes], from lost [H, S · A] and worst [H], the loss of stopping at h."""
        visits = np.array(self._visits, np.int64).reshape(-1, self._horizon)
        taken = visits >= 0
        total = np.where(taken, lost[np.arange(self._horizon), visits], 0).sum(1)
        return total + np.append(worst, 0)[taken.sum(1)]

    def state(self) -> State:
        return {"visits": np.array(self._visits, np.int64)}

    def restore(self, state: State) -> None:
        self._visits = state["visits"].tolist()


def distribution(weights: Floats) -> Floats:
    """Weights [H, S, A] as probabilities of the actions: negative ones are zero, a row of zeros is uniform.

    >>> distribution(np.array([[[1e300, 1e300], [-1.0, 0.0], [-5.0, 2.0]]])).tolist()
    [[[0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]]
    """
    weights = np.maximum(weights, 0)
    largest = weights.max(-1, keepdims=True)
    weights = np.where(largest > 0, weights / np.where(largest > 0, largest, 1), 1)
    return weights / weights.sum(-1, keepdims=True)


def solve(moves: Floats, rewards: Floats, horizon: int) -> tuple[Floats, Floats]:
    """V* [H + 1, S] and Q* [H, S, A], by backward induction."""
    value, quality = np.zeros((horizon + 1, len(moves))), np.zeros((horizon, *rewards.shape))
    for h in reversed(range(horizon)):
        quality[h] = rewards + moves @ value[h + 1]
        value[h] = quality[h].max(-1)
    return value, quality


def evaluate(moves: Floats, rewards: Floats, policy: Floats) -> Floats:
    """V^π [H + 1, S] of a policy [H, S, A]."""
    value = np.zeros((len(policy) + 1, len(moves)))
    for h in reversed(range(len(policy))):
        value[h] = (policy[h] * (rewards + moves @ value[h + 1])).sum(-1)
    return value
