"""Regret of Q-learning with a bonus."""

from __future__ import annotations

from typing import ClassVar

from airtrack.core.part import part
from airtrack.study.spec import Study


@part("claim")
class UcbQSublinear:
    """Q-learning with a Hoeffding bonus explores: its regret grows more slowly than the number of episodes."""

    statement: ClassVar[str] = (
        "The regret of Q-learning with a UCB-Hoeffding bonus grows sublinearly; that of uniform play is linear"
    )
    source: ClassVar[str] = (
        "Jin, Allen-Zhu, Bubeck, Jordan, Is Q-learning Provably Efficient? (NeurIPS 2018), Theorem 1"
    )
    expects: ClassVar[dict[tuple[str, str], tuple[str, ...]]] = {("ucb_q", "uniform"): ("a better",)}

    def study(self) -> Study:
        return Study.load("ucb-q")
