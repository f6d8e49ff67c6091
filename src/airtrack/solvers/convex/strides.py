"""Steps of a subgradient method, and what it answers with."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from airtrack.core.given import Floats, Pieces
from airtrack.core.problem import Diverged


class Strides:
    """Step t of x ← within(x − ηₜ g), for a sum of pieces with constants G (bound on ‖g‖ at x = 0), D = reach, σ = l2.

    theory     ηₜ = step / (σ (t + 1)), or step · D / (G √(t + 1)) where σ = 0; the answer is the average of the
               iterates with weights t, whose error falls as 1/t, or 1/√t
    practical  stages: 2ˢ · `first` steps, each of length step · D / (4ˢ · `first`), so that a stage is half as long a
               way as the one before and four times as fine; the answer is the last iterate

    Source: the theory is Shamir, Zhang (ICML 2013), who average steps of 1/(σ (t + 1)) so, and Nesterov's for σ = 0;
    Lacoste-Julien, Schmidt, Bach (2012) take the same average of steps of twice that length. Stages whose way does not
    grow with their number of steps are what Allen-Zhu, Simchi-Levi, Wang (NeurIPS 2018) do for smooth sums, the
    constants are not theirs.

    >>> from airtrack.core.given import Hinges
    >>> strides = Strides(Hinges(np.eye(2), np.array([1.0, -1.0]), l2=0.5), "theory", step=1.0, first=4)
    >>> [round(strides.take(np.array([-0.3, 0.4]), "a solver"), 3) for _ in range(2)]  # ‖g‖/σ, ‖g‖/2σ
    [1.0, 0.5]
    >>> strides.x, strides.answer.round(3)
    (array([ 0.9, -1.2]), array([ 0.8  , -1.067]))
    """

    def __init__(
        self,
        given: Pieces,
        params: Literal["theory", "practical"],
        step: float,
        first: int,
        saved: dict[str, Any] | None = None,
    ) -> None:
        self._given, self._theory, self._step, self._first = given, params == "theory", step, first
        self._steepest = given.steepest + float(np.linalg.norm(given.linear))
        zero = np.zeros(given.d)
        self.x: Floats = saved["x"] if saved else zero
        self.average: Floats = saved["average"] if saved else zero
        self.t: int = saved["t"] if saved else 0

    def take(self, g: Floats, who: str) -> float:
        """Step against g [d]; the length of the step. Raises `Diverged` where x leaves the finite numbers."""
        eta = self._eta(g)
        with np.errstate(over="ignore", invalid="ignore"):
            x = self._given.within(self.x - eta * g)
            length = float(np.linalg.norm(x - self.x))
        if not np.isfinite(length):
            told = f"{who} left the finite numbers after {self.t} steps, with a step of {eta:.3g}"
            raise Diverged(f"{told}; with step: 1 it stays within a few times {self._given.reach:.3g} of 0")
        self.x, self.t = x, self.t + 1
        self.average = self.average + 2 / (self.t + 1) * (x - self.average)
        return length

    @property
    def answer(self) -> Floats:
        return self.average if self._theory else self.x

    def state(self) -> dict[str, Any]:
        return {"x": self.x, "average": self.average, "t": self.t}

    def _eta(self, g: Floats) -> float:
        if self._theory and self._given.l2 > 0:
            return self._step / (self._given.l2 * (self.t + 1))
        if self._theory:
            return self._step * self._given.reach / (self._steepest * np.sqrt(self.t + 1))
        stage = (self.t // self._first + 1).bit_length() - 1  # stages have 1, 2, 4 … times `first` steps
        norm = float(np.linalg.norm(g))
        return self._step * self._given.reach / (4.0**stage * self._first * norm) if norm > 0 else 0.0
