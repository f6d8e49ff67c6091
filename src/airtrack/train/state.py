"""What a checkpoint of a training holds, as arrays and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from airtrack.core.meter import State


def saved(
    module: nn.Module, optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler
) -> State:
    """Their state, and that of torch's global generators, as arrays that share no memory with them.

    The options of the optimiser's groups are there too: some optimisers change them as they go.
    """
    now = optimizer.state_dict()
    groups = {i: {k: v for k, v in g.items() if k != "params"} for i, g in enumerate(now["param_groups"])}
    generators = {"cpu": torch.get_rng_state()}
    if next(module.parameters()).is_cuda:
        generators["cuda"] = torch.cuda.get_rng_state()
    return _arrays(
        {
            "module": module.state_dict(),
            "optimizer": {"state": now["state"], "groups": groups},
            "scheduler": scheduler.state_dict(),
            "generators": generators,
        }
    )


def restore(
    state: State,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Put back what `saved` gave."""
    kept = _tensors(state)
    module.load_state_dict(kept["module"])
    there, own = optimizer.state_dict()["param_groups"], kept["optimizer"]
    groups = [g | own["groups"][str(i)] for i, g in enumerate(there)]
    optimizer.load_state_dict({"state": {int(i): s for i, s in own["state"].items()}, "param_groups": groups})
    scheduler.load_state_dict(state["scheduler"])
    torch.set_rng_state(kept["generators"]["cpu"])
    if "cuda" in kept["generators"]:
        torch.cuda.set_rng_state(kept["generators"]["cuda"])


def _arrays(tree: Mapping[Any, Any]) -> State:
    def leaf(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _arrays(value)
        return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else value

    return {str(k): leaf(v) for k, v in tree.items()}


def _tensors(tree: State) -> dict[str, Any]:
    def leaf(value: Any) -> Any:
        if isinstance(value, dict):
            return _tensors(value)
        return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value

    return {k: leaf(v) for k, v in tree.items()}
