"""Initial values that depend on a parameter's name and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from airtrack.core.streams import Streams

SPREAD = 0.02  # standard deviation of weight matrices and embeddings: GPT-2's, and Llama's initializer_range


@torch.no_grad()
def initialise(module: nn.Module, streams: Streams) -> None:
    """Draw every parameter from `streams / its name`: two models share all the parameters whose names they share.

    Weights of Linear and Embedding are N(0, .02), biases zero. A module with a method `init_(generator)` fills its own
    parameters and those below it. Everything else keeps what its constructor gave it.

    >>> a, b = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> initialise(a, Streams(0)), initialise(b, Streams(0))
    (None, None)
    >>> torch.equal(a[0].weight, b[0].weight), torch.equal(b[0].weight, b[1].weight)
    (True, False)
    """
    _visit(module, streams, "")


def _visit(module: nn.Module, streams: Streams, name: str) -> None:
    if name and callable(getattr(module, "init_", None)):
        module.init_(generator(streams / name))  # type: ignore[operator]
        return
    if isinstance(module, (nn.Linear, nn.Embedding)):
        draw = torch.empty(module.weight.shape, device="cpu")  # on the CPU, so that every device starts from the same
        module.weight.copy_(draw.normal_(0, SPREAD, generator=generator(streams / f"{name}.weight".lstrip("."))))
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
    for child, below in module.named_children():
        _visit(below, streams, f"{name}.{child}".lstrip("."))


def generator(streams: Streams) -> torch.Generator:
    """torch's generator for a named source of randomness."""
    return torch.Generator().manual_seed(streams.integer())


@contextmanager
def scoped(streams: Streams) -> Iterator[None]:
    """Constructors within this block draw from `streams`, and torch's global generator is afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(streams.integer())  # torch.manual_seed would seed the accelerators as well
        yield
