"""A trained torch model, as the judge wants it: numpy in, numpy out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from airtrack.core.given import Floats, Ints
from airtrack.core.part import SpecError, build, to_spec
from airtrack.core.problem import Junk
from airtrack.core.streams import Streams
from airtrack.nets.protocols import takes

CHUNK = 1 << 14  # tokens that are evaluated at once


class TorchLanguageModel:
    """A torch module on token ids, as `airtrack.core.answers.LanguageModel`.

    module  ids [B, T] → logits [B, T, V]; with an argument `at`, also (ids, (rows, columns)) → [m, V]. A module whose
            logits are not the next token's has `next_logits(ids, at=None)` for those, as masked encoders do
    origin  what builds the module again: {"net": its spec, "vocab": …, "length": …, "start": …}; needed to save
    facts   numbers to know about it, such as the bits per weight that a quantiser left

    >>> from airtrack.nets.decoder import Decoder
    >>> model = TorchLanguageModel.new(Decoder(layers=1, width=8, heads=2), Streams(0), vocab=5, length=4)
    >>> log_probs = model.log_probs(np.array([[0, 1, 2, 3]]))
    >>> log_probs.shape, bool(np.allclose(np.exp(log_probs).sum(-1), 1))
    ((1, 4, 5), True)
    """

    def __init__(
        self, module: nn.Module, origin: Mapping[str, Any] | None = None, facts: Mapping[str, float] | None = None
    ) -> None:
        self.module, self.origin, self.facts = module, origin, dict(facts or {})

    @classmethod
    def new(
        cls, net: Any, streams: Streams, *, vocab: int, length: int, start: int | None = None
    ) -> TorchLanguageModel:
        """The untrained model of a net part, its parameters drawn from `streams`; arguments as in `Decoder.build`."""
        module = net.build(vocab, streams, length=length, start=start)
        return cls(module, {"net": to_spec(net), "vocab": vocab, "length": length, "start": start})

    @torch.no_grad()
    def log_probs(self, ids: Ints, at: tuple[Ints, Ints] | None = None) -> Floats:
        """Log-probabilities [n, T, V] of the next token from ids [n, T]; with `at` = (rows [m], columns [m]), [m, V].

        Logits are the module's own precision, the log-softmax is float64. Rows are evaluated a chunk at a time.
        Raises `Junk` where a logit is not finite.
        """
        ids = np.asarray(ids, np.int64)
        n, T = ids.shape
        height = max(1, CHUNK // max(T, 1))
        rows, columns = (np.asarray(a, np.int64) for a in at) if at else (np.arange(n), np.zeros(n, np.int64))
        order = np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], range(0, max(n, 1) + height, height))  # where the chunks begin
        was_training, _ = self.module.training, self.module.eval()
        try:
            parts: list[Floats] = []
            for top, first, last in zip(range(0, max(n, 1), height), cuts, cuts[1:]):
                here = order[first:last]
                if len(here) or not parts:  # one chunk at least: it tells V
                    place = (rows[here] - top, columns[here]) if at else None
                    parts.append(self._chunk(ids[top : top + height], place))
        finally:
            self.module.train(was_training)
        result = np.concatenate(parts)
        if at is None:
            return result
        ordered = np.empty_like(result)
        ordered[order] = result
        return ordered

    def _chunk(self, ids: Ints, at: tuple[Ints, Ints] | None) -> Floats:
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        rows = torch.from_numpy(ids).to(device)
        logits = self._next(rows, None if at is None else tuple(torch.from_numpy(a).to(device) for a in at))
        if not bool(torch.isfinite(logits).all()):
            raise Junk("the model's scores are not finite")
        return logits.double().log_softmax(-1).cpu().numpy()

    @torch.no_grad()
    def advance(self, ids: Ints, cache: Any = None) -> tuple[Floats, Any]:
        """Log-probabilities [n, V] after the next columns ids [n, t] of every row, and the cache to go on with.

        Raises `Junk` where a logit is not finite.
        """
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        columns = torch.from_numpy(np.ascontiguousarray(ids, np.int64)).to(device)
        was_training, _ = self.module.training, self.module.eval()
        try:
            if hasattr(self.module, "advance"):
                logits, cache = self.module.advance(columns, cache)  # type: ignore[operator]
            else:
                cache = columns if cache is None else torch.cat((cache, columns), 1)
                n, T = cache.shape
                logits = self._next(cache, (torch.arange(n, device=device), torch.full((n,), T - 1, device=device)))
        finally:
            self.module.train(was_training)
        if not bool(torch.isfinite(logits).all()):
            raise Junk("the model's scores are not finite")
        return logits.double().log_softmax(-1).cpu().numpy(), cache

    def _next(self, ids: Tensor, at: tuple[Tensor, ...] | None) -> Tensor:
        """Logits of the next token, [B, T, V]; of the positions `at`, [m, V]."""
        module: Any = self.module
        if hasattr(module, "next_logits"):
            return module.next_logits(ids, at)
        if at is None or takes(module.forward, "at"):
            return module(ids) if at is None else module(ids, at)
        return module(ids)[at]

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Parameters and buffers by name, as arrays that no later training changes."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.module.state_dict().items()}

    def load_state(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Put back what `state` gave. Raises `SpecError`, with nothing changed, where names or shapes differ."""
        _fill(self.module, {name: torch.from_numpy(np.array(array)) for name, array in state.items()})

    def save(self, folder: Path | str) -> None:
        """Write `model.safetensors` and `spec.json` into a folder, which is made if need be."""
        if self.origin is None:
            raise ValueError("this model does not know how it was built; give TorchLanguageModel its origin to save it")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in self.module.state_dict().items()}
        weights, spec = folder / "model.safetensors.tmp", folder / "spec.json.tmp"
        try:
            save_file(tensors, weights)
            spec.write_text(json.dumps({**self.origin, "facts": self.facts}, indent=1), "utf-8")
            weights.replace(weights.with_suffix(""))
            spec.replace(spec.with_suffix(""))  # last: a folder with a spec.json is whole
        finally:
            weights.unlink(missing_ok=True)
            spec.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path | str) -> TorchLanguageModel:
        """What `save` wrote.

        Raises `FileNotFoundError` where there is none, `SpecError` where a part is unknown or the tensors are not its.
        """
        origin = json.loads((Path(folder) / "spec.json").read_text("utf-8"))
        facts = origin.pop("facts")
        net = build("net", origin["net"])
        module = net.build(origin["vocab"], Streams(0), length=origin["length"], start=origin["start"])
        _fill(module, load_file(Path(folder) / "model.safetensors"))
        return cls(module, origin, facts)


def _fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    there = module.state_dict()
    wrong = [f"{name} is missing" for name in there if name not in tensors]
    wrong += [f"{name} is not expected" for name in tensors if name not in there]
    for name, own in there.items():
        if name in tensors and tensors[name].shape != own.shape:
            wrong.append(f"{name} has the shape {tuple(tensors[name].shape)}, the net's is {tuple(own.shape)}")
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise SpecError(f"these tensors are another net's: {'; '.join(wrong[:3])}{more}; build the net they came from")
    module.load_state_dict(tensors)
