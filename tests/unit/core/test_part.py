"""Parts: what is refused and how it is said; specifications that lose nothing; keys that say what was run."""

import dataclasses
import json
import subprocess
import sys
import types
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Gt, Lt
from hypothesis import given
from hypothesis import strategies as st

from airtrack.core import part as module
from airtrack.core.part import (
    FAMILIES,
    ROLES,
    Grid,
    Slot,
    SpecError,
    build,
    digest,
    family_of,
    holds_grid,
    identity,
    key,
    known,
    load_object,
    lookup,
    name_of,
    nearest,
    part,
    relative_to,
    shipped,
    to_spec,
)

FILE = """
from typing import Annotated, Any, Literal
from annotated_types import Gt, Lt
from airtrack.core.part import part, Slot


@part("optim")
class Inner:
    step: Annotated[float, Gt(0), Lt(1)] = 0.5
    kind: Literal["plain", "heavy"] = "plain"


@part("train")
class Outer:
    size: int
    inner: Annotated[Any, Slot("optim")] = Inner()
    more: tuple[Annotated[Any, Slot("optim")], ...] = ()
    ends: tuple[float, float] = (0.0, 1.0)
    label: str | None = None
    fast: bool = False
    version = 1

    def check(self):
        if self.fast and self.size > 100:
            raise ValueError("fast: true is for sizes up to 100; leave it out")
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """(Outer, Inner, the file they are in)"""
    path = tmp_path_factory.mktemp("parts") / "own.py"
    path.write_text(FILE, "utf-8")
    return load_object(f"{path}:Outer"), load_object(f"{path}:Inner"), path


# ------------------------------------------------------------------------------------------------------ what is checked


def test_a_part_is_frozen_and_keyword_only(parts):
    Outer, _, _ = parts
    outer = Outer(size=3)
    assert (outer.size, outer.inner.step, outer.more) == (3, 0.5, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        outer.size = 4
    with pytest.raises(TypeError):
        Outer(3)
    assert Outer(size=3) == outer
    assert len({outer, Outer(size=3)}) == 1


def test_whole_numbers_serve_as_floats_and_lists_as_tuples(parts):
    outer = parts[0](size=1, ends=[1, 2])
    assert outer.ends == (1.0, 2.0)
    assert all(isinstance(end, float) for end in outer.ends)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": "3"}, "size: expected an integer, got '3'"),
        ({"size": 3.0}, "size: expected an integer, got 3.0"),
        ({"size": True}, "size: expected an integer, got True"),
        ({"size": None}, "size: expected an integer, got None"),
        ({"size": 1, "label": 3}, "label: expected a string, got 3"),
        ({"size": 1, "fast": 1}, "fast: expected true or false, got 1"),
        ({"size": 1, "ends": [1, "x"]}, "ends.1: expected a float, got 'x'"),
        ({"size": 1, "ends": [1, float("inf")]}, "ends.1: input should be a finite number, got inf"),
        ({"size": 1, "inner": {"name": "INNER", "step": 1.0}}, "inner.step: input should be less than 1, got 1.0"),
        (
            {"size": 1, "inner": {"name": "INNER", "stepp": 1.0}},
            "has no field 'stepp'; did you mean 'step'?",
        ),
        (
            {"size": 1, "inner": {"name": "INNER", "kind": "heavvy"}},
            "'heavvy' is none of plain, heavy; did you mean",
        ),
        ({"size": 1, "inner": {"name": "adamww"}}, "inner: no optim is named 'adamww'; did you mean 'adamw'?"),
        (
            {"size": 1, "inner": {"name": "OUTER", "size": 1}},
            "of the family train, but an optim is needed here",
        ),
        (
            {"size": 1, "more": [{"name": "INNER"}, {"name": "INNER", "step": 2.0}]},
            "more.1.step: input should be",
        ),
        ({"size": 1, "inner": 3}, "inner: expected an optim, such as {name: …}, got 3"),
        ({"size": 101, "fast": True}, "fast: true is for sizes up to 100; leave it out"),
    ],
)
def test_refusals_say_where_what_and_what_to_do(fields, said, parts):
    Outer, _, path = parts
    text = json.dumps(fields).replace("INNER", f"{path}:Inner").replace("OUTER", f"{path}:Outer")
    with pytest.raises(SpecError) as refused:
        Outer(**json.loads(text))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "svrg", 1: 2}, "svrg has no field 1; known: params, sampling, step"),
        ({"name": 3}, "a solver needs a name"),
        ({}, "a solver needs a name"),
        (None, "expected a solver, such as {name: …}, got None"),
        ([], "expected a solver"),
        ("ojja", "no solver is named 'ojja'; did you mean 'oja'?"),
        ("", "no solver is named ''"),
        ({"name": "decoder"}, "no solver is named 'decoder'"),
        ({"name": "svrg", "step": {"grid": "abc"}}, "step: a grid is a list of values, got 'abc'"),
        ({"name": "svrg", "step": {"grid": [1.0, 1]}}, "step: a grid names a value twice"),
        ({"name": "svrg", "step": {"grid": [1.0], "more": 1}}, "step: expected a float, got {'grid'"),
    ],
)
def test_build_refuses(spec, said):
    with pytest.raises(SpecError) as refused:
        build("solver", spec)
    assert said in str(refused.value)


def test_a_missing_field_is_named(parts):
    with pytest.raises(SpecError, match="needs a value for size"):
        build("train", {"name": f"{parts[2]}:Outer"})


def test_a_part_of_another_family_is_refused(parts):
    with pytest.raises(SpecError, match="a solver is needed here, Inner is an optim"):
        build("solver", parts[1]())


def test_an_unknown_family_is_refused():
    with pytest.raises(SpecError, match="no family of parts is named 'sovler'; did you mean 'solver'"):
        part("sovler")


def test_check_waits_until_there_is_no_grid(parts):
    waits = parts[0](size=Grid(50, 101), fast=True)
    assert holds_grid(waits)
    with pytest.raises(SpecError, match="sizes up to 100"):
        parts[0](size=101, fast=True)


def test_grids_are_seen_in_parts_within_parts(parts):
    Outer, Inner, _ = parts
    assert not holds_grid(Outer(size=1, more=[Inner()]))
    assert holds_grid(Outer(size=1, inner=Inner(step=Grid(0.1, 0.2))))
    assert holds_grid(Outer(size=1, more=[Inner(), Inner(step=Grid(0.1, 0.2))]))


def test_nearest():
    assert nearest("zzz", ["oja"]) == "; known: oja"
    assert nearest("x", []) == "; known: none"


# ------------------------------------------------------------------------------------------------------ round trip


def inner_specs(path):
    step = st.floats(1e-3, 0.999) | st.lists(st.floats(1e-3, 0.999), min_size=1, max_size=3, unique=True).map(
        lambda values: {"grid": values}
    )
    fields = st.fixed_dictionaries({}, optional={"step": step, "kind": st.sampled_from(["plain", "heavy"])})
    return fields.map(lambda spec: {"name": f"{path}:Inner", **spec})


@given(st.data())
def test_specification_loses_nothing(parts, data):
    path = parts[2]
    optional = {
        "inner": inner_specs(path),
        "more": st.lists(inner_specs(path), max_size=2),
        "ends": st.tuples(st.floats(-9, 9), st.floats(-9, 9)).map(list),
        "label": st.none() | st.text(),
    }
    spec = data.draw(st.fixed_dictionaries({"size": st.integers()}, optional=optional))
    made = build("train", {"name": f"{path}:Outer", **spec})
    written = to_spec(made)
    assert set(written) == {"name", "size", "inner", "more", "ends", "label", "fast"}  # defaults are written out
    again = build("train", json.loads(json.dumps(written)))
    assert again == made
    assert to_spec(again) == written
    assert key(again) == key(made)
    turned = dict(reversed(written.items()))
    assert key(build("train", turned)) == key(made)


@pytest.mark.parametrize("family", FAMILIES)
def test_shipped_parts_are_found_again_by_name(family):
    for name in shipped(family):
        cls = lookup(family, name)
        assert family_of(cls) == family
        assert name_of(cls) == name
        if hasattr(cls, "example"):
            made = cls(**cls.example)
            assert build(family, to_spec(made)) == made


def test_values_that_no_file_holds_are_refused():
    with pytest.raises(SpecError, match="cannot be written into a specification; use numbers"):
        to_spec({"a": object()})


# ------------------------------------------------------------------------------------------------------------- keys


def test_key_is_known():
    """Keys name files in ledgers all over the world: they may change only when a part's version does."""
    assert digest({"b": 1, "a": [1.5, None, True, "ü"]}) == digest({"a": [1.5, None, True, "ü"], "b": 1})
    assert digest({"b": 1, "a": [1.5, None, True, "ü"]}) == "cbb4e4b56e527e83"


@pytest.mark.parametrize(
    "change",
    [
        {"size": 2},
        {"ends": [0.0, 1.5]},
        {"label": "x"},
        {"fast": True},
        {"inner": {"step": 0.4}},
        {"inner": {"kind": "heavy"}},
        {"more": [{}]},
    ],
)
def test_every_field_is_in_the_key(change, parts):
    Outer, Inner, path = parts
    named = {
        "inner": lambda v: {"name": f"{path}:Inner", **v},
        "more": lambda v: [{"name": f"{path}:Inner"} for _ in v],
    }
    change = {field: named.get(field, lambda v: v)(value) for field, value in change.items()}
    assert key(Outer(**{"size": 1, **change})) != key(Outer(size=1))
    assert key(Outer(size=1, inner=Inner(step=0.5))) == key(Outer(size=1))  # a default that is said is the default


def test_version_is_in_the_key(monkeypatch):
    made = build("solver", "svrg")
    before = key(made)
    monkeypatch.setattr(type(made), "version", 99)
    module._identity.cache_clear()
    assert key(made) != before
    monkeypatch.undo()
    module._identity.cache_clear()
    assert key(made) == before


def test_a_changed_default_changes_the_key(tmp_path):
    keys = set()
    for folder, text in (("a", FILE), ("b", FILE), ("c", FILE.replace("= 0.5", "= 0.25"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(text, "utf-8")
        made = build("optim", f"{tmp_path / folder / 'own.py'}:Inner")
        keys.add((folder == "c", key(made)))
    assert len(keys) == 2  # not where the file lies, but what it says


def test_folders_are_not_in_the_key(parts):
    text = json.dumps(identity(parts[0](size=1)))
    assert str(parts[2].parent) not in text
    assert '"own.py:Outer"' in text


# ----------------------------------------------------------------------------------------------------------- lookup


def test_lookup_imports_the_one_file_and_no_other():
    code = "import sys; from airtrack.core.part import *; lookup('solver', 'uniform'); known('net')\n"
    code += "print(sorted(m for m in sys.modules if m.startswith('airtrack.') and m.split('.')[1] not in ('core',)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    assert found == "['airtrack.solvers', 'airtrack.solvers.episodes', 'airtrack.solvers.episodes.uniform']"


def test_names_are_relative_to_the_study(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "own.py").write_text(FILE, "utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="there is no file"):
        build("optim", "own.py:Inner")
    with relative_to(tmp_path / "deep"):
        assert build("optim", "own.py:Inner").step == 0.5
    assert build("optim", "deep/own.py:Inner").step == 0.5
    assert name_of(type(build("optim", "deep/own.py:Inner"))) == f"{(tmp_path / 'deep' / 'own.py').resolve()}:Inner"


def test_a_file_without_the_name_says_what_it_has(parts):
    with pytest.raises(SpecError, match=r"own\.py defines no 'Iner'; did you mean 'Inner'\?"):
        build("optim", f"{parts[2]}:Iner")


def test_a_class_that_is_no_part_is_refused(tmp_path):
    (tmp_path / "plain.py").write_text("class Plain:\n    pass\n")
    with pytest.raises(SpecError, match="is not a part: mark it with @part"):
        build("optim", f"{tmp_path / 'plain.py'}:Plain")


def test_a_file_may_import_its_neighbours_and_is_imported_once(tmp_path):
    (tmp_path / "beside_it.py").write_text("STEP = 0.125\n")
    (tmp_path / "own.py").write_text("from beside_it import STEP\n" + FILE.replace("= 0.5", "= STEP"), "utf-8")
    first, second = (load_object(f"{tmp_path}/own.py:Inner") for _ in range(2))
    assert first is second
    assert first().step == 0.125
    assert str(tmp_path) not in sys.path


def test_a_file_with_a_fault_is_refused_each_time(tmp_path):
    (tmp_path / "own.py").write_text("import nothing_of_this_name\n")
    for _ in range(2):
        with pytest.raises(SpecError, match=r"own\.py could not be imported: ModuleNotFoundError: No module named"):
            load_object(f"{tmp_path}/own.py:Inner")


def test_a_class_of_no_file_cannot_be_sent_to_a_worker():
    space: dict[str, Any] = {"__name__": "nowhere"}
    sys.modules["nowhere"] = types.ModuleType("nowhere")
    try:
        exec("from airtrack.core.part import part\n@part('optim')\nclass Loose:\n    step: float = 1.0", space)
        with pytest.raises(SpecError, match=r"Loose lives in no file, .*; put it into a \.py file"):
            to_spec(space["Loose"]())
    finally:
        del sys.modules["nowhere"]


def test_roles_name_families():
    assert {family for families in ROLES.values() for family in families} == set(FAMILIES)
    assert {"svrg", "then", "train"} <= set(known("recipe"))


@part("task")
class Local:
    """A part in a test file: its annotations are looked up in this module."""

    odds: Annotated[float, Gt(0), Lt(1)] = 0.5
    kind: Literal["a", "b"] = "a"
    below: Annotated[Any, Slot("solver")] = "uniform"
    count: ClassVar[int] = 3


def test_a_bare_name_fills_a_slot():
    assert to_spec(Local())["below"] == {"name": "uniform"}
