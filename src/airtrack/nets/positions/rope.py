"""Rotary positions (Su et al., RoFormer, 2021), on all of a head's dimensions or the first ones, as in GPT-NeoX."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from airtrack.core.part import part

Fraction = Annotated[float, Gt(0), Le(1)]


@part("position")
class Rope:
    """Rotary positions: queries and keys are turned by an angle that grows with the position.

    dims   fraction of a head's dimensions that turn, the first ones
    heads  fraction of the heads that turn, the first ones
    base   the wavelengths run from 2π to 2π · base

    Physics of Language Models 4.1 (footnote 16) has three ways to turn a quarter: dims 1/4; heads 1/4; both 1/2.

    >>> Rope(dims=0.25).attach(2, 2, 16)
    Rotary(4, base=10000)
    """

    example: ClassVar[dict[str, Any]] = {"dims": 0.5}

    dims: Fraction = 1.0
    heads: Fraction = 1.0
    base: Annotated[float, Gt(1)] = 10_000.0

    def refuse(self, heads: int, groups: int, size: int) -> None:
        """Raises ValueError where a fraction of these heads, key-value heads or dimensions cannot turn."""
        dims = round(self.dims * size, 9)  # thirds of 48 are 16, and a little in floating point
        if dims % 2 or not dims:
            fact = f"rotary positions turn pairs of dimensions, and {self.dims:g} of a head's {size} is {dims:g}"
            raise ValueError(f"{fact}: choose an even number")
        for number, what in ((heads, "heads"), (groups, "key-value heads")):
            if round(self.heads * number, 9) % 1:
                fact = f"{self.heads:g} of {number} {what} is {self.heads * number:g}"
                raise ValueError(f"rotary positions turn whole heads, and {fact}: choose another fraction")

    def attach(self, heads: int, groups: int, size: int) -> Rotary:
        turned = [i < round(self.heads * n) for n in (heads, groups) for i in range(n)]
        return Rotary(round(self.dims * size), self.base, None if all(turned) else turned)


class Rotary(nn.Module):
    """Turns pairs of dimensions by an angle that grows with the position; the rest of the head passes unturned.

    dims    how many of a head's first dimensions turn: even. Pair i turns by t · base^(−2i/dims)
    base    the wavelengths run from 2π to 2π · base
    turned  which heads turn; None: all

    Pairs are neighbours, (2i, 2i + 1), as in the paper and in Meta's Llama: one complex product. Hugging Face pairs
    (i, i + dims/2); its weights need the rows of a head's q and k permuted.

    >>> x = torch.tensor([1.0, 0.0, 9.0]).expand(1, 3, 1, 3)
    >>> Rotary(2).turn(x)[0, 1:, 0].tolist()  # cos 1, sin 1; cos 2, sin 2
    [[0.5403022766113281, 0.8414709568023682, 9.0], [-0.416146844625473, 0.9092974066734314, 9.0]]
    """

    def __init__(self, dims: int, base: float = 10_000.0, turned: list[bool] | None = None) -> None:
        super().__init__()
        self.dims, self.base, self.turned = dims, base, turned
        self._turns: Tensor | None = None  # not a buffer: `.double()` would keep the rounding of single precision

    def turn(self, x: Tensor, first: int = 0) -> Tensor:
        """x [B, T, heads, head_dim], whose column 0 has the position `first` → the same shape, turned."""
        turned = x[..., : self.dims]
        if x.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling():
            pairs = torch.view_as_complex(turned.unflatten(-1, (-1, 2)))
            turned = torch.view_as_real(pairs * self._table(x, first)).flatten(-2)
        else:  # neither half precision nor the compiler has complex numbers
            table = torch.view_as_real(self._table(x, first)).to(x.dtype)
            (a, b), (cos, sin) = turned.unflatten(-1, (-1, 2)).unbind(-1), table.unbind(-1)
            turned = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
        return turned if self.dims == x.shape[-1] else torch.cat((turned, x[..., self.dims :]), -1)

    def _table(self, x: Tensor, first: int) -> Tensor:
        """exp(i · angle) [T, heads, dims/2], written out for every head: the product then runs over long rows."""
        (_, T, heads, _), kind = x.shape, torch.complex128 if x.dtype == torch.float64 else torch.complex64
        table = self._turns
        if table is None or len(table) < first + T or table.shape[1:2] != (heads,) or table.dtype != kind:
            with torch.inference_mode(False):  # a table made while evaluating has to serve training too
                pair = torch.arange(self.dims // 2, dtype=torch.float64, device="cpu")
                time = torch.arange(first + T, dtype=torch.float64, device="cpu")
                angle = time[:, None] * self.base ** (-2 * pair / self.dims)  # [T, dims/2]
                angle = angle[:, None].expand(-1, heads, -1)
                if self.turned is not None:
                    angle = angle * torch.tensor(self.turned, device="cpu")[:, None]
                table = torch.polar(torch.ones_like(angle), angle).to(kind).contiguous()
        if table.device != x.device:
            table = table.to(x.device)
        self._turns = table
        return table[first : first + T]

    def extra_repr(self) -> str:
        return f"{self.dims}, base={self.base:g}"
