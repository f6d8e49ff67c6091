"""No positions."""

from __future__ import annotations

from typing import Any, ClassVar

from airtrack.core.part import part


@part("position")
class NoPosition:
    """What the causal mask tells, and nothing else ("NoPE").

    >>> hasattr(NoPosition(), "attach") or hasattr(NoPosition(), "embedding")
    False
    """

    example: ClassVar[dict[str, Any]] = {}
