"""Predict the next token: what a language task asks for."""

from __future__ import annotations

from typing import ClassVar

from airtrack.core.given import Batch, Corpus
from airtrack.core.part import part
from airtrack.core.streams import Streams


@part("objective")
class Next:
    """The token after each position, at the positions where the task counts the loss.

    An objective says what a net is shown and what it has to predict there. Its `batch` gives ids [n, T], which a net
    sees, and ids [n, T], which it predicts, IGNORE where there is no loss; it charges the batch by asking for it, and
    depends on its arguments alone, so that an interrupted training goes on with the same bytes. `extra_ids` tokens
    come behind the vocabulary for its own use. `kind` is the class variable `objective` of the nets that can be
    trained with it; nets that have none are of the kind "next".

    >>> from airtrack.core.part import build
    >>> given = build("task", {"name": "depo", "n": 4, "hops": 1}).pose(Streams(0)).given
    >>> Next().batch(given, 0, 2, Streams(0)).x.shape
    (2, 21)
    """

    kind: ClassVar[str] = "next"
    extra_ids: ClassVar[int] = 0

    def batch(self, given: Corpus, number: int, size: int, streams: Streams) -> Batch:
        """Batch `number`, `size` sequences."""
        return given.batch(number, size)
