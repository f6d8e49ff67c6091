"""What every kind of attention shares: which positions see which, and what a step keeps of those before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def seen(
    rows: int,
    columns: int,
    *,
    causal: bool = True,
    window: int | None = None,
    documents: Tensor | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Which of `columns` positions each of the last `rows` of them sees: true or false, [rows, columns], or with
    documents [B, columns] a mask for every row, [B, 1, rows, columns].

    window  a position sees those less than this far away

    >>> seen(2, 4, window=2).int().tolist()
    [[0, 1, 1, 0], [0, 0, 1, 1]]
    """
    first = columns - rows
    mask = torch.ones(rows, columns, dtype=torch.bool, device=device)
    mask = mask.tril(first) if causal else mask
    if window is not None:
        mask = mask.triu(first - window + 1)
        mask = mask if causal else mask.tril(first + window - 1)
    if documents is not None:
        mask = (mask & (documents[:, first:, None] == documents[:, None, :]))[:, None]
    return mask


def extended(cache: dict[str, Any], window: int | None = None, **new: Tensor) -> list[Tensor]:
    """The tensors [B, heads, t, size] of the next positions behind those that `cache` holds of the positions before
    them: [B, heads, kept + t, size], where no less is kept than `window` asks for; None: everything.

    The tensors of the cache have room for more than they hold, so that they are copied seldom.

    >>> cache = {}
    >>> for length in (1, 7, 1, 1):
    ...     (k,) = extended(cache, window=3, k=torch.zeros(1, 1, length, 1))
    >>> k.shape[2], cache["kept"]  # eight were more than twice three: the last two of them, and two new ones
    (4, 4)
    """
    kept = cache.get("kept", 0)
    if window is not None and kept > 2 * window:  # now and then, not every time: it is a copy
        for name in new:
            cache[name] = cache[name][:, :, kept - window + 1 : kept].clone()
        kept = window - 1
    length = kept + next(iter(new.values())).shape[2]
    for name, x in new.items():
        if name not in cache or cache[name].shape[2] < length:
            room = x.new_empty(*x.shape[:2], 2 * length, x.shape[3])
            if kept:
                room[:, :, :kept] = cache[name][:, :, :kept]
            cache[name] = room
        cache[name][:, :, kept:length] = x
    cache["kept"] = length
    return [cache[name][:, :, :length] for name in new]


def distances(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """How far the last `rows` of `columns` positions are behind each of these, i − j: [rows, columns].

    >>> distances(2, 3).tolist()
    [[1, 0, -1], [2, 1, 0]]
    """
    place = torch.arange(columns, device=device)
    return place[columns - rows :, None] - place


def sheared(x: Tensor, skipped: int, columns: int) -> Tensor:
    """x [.., rows, n + 1] → [.., rows, columns], columns ≤ n: row i from its element skipped − i on, and where that is
    too far to the left or right, numbers of the rows beside it.

    Scores by distance become scores by position, one distance on each diagonal. There is no gather, whose backward pass
    on a GPU adds in no fixed order: in memory, a row begins one element before the end of the one above.

    >>> sheared(torch.arange(5).expand(2, 5), 1, 3).tolist()
    [[1, 2, 3], [0, 1, 2]]
    """
    rows, n = x.shape[-2], x.shape[-1] - 1
    return x.flatten(-2)[..., skipped : skipped + rows * n].unflatten(-1, (rows, n))[..., :columns]
