"""Hard attention with linear biases (Jelassi et al., Repeat after me, 2024)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Gt, Le

from airtrack.core.part import part
from airtrack.nets.positions.alibi import DistanceBias


@part("position")
class HardAlibi:
    """H-ALiBi: head h = 1, 2, … sees the last h tokens, itself included; the other heads see all, and know no position.

    hard  fraction of the heads that are so short-sighted, the first ones; half of them in Physics of Language Models
          4.1 (footnote 15)

    An encoder's heads see as far ahead. Head 1 sees nothing but the token itself, as in the authors' code.

    >>> HardAlibi().attach(4, 4, 16).bias(1, 4).squeeze()
    tensor([[-inf, -inf, -inf, -0.],
            [-inf, -inf, -0., -0.],
            [-0., -0., -0., -0.],
            [-0., -0., -0., -0.]])
    """

    example: ClassVar[dict[str, Any]] = {}

    hard: Annotated[float, Gt(0), Le(1)] = 0.5

    def refuse(self, heads: int, groups: int, size: int) -> None:
        """Raises ValueError where the fraction is no whole number of heads."""
        if round(self.hard * heads, 9) % 1:
            fact = f"{self.hard:g} of {heads} heads is {self.hard * heads:g}"
            raise ValueError(f"H-ALiBi takes whole heads, and {fact}: choose another fraction")

    def attach(self, heads: int, groups: int, size: int) -> DistanceBias:
        hard = round(self.hard * heads)
        return DistanceBias([0.0] * heads, [h if h <= hard else None for h in range(1, heads + 1)])
