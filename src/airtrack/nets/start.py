"""Initial values that depend on a parameter's name and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from airtrack.core.streams import Streams

SPREAD = 0.02  # standard deviation of weight matrices and embeddings: GPT-2's, and Llama's initializer_range


@torch.no_grad()
def initialise(module: nn.Module, streams: Streams) -> None:
    """Draw every parameter from `streams / its name`: two models share all the parameters whose names they share.

    Weights of Linear and Embedding have the standard deviation .02; those of Conv2d the variance 2 / (kernel area ·
    outputs) (He et al., 2015, backward case, as in torchvision's ResNets); biases are zero. A module with a method
    `init_(generator)` fills its own parameters and those below it. Everything else keeps what its constructor gave it.

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
    if isinstance(module, (nn.Linear, nn.Embedding, nn.Conv2d)):
        spread = SPREAD
        if isinstance(module, nn.Conv2d):
            spread = math.sqrt(2 * module.groups / (math.prod(module.kernel_size) * module.out_channels))
        _fill(module, spread, generator(streams / f"{name}.weight".lstrip(".")))
    for child, below in module.named_children():
        _visit(below, streams, f"{name}.{child}".lstrip("."))


def _fill(module: nn.Linear | nn.Embedding | nn.Conv2d, spread: float, generator: torch.Generator) -> None:
    draw = torch.empty(module.weight.shape, device="cpu")  # on the CPU, so that every device starts from the same
    module.weight.copy_(draw.normal_(0, spread, generator=generator))
    if not isinstance(module, nn.Embedding) and module.bias is not None:
        module.bias.zero_()


class HeLinear(nn.Linear):
    """A linear map whose weights start with the variance 2 / inputs, its bias zero: for ReLUs (He et al., 2015)."""

    def init_(self, generator: torch.Generator) -> None:
        _fill(self, math.sqrt(2 / self.in_features), generator)


def generator(streams: Streams) -> torch.Generator:
    """torch's generator for a named source of randomness."""
    return torch.Generator().manual_seed(streams.integer())


LARGE = 1 << 22  # numbers: below, a net is made faster than torch's meta device is imported, which takes 3 s


@contextmanager
def imagined(numbers: int) -> Iterator[None]:
    """Constructors within this block make a net of about so many numbers for its sizes alone: a large one has none."""
    with scoped(Streams(0)), torch.device("meta" if numbers > LARGE else "cpu"):
        yield


@contextmanager
def scoped(streams: Streams) -> Iterator[None]:
    """Constructors within this block draw from `streams`, and torch's global generator is afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(streams.integer())  # torch.manual_seed would seed the accelerators as well
        yield
