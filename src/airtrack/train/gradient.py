"""The gradient of one batch: the loss and its terms, piece by piece if the batch is too large for one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from airtrack.core.given import IGNORE, Ints
from airtrack.nets.penalty import penalised, taken

Guide = Callable[[Tensor, tuple[Tensor, ...], Tensor, float], Tensor | None]


class Gradient:
    """Adds the gradient of a batch's loss to the parameters of a module.

    The loss is the mean of the cross-entropy, and of z_loss · log² Σ exp(logits), over all positions of the batch that
    have a label; and the penalties that layers leave, see `airtrack.nets.penalty`, as the mean over the pieces.

    module  (ids [n, T], (rows [m], columns [m])) → logits [m, V]
    pieces  parts that the batch is cut into, one after the other: as many times less memory, the same gradient
    z_loss  keeps the logits' normaliser near 1, so that low precision can hold it (PaLM, arXiv 2204.02311, section 5)
    half    matrix products in bfloat16 on the GPU; parameters, loss and gradients stay as they are
    guide   (ids [n, T], (rows [m], columns [m]), logits [m, V], progress in [0, 1)) → a term of the loss, summed over
            the m positions, or None; such as the distance from a teacher

    >>> from airtrack.nets.decoder import Decoder
    >>> from airtrack.core.streams import Streams
    >>> module = Decoder(layers=1, width=8, heads=2).build(5, Streams(0), length=2)
    >>> loss = Gradient(module)(np.array([[0, 1]]), np.array([[1, IGNORE]]))
    >>> round(loss, 1), module.head.weight.grad.shape  # log 5
    (1.6, torch.Size([5, 8]))
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        pieces: int = 1,
        z_loss: float = 0.0,
        half: bool = False,
        guide: Guide | None = None,
    ) -> None:
        self._module, self._pieces, self._z_loss, self._half, self._guide = module, pieces, z_loss, half, guide
        self._device = next(module.parameters()).device
        self._penalised = penalised(module)

    def __call__(self, x: Ints, y: Ints, progress: float = 0.0) -> float:
        """The loss of ids x [n, T] with labels y [n, T], IGNORE where there is none; `progress` of the training."""
        places = [np.nonzero(labels != IGNORE) for labels in np.split(y, self._pieces)]
        count = sum(len(rows) for rows, _ in places)
        losses: list[Tensor] = []
        for ids, labels, at in zip(np.split(x, self._pieces), np.split(y, self._pieces), places):
            loss = self._loss(ids, at, labels[at], count, progress)
            loss.backward()
            losses.append(loss.detach())
            taken(self._penalised)  # what a recomputed forward pass has left again
        return sum(loss.item() for loss in losses)  # last: asking a GPU is waiting for it

    def _loss(self, ids: Ints, at: tuple[Ints, ...], labels: Ints, count: int, progress: float) -> Tensor:
        rows, places = self._there(ids), tuple(map(self._there, at))
        with self._precision():
            logits = self._module(rows, places)  # [m, V], where there is a loss
        logits = logits.float() if self._half else logits
        loss = F.cross_entropy(logits, self._there(labels), reduction="sum")
        if self._z_loss:
            loss = loss + self._z_loss * logits.logsumexp(-1).square().sum()
        if self._guide is not None and (term := self._guide(rows, places, logits, progress)) is not None:
            loss = loss + term
        loss = loss / count
        for penalty in taken(self._penalised):
            loss = loss + penalty / self._pieces
        return loss

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._half else nullcontext()

    def _there(self, array: Ints) -> Tensor:
        return torch.from_numpy(array).to(self._device)
