"""A study: YAML and Python are the same thing, and a trial's key says all that decides its result, and nothing else."""

import dataclasses
import json
from copy import deepcopy
from functools import cache

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from airtrack.core.part import Grid, SpecError, to_spec
from airtrack.study.spec import BUILT_IN, Study, Tune, axes, with_grid
from airtrack.study.spec import settings as settings_of

STUDIES = sorted(p.stem for p in BUILT_IN.glob("*.yaml"))


def keys(study):
    return [study.trial(one, seed).key for arm in study.arms.values() for _, one in settings_of(arm) for seed in (0, 1)]


def loaded(study, folder):
    path = folder / "study.yaml"
    path.write_text(study.to_yaml(), "utf-8")
    return Study.load(path)


# ------------------------------------------------------------------------------------------------------- round trips


steps = st.floats(1e-8, 1e8) | st.integers(1, 10**6)
grids = st.integers(1, 3).flatmap(lambda n: st.lists(steps, min_size=n, max_size=n, unique_by=float))
svrg = st.fixed_dictionaries({"name": st.just("svrg")}, optional={"params": st.sampled_from(["theory", "practical"])})
texts = st.text(max_size=12) | st.sampled_from(
    ["yes", "1e3", "null", "- a", "a: b", "#", " x ", "0x1f", "1_0", "~", ".", "\x85", "a\u2028 b"]
)


@st.composite
def studies(draw):
    names = draw(st.lists(texts, min_size=2, max_size=4, unique=True))
    size = draw(st.integers(0, 3))
    arms = {}
    for name in names:
        arms[name] = draw(svrg)
        if size:
            values = st.lists(steps, min_size=size, max_size=size, unique_by=float)
            arms[name] = arms[name] | {"step": {"grid": draw(values)}}
    ways = [{"baseline": names[0]}, {"comparisons": [[names[0], names[1]]]}]
    optional = {
        "question": st.text(max_size=30),
        "metric": st.sampled_from(["gap", "distance"]),
        "seeds": st.integers(1, 99) | st.just("auto"),
        "tune": st.fixed_dictionaries({}, optional={"seeds": st.integers(1, 9), "extend": st.integers(0, 9)}),
        "alpha": st.floats(1e-6, 0.4),
        "stop_at": st.dictionaries(st.sampled_from(["gap", "distance"]), st.floats(1e-9, 1) | st.just(1), max_size=2),
        "points": st.integers(0, 50),
        "name": st.from_regex(r"[a-z0-9 é_-]{1,9}", fullmatch=True),
    }
    task = {"name": "logistic", "n": draw(st.integers(5, 50)), "d": 3}
    spec = {
        "task": task,
        "budget": draw(st.integers(1, 10**9) | st.floats(1, 1e12)),
        "arms": arms,
        **draw(st.sampled_from(ways)),
    }
    return spec | draw(st.fixed_dictionaries({}, optional=optional))


@settings(deadline=None, max_examples=40)
@given(studies())
def test_yaml_and_python_are_the_same_thing(tmp_path_factory, spec):
    study = Study.from_spec(spec)
    again = loaded(study, tmp_path_factory.mktemp("yaml"))
    assert again == study
    assert again.to_spec() == study.to_spec()
    assert keys(again) == keys(study)
    assert Study.from_spec(json.loads(json.dumps(study.to_spec()))) == study
    turned = {name: spec[name] for name in reversed(spec)}
    assert keys(Study.from_spec(turned)) == keys(study)


@pytest.mark.parametrize("name", STUDIES)
def test_built_in_studies_come_back(name, tmp_path):
    study = Study.load(name)
    assert study.name == name
    assert study.question.endswith("?")
    again = loaded(study, tmp_path)
    assert again == study
    assert keys(again) == keys(study)
    study.least_budget()


def test_every_default_is_written_out(toys):
    spec = toys.study().to_spec()
    assert set(spec) == {f.name for f in dataclasses.fields(Study)}
    assert set(spec["tune"]) == {f.name for f in dataclasses.fields(Tune)}
    assert set(spec["arms"]["low"]) == {"name", *(f.name for f in dataclasses.fields(toys.Dial))}


def test_python_and_yaml_by_hand_agree(tmp_path):
    from airtrack.solvers.convex.svrg import Svrg
    from airtrack.tasks.logistic import Logistic

    python = Study(
        task=Logistic(n=20, d=3),
        arms={"a": Svrg(step=Grid(0.1, 1)), "b": Svrg(params="practical", step=Grid(0.1, 1))},
        budget=1e3,
        comparisons=[("a", "b")],
        tune=Tune(seeds=3),
        name="study",
    )
    text = """
task: {name: logistic, n: 20, d: 3}
budget: 1000
comparisons: [[a, b]]
tune: {seeds: 3}
arms:
  a: {name: svrg, step: {grid: [1e-1, 1]}}
  b: {name: svrg, params: practical, step: {grid: [.1, 1.0]}}
"""
    (tmp_path / "study.yaml").write_text(text)
    assert Study.load(tmp_path / "study.yaml") == python
    assert keys(Study.load(tmp_path / "study.yaml")) == keys(python)


def test_numbers_in_yaml_are_read_as_people_write_them(tmp_path, toys):
    path = tmp_path / "s.yaml"
    for text, number in (("1e3", 1000), ("1_000", 1000), ("1.5E+2", 150), (".5e3", 500), ("2e0", 2)):
        arms = f"{{a: {{name: '{toys.file}:Dial'}}, b: {{name: '{toys.file}:Dial', aim: 1e-1}}}}"
        path.write_text(f"task: {{name: '{toys.file}:Toy'}}\nbudget: {text}\nbaseline: a\narms: {arms}\n")
        assert Study.load(path).budget == number
        assert Study.load(path).arms["b"].aim == 0.1


def test_merge_keys_and_anchors_work(tmp_path, toys):
    (tmp_path / "s.yaml").write_text(f"""
task: {{name: '{toys.file}:Toy'}}
budget: 10
baseline: a
arms:
  a: &a {{name: '{toys.file}:Dial', aim: 0.25, count: 3}}
  b: {{<<: *a, aim: 0.75}}
""")
    arms = Study.load(tmp_path / "s.yaml").arms
    assert arms == {"a": toys.Dial(aim=0.25, count=3), "b": toys.Dial(aim=0.75, count=3)}


def test_arms_that_yaml_reads_as_numbers_have_their_names(tmp_path, toys):
    dial = f"{{name: '{toys.file}:Dial'}}"
    head = f"task: {{name: '{toys.file}:Toy'}}\nbudget: 10\n"
    (tmp_path / "s.yaml").write_text(f"{head}baseline: 8\narms: {{8: {dial}, 0.5: {dial}}}\n")
    assert Study.load(tmp_path / "s.yaml").pairs == (("0.5", "8"),)
    (tmp_path / "s.yaml").write_text(f"{head}comparisons: [[8, 0.5]]\narms: {{8: {dial}, 0.5: {dial}}}\n")
    assert Study.load(tmp_path / "s.yaml").pairs == (("8", "0.5"),)


def test_yaml_has_no_tags_or_anchors(toys):
    text = toys.study({"a": toys.Dial(), "b": toys.Dial(), "c": toys.Dial()}).to_yaml()
    assert "!" not in text
    assert "&" not in text
    assert yaml.safe_load(text)["arms"]["a"]["aim"] == 0.5


# --------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "change",
    [
        lambda toys: {"task": toys.Toy(size=4)},
        lambda toys: {"budget": 21},
        lambda toys: {"points": 15},
        lambda toys: {"stop_at": {"score": 0.4}},
        lambda toys: {"arms": {"low": toys.Dial(aim=0.3), "high": toys.Dial(aim=0.7)}},
    ],
)
def test_all_that_decides_a_result_is_in_the_key(change, toys):
    assert not set(keys(toys.study())) & set(keys(toys.study(**{"baseline": "low", **change(toys)})))


@pytest.mark.parametrize(
    "change",
    [
        {"question": "Why?"},
        {"name": "another"},
        {"seeds": "auto"},
        {"alpha": 0.01},
        {"metric": "loss"},
        {"smallest_effect": 0.5},
        {"tune": {"seeds": 5}},
        {"baseline": "high"},
        {"budget": 2e1},
    ],
)
def test_nothing_else_is_in_the_key(change, toys):
    """So that trials are shared between studies, and one may ask another question of the same trials."""
    assert keys(toys.study(**change)) == keys(toys.study())


def test_seeds_have_keys_of_their_own(toys):
    study = toys.study()
    assert len({study.trial(study.arms["low"], seed).key for seed in range(100)}) == 100


def test_threshold_of_one_is_one_key(toys):
    assert keys(toys.study(stop_at={"score": 1})) == keys(toys.study(stop_at={"score": 1.0}))


# -------------------------------------------------------------------------------------------------------- what is wrong


WRONG = [
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "x",
    "auto",
    "a:b",
    [],
    ["x"],
    [[1]],
    {},
    {1: 2},
]
WRONG += [{"grid": []}, {"grid": [1, 2]}, {"grid": ["a", "b"]}, {"name": "svrg"}, {"name": None}, {None: 1}]


def places(data, path=()):
    """Where a value can be put in the place of another."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path] + [place for name, value in inner for place in places(value, (*path, name))]


@cache
def plain(name):
    return Study.load(name).to_spec()


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(STUDIES), st.data())
def test_whatever_stands_in_a_study_it_is_built_or_refused_in_one_line(name, data):
    spec = deepcopy(plain(name))
    *way, last = data.draw(st.sampled_from(places(spec)[1:]))
    inner = spec
    for step in way:
        inner = inner[step]
    inner[last] = data.draw(st.sampled_from(WRONG))
    said = ""
    try:
        made = Study.from_spec(spec)
        assert Study.from_spec(made.to_spec()) == made
    except SpecError as refused:
        said = str(refused)
    assert "\n" not in said


# -------------------------------------------------------------------------------------------------------------- grids


def test_settings_fill_every_grid_of_nested_parts():
    spec = {
        "name": "then",
        "first": {
            "name": "train",
            "net": {"name": "decoder", "layers": 1, "width": {"grid": [8, 16]}, "heads": 2},
            "optim": {"name": "adamw", "lr": {"grid": [0.1, 0.2, 0.4]}},
        },
        "changes": [{"name": "rtn", "bits": {"grid": [2, 3]}}],
    }
    from airtrack.core.part import build

    found = settings_of(build("recipe", spec))
    assert len(found) == len({json.dumps(choice) for choice, _ in found}) == 12
    paths = ["first.net.width", "first.optim.lr", "changes.0.bits"]
    for choice, recipe in found:
        assert list(choice) == paths
        values = [recipe.first.net.width, recipe.first.optim.lr, recipe.changes[0].bits]
        assert values == [choice[path] for path in paths]


def test_a_grid_may_hold_whole_parts():
    from airtrack.core.part import build

    nets = [{"name": "decoder", "layers": n, "width": 8, "heads": 2} for n in (1, 2)]
    arm = build("recipe", {"name": "train", "net": {"grid": nets}, "optim": {"name": "adamw", "lr": 0.1}})
    assert [recipe.net.layers for _, recipe in settings_of(arm)] == [1, 2]


def test_axes_and_with_grid(toys):
    dial = toys.Dial(aim=Grid(0.1, 0.2), count=Grid(1, 2))
    assert axes(to_spec(dial)) == {"aim": [0.1, 0.2], "count": [1, 2]}
    grown = with_grid(dial, "aim", [0.1, 0.2, 0.3])
    assert axes(to_spec(grown)) == {"aim": [0.1, 0.2, 0.3], "count": [1, 2]}


def test_no_grid_is_one_setting(toys):
    assert settings_of(toys.Dial()) == [({}, toys.Dial())]


# ------------------------------------------------------------------------------------------------------------ the rest


def test_pairs_and_defaults(toys):
    arms = {name: toys.Dial() for name in "abc"}
    study = toys.study(arms, baseline="b")
    assert study.pairs == (("a", "b"), ("c", "b"))
    assert (study.metric, study.tuned, study.measure.better) == ("score", False, "high")
    assert toys.study(arms, comparisons=[["a", "c"]]).pairs == (("a", "c"),)


def test_what_is_compared_under_a_threshold_is_work(toys):
    assert toys.study(stop_at={"score": 0.5}).compared.better == "low"
    assert toys.study().compared == toys.study().measure


def test_least_budget_is_the_costliest_step():
    spec = {"task": {"name": "logistic", "n": 50, "d": 3}, "baseline": "a", "arms": {"a": "svrg", "b": "katyusha"}}
    assert Study.from_spec(spec | {"budget": 51}).least_budget() == 51
    with pytest.raises(SpecError, match=r"budget: 50 gradients is less than one step of a, which costs 51; raise"):
        Study.from_spec(spec | {"budget": 50}).least_budget()


def test_a_study_is_frozen_and_its_data_are_its_own(toys):
    study = toys.study()
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.budget = 3
    study.to_spec()["arms"]["low"]["aim"] = 9
    assert study.arms["low"].aim == 0.2
