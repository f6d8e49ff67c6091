"""airtrack: pose a learning problem whose truth is known, change one thing, measure what it does.

>>> import airtrack as at
>>> at.compare([3.1, 2.9, 3.3, 3.0, 3.2, 3.1, 2.8, 3.0], [2.0, 2.1, 2.2, 1.9, 2.1, 2.0, 2.0, 1.9]).outcome
'a better'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airtrack.core.batches import batches
    from airtrack.core.judging import judge
    from airtrack.core.part import Grid, SpecError, part
    from airtrack.core.streams import Streams
    from airtrack.core.then import Then
    from airtrack.study.compare import compare
    from airtrack.study.spec import Study
    from airtrack.study.statement import Verdict

__version__ = "0.1.0"
__all__ = ["Grid", "SpecError", "Streams", "Study", "Then", "Verdict", "batches", "compare", "judge", "part"]

_HOME = {
    "Grid": "core.part",
    "SpecError": "core.part",
    "part": "core.part",
    "Streams": "core.streams",
    "Then": "core.then",
    "batches": "core.batches",
    "judge": "core.judging",
    "Study": "study.spec",
    "Verdict": "study.statement",
    "compare": "study.compare",
}
_PACKAGES = ("tasks", "nets", "optim", "train", "solvers", "adapt", "compress", "claims", "study", "report", "sklearn")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"airtrack.{_HOME[name]}"), name)
    if name in _PACKAGES:
        return importlib.import_module(f"airtrack.{name}")
    raise AttributeError(f"module 'airtrack' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*__all__, *_PACKAGES, "__version__"))
