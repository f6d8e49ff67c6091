"""The data of a language task as torch's own kind of data set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from airtrack.core.batches import corpus
from airtrack.core.part import build, to_spec


class TokenDataset(IterableDataset[dict[str, Tensor]]):
    """Endless training batches of a language task, for `torch.utils.data.DataLoader(…, batch_size=None)`.

    Yields {"input_ids": ids [size, T], "labels": the ids to predict [size, T], −100 where there is no loss}. Labels are
    not shifted: position t holds what comes after position t. Worker w of W makes the batches first + w, first + w + W,
    …, and the loader hands them out in order: the same bytes whatever the number of workers. `shifted=True` gives
    labels in the convention of Hugging Face's models, which shift them themselves: position t holds its own id.

    task   a task, or its name or spec
    size   sequences a batch
    seed   which problem of the task; the same one that `airtrack.judge` scores at that seed
    first  number of the first batch; a run that is taken up again goes on with the number it stopped at

    >>> from torch.utils.data import DataLoader
    >>> loader = DataLoader(TokenDataset({"name": "depo", "n": 4}, size=2), batch_size=None)
    >>> next(iter(loader))["input_ids"].shape
    torch.Size([2, 21])
    """

    def __init__(self, task: Any, size: int, *, seed: int = 0, first: int = 0, shifted: bool = False) -> None:
        self.spec, self.size, self.seed, self.first, self.shifted = (
            to_spec(build("task", task)),
            size,
            seed,
            first,
            shifted,
        )
        corpus(self.spec, seed)  # what cannot be made is refused here, not in a worker

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        start, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        given = corpus(self.spec, self.seed)
        for i in count(self.first + start, step):
            x, y = map(torch.from_numpy, given.batch(i, self.size))
            if self.shifted:
                y = torch.cat((torch.full_like(y[:, :1], -100), y[:, :-1]), 1)
            yield {"input_ids": x, "labels": y}
