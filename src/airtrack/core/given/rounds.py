"""Repeated games."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from airtrack.core.given.oracle import Floats, Oracle
from airtrack.core.meter import Meter, State


class Plays(Protocol):
    """What was played, kept on the judge's side."""

    def note(self, action: Any, revealed: Floats) -> None: ...  # raises `ValueError` for what is no action
    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


class Rounds(Oracle):
    """A game of rounds in d dimensions: play, then see what the round was about, then play again.

    reveal  round → an array: a vector of losses, or x for the gain matrix x xᵀ
    log     notes action and array, and refuses what is no action

    The learner works out by itself what its action gained; the judge does so from its own log, hence regret is exact.

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> log = SimpleNamespace(note=lambda action, revealed: None)  # takes everything for an action
    >>> game = Rounds(d=2, reveal=lambda t: np.eye(2)[t % 2], log=log)
    >>> game.play(np.ones(2)), game.play(np.ones(2)), game.counts["rounds"]
    (array([1., 0.]), array([0., 1.]), 2)
    """

    def __init__(self, *, d: int, reveal: Callable[[int], Floats], log: Plays) -> None:
        self.d, self._reveal, self._log = d, reveal, log
        self._round = 0

    def play(self, action: Any) -> Floats:
        """Play and return what is revealed then; charges one round. Raises `ValueError` for what is no action."""
        self._charge(1, rounds=1)
        revealed = self._reveal(self._round)
        self._log.note(action, revealed)
        self._round += 1
        return revealed

    def state(self) -> State:
        return {"round": self._round, "log": self._log.state()}

    def restore(self, state: State) -> None:
        self._round = state["round"]
        self._log.restore(state["log"])

    def metered(self, meter: Meter) -> None:
        super().metered(meter)
        meter.track("rounds", self)
