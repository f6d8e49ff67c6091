"""What there is: parts and claims, and the first draft of a part of your own."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from airtrack.core.part import FAMILIES, Slot, SpecError, article, known, lookup, nearest, shipped, to_spec
from airtrack.study.ledger import Ledger
from airtrack.study.live import shown
from airtrack.study.plan import count
from airtrack.study.result import Result, from_ledger

TOP = Path(__file__).parent


def show(family: str | None, name: str | None) -> Iterator[RenderableType]:
    """The families; one family's parts; or one part's fields, source and example.

    family  or the folder of several: "nets" holds net, mixer, mlp, norm, position and canon
    """
    chosen = [one for one, folder in FAMILIES.items() if family in (None, one, folder)]
    if not chosen:
        raise SpecError(f"no family is named {family!r}{nearest(str(family), FAMILIES)}")
    if name is None:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("family", "name", "what it is"):
            table.add_column(column, no_wrap=column != "what it is")
        for one in chosen:
            label = one  # said once
            for part, origin in sorted(known(one).items()):
                if origin == "airtrack" or _fits(one, part):
                    told = Text(_summary(one, part))
                    if origin != "airtrack":
                        told.append(f" ({origin})", "dim")
                    table.add_row(label, part, told)
                    label = ""
        yield table
        yield Text("\nfields, source and example of one: airtrack parts FAMILY NAME", "dim")
        return
    family = next((one for one in chosen if name in known(one)), chosen[0])
    cls = lookup(family, name)
    yield Text(f"{name}: {family}, {inspect.getsourcefile(cls)}", style="bold")
    yield Text(inspect.cleandoc(cls.__doc__ or "no description"))
    fields = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("field", "type", "default"):
        fields.add_column(column)
    hints = get_type_hints(cls, include_extras=True)
    required = [f for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    for f in dataclasses.fields(cls):
        default = "required" if f in required else _flow(to_spec(f.default))
        fields.add_row(f.name, Text(kind(hints[f.name])), Text(default))
    if fields.row_count:
        yield Text()
        yield fields
    example = getattr(cls, "example", None if required else {})
    if example is None:
        return
    part = cls(**example)
    if fields.row_count:
        written = _flow({k: v for k, v in to_spec(part).items() if k == "name" or k in example})
        yield Text("\nexample", style="bold")
        yield Syntax(written, "yaml", background_color="default", word_wrap=True)
    yield Text()
    for line in describe(part):
        yield Text(line)


_LIMITS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def kind(hint: Any) -> str:
    """A field's type, for people.

    >>> from annotated_types import Gt
    >>> kind(Annotated[int, Gt(0)] | None), kind(Literal["rope", "none"])
    ('int > 0 | null', 'rope | none')
    >>> kind(tuple[Annotated[Any, Slot("change")], ...])
    'list of: change'
    """
    if get_origin(hint) is Annotated:
        base, *marks = get_args(hint)
        slots = [m.role for m in marks if isinstance(m, Slot)]
        limits = [f"{sign} {getattr(m, name)}" for m in marks for name, sign in _LIMITS.items() if hasattr(m, name)]
        return slots[0] if slots else " ".join((kind(base), ", ".join(limits))).strip()
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(kind, get_args(hint)))
    if get_origin(hint) is tuple:
        inside = [kind(a) for a in get_args(hint) if a is not Ellipsis]
        return f"list of: {', '.join(inside)}"
    return "null" if hint is NoneType else getattr(hint, "__name__", str(hint))


def describe(part: Any) -> list[str]:
    """What a part says of itself: what it works on, the unit and the metrics of a task, the sizes of a net."""
    lines: list[str] = []
    if hasattr(part, "unit"):
        lines.append(f"gives {article(part.gives.__name__)}; its budget is in {part.unit}")
    if hasattr(part, "statement"):
        lines += [f"claims: {part.statement}", f"source: {part.source}"]
    if hasattr(part, "accepts"):
        returns = f", returns {article(part.returns.__name__)}" if hasattr(part, "returns") else ""
        lines.append(f"works on {article(part.accepts.__name__)}{returns}")
    lines += [
        f"{name}: {m.better} is better, {m.bounds[0]:g} … {m.bounds[1]:g}, {m.scale} scale"
        for name, m in getattr(part, "metrics", {}).items()
    ]
    return [*lines, *(part.describe() if hasattr(part, "describe") else ())]


def _summary(family: str, name: str) -> str:
    """The first line of a part's file, which is not imported; of the docstring of a part from elsewhere."""
    path = shipped(family).get(name)
    if path is None:
        doc = lookup(family, name).__doc__
    else:
        found = re.match(r'"""(.+?)(?:\n|""")', path.read_text("utf-8"))
        doc = found.group(1) if found else ""
    return (doc or "").strip().partition("\n")[0].rstrip(".")


def _fits(family: str, name: str) -> bool:
    try:
        lookup(family, name)
    except SpecError:
        return False
    return True


def _flow(spec: Any) -> str:
    """A spec as one line of YAML."""
    return yaml.safe_dump(spec, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("...\n").strip()


# -------------------------------------------------------------------------------------------------------- claims


def claims(names: list[str], ledger: Ledger, *, console: Console, workers: int | None) -> list[dict[str, Any]]:
    """Every claim with its source, cost and standing in a ledger; the named ones are run first."""
    for name in names:
        lookup("claim", name)
    for name in names:
        claim = lookup("claim", name)()
        console.print(f"{name}: {claim.statement}", markup=False, highlight=False)
        shown(claim.study(), ledger, console=console, workers=workers)
    rows: list[dict[str, Any]] = []
    for name in names or sorted(known("claim")):
        claim = lookup("claim", name)()
        study = claim.study()
        result = from_ledger(study, ledger.get)
        trials, work = count(study)
        row = {"name": name, "statement": claim.statement, "source": claim.source, "trials": trials, "work": work}
        row |= {
            "unit": study.task.unit,
            "standing": standing(claim, result),
            "verdicts": [str(v) for v in result.verdicts],
        }
        rows.append(row)
    return rows


def standing(claim: Any, result: Result) -> str:
    """What became of a claim: "not run", "unfinished", "holds" (every outcome is one that it expects), "fails" (one is
    decided against it) or "open"."""
    if result.phase != "done":
        return "unfinished" if (result.readouts and any(result.readouts.values())) or result.tunings else "not run"
    expected = [(v.outcome, claim.expects[v.names]) for v in result.verdicts if v.names in claim.expects]
    if all(outcome in right for outcome, right in expected):
        return "holds"
    decided = any(o not in (*right, "no verdict yet", "not comparable") for o, right in expected)
    return "fails" if decided else "open"


def claims_table(rows: list[dict[str, Any]]) -> Group:
    """Claims as blocks: name, standing and cost; statement; source; what the trials here say."""
    blocks: list[RenderableType] = []
    for row in rows:
        colour = {"holds": "green", "fails": "red"}.get(row["standing"], "yellow")
        head = Text.assemble((row["name"], "bold"), "  ", (row["standing"], colour))
        head.append(f"  {row['trials']} trials, {row['work']:.2g} {row['unit']}", "dim")
        body = Text("\n".join((row["statement"], row["source"], *(f"→ {v}" for v in row["verdicts"]))))
        blocks += [head, Padding(body, (0, 0, 1, 2))]
    return Group(*blocks)


# ---------------------------------------------------------------------------------------------------- a new part


def new(family: str, name: str, folder: Path) -> list[Path]:
    """Write a part that works, its test, and its line of documentation; refuses to overwrite anything."""
    drafts = TOP / "drafts"
    there = sorted(p.stem for p in drafts.glob("*.txt"))
    if family not in there:
        raise SpecError(f"no draft for the family {family!r}{nearest(family, there)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SpecError(f"{name!r} is no name for a part: use small letters, digits and _, beginning with a letter")
    if name in known(family):
        raise SpecError(f"a {family} named {name!r} is there already; choose another name")
    part, test, line = (drafts / f"{family}.txt").read_text("utf-8").split("\n=====\n")
    files = {folder / f"{name}.py": part, folder / f"test_{name}.py": test, folder / f"{name}.md": line}
    for path in files:
        if path.exists():
            raise SpecError(f"{path} is there already; choose another name or --folder")
    title = "".join(word.capitalize() for word in name.split("_"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text.replace("NAME", name).replace("Title", title), "utf-8")
    except OSError as error:
        raise SpecError(f"cannot write to {folder}: {error.strerror}") from None
    return list(files)
