"""Step size that falls on a straight line."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from airtrack.core.part import part
from airtrack.optim.warmup import ramp_then


@part("schedule")
class Linear:
    """A linear ramp of `warmup` updates, then a straight fall to `floor` times the optimiser's step size.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> scheduler, rates = Linear().build(optimizer, 4), []
    >>> for _ in range(4):
    ...     rates.append(scheduler.get_last_lr()[0])
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates
    [1.0, 0.75, 0.5, 0.25]
    """

    example: ClassVar[dict[str, Any]] = {}

    warmup: Annotated[int, Ge(0)] = 0
    floor: Annotated[float, Ge(0), Le(1)] = 0.0

    def build(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """A torch scheduler; call its `step` after every update. steps: updates of the whole run."""
        return ramp_then(lambda p: 1 - (1 - self.floor) * p, optimizer, steps, self.warmup)
