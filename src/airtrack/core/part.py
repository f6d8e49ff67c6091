"""Parts: frozen dataclasses that are their own specification, found by the name of their file."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import core_schema

ROOT = Path(__file__).parent.parent

FAMILIES = {  # family → folder of the package that holds its parts
    "task": "tasks",
    "net": "nets",
    "mixer": "nets",
    "mlp": "nets",
    "norm": "nets",
    "position": "nets",
    "canon": "nets",
    "optim": "optim",
    "schedule": "optim",
    "train": "train",
    "objective": "train",
    "solver": "solvers",
    "composite": "core",
    "adapt": "adapt",
    "compress": "compress",
    "probe": "probes",
    "claim": "claims",
}
ROLES = {  # what a slot asks for → the families that can fill it
    **{family: (family,) for family in FAMILIES},
    "recipe": ("train", "solver", "composite"),
    "change": ("adapt", "compress"),
}


class SpecError(ValueError):
    """A specification that cannot be built: says where, what and what to do. The command line shows it as one line."""

    def __init__(self, fact: str, where: str = "") -> None:
        super().__init__(f"{where}: {fact}" if where else fact)
        self.fact, self.where = fact, where

    def below(self, step: str) -> SpecError:
        """The same error, seen from one level further out."""
        return SpecError(self.fact, f"{step}.{self.where}" if self.where else step)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Values to tune over, in place of one value of a field.

    >>> Grid(1e-3, 4e-3).values
    (0.001, 0.004)
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if not values:
            raise SpecError("a grid needs at least one value")
        if any(v in values[:i] for i, v in enumerate(values)):
            raise SpecError(f"a grid names a value twice: {list(values)}")
        object.__setattr__(self, "values", values)


@dataclasses.dataclass(frozen=True)
class Slot:
    """Marks a field that holds a part: `net: Annotated[Any, Slot("net")]`."""

    role: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(lambda value: build(self.role, value))


T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def part(family: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: a frozen, keyword-only dataclass whose fields are checked and are its specification.

    A method `check(self)`, if there is one, runs last and raises `ValueError` for combinations that make no sense.
    A class variable `version` (default 1) enters the key: raise it when the behaviour changes.

    >>> @part("solver")
    ... class Descent:
    ...     step: float = 0.1
    >>> Descent(step=1).step
    1.0
    >>> Descent(step="big")
    Traceback (most recent call last):
    airtrack.core.part.SpecError: step: expected a float, got 'big'
    """
    if family not in FAMILIES:
        raise SpecError(f"no family of parts is named {family!r}{nearest(family, FAMILIES)}")

    def decorate(cls: type[T]) -> type[T]:
        marked = cast(Any, cls)
        marked.__post_init__, marked.__part__ = _validate, family
        if "version" not in cls.__dict__:
            marked.version = 1
        return dataclasses.dataclass(frozen=True, kw_only=True)(cls)

    return decorate


def family_of(thing: Any) -> str | None:
    """The family of a part or of its class; None for anything else."""
    return getattr(thing, "__part__", None)


@cache
def _adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(cls, include_extras=True)
    config = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    return {f.name: TypeAdapter(hints[f.name], config=config) for f in dataclasses.fields(cls)}


def _validate(self: Any) -> None:
    for name, adapter in _adapters(type(self)).items():
        value = getattr(self, name)
        try:
            if isinstance(value, Grid):
                checked = Grid(*(adapter.validate_python(_frozen(v)) for v in value.values))
            else:
                checked = adapter.validate_python(_frozen(value))
            object.__setattr__(self, name, checked)
        except ValidationError as error:
            raise _explain(error, name, value) from None
    check = getattr(self, "check", None)
    if check and not holds_grid(self):
        try:
            check()
        except SpecError:
            raise
        except (ValueError, ArithmeticError) as error:
            raise SpecError(str(error)) from None


def _frozen(value: Any) -> Any:
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


def _explain(error: ValidationError, name: str, value: Any) -> SpecError:
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    where = ".".join(str(step) for step in (name, *(s for s in first["loc"] if isinstance(s, int))))
    if isinstance(inner, SpecError):
        return inner.below(where)
    kind = {"float_type": "a float", "int_type": "an integer", "string_type": "a string", "bool_type": "true or false"}
    if first["type"] in kind:
        fact = f"expected {kind[first['type']]}, got {first['input']!r}"
    elif first["type"] == "literal_error":
        expected = [s.strip("'") for s in re.findall(r"'[^']*'", first.get("ctx", {})["expected"])]
        fact = f"{first['input']!r} is none of {', '.join(expected)}{nearest(str(first['input']), expected)}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        fact = f"{message[0].lower()}{message[1:]}, got {first['input']!r}"
    return SpecError(fact, where)


def nearest(word: str, known: Any) -> str:
    """The end of an error message: a suggestion, and what there is.

    >>> nearest("ojja", ["oja", "svrg"])
    "; did you mean 'oja'? known: oja, svrg"
    """
    names = sorted(map(str, known))
    close = get_close_matches(word, names, 1)
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" known: {', '.join(names) or 'none'}"


def article(word: str) -> str:
    """A word with its article.

    >>> article("solver"), article("optim")
    ('a solver', 'an optim')
    """
    return f"an {word}" if word[0].lower() in "aeiou" else f"a {word}"


def holds_grid(value: Any) -> bool:
    """Whether a part, or a part within it, still has a field to tune."""
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Grid)):
        return any(holds_grid(getattr(value, f.name)) for f in dataclasses.fields(value))
    return isinstance(value, Grid) or (isinstance(value, tuple) and any(map(holds_grid, cast("tuple[Any]", value))))


# ---------------------------------------------------------------------------------------------------------- lookup

_base: ContextVar[Path | None] = ContextVar("base", default=None)


@contextmanager
def relative_to(folder: Path | None) -> Iterator[None]:
    """Within this block, names such as `block.py:Block` are looked up from `folder`."""
    token = _base.set(folder)
    try:
        yield
    finally:
        _base.reset(token)


def located(name: str) -> Path:
    """The path that a study's field names, seen from the folder of the study."""
    return Path(_base.get() or Path.cwd()) / name


@cache
def shipped(family: str) -> dict[str, Path]:
    """Name → file of the parts of a family that come with airtrack. Reads the files' text and imports nothing."""
    marked = re.compile(rf'^@part\("{family}"\)', re.MULTILINE)
    files = sorted((ROOT / FAMILIES[family]).rglob("*.py"))
    return {f.stem: f for f in files if f.stem != "__init__" and marked.search(f.read_text("utf-8"))}


@cache
def _installed() -> dict[str, EntryPoint]:
    """Name → entry point of the parts of other packages. To look for them takes milliseconds: once a process."""
    return {entry.name: entry for entry in entry_points(group="airtrack.parts")}


def known(role: str) -> dict[str, str]:
    """Name → where it comes from, for every part that fits a role: shipped ones and those of installed packages."""
    found = {name: f"package {e.value.partition(':')[0]}" for name, e in _installed().items()}
    return found | {name: "airtrack" for family in ROLES[role] for name in shipped(family)}


def lookup(role: str, name: str) -> type:
    """The class of a part: a shipped one, one of an installed package, or `file.py:Class`. Imports that file only."""
    if ":" in name:
        cls = load_object(name)
    else:
        files = [(family, shipped(family)[name]) for family in ROLES[role] if name in shipped(family)]
        if files:
            family, path = files[0]
            module = importlib.import_module(".".join(("airtrack", *path.relative_to(ROOT).with_suffix("").parts)))
            cls = next(c for c in vars(module).values() if family_of(c) == family and c.__module__ == module.__name__)
        elif name in _installed():
            cls = _installed()[name].load()
        else:
            raise SpecError(f"no {role} is named {name!r}{nearest(name, known(role))}")
    if family_of(cls) not in ROLES[role]:
        what = f"a part of the family {family_of(cls)}" if family_of(cls) else 'not a part: mark it with @part("…")'
        raise SpecError(f"{name!r} is {what}, but {article(role)} is needed here ({' or '.join(ROLES[role])})")
    return cls


def load_object(name: str) -> Any:
    """The object that `path/to/file.py:name` names; the file is imported once a process."""
    file, _, attribute = name.rpartition(":")
    path = located(file).resolve()
    if not path.is_file():
        raise SpecError(f"there is no file {path}; write path/to/file.py:name, from the study's own folder")
    module = _load_file(path)
    if not hasattr(module, attribute):
        public = [n for n, v in vars(module).items() if not n.startswith("_") and not inspect.ismodule(v)]
        raise SpecError(f"{path.name} defines no {attribute!r}{nearest(attribute, public)}")
    return getattr(module, attribute)


@cache
def _load_file(path: Path) -> types.ModuleType:
    main = sys.modules.get("__main__")
    if main is not None and getattr(main, "__file__", None) and Path(cast(str, main.__file__)).resolve() == path:
        return main  # the running script itself: importing it twice would make every class twice
    name = f"airtrack_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:  # being imported now, and asking for its own part
        return sys.modules[name]
    source = importlib.util.spec_from_file_location(name, path)
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # so that the file may import its neighbours
    try:
        source.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SpecError) or not isinstance(error, Exception):
            raise
        raise SpecError(f"{path.name} could not be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


@cache
def name_of(cls: type) -> str:
    """The name under which `lookup` finds this class again, in any process."""
    for name, entry in _installed().items():
        if entry.value == f"{cls.__module__}:{cls.__qualname__}":
            return name
    module = sys.modules[cls.__module__]
    file = getattr(module, "__file__", None)
    if cls.__module__.startswith("airtrack."):
        return cls.__module__.rpartition(".")[2]
    if file is None:
        fact = f"{cls.__qualname__} lives in no file, so that no worker process could import it; put it into a .py file"
        raise SpecError(fact)
    return f"{Path(file).resolve()}:{cls.__qualname__}"


# ------------------------------------------------------------------------------------------------------------ specs


def build(role: str, spec: Any) -> Any:
    """The part that a spec describes: `{"name": …, field: value …}`, a bare name, or a part as it is."""
    if family_of(spec) and not isinstance(spec, type):
        if family_of(spec) not in ROLES[role]:
            raise SpecError(f"{article(role)} is needed here, {type(spec).__name__} is {article(str(family_of(spec)))}")
        return spec
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        raise SpecError(f"expected {article(role)}, such as {{name: …}}, got {spec!r}")
    fields = dict(cast("Mapping[str, Any]", spec))
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise SpecError(f"{article(role)} needs a name{nearest('', known(role))}")
    cls = lookup(role, name)
    there = {f.name: f for f in dataclasses.fields(cls)}
    for field, value in fields.items():
        if field not in there:
            raise SpecError(f"{name} has no field {field!r}{nearest(str(field), there)}")
        if isinstance(value, Mapping) and set(cast("Mapping[str, Any]", value)) == {"grid"}:
            values = cast(Any, value)["grid"]
            if not isinstance(values, (list, tuple)):
                raise SpecError(f"a grid is a list of values, got {values!r}", field)
            try:
                fields[field] = Grid(*cast("list[Any]", values))
            except SpecError as error:
                raise error.below(field) from None
    missing = [n for n, f in there.items() if n not in fields and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise SpecError(f"{name} needs a value for {', '.join(missing)}")
    return cls(**fields)


def to_spec(value: Any) -> Any:
    """A part as plain data, with every default written out; `build` makes an equal part of it.

    >>> to_spec(Grid(1, 2))
    {'grid': [1, 2]}
    """
    return _spec(value, lambda cls: {"name": name_of(cls)})


def key(value: Any) -> str:
    """16 hexadecimal digits that name this part and its behaviour: fields, defaults, versions; not where files lie."""
    return digest(_spec(value, _identity))


def identity(value: Any) -> Any:
    """The data that `key` hashes."""
    return _spec(value, _identity)


def digest(data: Any) -> str:
    """16 hexadecimal digits of plain data, the same for equal data in any order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _identity(cls: type) -> dict[str, Any]:
    name = name_of(cls)
    if ":" not in name:
        return {"name": name, "version": cls.version}
    file, _, attribute = name.rpartition(
        ":"
    )  # a user's file has no version that anybody keeps: its text is its version
    text = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    return {"name": f"{Path(file).name}:{attribute}", "version": text}


def _spec(value: Any, head: Callable[[type], dict[str, Any]]) -> Any:
    if family_of(value):
        return head(type(value)) | {f.name: _spec(getattr(value, f.name), head) for f in dataclasses.fields(value)}
    if isinstance(value, Grid):
        return {"grid": [_spec(v, head) for v in value.values]}
    if isinstance(value, (tuple, list)):
        return [_spec(v, head) for v in cast("tuple[Any]", value)]
    if isinstance(value, Mapping):
        return {str(k): _spec(v, head) for k, v in cast("Mapping[Any, Any]", value).items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise SpecError(f"{value!r} cannot be written into a specification; use numbers, strings, lists and parts")
