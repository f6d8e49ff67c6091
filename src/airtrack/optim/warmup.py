"""What all schedules share: a linear ramp, then a shape over the updates that are left."""

from __future__ import annotations

from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from airtrack.core.part import SpecError


def ramp_then(shape: Callable[[float], float], optimizer: Optimizer, steps: int, warmup: int) -> LambdaLR:
    """The step size of update k = 0 … steps − 1, as a multiple of the optimiser's own.

    (k + 1) / warmup on the ramp, so that its last update has the full size and the first is not idle; then shape(p),
    p = (k − warmup) / (steps − warmup) being the part of the rest that is done. Past `steps` it stays at shape(1).
    """
    if warmup > steps:
        raise SpecError(f"a warm-up of {warmup} steps does not fit into {steps}; lower warmup, or raise the budget")

    def factor(k: int) -> float:
        if k < warmup:
            return (k + 1) / warmup
        return shape(min(1.0, (k - warmup) / (steps - warmup)) if steps > warmup else 1.0)

    return LambdaLR(optimizer, factor)
