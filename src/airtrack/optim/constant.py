"""The same step size all along."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from airtrack.core.part import part
from airtrack.optim.warmup import ramp_then


@part("schedule")
class Constant:
    """The optimiser's own step size, after a linear ramp of `warmup` updates.

    >>> from airtrack.optim.adamw import AdamW
    >>> import torch
    >>> optimizer = AdamW(lr=0.5).build(torch.nn.Linear(1, 1))
    >>> Constant(warmup=5).build(optimizer, 100).get_last_lr()[0]
    0.1
    """

    example: ClassVar[dict[str, Any]] = {}

    warmup: Annotated[int, Ge(0)] = 0

    def build(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """A torch scheduler; call its `step` after every update. steps: updates of the whole run."""
        return ramp_then(lambda p: 1.0, optimizer, steps, self.warmup)
