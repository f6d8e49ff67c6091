"""What a language model assigns to the tokens that tell a fact, in rows of one document each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from airtrack.core.answers import log_probs_at
from airtrack.core.given import Floats, Ints

LEAST = -50.0  # log-probability that stands for all smaller ones, so that sums stay finite


class Facts(NamedTuple):
    """Documents, and the tokens in them that count, in the order of rows."""

    x: npt.NDArray[np.int32]  # [n, T]
    row: Ints  # [m] of the token
    column: Ints  # [m] where it is predicted: one before its own
    target: Ints  # [m]
    mark: Ints  # [m] what it tells, from 1 on

    @classmethod
    def of(cls, x: npt.NDArray[np.int32], marks: npt.NDArray[np.int32], *, once: tuple[int, ...] = ()) -> Facts:
        """The marked tokens of x [n, T]; of the marks `once`, the tokens that stand together first in every row."""
        row, column = np.nonzero(marks)
        mark = marks[row, column]
        keep = np.ones(len(row), np.bool_)
        for m in once:
            here = np.flatnonzero(mark == m)
            run = np.cumsum(np.diff(row[here] * (x.shape[1] + 1) + column[here], prepend=-9) != 1)
            opens = np.diff(row[here], prepend=-1) != 0  # the first token of its row
            keep[here] = run == run[opens][np.cumsum(opens) - 1]
        row, column, mark = row[keep], column[keep], mark[keep]
        return cls(x, row, column - 1, x[row, column].astype(np.int64), mark.astype(np.int64))

    def read(self, answer: Any, vocab: int, forms: Ints | None = None) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Log-probabilities [m] of the tokens, not less than LEAST, and whether each is the likeliest [m].

        forms  [F, G] ids: a token that stands here is scored among the tokens of its line only, since the others say
               something else about the text and nothing else about the fact

        Raises `Junk` for what is no model of these tokens.
        """
        told, right = np.empty(len(self.row)), np.empty(len(self.row), np.bool_)
        for here, scores in log_probs_at(answer, self.x.astype(np.int64), (self.row, self.column), vocab):
            target = self.target[here]
            told[here] = scores[np.arange(len(target)), target]
            right[here] = scores.argmax(-1) == target
            for form in forms if forms is not None else ():
                inside = np.flatnonzero(np.isin(target, form))
                among = np.maximum(scores[np.ix_(inside, form)], 20 * LEAST)  # a pronoun that no model expects
                told[here.start + inside] = among[np.arange(len(inside)), (target[inside, None] == form).argmax(-1)]
                told[here.start + inside] -= np.logaddexp.reduce(among, axis=-1)
        return np.maximum(told, LEAST), right
