"""The meter: the only clock of a trial. It counts work, draws the curve and keeps the checkpoint."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from airtrack.core.part import SpecError

State = dict[str, Any]  # nested dicts with str keys; leaves are arrays, numbers, strings, booleans or None


class BudgetSpent(Exception):
    """Raised by an oracle that is asked for more work than the budget holds."""


class Stateful(Protocol):
    """An oracle that remembers something (an environment's log), which a checkpoint has to hold."""

    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


class Meter:
    """Counts a trial's work in the task's unit, decides when the judge looks, and saves what a resume needs.

    budget      work that may be spent
    look        answer → metrics; called at the points of `schedule`, with the meter's own clock stopped
    schedule    amounts of work, ascending, at which the curve is read
    stop        metrics → bool; when it says yes at a look, the budget ends there and `reached` holds the work done
    checkpoint  file for `save`; without one nothing is saved
    every       seconds between two saves
    prefix      recipe → its finished answer, or None; how `Then` finds a trained prefix
    progress    called with (spent, metrics) after each look
    cap         work after which a pilot ends, though the recipe plans for the whole budget
    worth       guess → whether a look is worth its price, where a recipe guesses what it would show; None: always

    >>> meter = Meter(10, look=lambda x: {"error": x}, schedule=[4, 8])
    >>> while meter.live(cost=3):
    ...     meter.charge(3)
    ...     meter.offer(1 / meter.spent)
    >>> meter.spent, [work for work, _ in meter.curve]
    (9, [6, 9])
    """

    def __init__(
        self,
        budget: float,
        *,
        look: Callable[[Any], Mapping[str, float]] | None = None,
        schedule: list[float] | None = None,
        stop: Callable[[Mapping[str, float]], bool] | None = None,
        checkpoint: Path | None = None,
        every: float = 10.0,
        prefix: Callable[[Any], Any] | None = None,
        progress: Callable[[float, Mapping[str, float]], None] | None = None,
        cap: float | None = None,
        worth: Callable[[Mapping[str, float]], bool] | None = None,
    ) -> None:
        self.budget = budget
        self._limit = budget if cap is None else min(cap, budget)
        self.spent: float = 0
        self.latest: Any = None
        self.reached: float | None = None
        self.curve: list[tuple[float, dict[str, float]]] = []
        self.prefix = prefix or (lambda recipe: None)
        self._look, self._schedule, self._stop, self._worth = look, schedule or [], stop, worth
        self._checkpoint, self._every, self._progress = checkpoint, every, progress
        self._oracles: dict[str, Stateful] = {}
        self._idle = 0  # questions whether the budget is live, since the last charge
        self._next = 0  # index into the schedule
        self._before = 0.0  # seconds spent before the last resume
        self._started = self._saved = time.perf_counter()
        self._first: tuple[float, float] | None = None  # (clock, spent) after the first work: where the rate starts
        self._resumed = self._load()

    @property
    def seconds(self) -> float:
        """Time of the recipe alone: the judge's looks are not in it."""
        return self._before + time.perf_counter() - self._started

    @property
    def rate(self) -> float:
        """Seconds per unit of work after the first: set-up and compilation are not in it."""
        if self._first is None or self.spent <= self._first[1]:
            return float("nan")
        return (self.seconds - self._first[0]) / (self.spent - self._first[1])

    def live(self, cost: float = 1) -> bool:
        """Whether the budget holds `cost` more."""
        self._idle += 1
        if self._idle > 10_000:
            raise RuntimeError("a recipe goes on without charging any work; call given.metered(meter) before it")
        return self.spent + cost <= self._limit

    def charge(self, work: float) -> None:
        """Count `work`; raises `BudgetSpent`, with nothing counted, if it does not fit."""
        if not self.live(work):
            raise BudgetSpent
        if self.spent > 0 and self._first is None:  # work is charged before it is done: the first is over now
            self._first = (self.seconds, self.spent)
        self.spent += work
        self._idle = 0

    def grant(self, work: int) -> int:
        """Count as much of `work` as still fits and return it; raises `BudgetSpent` if nothing does."""
        granted = int(min(work, self._limit - self.spent))
        if granted < 1:
            raise BudgetSpent
        self.charge(granted)
        return granted

    def offer(self, answer: Any, guess: Mapping[str, float] | None = None) -> None:
        """Show the current answer. It costs nothing unless a look is due.

        guess  metrics of the answer as the recipe itself works them out, where it can at little cost
        """
        self.latest = answer
        if self._next >= len(self._schedule) or self.spent < self._schedule[self._next] or self._look is None:
            return
        if guess is not None and self._worth is not None and not self._worth(guess):
            return
        while self._next < len(self._schedule) and self.spent >= self._schedule[self._next]:
            self._next += 1
        pause = time.perf_counter()
        metrics = dict(self._look(answer))
        self.curve.append((self.spent, metrics))
        if self._stop and self._stop(metrics):
            self.reached = self._limit = self.spent
        if self._progress:
            self._progress(self.spent, metrics)
        self._started += time.perf_counter() - pause

    def track(self, name: str, oracle: Stateful) -> None:
        """Make an oracle's memory part of the checkpoint."""
        self._oracles[name] = oracle
        if self._resumed is not None:
            oracle.restore(self._resumed["oracles"][name])

    def save(self, state: Callable[[], State]) -> None:
        """Keep what the recipe needs to go on from here; `state` is called only when a save is due."""
        if self._checkpoint is None or time.perf_counter() - self._saved < self._every:
            return
        pause = time.perf_counter()
        latest = self.latest if isinstance(self.latest, np.ndarray) else None  # the answer, if no more work fits
        own: State = {
            "spent": self.spent,
            "next": self._next,
            "seconds": self.seconds,
            "reached": self.reached,
            "latest": latest,
            "curve": [[work, metrics] for work, metrics in self.curve],
        }
        oracles = {name: oracle.state() for name, oracle in self._oracles.items()}
        write_state(self._checkpoint, {"meter": own, "recipe": state(), "oracles": oracles})
        self._saved = time.perf_counter()
        self._started += self._saved - pause

    def resume(self) -> State | None:
        """The state saved by an earlier run of this trial, or None."""
        return None if self._resumed is None else self._resumed["recipe"]

    def _load(self) -> State | None:
        saved = read_state(self._checkpoint) if self._checkpoint else None
        if saved is not None:
            own = saved["meter"]
            self.spent, self._next, self._before = own["spent"], own["next"], own["seconds"]
            self.reached, self.latest = own["reached"], own["latest"]
            self._limit = self._limit if self.reached is None else self.reached
            self.curve = [(work, metrics) for work, metrics in own["curve"]]
        return saved


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its place at `path` in one instant, when it is whole; a failure leaves nothing.

    Raises `SpecError` where it cannot be written. Its name until then says whose it is, in case that process is killed.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}@{platform.node()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}; make room there, or use another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_state(path: Path, state: State) -> None:
    """Write nested dicts of arrays and plain values as one `.npz`, by atomic rename, without pickle."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def outline(node: Any) -> Any:
        if isinstance(node, np.ndarray):
            name = f"a{len(arrays)}"
            arrays[name] = node
            return {"array": name}
        if isinstance(node, dict):
            return {"dict": {str(k): outline(v) for k, v in node.items()}}
        return {"value": node}

    text = json.dumps(outline(state)).encode()
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays, outline=np.frombuffer(text, np.uint8))


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of an `.npz`; raises `SpecError` for a damaged one, `FileNotFoundError` where there is none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a damaged zip makes numpy raise eight different types
        raise SpecError(f"{path} is truncated or damaged; delete it, and it is made again") from error


def read_state(path: Path) -> State | None:
    """What `write_state` wrote, or None where there is no file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_state(Path(folder) / "s.npz", {"step": 3, "m": {"w": np.arange(2)}})
    ...     read_state(Path(folder) / "s.npz")
    {'step': 3, 'm': {'w': array([0, 1])}}
    """
    try:
        arrays = read_arrays(path)
    except FileNotFoundError:
        return None

    def rebuild(node: Any) -> Any:
        if "array" in node:
            return arrays[node["array"]]
        return {k: rebuild(v) for k, v in node["dict"].items()} if "dict" in node else node["value"]

    try:
        return rebuild(json.loads(arrays["outline"].tobytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path} is no saved state; delete it, and it is made again") from error
