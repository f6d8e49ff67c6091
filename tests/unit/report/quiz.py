"""A task and a recipe that are never run: their readouts are made up by the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from airtrack.core.part import part
from airtrack.core.problem import Metric


@part("task")
class Quiz:
    questions: int = 100
    unit: ClassVar[str] = "answers"
    gives: ClassVar[type] = list
    metrics: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("high", (0.0, 1.0), "logit", chance=0.25),
        "gap": Metric("low", (1e-16, 1.0), "log"),
        "score": Metric("high", (-1e6, 1e6)),
    }


@part("solver")
class Guess:
    kind: str = "plain"
    lr: float = 1.0
    width: int = 8
    accepts: ClassVar[type] = list
    returns: ClassVar[type] = list

    def answer(self, given: Any, meter: Any, streams: Any) -> Any:
        raise NotImplementedError
