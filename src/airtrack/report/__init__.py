"""The report: one HTML file that opens offline, its figures for papers, and the table that ends a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airtrack.core.part import SpecError
from airtrack.report.table import terminal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from airtrack.study.result import Result

__all__ = ["figures", "terminal", "write"]

NEEDED = "the report needs {name}; install it with: pip install 'airtrack[report]'"


def write(result: Result, path: Path | str, *, command: str = "", contradictions: Sequence[str] = ()) -> Path:
    """Write the report of a study as one self-contained HTML file and return its path.

    result          of `Study.run`, or of an unfinished study: then the report says what is missing
    command         that reproduces the study, as typed in a shell; shown for copying
    contradictions  keys of trials that gave another result when repeated

    The same ledger gives the same bytes. Raises `SpecError` where the file cannot be written, or where matplotlib or
    jinja2 are not installed.
    """
    return _loaded("page").write(result, Path(path), command=command, contradictions=contradictions)


def figures(result: Result) -> dict[str, Figure]:
    """The figures of the report, 3.5 inches wide (one column of a paper); save them with `figure.savefig`.

    The names are "overview", "readings: A, B", "differences: A, B", "curves" and "tuning: A", as far as there are
    readings for them. Raises `SpecError` where matplotlib is not installed.
    """
    return {name: drawn.figure for name, drawn in _loaded("drawing").draw(result).items()}


def _loaded(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"airtrack.report.{module}")
    except ModuleNotFoundError as error:
        name = str(error.name).partition(".")[0]
        if name not in ("matplotlib", "jinja2"):
            raise
        raise SpecError(NEEDED.format(name=name)) from None
