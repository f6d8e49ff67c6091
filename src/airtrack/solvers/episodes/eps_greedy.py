"""Epsilon-greedy Q-learning: what most people try first, and what does not explore."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le

from airtrack.core.given import Env, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams
from airtrack.solvers.episodes.ucb_q import greedy

BLOCK = 1024  # episodes whose choices are drawn together
OFFERS = 200  # answers shown a trial; a policy is written out each time


@part("solver")
class EpsGreedy:
    """Tabular Q-learning from Q = 0: the best action so far, or with probability ε any action.

    Learning rate (H + 1) / (H + t) at the t-th visit, as in `ucb_q`, so that exploration is the only difference.

    epsilon  ε; regret is at least ε times what a random action costs, and linear where reward is far away

    >>> from airtrack.tasks.random_mdp import RandomMdp
    >>> given, judge = RandomMdp(states=3, horizon=4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=1000)
    >>> given.metered(meter)
    >>> EpsGreedy().answer(given, meter, Streams(0) / "recipe").shape
    (4, 3, 2)
    """

    epsilon: Annotated[float, Ge(0), Le(1)] = 0.1

    accepts: ClassVar[type] = Env
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Env, meter: Meter, streams: Streams) -> Floats:
        S, A, H = given.states, given.actions, given.horizon
        every = max(1, int(meter.budget) // OFFERS)
        state = meter.resume() or {
            "episode": 0,
            "quality": np.zeros((H + 1, S, A)),  # the last one stays zero
            "visits": np.zeros((H, S, A), np.int64),
        }
        episode, choices = state["episode"], []
        quality, visits = state["quality"].tolist(), state["visits"].tolist()  # lists are fast one by one
        while meter.live():
            if not choices or episode % BLOCK == 0:
                draw = (streams / "choices").rng(episode // BLOCK)
                explore = draw.random((BLOCK, H)) < self.epsilon
                choices = np.where(explore, draw.integers(0, A, (BLOCK, H)), -1).tolist()
            s = given.reset()
            for h, a in enumerate(choices[episode % BLOCK]):
                row = quality[h][s]
                if a < 0:
                    a = row.index(max(row))
                reward, after = given.step(a)
                visits[h][s][a] = t = visits[h][s][a] + 1
                row[a] += (H + 1) / (H + t) * (reward + max(quality[h + 1][after]) - row[a])
                s = after
            episode += 1
            if episode % every == 0:
                meter.offer(greedy(quality[:-1]))
            meter.save(lambda: _state(episode, quality, visits))
        return greedy(quality[:-1])


def _state(episode: int, quality: Any, visits: Any) -> dict[str, Any]:
    return {"episode": episode, "quality": np.array(quality), "visits": np.array(visits, np.int64)}
