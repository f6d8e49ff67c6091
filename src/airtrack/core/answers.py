"""What a judge may receive, and how it makes sure that it did."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from airtrack.core.given import Floats, Ints
from airtrack.core.problem import Junk

AT_ONCE = 1 << 23  # scores [rows, T, V] that a model may have to return at a time
ROWS = 256  # rows that are generated together: few enough for their keys and values to stay in cache


@runtime_checkable
class LanguageModel(Protocol):
    """A model of token ids: numpy in, numpy out."""

    def log_probs(self, ids: Ints, at: tuple[Ints, Ints] | None = None) -> Floats:
        """Log-probabilities of the next token, from ids [n, T].

        at  (rows [m], columns [m]): the positions that are wanted; then the result is [m, V], otherwise [n, T, V]
        """
        ...


class _Called:
    """Any callable on token ids [n, T] that returns scores [n, T, V]: a function, a torch module."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def log_probs(self, ids: Ints, at: tuple[Ints, Ints] | None = None) -> Floats:
        scores: Any = getattr(out := self._run(ids), "logits", out)
        try:
            scores = scores if hasattr(scores, "detach") else np.asarray(scores, np.float64)
        except (TypeError, ValueError):
            raise Junk(f"scores are a {type(scores).__name__}, no array of numbers") from None
        if scores.ndim != 3 or tuple(scores.shape[:2]) != ids.shape:
            fact = f"scores have the shape {tuple(scores.shape)}"
            raise Junk(f"{fact}; token ids of the shape {ids.shape} need {ids.shape} × V")
        scores = scores if at is None else scores[at]
        scores = scores.detach().double().cpu().numpy() if hasattr(scores, "detach") else scores
        return normalised(scores.reshape(-1, scores.shape[-1]), scores[..., 0].size).reshape(scores.shape)

    def _run(self, ids: Ints, **options: Any) -> Any:
        torch = cast(Any, sys.modules.get("torch"))  # the core never imports it; who has a module has it imported
        if torch is None or not isinstance(self._model, torch.nn.Module):
            return self._model(ids)
        device = next((p.device for p in self._model.parameters()), None)
        was_training, _ = self._model.training, self._model.eval()
        try:
            with torch.no_grad():
                return self._model(torch.as_tensor(np.ascontiguousarray(ids), device=device), **options)
        finally:
            self._model.train(was_training)


class _HuggingFace(_Called):
    """A causal model of `transformers`, which keeps keys and values of what it has read."""

    def advance(self, ids: Ints, cache: Any = None) -> tuple[Floats, Any]:
        out = self._run(ids, past_key_values=cache, use_cache=True)
        return out.logits[:, -1].detach().double().cpu().numpy(), out.past_key_values


def language_model(answer: Any) -> LanguageModel:
    """`answer` as a LanguageModel; raises `Junk` for what is neither one nor callable."""
    if isinstance(answer, LanguageModel):
        return answer
    if callable(answer):
        return _HuggingFace(answer) if hasattr(answer, "prepare_inputs_for_generation") else _Called(answer)
    raise Junk(f"a {type(answer).__name__} is no model of token ids: give a callable, ids [n, T] → scores [n, T, V]")


def log_probs_at(answer: Any, ids: Ints, at: tuple[Ints, Ints], vocab: int) -> Iterator[tuple[slice, Floats]]:
    """Log-probabilities of the next token at positions at = (rows [m], columns [m]) of ids [n, T], rows in ascending
    order: a slice of the m positions and [k, V ≥ vocab], a few rows at a time, whatever the vocabulary of the model.

    Raises `Junk` for what is no model of these tokens.
    """
    model, (rows, columns) = language_model(answer), at
    most = max(vocab, getattr(getattr(answer, "config", None), "vocab_size", None) or 0)  # Hugging Face's
    height = max(1, AT_ONCE // (ids.shape[1] * most))
    cuts = np.searchsorted(rows, range(0, len(ids) + height, height))
    for top, first, last in zip(range(0, len(ids), height), cuts, cuts[1:]):
        if first < last:
            here = rows[first:last] - top, columns[first:last]
            with fitting(ids):
                scores = model.log_probs(ids[top : top + height], here)
            yield slice(first, last), normalised(scores, last - first, vocab)


@contextmanager
def fitting(ids: Ints) -> Iterator[None]:
    """A model that has too few embeddings for these ids [n, T], of tokens or places, is `Junk`."""
    try:
        yield
    except IndexError as error:
        fact = f"the model takes no ids up to {ids.max()} in rows of {ids.shape[1]}"
        raise Junk(f"{fact} ({error}); give it the task's vocabulary and length") from None


def parameters(answer: Any) -> int | None:
    """How many numbers a model has, frozen ones too; None for what does not say, such as a plain function.

    >>> parameters(lambda ids: ids) is None
    True
    """
    module = getattr(answer, "module", answer)
    if not callable(getattr(module, "parameters", None)):
        return None
    return sum(int(p.numel()) for p in module.parameters())


def normalised(scores: Any, count: int, vocab: int = 1) -> Floats:
    """Log-probabilities [count, V ≥ vocab] that sum to one whatever the model says; raises `Junk` otherwise."""
    try:
        numbers = np.asarray(scores, np.float64)
    except (TypeError, ValueError):
        raise Junk(f"log-probabilities are a {type(scores).__name__}, no array of numbers") from None
    if numbers.ndim != 2 or len(numbers) != count or numbers.shape[1] < vocab:
        raise Junk(f"log-probabilities have the shape {numbers.shape}, not ({count}, {vocab})")
    if np.isnan(numbers).any() or np.isposinf(numbers).any() or np.isneginf(numbers).all(-1).any():
        raise Junk("log-probabilities are not numbers")
    shifted = numbers - numbers.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def generate(
    answer: Any,
    prompts: Sequence[Ints],
    steps: int,
    *,
    stop: int | None = None,
    uniforms: Floats | None = None,
    temperature: float = 1.0,
) -> list[Ints]:
    """What a model writes after each prompt: at most `steps` ids, up to and including `stop`.

    prompts   token ids, of any lengths from 1 on
    uniforms  [n, steps] numbers in [0, 1) that choose among the ids by their cumulative probability at `temperature`;
              None: the likeliest id at every step

    Rows advance together, column by column, so that ragged prompts need no padding that a model might see. A model
    with a method `advance(ids [n, t], cache) → (log-probabilities [n, V] after the last column, cache)` reads every
    column once; any other reads the whole again at every step.

    >>> after = lambda ids: np.eye(4)[(ids + 1) % 4]
    >>> [row.tolist() for row in generate(after, [np.array([0]), np.array([3, 1])], 4, stop=3)]
    [[1, 2, 3], [2, 3]]
    """
    model = language_model(answer)
    advance = getattr(model, "advance", None) or _again(model)
    lengths = np.array([len(p) for p in prompts])
    order, results = np.argsort(lengths, kind="stable"), [np.zeros(0, np.int64)] * len(prompts)
    for top in range(0, len(order), ROWS):
        rows = order[top : top + ROWS]
        chosen = None if uniforms is None else uniforms[rows]
        for row, new in zip(rows, _grow(advance, [prompts[r] for r in rows], steps, stop, chosen, temperature)):
            results[row] = new
    return results


def _again(model: LanguageModel) -> Callable[[Ints, Any], tuple[Floats, Any]]:
    """`advance` for a model that has none."""

    def advance(ids: Ints, before: Ints | None) -> tuple[Floats, Ints]:
        ids = ids if before is None else np.concatenate((before, ids), 1)
        n, T = ids.shape
        return model.log_probs(ids, (np.arange(n), np.full(n, T - 1))), ids

    return advance


def _grow(
    advance: Any, prompts: list[Ints], steps: int, stop: int | None, uniforms: Floats | None, temperature: float
) -> list[Ints]:
    n, lengths = len(prompts), np.array([len(p) for p in prompts])
    ids = np.zeros((n, lengths.max() + steps), np.int64)
    for row, prompt in zip(ids, prompts):
        row[: len(prompt)] = prompt
    ends, everyone = lengths + steps, np.arange(n)  # where a row is full
    cache, t, done = None, int(lengths.min()), 0
    while (t < ends).any():
        with fitting(ids):
            scores, cache = advance(ids[:, done:t], cache)
        scores = normalised(scores, n)
        if uniforms is None:
            new = scores.argmax(-1)
        else:
            weights = np.exp((scores - scores.max(-1, keepdims=True)) / temperature).cumsum(-1)
            which = uniforms[everyone, np.clip(t - lengths, 0, steps - 1)]
            new = (weights <= (which * weights[:, -1])[:, None]).sum(-1)
        writes = (t >= lengths) & (t < ends)
        ids[writes, t] = new[writes]
        over = t >= ends  # their last token again: a 0 may begin a document, for which some models read all again
        ids[over, t] = ids[over, t - 1]
        if stop is not None:
            ends = np.where(writes & (new == stop), t + 1, ends)
        done, t = t, t + 1
    return [row[a:b] for row, a, b in zip(ids, lengths, ends)]


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
