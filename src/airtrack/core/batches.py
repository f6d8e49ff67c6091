"""The data of a language task, without the bench."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from airtrack.core.given import Batch, Corpus
from airtrack.core.part import SpecError, build
from airtrack.core.streams import Streams


def corpus(task: Any, seed: int = 0) -> Corpus:
    """What a learner of this language task is given, a task, its name or its spec; refuses tasks of another kind."""
    task = build("task", task)
    if not issubclass(task.gives, Corpus):
        raise SpecError(f"{type(task).__name__} gives a {task.gives.__name__}, and only a Corpus has batches of tokens")
    return task.pose(Streams(seed) / "task").given


def batches(task: Any, size: int, *, seed: int = 0, first: int = 0) -> Iterator[Batch]:
    """Endless training batches of a language task: x [size, T] token ids, y [size, T] the ids to predict, or −100.

    task   a task, or its name or spec
    seed   which problem of the task; the same one that `airtrack.judge` scores at that seed
    first  number of the first batch: batch i is made without the ones before it

    >>> x, y = next(batches({"name": "depo", "n": 4}, 2))
    >>> x.shape, y.shape
    ((2, 21), (2, 21))
    """
    given = corpus(task, seed)
    return (given.batch(i, size) for i in count(first))
