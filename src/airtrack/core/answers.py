"""What a judge may receive, and how it makes sure that it did."""

from __future__ import annotations

import sys
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from airtrack.core.given import Floats, Ints
from airtrack.core.problem import Junk


@runtime_checkable
class LanguageModel(Protocol):
    """A model of token ids: numpy in, numpy out."""

    def log_probs(self, ids: Ints, at: tuple[Ints, Ints] | None = None) -> Floats:
        """Log-probabilities of the next token, from ids [n, T].

        at  (rows [m], columns [m]): the positions that are wanted; then the result is [m, V], otherwise [n, T, V]
        """
        ...


class _Called:
    """Any callable on token ids [n, T] that returns scores [n, T, V]: a function, a torch module (Hugging Face)."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def log_probs(self, ids: Ints, at: tuple[Ints, Ints] | None = None) -> Floats:
        torch = cast(Any, sys.modules.get("torch"))  # the core never imports it; who has a module has it imported
        if torch is not None and isinstance(self._model, torch.nn.Module):
            device = next((p.device for p in self._model.parameters()), None)
            was_training, _ = self._model.training, self._model.eval()
            try:
                with torch.no_grad():
                    scores = self._model(torch.as_tensor(ids, device=device))
            finally:
                self._model.train(was_training)
        else:
            scores = self._model(ids)
        scores = getattr(scores, "logits", scores)
        if hasattr(scores, "detach"):
            scores = scores.detach().float().cpu().numpy()
        scores = np.asarray(scores, np.float64)
        if scores.ndim != 3 or scores.shape[:2] != ids.shape:
            raise Junk(f"scores have the shape {scores.shape}; token ids of the shape {ids.shape} need {ids.shape} × V")
        scores = scores if at is None else scores[at]
        if not np.isfinite(scores).all():
            raise Junk("scores are not finite")
        shifted = scores - scores.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def language_model(answer: Any) -> LanguageModel:
    """`answer` as a LanguageModel; raises `Junk` for what is neither one nor callable."""
    if isinstance(answer, LanguageModel):
        return answer
    if callable(answer):
        return _Called(answer)
    raise Junk(f"a {type(answer).__name__} is no model of token ids: give a callable, ids [n, T] → scores [n, T, V]")


def array(answer: Any, shape: tuple[int, ...]) -> Floats:
    """`answer` as finite float64 numbers of this shape; raises `Junk` for anything else."""
    try:
        numbers = np.asarray(answer, np.float64)
    except (TypeError, ValueError):
        raise Junk(f"a {type(answer).__name__} is no array of numbers") from None
    if numbers.shape != shape:
        raise Junk(f"the answer has the shape {numbers.shape}, not {shape}")
    if not np.isfinite(numbers).all():
        raise Junk("the answer holds numbers that are not finite")
    return numbers
