"""Uniform: actions at random, the baseline that knows nothing and learns nothing."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from airtrack.core.given import Env, Floats
from airtrack.core.meter import Meter
from airtrack.core.part import part
from airtrack.core.streams import Streams

BLOCK = 1024  # episodes whose actions are drawn together


@part("solver")
class Uniform:
    """Every action with the same probability, in every state.

    >>> from airtrack.tasks.random_mdp import RandomMdp
    >>> given, judge = RandomMdp(states=3, horizon=4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=1000)
    >>> given.metered(meter)
    >>> 0.9 < judge(Uniform().answer(given, meter, Streams(0) / "recipe"))["growth"] < 1.1
    True
    """

    accepts: ClassVar[type] = Env
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Env, meter: Meter, streams: Streams) -> Floats:
        shape = (given.horizon, given.states, given.actions)
        policy = np.full(shape, 1 / given.actions)
        state = meter.resume() or {"episode": 0}
        episode, actions = state["episode"], []
        while meter.live():
            if not actions or episode % BLOCK == 0:
                draw = (streams / "actions").rng(episode // BLOCK)
                actions = draw.integers(0, given.actions, (BLOCK, given.horizon)).tolist()
            given.reset()
            for action in actions[episode % BLOCK]:
                given.step(action)
            episode += 1
            meter.offer(policy)
            meter.save(lambda: {"episode": episode})
        return policy
