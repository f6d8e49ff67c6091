"""Language tasks: sequences of token ids with exact truth."""

from contextlib import suppress
from pathlib import Path

# numba's cache looks at the file of the function that it compiled, not at those of the functions that this one calls:
# without this, a changed draw.py would leave the old numbers in place.
_HERE = Path(__file__).parent
_CHANGED = max(f.stat().st_mtime for f in _HERE.glob("*.py"))
for _stale in _HERE.glob("__pycache__/*.nbi"):
    with suppress(OSError):  # another process was faster, or the folder is read-only
        if _stale.stat().st_mtime < _CHANGED:
            _stale.unlink()
