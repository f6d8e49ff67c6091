"""What a layout is: a configuration and tensor names on their side, a net and its parameters on ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from airtrack.core.part import SpecError
from airtrack.nets.canon import CanonLayer
from airtrack.nets.decoder import Decoder
from airtrack.nets.mlps.gated import Gated
from airtrack.nets.mlps.plain import Plain

ACTIVATIONS = {  # theirs → ours
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
}

CANON = {"kernel": 4, "residual": True, "activation": False, "bias": False}  # canon_…, as released


class Options:
    """A configuration of theirs. What is null counts as not given.

    >>> Options({"hidden_size": 8, "head_dim": None}).get("head_dim", 4)
    4
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value

    def need(self, name: str) -> Any:
        """Raises SpecError where there is none."""
        if self.values.get(name) is None:
            raise SpecError(f"the configuration has no {name!r}, which a {self.get('model_type', 'model')} needs")
        return self.values[name]

    def activation(self, name: str, default: str) -> Any:
        """Our name of an activation."""
        theirs = self.get(name, default)
        if theirs not in ACTIVATIONS:
            raise SpecError(f"{name} {theirs!r} is not offered; there are {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[theirs]

    def rotary(self, fraction: str = "partial_rotary_factor", base: str = "rope_theta") -> tuple[float, float | None]:
        """(base, fraction of a head that turns, if it is said): older releases of transformers have them as options of
        their own, newer ones in `rope_parameters`. Raises SpecError for scaled wavelengths."""
        inside = self.get("rope_parameters", {})
        for place, options in (("rope_parameters", inside), ("rope_scaling", self.get("rope_scaling", {}))):
            kind = options.get("rope_type", options.get("type", "default"))
            if kind != "default":
                fact = f"{place} of type {kind!r} stretches the wavelengths of rotary positions"
                raise SpecError(f"{fact}, and nets here have them unstretched; take a checkpoint without")
        theta = inside.get("rope_theta", self.get(base, 10_000.0))
        return float(theta), inside.get("partial_rotary_factor", self.get(fraction, None))


class Reading(NamedTuple):
    """What a configuration describes."""

    net: Decoder
    vocab: int
    length: int


class Form(NamedTuple):
    """How a tensor of two axes or more lies: theirs → ours, and back. Tensors of one axis are the same in both."""

    ours: Callable[[Tensor], Tensor]
    theirs: Callable[[Tensor], Tensor]


SAME = Form(lambda t: t, lambda t: t)
TRANSPOSED = Form(lambda t: t.T, lambda t: t.T)  # GPT-2's maps are [in, out]
TAPS = (
    Form(  # a depthwise convolution [channels, 1, kernel], the present last; ours [kernel, channels], the present first
        lambda t: t[:, 0].flip(1).T, lambda t: t.T.flip(1)[:, None]
    )
)


class Row(NamedTuple):
    """One tensor of ours and what it is made of; a row for `name` also serves `name.weight` and `name.bias`.

    ours    its name; {n} stands for the number of the block
    theirs  names; they lie one after another, along their first axis
    sizes   how much each has of that axis, where there are several
    order   ours[i] = theirs[order[i]] along that axis
    form    how it lies
    """

    ours: str
    theirs: tuple[str, ...]
    sizes: tuple[int, ...] | None = None
    order: Tensor | None = None
    form: Form = SAME

    def join(self, parts: list[Tensor]) -> Tensor:
        """Ours, of theirs."""
        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        whole = whole if self.order is None else whole[self.order]
        return self.form.ours(whole) if whole.ndim > 1 else whole

    def split(self, tensor: Tensor) -> list[Tensor]:
        """Theirs, of ours."""
        whole = self.form.theirs(tensor) if tensor.ndim > 1 else tensor
        whole = whole if self.order is None else whole[self.order.argsort()]
        return [whole] if self.sizes is None else list(whole.split(self.sizes))


@dataclass(frozen=True)
class Layout:
    """How one model type writes down a net.

    model_type    and architecture: what its configuration says
    parts         slot of the decoder → the parts that it can express there
    read          configuration → net, vocabulary, length
    write         net and its module → the options of a configuration that `read` needs
    rows          net and configuration → the table of tensors
    neutral       option → the values at which it changes nothing; others are refused
    length        the option that holds the number of positions
    renamed       pattern → replacement: older names of tensors
    spare         pattern of tensors that are no parameters
    free          fields of a net, dotted, that it does not keep: they matter before training only

    A net can be written if reading what `write` gave returns the same net, and the rows cover its parameters.
    """

    model_type: str
    architecture: str
    parts: Mapping[str, tuple[type, ...]]
    read: Callable[[Options], Reading]
    write: Callable[[Decoder, Any], dict[str, Any]]
    rows: Callable[[Decoder, Options], list[Row]]
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    length: str = "max_position_embeddings"
    renamed: Mapping[str, str] = field(default_factory=dict)
    spare: str = r"rotary_emb\.inv_freq$"
    free: tuple[str, ...] = ()


def own_convolution(kernel: int, bias: bool = False) -> CanonLayer:
    """The short convolution of linear models, with its SiLU: "Canon-b"."""
    return CanonLayer(kernel=kernel, residual=False, activation=True, bias=bias, start="uniform" if bias else "normal")


def canon_of(options: Options, offered: str = "ABCD") -> dict[str, Any]:
    """The fields `canon` and `canon_layer`, as the released models of Physics of Language Models 4.2 say them: capital
    letters are places, and b is a linear model's own convolution."""
    letters = set(options.get("canon_set", "")) - {"b"}
    if strange := sorted(letters - set(offered)):
        fact = f"canon_set {options.get('canon_set', '')!r} asks for Canon {', '.join(strange)}"
        raise SpecError(f"{fact}, which as {options.need('model_type')} computes it is not offered here")
    layer = {name: options.get(f"canon_{name}", default) for name, default in CANON.items()}
    return {"canon": "".join(sorted(letters)), "canon_layer": CanonLayer(**layer) if letters else CanonLayer()}


def canon_to(net: Decoder, own: bool = False) -> dict[str, Any]:
    """The options of `canon_of`; own: beside a convolution of the mixer's own."""
    letters = "".join(sorted(net.canon + "b" * own, key=str.lower))
    return {"canon_set": letters, **{f"canon_{name}": getattr(net.canon_layer, name) for name in CANON}}


def gated_of(hidden: int, width: int, **fields: Any) -> Gated:
    """The gated MLP of so many hidden channels; where its defaults give them, it has its defaults."""
    usual = Gated(**fields)
    return usual if usual.hidden(width) == hidden else Gated(expand=hidden / width, multiple=1, **fields)


def plain_of(hidden: int, width: int, **fields: Any) -> Plain:
    """The plain MLP of so many hidden channels."""
    return Plain(expand=hidden / width, **fields)


def theirs_of(activation: str) -> str:
    """Their name of an activation; of several, the first."""
    return next(theirs for theirs, ours in ACTIVATIONS.items() if ours == activation)


def turned_apart(heads: int, size: int, dims: int) -> Tensor:
    """`order` of the rows of so many heads, of `size` dimensions each, whose first `dims` turn.

    They pair dimension i with i + dims / 2, and here neighbours are paired.

    >>> turned_apart(1, 6, 4).tolist()
    [0, 2, 1, 3, 4, 5]
    """
    head = torch.arange(size)
    head[:dims] = head[:dims].view(2, -1).T.flatten()
    return (torch.arange(heads)[:, None] * size + head).flatten()
