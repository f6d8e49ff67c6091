"""A task whose answers are made up, and a recipe that does as it is told. Loaded by its file, as a user's parts are."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from airtrack.core.answers import array
from airtrack.core.given import Oracle
from airtrack.core.part import part
from airtrack.core.problem import Diverged, Judge, Metric, Problem


class Steps(Oracle):
    """Work without content."""

    def step(self):
        self._charge(1)


@part("task")
class Toy:
    """The score is the answer itself."""

    size: int = 3

    unit: ClassVar[str] = "steps"
    gives: ClassVar[type] = Steps
    metrics: ClassVar[dict[str, Metric]] = {
        "score": Metric("high", (0.0, 1.0)),
        "loss": Metric("low", (1e-6, 10.0), "log"),
    }

    def pose(self, streams):
        noise = float((streams / "noise").rng().normal())

        def score(answer):
            value = float(array(answer, (1,))[0])
            return {"score": value + 1e-3 * noise, "loss": 1 - value}

        return Problem(Steps(), Judge(score, self.metrics))


@part("solver")
class Dial:
    """Its answer goes to `aim` over the steps of the budget."""

    aim: Annotated[float, Ge(0), Le(1)] = 0.5
    rate: Annotated[float, Gt(0)] = 1.0
    count: Annotated[int, Gt(0)] = 1
    mode: Literal["one", "two"] = "one"
    fate: Literal["fine", "diverges", "junk", "bug", "refuses", "dies", "dies once"] = "fine"
    notes: str = ""
    wait: float = 0.0

    accepts: ClassVar[type] = Steps
    returns: ClassVar[type] = np.ndarray
    example: ClassVar[dict[str, Any]] = {}

    def answer(self, given, meter, streams):
        if self.notes:
            with (Path(self.notes) / "calls").open("a") as file:
                file.write(f"{self.aim} {streams.seed} {os.getpid()}\n")
        state = meter.resume() or {"step": 0, "value": np.zeros(1)}
        step, value = state["step"], state["value"].copy()
        while meter.live():
            given.step()
            value += (self.aim - value) / 3
            step += 1
            if self.fate == "diverges" and step > 2:
                raise Diverged(f"at step {step}")
            if self.fate == "bug":
                raise RuntimeError("a fault in the part")
            if self.fate == "refuses":
                raise OSError(28, "No space left on device", "somewhere")
            if self.fate.startswith("dies"):
                mark = Path(self.notes) / "died"
                if self.fate == "dies" or not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.wait)
            meter.offer(value)
            meter.save(lambda: {"step": step, "value": value})  # called at once
        return "junk" if self.fate == "junk" else value


@part("compress")
class Half:
    """Half the answer."""

    accepts: ClassVar[type] = np.ndarray

    def change(self, answer, given, meter, streams):
        return answer / 2


NUMBER = 3
