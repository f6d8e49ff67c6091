"""Sequences from a model that reads column by column: greedy, drawn, or by beam search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Advance = Callable[[Tensor, Any], tuple[Tensor, Any]]


@torch.no_grad()
def generate(
    module: nn.Module,
    ids: Tensor,
    steps: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    beams: int = 1,
    length_penalty: float = 0.0,
    stop: int | None = None,
    generator: torch.Generator | None = None,
    **more: Any,
) -> Tensor:
    """`steps` more ids for every row of ids [B, T] → [B, T + steps].

    module          has `advance(ids [B, t], cache) → (logits [B, V] after the last column, cache)`: nested dicts, lists
                    and tuples of tensors whose first axis is the batch, and of numbers
    temperature     0 takes the likeliest id; otherwise ids are drawn from softmax(logits / temperature)
    top_k           only among the k likeliest ids
    top_p           only among the likeliest ids that together reach this probability, the fewest (Holtzman et al., The
                    curious case of neural text degeneration, 2020); with top_k, of what that has left
    beams           more than one: the best sequence that a beam of so many finds; of equals, any
    length_penalty  a beam's score is its log-probability / (new ids, stop included) ** length_penalty; 0 looks for the
                    likeliest sequence, and transformers' default is 1
    stop            the id that ends a row, which is filled up with it
    generator       what is drawn is drawn from it
    more            goes to every call of `advance`

    Raises ValueError for choices that make no sense, or exclude each other.

    >>> from airtrack.core.streams import Streams
    >>> from airtrack.nets.decoder import Decoder
    >>> model = Decoder(layers=1, width=8, heads=2).build(5, Streams(0), length=9)
    >>> generate(model, torch.tensor([[1, 2], [3, 4]]), 3, beams=2).shape
    torch.Size([2, 5])
    """
    _refuse(module, ids, steps, temperature, top_k, top_p, beams, length_penalty)

    def advance(columns: Tensor, cache: Any) -> tuple[Tensor, Any]:
        return module.advance(columns, cache, **more)  # type: ignore[operator]

    if beams > 1 and steps:
        return _beams(advance, ids, steps, beams, length_penalty, stop)
    columns, cache, done = ids, None, torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for step in range(steps):
        logits, cache = advance(columns, cache)
        if temperature > 0:
            kept = truncated((logits / temperature).softmax(-1), top_k, top_p)
            columns = kept.multinomial(1, generator=generator)
        else:
            columns = logits.argmax(-1, keepdim=True)
        if stop is not None:
            columns = columns.masked_fill(done[:, None], stop)
            done = done | (columns[:, 0] == stop)
        ids = torch.cat((ids, columns), 1)
        if stop is not None and bool(done.all()):
            return torch.cat((ids, ids.new_full((len(ids), steps - 1 - step), stop)), 1)
    return ids


def truncated(probabilities: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Probabilities [.., V] of the ids that `generate` may draw, those of the others nought; each row sums to one.

    >>> truncated(torch.tensor([0.4, 0.3, 0.2, 0.1]), top_p=0.7)
    tensor([0.5714, 0.4286, 0.0000, 0.0000])
    """
    if top_k is None and top_p is None:
        return probabilities
    falling, order = probabilities.sort(dim=-1, descending=True, stable=True)  # of equals, the smaller id
    if top_k is not None:
        falling[..., top_k:] = 0
    if top_p is not None:
        falling = falling / falling.sum(-1, keepdim=True)
        before = falling.double().cumsum(-1) - falling  # an id stays while those before it fall short of top_p
        tolerance = 4 * torch.finfo(probabilities.dtype).eps  # .4 + .3 in single precision is more than .7
        falling = falling.masked_fill(before >= top_p - tolerance, 0)
    kept = torch.zeros_like(probabilities).scatter(-1, order, falling)
    return kept / kept.sum(-1, keepdim=True)


def reordered(cache: Any, rows: Tensor) -> Any:
    """A cache whose row i is the row rows[i] of `cache`.

    >>> reordered({"a": [torch.tensor([5, 6])], "done": 3}, torch.tensor([1, 1, 0]))
    {'a': [tensor([6, 6, 5])], 'done': 3}
    """
    if isinstance(cache, Tensor):
        return cache.index_select(0, rows)
    if isinstance(cache, dict):
        return {name: reordered(value, rows) for name, value in cache.items()}
    if isinstance(cache, (list, tuple)):
        return type(cache)([reordered(value, rows) for value in cache])
    return cache


def _refuse(
    module: nn.Module,
    ids: Tensor,
    steps: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    beams: int,
    length_penalty: float,
) -> None:
    if not hasattr(module, "advance"):
        raise ValueError(f"{type(module).__name__} cannot generate: give it a method advance(ids, cache)")
    if ids.ndim != 2 or not ids.shape[1]:
        raise ValueError(f"prompts have the shape {tuple(ids.shape)}, not [rows, at least one id]")
    for name, value, least in (("steps", steps, 0), ("top_k", top_k, 1), ("beams", beams, 1)):
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}, and cannot be below {least}")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}: choose 0, the likeliest id, or a positive number")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}, and a probability above 0 up to 1 is needed")
    if temperature == 0 and (top_k is not None or top_p is not None):
        raise ValueError(
            "top_k and top_p choose what is drawn from, and at temperature 0 nothing is: set a temperature"
        )
    if beams > 1 and temperature > 0:
        raise ValueError(f"a search with {beams} beams draws nothing: leave temperature at 0, or beams at 1")
    if beams == 1 and length_penalty:
        raise ValueError(f"length_penalty {length_penalty} compares beams, and there is one: set beams")


def _beams(advance: Advance, ids: Tensor, steps: int, beams: int, penalty: float, stop: int | None) -> Tensor:
    """Beam search. Of the 2 · beams best continuations of a row, those among the first `beams` that end are kept as
    finished, and the first `beams` that do not end go on: as in transformers."""
    rows = torch.arange(len(ids), device=ids.device)
    logits, cache = advance(ids, None)
    V, B = logits.shape[1], len(ids)
    cache = reordered(cache, rows.repeat_interleave(beams))
    logits = logits.repeat_interleave(beams, 0)
    live = logits.new_full((B, beams), -torch.inf, dtype=torch.float64)  # log-probabilities
    live[:, 0] = 0  # all beams of a row are still the same
    new = ids.new_zeros(B, beams, 0)
    best = torch.full_like(live[:, 0], -torch.inf)  # score of the best finished sequence of a row
    text = ids.new_full((B, steps), 0 if stop is None else stop)  # and its new ids
    for step in range(1, steps + 1):
        scores = live[:, :, None] + logits.double().log_softmax(-1).view(B, beams, V)
        falling, which = scores.flatten(1).topk(min(2 * beams, beams * V))  # [B, 2 · beams]
        token, source = which % V, which // V
        ends = torch.zeros_like(token, dtype=torch.bool) if stop is None else token == stop
        over = torch.ones_like(ends) if step == steps else ends
        reach = torch.where(over, falling, -torch.inf)[:, :beams] / step**penalty
        top, winner = reach.max(1)
        won = top > best
        best = torch.where(won, top, best)
        written = torch.cat((new[rows, source[rows, winner]], token[rows, winner, None]), 1)  # [B, step]
        text[won, :step] = written[won]
        if stop is not None:
            text[won, step:] = stop
        if step == steps:
            break
        going = torch.where(ends, -torch.inf, falling).sort(dim=1, descending=True, stable=True).indices[:, :beams]
        live, token, source = (a.gather(1, going) for a in (falling.masked_fill(ends, -torch.inf), token, source))
        longest = steps**penalty if penalty > 0 else step**penalty
        if bool((best >= live[:, 0] / longest).all()):  # nothing that goes on can still win
            break
        new = torch.cat((new[rows[:, None], source], token[:, :, None]), 2)
        flat = (rows[:, None] * beams + source).flatten()
        logits, cache = advance(token.view(-1, 1), reordered(cache, flat))
    return torch.cat((ids, text), 1)
