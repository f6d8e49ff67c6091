"""Compiled loops, and what their cache on disk does not see."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def forget_stale(folder: Path, *others: Path) -> None:
    """Delete cached machine code below `folder` that is older than any source there or in `others`.

    numba's cache looks at the file of the function that it compiled, not at those of the functions that this one calls:
    without this, a changed helper would leave the old numbers in place. A package calls it when it is imported.
    """
    changed = max(f.stat().st_mtime for place in (folder, *others) for f in place.rglob("*.py"))
    for stale in folder.rglob("__pycache__/*.nbi"):
        with suppress(OSError):  # another process was faster, or the folder is read-only
            if stale.stat().st_mtime < changed:
                stale.unlink()
