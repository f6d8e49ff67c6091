"""Episodic decision processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airtrack.core.given.oracle import Oracle
from airtrack.core.meter import Meter, State


class Env(Oracle):
    """An episodic decision process: S states, A actions, H steps. The judge keeps the log, not the learner.

    begin     episode → first state
    advance   (episode, h, state, action) → (reward, next state)
    log       called with (episode, h, state, action) before each step, on the judge's side
    """

    def __init__(
        self,
        *,
        states: int,
        actions: int,
        horizon: int,
        begin: Callable[[int], int],
        advance: Callable[[int, int, int, int], tuple[float, int]],
        log: Any,
    ) -> None:
        self.states, self.actions, self.horizon = states, actions, horizon
        self._begin, self._advance, self._log = begin, advance, log
        self._episode, self._step, self._at = -1, horizon, 0

    def reset(self) -> int:
        """Start an episode and return its first state; charges one."""
        self._charge(1, episodes=1)
        self._episode, self._step = self._episode + 1, 0
        self._at = self._begin(self._episode)
        return self._at

    def step(self, action: int) -> tuple[float, int]:
        """Act: the reward in [0, 1] and the next state."""
        if self._step >= self.horizon:
            raise ValueError(f"the episode is over after {self.horizon} steps; call reset()")
        if not 0 <= action < self.actions:
            raise ValueError(f"there is no action {action}; actions are 0 … {self.actions - 1}")
        self._log.note(self._episode, self._step, self._at, action)
        reward, self._at = self._advance(self._episode, self._step, self._at, action)
        self._step += 1
        return reward, self._at

    def state(self) -> State:
        return {"episode": self._episode, "step": self._step, "at": self._at, "log": self._log.state()}

    def restore(self, state: State) -> None:
        self._episode, self._step, self._at = state["episode"], state["step"], state["at"]
        self._log.restore(state["log"])

    def metered(self, meter: Meter) -> None:
        super().metered(meter)
        meter.track("env", self)
