"""Katyusha's momentum at a large condition number."""

from __future__ import annotations

from typing import ClassVar

from airtrack.core.part import part
from airtrack.study.spec import Study


@part("claim")
class KatyushaLargeKappa:
    """Where κ is much larger than n, Katyusha needs fewer passes than SVRG, each with its theory's step or tuned."""

    statement: ClassVar[str] = "At κ = 100 n Katyusha is ahead of SVRG after the same number of component gradients"
    source: ClassVar[str] = "Allen-Zhu, Katyusha (STOC 2017; JMLR 2018), Theorem 2.1"
    expects: ClassVar[dict[tuple[str, str], tuple[str, ...]]] = {
        ("katyusha", "svrg"): ("a better",),
        ("katyusha tuned", "svrg tuned"): ("a better",),
    }

    def study(self) -> Study:
        return Study.load("katyusha-svrg")
