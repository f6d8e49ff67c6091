"""Q-learning with optimism: no model, no simulator, and regret that grows as the square root of time."""

from __future__ import annotations

from math import log, sqrt
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from airtrack.core.given import Env, Floats
from airtrack.core.meter import Meter, State
from airtrack.core.part import part
from airtrack.core.streams import Streams

OFFERS = 200  # answers shown a trial; a policy is written out each time


@part("solver")
class UcbQ:
    """Tabular Q-learning with a Hoeffding bonus, greedy in Q, which starts at H.

        Q_h(s, a) ← (1 − α_t) Q_h(s, a) + α_t (r + V_{h+1}(s') + c √(H³ ι / t)),   V = min(H, max_a Q)

    at the t-th visit of (h, s, a), with α_t = (H + 1) / (H + t) and ι = log(S A T / p), T = H · episodes.

    params  "theory": c = 1, as proved, with regret √(H⁴ S A T ι), linear until long after any small budget;
            "practical": c = .05
    bonus   multiplies c
    p       chance that the bound may fail

    Source: Jin, Allen-Zhu, Bubeck, Jordan (NeurIPS 2018), Algorithm 1.

    >>> from airtrack.tasks.random_mdp import RandomMdp
    >>> given, judge = RandomMdp(states=3, horizon=4).pose(Streams(0) / "task")
    >>> meter = Meter(budget=2000)
    >>> given.metered(meter)
    >>> judge(UcbQ().answer(given, meter, Streams(0) / "recipe"))["policy_gap"] < 0.01
    True
    """

    params: Literal["theory", "practical"] = "practical"
    bonus: Annotated[float, Ge(0)] = 1.0
    p: Annotated[float, Gt(0), Lt(1)] = 0.05

    accepts: ClassVar[type] = Env
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given: Env, meter: Meter, streams: Streams) -> Floats:
        S, A, H = given.states, given.actions, given.horizon
        every = max(1, int(meter.budget) // OFFERS)
        iota = log(S * A * H * max(meter.budget, 1) / self.p)
        c = self.bonus * (1.0 if self.params == "theory" else 0.05) * sqrt(H**3 * iota)
        state = meter.resume() or {
            "episode": 0,
            "quality": np.full((H, S, A), float(H)),
            "value": np.vstack([np.full((H, S), float(H)), np.zeros(S)]),
            "visits": np.zeros((H, S, A), np.int64),
        }
        episode = state["episode"]
        quality, value, visits = (state[name].tolist() for name in ("quality", "value", "visits"))  # fast one by one
        while meter.live():
            s = given.reset()
            for h in range(H):
                row, ahead = quality[h][s], value[h + 1]
                a = row.index(max(row))
                reward, after = given.step(a)
                visits[h][s][a] = t = visits[h][s][a] + 1
                rate = (H + 1) / (H + t)
                row[a] += rate * (reward + ahead[after] + c / sqrt(t) - row[a])
                value[h][s] = min(H, max(row))
                s = after
            episode += 1
            if episode % every == 0:
                meter.offer(greedy(quality))
            meter.save(lambda: _state(episode, quality, value, visits))
        return greedy(quality)


def greedy(quality: Any) -> Floats:
    """The policy [H, S, A] that takes the best action, the first of several.

    >>> greedy([[[0.0, 2.0, 2.0]]]).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    table = np.array(quality)
    return np.eye(table.shape[-1])[table.argmax(-1)]


def _state(episode: int, quality: Any, value: Any, visits: Any) -> State:
    arrays = {"quality": np.array(quality), "value": np.array(value), "visits": np.array(visits, np.int64)}
    return {"episode": episode, **arrays}
