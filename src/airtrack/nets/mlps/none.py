"""No MLP."""

from __future__ import annotations

from typing import Any, ClassVar

from airtrack.core.part import part


@part("mlp")
class NoMlp:
    """A block without an MLP: attention only.

    >>> NoMlp().build(32) is None
    True
    """

    example: ClassVar[dict[str, Any]] = {}
    places: ClassVar[str] = ""  # of Canon
    no_canon: ClassVar[str] = "there is no MLP"

    def build(self, width: int) -> None:
        return None
