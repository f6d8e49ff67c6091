"""Terms that a layer adds to the training loss, such as the balance of a mixture of experts."""

from __future__ import annotations

from torch import Tensor, nn


def penalised(module: nn.Module) -> list[nn.Module]:
    """The modules below `module` that have an attribute `penalty`: a scalar that their last forward pass in training
    left there, or None."""
    return [m for m in module.modules() if hasattr(m, "penalty")]


def taken(modules: list[nn.Module]) -> list[Tensor]:
    """The penalties of the last forward pass, which are then gone.

    A backward pass that recomputes activations leaves them once more: take these too, they hold on to memory.
    """
    found = [m.penalty for m in modules if m.penalty is not None]
    for m in modules:
        m.penalty = None  # type: ignore[assignment]
    return found  # type: ignore[return-value]
