"""Canon in one attention layer."""

from __future__ import annotations

from typing import ClassVar

from airtrack.core.part import part
from airtrack.study.spec import Study


@part("claim")
class CanonLiftsOneLayer:
    """One attention layer retrieves what followed a token only if a Canon layer comes before the attention.

    The paper copies 500 tokens with d ≥ 128; the study poses the step that this needs, recall of a successor, at a
    size for a laptop.
    """

    statement: ClassVar[str] = (
        "A Canon layer before the attention lets one attention layer recall; rotary positions do not"
    )
    source: ClassVar[str] = "Allen-Zhu, Physics of Language Models: Part 4.1, Figure 5"
    expects: ClassVar[dict[tuple[str, str], tuple[str, ...]]] = {
        ("nope+canon", "rope"): ("a better",),
        ("nope+canon", "nope"): ("a better",),
        ("nope+canon C", "nope"): ("equivalent", "b better"),
    }

    def study(self) -> Study:
        return Study.load("canon-recall")
