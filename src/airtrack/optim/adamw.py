"""AdamW (Loshchilov and Hutter, 2019), torch's own in its fused form."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

from airtrack.core.part import part

Beta = Annotated[float, Ge(0), Lt(1)]


@part("optim")
class AdamW:
    """Adam with decoupled weight decay. Defaults are those of Physics of Language Models 4.1, appendix A.

    lr            step size
    betas         decay of the running mean and of the running square
    eps           added to the root of the running square
    weight_decay  every step takes lr · weight_decay of a weight away; of matrices and of Canon's taps, not of vectors
                  (gains of norms, biases)

    >>> AdamW(lr=4e-3).build(nn.Linear(2, 2)).param_groups[0]["weight_decay"]
    0.03
    """

    example: ClassVar[dict[str, Any]] = {"lr": 1e-3}

    lr: Annotated[float, Gt(0)]
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: Annotated[float, Gt(0)] = 1e-6
    weight_decay: Annotated[float, Ge(0)] = 0.03

    def build(self, module: nn.Module) -> torch.optim.AdamW:
        """The optimiser of a module's trainable parameters, in two groups: decayed, and not."""
        trained = [p for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)
