"""Step size that falls along half a cosine (Loshchilov and Hutter, SGDR, 2017, without restarts)."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from airtrack.core.part import part
from airtrack.optim.warmup import ramp_then


@part("schedule")
class Cosine:
    """A linear ramp of `warmup` updates, then floor + (1 − floor) · (1 + cos πp) / 2.

    floor  the last step size over the first. .1 in Physics of Language Models 4.1; 0 in Li, Zhuang and Orabona, "A
           second look at exponential and cosine step sizes" (2021), whose p is one update ahead of this and of torch's

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> scheduler = Cosine(floor=0.0).build(optimizer, 2)
    >>> optimizer.step(), scheduler.step()
    (None, None)
    >>> round(scheduler.get_last_lr()[0], 12)
    0.5
    """

    example: ClassVar[dict[str, Any]] = {}

    warmup: Annotated[int, Ge(0)] = 0
    floor: Annotated[float, Ge(0), Le(1)] = 0.1

    def build(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """A torch scheduler; call its `step` after every update. steps: updates of the whole run."""

        def shape(p: float) -> float:
            return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * p)) / 2

        return ramp_then(shape, optimizer, steps, self.warmup)
