"""Where a training runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.nets.start import scoped


def demand(device: str) -> None:
    """Raises `SpecError` where there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        built = "" if torch.backends.cuda.is_built() else ", a build for the CPU,"
        raise SpecError(
            f"there is no GPU that this torch{built} could use; set device: cpu, or run where one is", "device"
        )


@contextmanager
def seeded(streams: Streams, device: str) -> Iterator[None]:
    """torch's global generators draw from `streams` within this block, and are afterwards as they were."""
    with scoped(streams), torch.random.fork_rng([torch.cuda.current_device()] if device == "cuda" else []):
        if device == "cuda":
            torch.cuda.manual_seed(streams.integer())
        yield
