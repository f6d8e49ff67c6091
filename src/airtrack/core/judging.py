"""Score what was made elsewhere."""

from __future__ import annotations

import warnings
from typing import Any

from airtrack.core.part import build
from airtrack.core.streams import Streams


def judge(task: Any, answer: Any, *, seed: int = 0) -> dict[str, float]:
    """The exact readings of an answer on one problem of a task.

    task    a task, or its name or spec
    answer  what the task's judge scores: for a language task any callable on token ids [n, T] that returns scores
            [n, T, V] (a function, a torch module, a Hugging Face causal model); for others an array
    seed    which problem of the task

    Warns with the reason when the answer cannot be scored; its readings are then the worst there are.

    >>> import numpy as np
    >>> readings = judge({"name": "depo", "n": 16, "hops": 1}, lambda ids: np.zeros((*ids.shape, 64)))
    >>> readings["accuracy"] < 0.2
    True
    """
    readings, refusal = build("task", task).pose(Streams(seed) / "task").judge.read(answer)
    if refusal is not None:
        warnings.warn(f"the answer was refused and reads worst on every metric: {refusal}", stacklevel=2)
    return readings
