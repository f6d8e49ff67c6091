"""Run a study: trials until nothing is missing, then the verdict."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airtrack.core.part import SpecError
from airtrack.study.ledger import Ledger
from airtrack.study.result import Result, from_ledger
from airtrack.study.runner import IN_WORKER, Pool
from airtrack.study.spec import Study
from airtrack.study.trial import Trial

LEDGER = Path("ledger")


def run(
    study: Study,
    ledger: Ledger | Path | str = LEDGER,
    *,
    workers: int | None = None,
    every: float = 10.0,
    on_round: Callable[[Result], None] = lambda result: None,
    on_event: Callable[[Trial, dict[str, Any]], None] = lambda trial, event: None,
) -> Result:
    """Run what is missing of a study and return its result.

    ledger    folder of the trials; what is there already is not run again
    workers   processes of one thread each; by default one a core
    every     seconds between two checkpoints of a trial
    on_round  called with the study's state before each batch of trials
    on_event  called with a trial and what happened to it: "started", "progress", "done"

    Raises `SpecError` for what cannot be run, `TrialFailed` when a part raises.
    """
    if os.environ.get(IN_WORKER):
        fact = "a worker imported this file for its parts and found a study being run at import"
        raise SpecError(f'{fact}; put the run under `if __name__ == "__main__":`')
    ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
    study.least_budget()
    ledger.check_writable()
    result = from_ledger(study, ledger.get)
    with Pool(workers, every) as pool:
        while result.missing:
            on_round(result)
            pool.run(result.missing, ledger, on_event)
            result = from_ledger(study, ledger.get)
    ledger.sweep()
    return result
