"""Round to nearest: the quantiser that needs no data, and that every other has to beat."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from airtrack.core.part import part
from airtrack.core.problem import Diverged
from airtrack.nets.model import TorchLanguageModel

SCALE = 32  # bits of a group's scale, which is kept in single precision
LEAST = 1e-8  # range of a group without spread, so that nothing is divided by zero (HAWQ's value)


class Size(NamedTuple):
    """What a quantised module takes to store.

    weights  numbers that were quantised
    bits     what they take, with every group's scale and zero point
    others   what all other parameters take, at their own precision
    """

    weights: int
    bits: int
    others: int

    @property
    def bits_per_weight(self) -> float:
        """Of a quantised weight, its share of scales and zero points included."""
        return self.bits / self.weights


@part("compress")
class Rtn:
    """Weights of all Linear layers, rounded to the nearest of 2^bits levels between a group's least and greatest value.

    bits        of a weight, 2 … 8
    group       weights of a row that share a scale, side by side (a row's last group may be smaller); None: a whole row
    symmetric   levels −2^(bits−1) … 2^(bits−1) − 1 times the scale, zero point 0; otherwise 0 … 2^bits − 1 with a zero
                point, which serves skewed groups better and costs `bits` bits a group
    embeddings  quantise nn.Embedding too, a token's vector being a row
    """

    accepts: ClassVar[type] = TorchLanguageModel
    example: ClassVar[dict[str, Any]] = {"bits": 4}

    bits: Annotated[int, Ge(2), Le(8)]
    group: Annotated[int, Gt(0)] | None = None
    symmetric: bool = True
    embeddings: bool = False

    def change(self, answer: TorchLanguageModel, given: Any, meter: Any, streams: Any) -> TorchLanguageModel:
        """A copy of the model with the rounded weights; `answer` stays as it was. Costs no work.

        `facts["bits_per_weight"]` of the result is the true size, scales included.
        """
        module = copy.deepcopy(answer.module)
        size = quantize_(module, self.bits, self.group, symmetric=self.symmetric, embeddings=self.embeddings)
        return TorchLanguageModel(module, answer.origin, {**answer.facts, "bits_per_weight": size.bits_per_weight})


@torch.no_grad()
def quantize_(
    module: nn.Module, bits: int, group: int | None = None, *, symmetric: bool = True, embeddings: bool = False
) -> Size:
    """Replace the weights of a module's Linear layers by their rounded values, in place; arguments as of `Rtn`.

    The arithmetic stays in floating point: this shows what rounding does to a model, not what it does to speed.
    Raises `ValueError` if there is no weight to quantise and `Diverged` if one is not finite; nothing is changed then.

    >>> layer = nn.Linear(64, 8)
    >>> quantize_(layer, bits=4, group=32).bits_per_weight  # 4, and 32 for the scale of 32 weights
    5.0
    """
    weights = list(_weights(module, embeddings))
    if not weights:
        what = "Linear layer or embedding" if embeddings else "Linear layer"
        raise ValueError(f"there is nothing to quantise: the {type(module).__name__} has no {what}")
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise Diverged("a weight is not finite, so that no scale exists; quantise a model that has not diverged")
    number = total = 0
    for weight in weights:
        groups = [rounded(piece, bits, symmetric=symmetric) for piece in weight.split(group or weight.shape[1], 1)]
        weight.copy_(torch.cat(groups, 1))
        number += weight.numel()
        total += weight.numel() * bits + len(groups) * len(weight) * (SCALE + (0 if symmetric else bits))
    ours = {id(weight) for weight in weights}
    others = sum(p.numel() * p.element_size() * 8 for p in module.parameters() if id(p) not in ours)
    return Size(number, total, others)


def rounded(x: Tensor, bits: int, *, symmetric: bool = True) -> Tensor:
    """x [rows, n] with every row rounded to 2^bits levels of its own; no value moves by more than half a level.

    Symmetric as in HAWQ: scale = max |x| / (2^(bits−1) − 1). Asymmetric likewise, scale = (max − min) / (2^bits − 1),
    except that the range always holds 0: the zero point then fits into `bits` bits, and zero stays zero.

    >>> rounded(torch.tensor([[-1.0, 0.2, 0.6, 1.0]]), 2)  # levels −1, 0, 1; −2 is there and cannot occur
    tensor([[-1.,  0.,  1.,  1.]])
    >>> rounded(torch.tensor([[0.0, 0.9, 2.2, 3.0]]), 2, symmetric=False)
    tensor([[0., 1., 2., 3.]])
    """
    if symmetric:
        n = 2 ** (bits - 1) - 1
        scale = x.abs().amax(1, keepdim=True).clamp(min=LEAST) / n
        return (x / scale).round().clamp(-n - 1, n) * scale
    n = 2**bits - 1
    low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
    scale = (high - low).clamp(min=LEAST) / n
    zero = (-low / scale).round()
    return ((x / scale + zero).round().clamp(0, n) - zero) * scale


def _weights(module: nn.Module, embeddings: bool) -> Iterator[Tensor]:
    """Each weight once, though layers may share it."""
    kinds = (nn.Linear, nn.Embedding) if embeddings else (nn.Linear,)
    seen: set[int] = set()
    for layer in module.modules():
        if isinstance(layer, kinds) and id(layer.weight) not in seen:
            seen.add(id(layer.weight))
            yield layer.weight
