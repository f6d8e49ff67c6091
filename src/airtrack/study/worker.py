"""A worker: `python -m airtrack.study.worker`. It reads trials as lines of JSON and answers with events, one a line.

A process of its own, not a fork and not a multiprocessing child: it never imports the user's main script a second
time, works the same from a script, a notebook and a scheduler, and nothing is pickled. One thread each, because two
trials of one thread always beat one trial of two, and because the thread count decides the last bits of a sum.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

from airtrack.core.part import SpecError
from airtrack.study.ledger import Busy, Ledger, run_in
from airtrack.study.trial import Trial, perform


def serve(lines: TextIO, out: TextIO) -> None:
    """Work through `lines` until they end."""

    def say(event: str, **data: Any) -> None:
        try:
            out.write(json.dumps({"event": event, **data}) + "\n")
            out.flush()
        except BrokenPipeError:
            os._exit(1)  # the parent has gone: nobody is left to read

    ledgers: dict[str, Ledger] = {}  # kept: only a ledger that has watched a claim for long can say that it is void
    for line in lines:
        order = json.loads(line)
        try:
            trial = Trial.from_spec(order["trial"])
            if trial.key != order["key"]:
                raise SpecError("the file of a part has changed since the study began; run the study again")

            def progress(spent: float, metrics: Mapping[str, float], key: str = trial.key) -> None:
                say("progress", key=key, spent=spent, metrics=dict(metrics))

            if order["ledger"] is None:
                readout, _ = perform(trial, cap=order["cap"])
            else:
                ledger = ledgers.setdefault(order["ledger"], Ledger(order["ledger"]))
                readout = run_in(ledger, trial, keep=order["keep"], every=order["every"], progress=progress)
            say("done", key=trial.key, cost=readout.cost, state=readout.state, metrics=dict(readout.metrics))
        except Busy:
            say("busy")
        except SpecError as error:
            say("refused", message=str(error))
        except Exception as error:
            say("failed", message=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())


def follow(parent: int) -> None:
    """End this process when its parent has gone: nobody is left to read what it says."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=follow, args=(int(sys.argv[1]),), daemon=True).start()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a part prints goes to stderr, not between the events
    serve(sys.stdin, events)
