"""Step size that falls by the same factor at every update."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from airtrack.core.part import SpecError, part
from airtrack.optim.warmup import ramp_then


@part("schedule")
class Exponential:
    """A linear ramp of `warmup` updates, then ratio^p: every one of the T updates left is (beta/T)^(1/T) of the last.

    beta   the last step size over the first is beta / T (Li, Zhuang and Orabona, "A second look at exponential and
           cosine step sizes", 2021). Their tuned runs end at .1 … .003 of the first, which is a beta in the hundreds
    ratio  the last over the first, said directly; in place of beta

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> scheduler = Exponential(ratio=0.01).build(optimizer, 2)
    >>> optimizer.step(), scheduler.step()
    (None, None)
    >>> scheduler.get_last_lr()
    [0.1]
    """

    example: ClassVar[dict[str, Any]] = {}

    warmup: Annotated[int, Ge(0)] = 0
    beta: Annotated[float, Ge(1)] = 1.0
    ratio: Annotated[float, Gt(0), Le(1)] | None = None

    def check(self) -> None:
        if self.ratio is not None and self.beta != 1:
            raise ValueError(f"beta {self.beta:g} and ratio {self.ratio:g} both say where the step size ends; give one")

    def build(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """A torch scheduler; call its `step` after every update. steps: updates of the whole run."""
        left = max(1, steps - self.warmup)
        ratio = self.beta / left if self.ratio is None else self.ratio
        if ratio > 1:
            raise SpecError(f"with {left} updates, beta {self.beta:g} would raise the step size; choose beta ≤ {left}")
        return ramp_then(lambda p: ratio**p, optimizer, steps, self.warmup)
