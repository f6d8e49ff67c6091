"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

_PUBLIC = re.compile(r"^(?:class|def) ([A-Za-z]\w*)", re.MULTILINE)


@cache
def _where(package: str, folder: Path) -> dict[str, str]:
    """Public class or function → module, for every file of a package; reads text, imports nothing."""
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*.py")):
        module = ".".join((package, *file.relative_to(folder).with_suffix("").parts))
        if file.stem != "__init__":
            found |= dict.fromkeys(_PUBLIC.findall(file.read_text("utf-8")), module)
    return found


def names(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a package: every public class and function of its files, imported at first use.

    >>> import airtrack
    >>> airtrack.tasks.Depo.__name__
    'Depo'
    """
    folder = Path(file).parent

    def get(name: str) -> Any:
        found = _where(package, folder)
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(found[name]), name)

    return get, lambda: sorted(_where(package, folder))
