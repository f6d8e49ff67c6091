"""Solvers: algorithms on oracles."""

from pathlib import Path

from airtrack.core.compiled import forget_stale
from airtrack.core.lazy import names

__getattr__, __dir__ = names(__name__, __file__)
forget_stale(Path(__file__).parent, Path(__file__).parent.parent / "core")
