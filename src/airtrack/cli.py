"""The command line: run, plan, status, verdict, report, compare, parts, claims, new."""

from __future__ import annotations

import csv
import functools
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import typer
from rich.console import Console
from rich.table import Table

from airtrack.core.part import SpecError

app = typer.Typer(
    help="Pose a learning problem whose truth is known, change one thing, measure what it does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=not sys.stdout.isatty())  # words wrap for people; a line stays a line for programs
err = Console(stderr=True, soft_wrap=True)

Source = Annotated[str, typer.Argument(metavar="STUDY", help="a built-in study, a .yaml file, or file.py:function")]
LedgerDir = Annotated[Path, typer.Option("--ledger", metavar="DIR", help="folder of the trials")]
AsJson = Annotated[bool, typer.Option("--json", help="print plain data")]
Workers = Annotated[int | None, typer.Option(min=1, help="processes, one thread each; by default one a core")]
F = TypeVar("F", bound=Callable[..., Any])


def command(name: str) -> Callable[[F], F]:
    """A verb whose refusals are one readable line and exit code 2, and whose failed trials are exit code 1."""

    def decorate(function: F) -> F:
        @app.command(name)
        @functools.wraps(function)
        def verb(*args: Any, **options: Any) -> None:
            from airtrack.study.runner import TrialFailed

            try:
                function(*args, **options)
            except SpecError as error:
                err.print(f"airtrack: {error}", style="red", markup=False, highlight=False)
                raise typer.Exit(2) from None
            except TrialFailed as error:
                err.print(error.traceback, markup=False, highlight=False)
                err.print(f"airtrack: a trial failed: {error}", style="red", markup=False, highlight=False)
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                err.print("airtrack: stopped; what is finished is in the ledger, run the same command to go on")
                raise typer.Exit(130) from None

        return cast(F, verb)

    return decorate


@command("run")
def run_study(
    study: Source,
    ledger: LedgerDir = Path("ledger"),
    workers: Workers = None,
    every: Annotated[float, typer.Option(min=0, help="seconds between two checkpoints of a trial")] = 10.0,
) -> None:
    """Run what is missing of a study; ends with the verdict and the path of the report."""
    from airtrack import report
    from airtrack.study.ledger import Ledger
    from airtrack.study.live import shown
    from airtrack.study.spec import Study

    loaded, book = Study.load(study), Ledger(ledger)
    if loaded.question:
        out.print(loaded.question, style="bold", markup=False, highlight=False)
    result = shown(loaded, book, console=out, workers=workers, every=every)
    out.print(report.terminal(result))
    contradictions = book.contradictions()
    for key in contradictions:
        err.print(f"trial {key} gave two different results: it is not deterministic here; both are in {ledger}/trials")
    path = report.write(
        result, _report(book, loaded), command=_command("run", study, ledger), contradictions=contradictions
    )
    out.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)


@command("plan")
def plan_study(
    study: Source, ledger: LedgerDir = Path("ledger"), workers: Workers = None, as_json: AsJson = False
) -> None:
    """Say what a study would cost: trials, work and minutes, from a pilot of each arm. Nothing is kept."""
    from airtrack.study.ledger import Ledger
    from airtrack.study.plan import plan
    from airtrack.study.spec import Study

    costs = plan(Study.load(study), Ledger(ledger), workers=workers)
    _json(costs.to_dict()) if as_json else out.print(costs)


@command("status")
def status(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="without one: everything in the ledger")
    ] = None,
    ledger: LedgerDir = Path("ledger"),
    as_json: AsJson = False,
) -> None:
    """Say how far a study is, or what a ledger holds."""
    from airtrack.study.ledger import Ledger

    if study is None:
        _everything(Ledger(ledger), as_json)
        return
    result = _result(study, ledger)
    if as_json:
        _json(result.to_dict())
        return
    here = {"done": "finished", "tune": "tuning", "confirm": "confirming"}[result.phase]
    missing = f", {len(result.missing)} trials missing in this phase" if result.missing else ""
    out.print(f"{result.study.name}: {here}{missing}", markup=False, highlight=False)
    for arm, tuning in result.tunings.items():
        choice = ", ".join(f"{path} = {value}" for path, value in tuning.chosen.choice.items())
        out.print(f"  {arm}: tuned to {choice} ({tuning.optimum})", markup=False, highlight=False)


@command("verdict")
def verdict(study: Source, ledger: LedgerDir = Path("ledger"), as_json: AsJson = False) -> None:
    """Say what the trials in the ledger allow one to say. Nothing is run."""
    from airtrack import report

    result = _result(study, ledger)
    _json(result.to_dict()) if as_json else out.print(report.terminal(result))


@command("report")
def report_study(
    study: Source,
    ledger: LedgerDir = Path("ledger"),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="file to write")] = None,
) -> None:
    """Write the report of what is in the ledger. Nothing is run."""
    from airtrack import report
    from airtrack.study.ledger import Ledger

    book, result = Ledger(ledger), _result(study, ledger)
    path = output or _report(book, result.study)
    command = _command("run", study, ledger)
    out.print(
        f"report: {report.write(result, path, command=command, contradictions=book.contradictions())}", highlight=False
    )


@command("compare")
def compare_files(
    a: Annotated[Path, typer.Argument(help="CSV with one number a seed (last column, header optional)")],
    b: Annotated[Path, typer.Argument(help="the same seeds, in the same order, of the other arm")],
    better: Annotated[str, typer.Option(help="high or low")] = "high",
    scale: Annotated[str, typer.Option(help="lin, log or logit")] = "lin",
    smallest_effect: Annotated[float | None, typer.Option(help="the least difference that matters")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two lists of readings of any origin, paired by their column `seed`, or by row."""
    from airtrack.study.compare import compare

    names = (a.stem, b.stem) if a.stem != b.stem else (str(a), str(b))
    try:
        options: dict[str, Any] = {"better": better, "scale": scale, "smallest_effect": smallest_effect, "names": names}
        found = compare(*_paired(a, b), **options)
    except ValueError as error:
        raise SpecError(str(error)) from None
    _json(found.to_dict()) if as_json else out.print(str(found), markup=False, highlight=False)


@command("parts")
def parts(
    family: Annotated[str | None, typer.Argument(metavar="[FAMILY]")] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
) -> None:
    """List what there is; with a family and a name, one part's fields, source and example."""
    from airtrack import catalogue

    for item in catalogue.show(family, name):
        out.print(item)


@command("claims")
def claims(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME …]", help="claims to run")] = None,
    ledger: LedgerDir = Path("ledger"),
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """List every claim with its source, cost and verdict; with names, run them first."""
    from airtrack import catalogue
    from airtrack.study.ledger import Ledger

    rows = catalogue.claims(names or [], Ledger(ledger), console=out, workers=workers)
    _json(rows) if as_json else out.print(catalogue.claims_table(rows), soft_wrap=False)


@command("new")
def new(
    family: Annotated[str, typer.Argument(help="task, net, optim, solver, compress …")],
    name: Annotated[str, typer.Argument(help="the file's name, and the name in a study")],
    folder: Annotated[Path, typer.Option(help="where to write")] = Path(),
) -> None:
    """Write the file, the test and the docs line for a part of your own."""
    from airtrack import catalogue

    for path in catalogue.new(family, name, folder):
        out.print(f"wrote {path}", markup=False, highlight=False)


def _json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=1))


def _result(study: str, ledger: Path) -> Any:
    from airtrack.study.ledger import Ledger
    from airtrack.study.result import from_ledger
    from airtrack.study.spec import Study

    return from_ledger(Study.load(study), Ledger(ledger).get)


def _report(ledger: Any, study: Any) -> Path:
    return ledger.folder / "reports" / f"{study.name}.html"


def _command(verb: str, study: str, ledger: Path) -> str:
    words = ["airtrack", verb, study] + (["--ledger", str(ledger)] if ledger != Path("ledger") else [])
    return shlex.join(words)


def _everything(ledger: Any, as_json: bool) -> None:
    index = ledger.index()
    if as_json:
        _json(index)
        return
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in index.values():
        groups.setdefault((row["task"]["name"], row["recipe"]["name"]), []).append(row)
    table = Table(title=f"{ledger.folder}: {len(index)} trials", title_justify="left")
    for column in ("task", "recipe", "trials", "diverged"):
        table.add_column(column, justify="left" if column in ("task", "recipe") else "right")
    for (task, recipe), rows in sorted(groups.items()):
        table.add_row(task, recipe, str(len(rows)), str(sum(r["state"] == "diverged" for r in rows)))
    out.print(table)
    for key in ledger.contradictions():
        out.print(f"trial {key} gave two different results: it is not deterministic here")


def _column(path: Path) -> tuple[list[str] | None, list[float]]:
    """The last column of a CSV file, and its column `seed` if there is one."""
    try:
        rows = [row for row in csv.reader(path.read_text("utf-8-sig").splitlines()) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise SpecError(f"cannot read {path}: {why}") from None
    header = [cell.strip().lower() for cell in rows[0]] if rows and rows[0][-1].strip()[:1].isalpha() else []
    header = [] if header and header[-1] in ("nan", "inf", "infinity") else header
    values: list[float] = []
    for number, row in enumerate(rows[bool(header) :], 1 + bool(header)):
        if len(row) != len(rows[0]):
            fact = f"{path}, line {number}: {len(row)} columns, {len(rows[0])} in the first line"
            raise SpecError(f"{fact}; separate columns by commas and decimals by points")
        try:
            values.append(float(row[-1]))
        except ValueError:
            raise SpecError(f"{path}, line {number}: {row[-1]!r} is no number; a failed seed is nan") from None
    seeds = [row[header.index("seed")].strip() for row in rows[1:]] if "seed" in header[:-1] else None
    return seeds, values


def _paired(a: Path, b: Path) -> tuple[list[float], list[float]]:
    """Readings of two files, paired by their column `seed` where both have one, by row otherwise."""
    (first, x), (second, y) = _column(a), _column(b)
    if first is None or second is None:
        return x, y
    if sorted(first) != sorted(second) or len(set(first)) < len(first):
        odd = sorted(set(first) ^ set(second)) or sorted({s for s in first if first.count(s) > 1})
        raise SpecError(f"{a} and {b} do not hold the same seeds once each (look at {', '.join(odd[:5])})")
    return x, [y[second.index(seed)] for seed in first]


def main() -> None:
    app(prog_name="airtrack", args=sys.argv[1:])


if __name__ == "__main__":
    main()
