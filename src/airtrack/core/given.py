"""What a learner may be given. Oracles charge the meter themselves; nothing here holds a task's truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from airtrack.core.meter import Meter, State
from airtrack.core.part import SpecError, nearest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

IGNORE = -100  # label of a position without loss; the value that torch's cross-entropy ignores


class Oracle:
    """Base of everything given: knows the meter it charges, once the bench has called `metered`."""

    _meter: Meter | None = None

    def metered(self, meter: Meter) -> None:
        """Charge this meter from now on. Without one, work is free (a part used outside the bench)."""
        self._meter = meter

    def _charge(self, work: float) -> None:
        if self._meter is not None:
            self._meter.charge(work)

    def _grant(self, work: int) -> int:
        return work if self._meter is None else self._meter.grant(work)


class Batch(NamedTuple):
    x: Ints  # [n, T] token ids
    y: Ints  # [n, T] the id to predict at each position, IGNORE where there is no loss


class Corpus(Oracle):
    """Endless sequences of token ids.

    make    (i, n) → Batch of n sequences: a function of its arguments alone
    vocab   number of ids
    length  T, tokens a sequence
    start   the id that begins a document; None: every sequence is one
    treat   fields → `make` of other training data about the same problem, for tasks that have `treatments`
    words   ids [n, T] → bool [n, T], the tokens that begin a word; None: every token is a word
    """

    def __init__(
        self,
        make: Callable[[int, int], Batch],
        *,
        vocab: int,
        length: int,
        start: int | None = None,
        treat: Callable[[Mapping[str, Any]], Callable[[int, int], Batch]] | None = None,
        words: Callable[[Ints], Bools] | None = None,
    ) -> None:
        self._make, self.vocab, self.length, self.start, self._treat = make, vocab, length, start, treat
        self._words = words

    def treated(self, fields: Mapping[str, Any]) -> Corpus:
        """Other training data about the same problem, on the same meter: fields of the task, of its `treatments`."""
        if self._treat is None:
            raise SpecError(f"these data come in one form only; leave out {', '.join(fields)}", "data")
        kept = {"vocab": self.vocab, "length": self.length, "start": self.start, "words": self._words}
        other = Corpus(self._treat(fields), treat=self._treat, **kept)
        other._meter = self._meter
        return other

    def words(self, ids: Ints) -> Bools:
        """Which tokens of ids [n, T] begin a word [n, T]; all of them where tokens are words. Costs nothing."""
        return np.ones(ids.shape, np.bool_) if self._words is None else self._words(ids)

    def batch(self, i: int, n: int) -> Batch:
        """Batch number i, n sequences; charges n · T tokens."""
        self._charge(n * self.length)
        return self._make(i, n)


def treated(task: Any, fields: Mapping[str, Any]) -> Any:
    """The task with other training data: some of its fields, which must be among its `treatments`, take other values.

    Treatments change what a learner is shown and nothing that the judge asks, so that a study may compare them.
    """
    there: tuple[str, ...] = getattr(task, "treatments", ())
    for name in fields:
        if name not in there:
            fact = f"{type(task).__name__} cannot be shown with another {name!r}"
            raise SpecError(f"{fact}{nearest(name, there)}", "data")
    try:
        return dataclasses.replace(task, **fields)
    except SpecError as error:
        raise error.below("data") from None


class FiniteSum(Oracle):
    """F(x) = (1/n) Σᵢ φ(⟨aᵢ, x⟩, bᵢ) + (l2/2) ‖x‖², one gradient of a component φ being the unit of work.

    n, d        components, dimensions
    loss        name of φ: "logistic", φ(u, b) = log(1 + exp(−b u)) with b = ±1
    l2          strength of the regulariser, σ
    smoothness  [n] smoothness constants Lᵢ of the components
    """

    def __init__(self, rows: Floats, labels: Floats, *, l2: float, loss: str = "logistic") -> None:
        self._rows, self._labels = rows.view(), labels.view()
        for array in (self._rows, self._labels):  # the judge works with the same numbers
            array.flags.writeable = False
        self.n, self.d = rows.shape
        self.loss, self.l2 = loss, l2
        self.smoothness: Floats = 0.25 * np.einsum("nd,nd->n", rows, rows)  # φ'' ≤ 1/4

    def gradient(self, x: Floats) -> tuple[Floats, Floats]:
        """(1/n) Σ φ'(⟨aᵢ, x⟩) aᵢ [d], without the regulariser, and the scalars φ' [n]; charges n."""
        self._charge(self.n)
        scalars = -self._labels / (
            1 + np.exp(np.clip(self._labels * (self._rows @ x), -500, 500))
        )  # exp(710) overflows
        return self._rows.T @ scalars / self.n, scalars

    def components(self, count: int) -> tuple[Floats, Floats, int]:
        """Rows [n, d] and labels [n], to evaluate component gradients in a compiled loop, and how many are granted.

        Charges for all of them at once: `count`, or what is left of the budget if that is less.
        """
        return self._rows, self._labels, self._grant(count)


class Stream(Oracle):
    """Endless samples in d dimensions, drawn in order. k is the rank that is asked for."""

    def __init__(self, make: Callable[[int], Floats], *, d: int, k: int, block: int) -> None:
        self._make, self.d, self.k, self._block = lru_cache(maxsize=2)(make), d, k, block
        self._position = 0

    def draw(self, count: int) -> Floats:
        """The next samples [≤ count, d]; charges one a sample, and gives fewer at the end of the budget."""
        count = self._grant(count)
        first, last = self._position // self._block, (self._position + count - 1) // self._block
        samples = np.concatenate([self._make(i) for i in range(first, last + 1)]) if last > first else self._make(first)
        start = self._position - first * self._block
        self._position += count
        return samples[start : start + count]

    def state(self) -> State:
        return {"position": self._position}

    def restore(self, state: State) -> None:
        self._position = state["position"]

    def metered(self, meter: Meter) -> None:
        super().metered(meter)
        meter.track("stream", self)


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
        self._charge(1)
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
