"""Runs many trials on worker processes of this machine, beside any others that share the ledger."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from airtrack.core.part import SpecError
from airtrack.study.ledger import Ledger
from airtrack.study.trial import Trial, first_of

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
IN_WORKER = "AIRTRACK_WORKER"  # set in the environment of workers
RETRIES = 2  # of a trial whose worker died (killed, out of memory)


class TrialFailed(RuntimeError):
    """A part raised an exception. `traceback` holds the worker's."""

    def __init__(self, message: str, traceback: str) -> None:
        super().__init__(message)
        self.traceback = traceback


@dataclass
class _Worker:
    """One process, and the thread that reads what it says."""

    events: queue.Queue[tuple[_Worker, dict[str, Any]]]
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        with _deaf_to_interrupts():
            self.process = subprocess.Popen(
                [sys.executable, "-m", "airtrack.study.worker", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=os.environ | ONE_THREAD | {IN_WORKER: "1"},
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.put((self, json.loads(line)))
        self.events.put((self, {"event": "died", "code": self.process.wait()}))

    def order(self, **data: Any) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(data) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its death is in the queue already

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # an order that it did not live to read
                    pipe.close()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started within this block never see Ctrl-C, which a terminal sends to all: their parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Worker processes, started at first use and kept until `close`.

    workers   how many; by default one a core
    every     seconds between two checkpoints of a trial
    """

    def __init__(self, workers: int | None = None, every: float = 10.0) -> None:
        self.size = workers or _cores()
        self.every = every
        self._events: queue.Queue[tuple[_Worker, dict[str, Any]]] = queue.Queue()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def run(
        self,
        trials: Iterable[Trial],
        ledger: Ledger | None,
        on_event: Callable[[Trial, dict[str, Any]], None] = lambda trial, event: None,
        cap: float | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Run what the ledger has not; return each key's "done" event. Trials that others run are waited for.

        Without a ledger nothing is kept, and the events are all there is; `cap` ends such pilots early.
        """
        unique = {trial.key: trial for trial in trials}
        firsts = {t.with_recipe(first).key for t in unique.values() if (first := first_of(t.recipe)) is not None}
        todo = deque(sorted(unique.values(), key=lambda t: t.key not in firsts))  # first what others go on from
        waiting: deque[tuple[float, Trial]] = deque()  # (not before, trial) of trials that another process holds
        running: dict[int, Trial] = {}
        deaths: dict[str, int] = {}
        done: dict[str, dict[str, Any]] = {}

        def hand(worker: _Worker) -> None:
            if todo:
                trial = todo.popleft()
                running[id(worker)] = trial
                on_event(trial, {"event": "started"})
                folder = None if ledger is None else str(ledger.folder)
                order = {"key": trial.key, "trial": trial.to_spec(), "keep": trial.key in firsts}
                worker.order(**order, ledger=folder, every=self.every, cap=cap)

        while todo or running or waiting:
            while waiting and waiting[0][0] <= time.monotonic():
                todo.append(waiting.popleft()[1])
            while len(self._workers) < min(self.size, len(todo) + len(running)):
                self._workers.append(_Worker(self._events))
            for worker in self._workers:
                if id(worker) not in running:
                    hand(worker)
            try:
                worker, event = self._events.get(timeout=0.2)
            except queue.Empty:
                continue
            if event["event"] == "died" and worker in self._workers:  # it may have been idle
                self._workers.remove(worker)
                worker.stop()
            trial = running.get(id(worker))
            if trial is None:
                continue
            if event["event"] == "progress":
                on_event(trial, event)
                continue
            del running[id(worker)]
            if event["event"] == "busy":
                waiting.append((time.monotonic() + 0.5, trial))
            elif event["event"] == "refused":
                self.close()
                raise SpecError(event["message"])
            elif event["event"] == "failed":
                self.close()
                raise TrialFailed(event["message"], event["traceback"])
            elif event["event"] == "died":
                deaths[trial.key] = deaths.get(trial.key, 0) + 1
                if deaths[trial.key] > RETRIES:
                    self.close()
                    fact = f"the worker of trial {trial.key} died {deaths[trial.key]} times (exit code {event['code']})"
                    raise TrialFailed(f"{fact}; is there enough memory?", "")
                todo.appendleft(trial)
            else:
                done[trial.key] = event
                on_event(trial, event)
        return done
