"""What a net asks of the parts of its blocks. Whatever else a part can do, it says by taking the argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

from torch import nn

Horizontal = Callable[[int], nn.Module]  # width → a Canon layer of that width, or what a user puts in its place


class Mixer(Protocol):
    """A part of the family `mixer`: what lets positions see each other.

    The module that `build` makes maps x [B, T, width] → [B, T, width], position t seeing nothing behind t.

    The least that a mixer has is `build(self, width, heads)` and `forward(self, x)`. The rest is optional; a net that
    needs what a mixer cannot take refuses it.

    In `build`:

    positions  a part of the family `position` that has `attach`: rotary turns, biases of the logits
    canon      makes a Canon layer of a given width; it goes on concat(q, k, v), after the projection ("Canon-B")
    causal     false: every position sees every other (encoders)
    layer      (number of this block from 0, number of blocks)

    In `forward`: documents [B, T], which packed document a position is in, or None; the numbers of a row ascend.

    For generation without recomputing, the module has `step(x, cache, documents=None)`: x [B, t, width] are the next
    positions, `cache` a dict of its own that it fills, empty at the start: tensors whose first axis is the batch, and
    integers; `documents` [B, T] is of all positions up to the last of x.

    To be counted it has `flops(length)`, floating-point operations of the matrix products and convolutions in a forward
    pass over one row of so many tokens, a multiply-add being two; and `state_size(length)`, the numbers that `step`
    keeps of a row after so many tokens.
    """

    def build(self, width: int, heads: int) -> nn.Module: ...


class Mlp(Protocol):
    """A part of the family `mlp`: the position-wise half of a block, x [B, T, width] → [B, T, width].

    `build` may take `canon`, which makes the Canon layer before the activation ("Canon-D"), and `layer`, as mixers do.
    A part that does not take `canon` may say why in a class variable `no_canon`. `build` returns None for no MLP.

    The module may have `step(x, cache, documents=None)`, if it looks at neighbours; `flops(length)`; and a `penalty`,
    see `airtrack.nets.penalty`.
    """

    def build(self, width: int) -> nn.Module | None: ...


class Norm(Protocol):
    """A part of the family `norm`: a module [B, T, width] → [B, T, width].

    `refuse(width)`, if it has one, raises ValueError for widths that it does not fit. A class variable
    `batch_statistics` that is true says that in training what a token gives depends on others.
    """

    def build(self, width: int) -> nn.Module: ...


class Position(Protocol):
    """A part of the family `position`: how a net knows where a token stands. It has one of these, or neither.

    embedding(length, width)     a module from places [B, T] to what is added to the tokens' embeddings
    attach(heads, groups, size)  a module that attention uses: its `turn(x, first)`, x [B, T, heads + groups, size] the
                                 queries and then the keys of positions from `first` on, gives what takes their place;
                                 its `bias(rows, columns)` [heads, rows, columns] is added to the logits of the last
                                 `rows` positions among `columns`. It has one of the two, or both.
    refuse(heads, groups, size)  raises ValueError for heads that it does not fit
    """


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function can be called with the argument `name`.

    >>> takes(lambda x, documents=None: x, "documents"), takes(lambda x: x, "documents")
    (True, False)
    """
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def options(function: Callable[..., Any], **values: Any) -> dict[str, Any]:
    """Those of the arguments that a function takes.

    >>> options(lambda width, heads, *, layer: None, layer=(0, 2), causal=True)
    {'layer': (0, 2)}
    """
    return {name: value for name, value in values.items() if takes(function, name)}
