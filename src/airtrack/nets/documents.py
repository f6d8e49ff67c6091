"""Documents that are packed into one row."""

from __future__ import annotations

import torch
from torch import Tensor


def numbered(ids: Tensor, start: int | None) -> Tensor | None:
    """Which document each position of ids [B, T] is in, [B, T], the id `start` beginning one; None: all rows are one.

    >>> numbered(torch.tensor([[0, 5, 0, 7, 7]]), 0)
    tensor([[1, 1, 2, 2, 2]])
    """
    if start is None:
        return None
    begins = ids == start
    return begins.cumsum(1) if bool(begins[:, 1:].any()) else None


def offsets(ids: Tensor, documents: Tensor | None) -> Tensor:
    """Where each position of ids [B, T] stands, counted from its document's start, which does not know where it lies.

    >>> offsets(torch.tensor([[0, 5, 0, 7, 7]]), torch.tensor([[1, 1, 2, 2, 2]]))
    tensor([[0, 1, 0, 1, 2]])
    """
    place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    if documents is None:
        return place
    begins = documents.diff(dim=1, prepend=documents[:, :1]) != 0
    return place - torch.where(begins, place, 0).cummax(1).values
