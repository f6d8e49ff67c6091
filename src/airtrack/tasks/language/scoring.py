"""Scores a language model on tokens whose truth is known: accuracy with its standard error, and loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from airtrack.core.answers import log_probs_at
from airtrack.core.given import Ints
from airtrack.core.problem import Metric

LOSSES = (1e-9, 50.0)  # nats; a model that rules out the right token scores 50, not infinity


def metrics(chance: float | None, groups: Mapping[str, int] | None = None, whole: bool = False) -> dict[str, Metric]:
    """Accuracy over all scored tokens, with its standard error and by group, and the loss on them in nats.

    `whole` adds the share of windows without a fault.
    """
    accuracy = Metric("high", (0.0, 1.0), "logit", exact=False, chance=chance)
    by_group = {f"accuracy_{name}": accuracy for name in groups or {}}
    error = Metric("low", (0.0, 0.5))
    windows = {"whole": Metric("high", (0.0, 1.0), "logit", exact=False), "whole_se": error} if whole else {}
    loss = Metric("low", LOSSES, "log", exact=False)
    return {"accuracy": accuracy, "accuracy_se": error, **windows, **by_group, "loss": loss}


class Scored(NamedTuple):
    """Windows and the positions in them whose next token is scored. Every window is an independent sample."""

    x: Ints  # [n, T] token ids
    y: Ints  # [n, T] the id to predict, IGNORE where there is none
    at: tuple[Ints, Ints]  # rows [m], columns [m]
    target: Ints  # [m]
    group: Ints  # [m]
    vocab: int

    @classmethod
    def of(cls, x: Ints, y: Ints, group: Ints, vocab: int) -> Scored:
        """The positions of x [n, T] where group [n, T] is not zero, y [n, T] holding the right tokens."""
        rows, columns = np.nonzero(group)
        return cls(x, y, (rows, columns), y[rows, columns], group[rows, columns], vocab)

    def readings(self, answer: Any, groups: Mapping[str, int] | None = None, whole: bool = False) -> dict[str, float]:
        """The values of `metrics`. Raises `Junk` for what is no model of these tokens."""
        told, right = np.empty(len(self.target)), np.empty(len(self.target), np.bool_)
        for here, scores in log_probs_at(answer, self.x, self.at, self.vocab):
            target = self.target[here]
            told[here], right[here] = scores[np.arange(len(target)), target], scores.argmax(-1) == target
        inside = {name: self.group == number for name, number in (groups or {}).items()}
        by_group = {f"accuracy_{k}": float(right[here].mean()) if here.any() else 0.0 for k, here in inside.items()}
        loss = -np.maximum(told, -LOSSES[1]).mean()
        error = standard_error(right, self.at[0])
        windows = _whole(right, self.at[0]) if whole else {}
        return {"accuracy": float(right.mean()), "accuracy_se": error, **windows, **by_group, "loss": float(loss)}

    @property
    def truth(self) -> dict[str, Ints]:
        """For tests and pictures."""
        return {"x": self.x, "y": self.y, "target": self.target, "group": self.group}


def _whole(right: Any, window: Ints) -> dict[str, float]:
    found, index = np.unique(window, return_inverse=True)
    faultless = np.bincount(index, ~right) == 0
    error = standard_error(faultless, found)
    return {"whole": float(faultless.mean()), "whole_se": error}


def standard_error(values: Any, window: Ints) -> float:
    """Of the mean of values [m], of which those of one window [m] are not independent. NaN for one window.

    >>> round(standard_error(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1])), 3)
    0.5
    """
    values = np.asarray(values, np.float64)
    missed = np.bincount(window, values - values.mean())
    windows = len(np.unique(window))
    return float(np.sqrt((missed**2).sum() * windows / (windows - 1)) / len(values)) if windows > 1 else float("nan")
