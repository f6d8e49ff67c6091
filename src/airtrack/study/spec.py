"""A study: a question, a task, arms, and the rules by which the answer will be found. The same in YAML and Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from airtrack.core.part import Grid, SpecError, article, build, holds_grid, load_object, nearest, relative_to, to_spec
from airtrack.core.problem import Metric
from airtrack.core.streams import Streams
from airtrack.study.readings import MOST
from airtrack.study.trial import Trial, misfit

if TYPE_CHECKING:
    from airtrack.study.result import Result

BUILT_IN = Path(__file__).parent.parent / "studies"
TUNE_SEEDS = 1_000_000  # tuning seeds start here, far from any confirmation seed


@dataclass(frozen=True, kw_only=True)
class Tune:
    """How arms are tuned.

    seeds   for each setting
    extend  how many times a grid may grow while its best value is at an edge
    """

    seeds: int = 2
    extend: int = 3


@dataclass(frozen=True, kw_only=True)
class Study:
    """A grid of trials with a question.

    task         what is to be learned
    arms         name → recipe, with a `Grid` in every field that is to be tuned
    budget       work of one trial, in the task's unit
    metric       what is compared; by default the task's first
    baseline     every other arm is compared with it …
    comparisons  … or these pairs are: (a, b) asks whether a is better than b
    seeds        paired seeds that the verdict rests on; "auto" looks at planned numbers of seeds and stops early
    tune         how arms with grids are tuned; on seeds that the verdict never uses
    smallest_effect  the least difference that matters, on the metric's scale; without it "equivalent" is never said
    stop_at      {metric: threshold}: trials end there, and the time to get there is compared
    points       points of each curve

    >>> study = Study.from_spec({"task": {"name": "logistic"}, "budget": 20000, "baseline": "svrg",
    ...     "arms": {"svrg": {"name": "svrg"}, "katyusha": {"name": "katyusha"}}})
    >>> study.pairs, study == Study.from_spec(study.to_spec())
    ((('katyusha', 'svrg'),), True)
    """

    task: Any
    arms: Mapping[str, Any]
    budget: float
    question: str = ""
    metric: str | None = None
    baseline: str | None = None
    comparisons: tuple[tuple[str, str], ...] | None = None
    seeds: int | str = 8
    tune: Tune = field(default_factory=Tune)
    alpha: float = 0.05
    smallest_effect: float | None = None
    stop_at: Mapping[str, float] = field(default_factory=dict[str, float])
    points: int = 16
    name: str = "study"

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("task", _at("task", lambda: build("task", self.task)))
        if holds_grid(self.task):
            raise SpecError("a grid belongs to an arm: a task that differs between trials cannot be compared", "task")
        if not isinstance(self.arms, Mapping) or len(self.arms) < 2:
            raise SpecError("expected at least two arms, each a name: recipe", "arms")
        arms = {
            str(name): _at(f"arms.{name}", lambda r=recipe: build("recipe", r)) for name, recipe in self.arms.items()
        }
        put("arms", arms)
        if isinstance(self.tune, Mapping):
            put("tune", _record(Tune, self.tune, "tune"))
        if not isinstance(self.tune, Tune):
            raise SpecError(f"expected a mapping such as {{seeds: 2}}, got {self.tune!r}", "tune")
        if self.comparisons is not None:
            put("comparisons", tuple((str(a), str(b)) for a, b in _pairs(self.comparisons)))
        put("stop_at", _mapped(self.stop_at or {}, "stop_at", "{metric: threshold}"))
        if isinstance(self.baseline, (int, float)):  # YAML's reading of an arm named 8 or 0.1
            put("baseline", str(self.baseline))
        self._check()
        put("stop_at", {name: float(threshold) for name, threshold in self.stop_at.items()})
        if float(self.budget).is_integer():  # 1e3 and 1000 are one budget, with one key
            put("budget", int(self.budget))

    def _check(self) -> None:
        for where in ("question", "name", "metric", "baseline"):
            text = getattr(self, where)
            if not (isinstance(text, str) or (text is None and where in ("metric", "baseline"))):
                raise SpecError(f"expected text, got {text!r}", where)
        metrics = dict(self.task.metrics)
        if self.metric is None:
            object.__setattr__(self, "metric", next(iter(metrics)))
        for where, name in (("metric", self.metric), *(("stop_at", m) for m in self.stop_at)):
            if name not in metrics:
                raise SpecError(
                    f"the task {type(self.task).__name__} has no metric {name!r}{nearest(str(name), metrics)}", where
                )
        _number(self.budget, "budget", above=0)
        if self.seeds != "auto":
            _whole(self.seeds, "seeds", least=1, other='or "auto"')
            if int(self.seeds) > MOST:
                raise SpecError(f"the statistics take {MOST} seeds at most, got {self.seeds}", "seeds")
        _whole(self.tune.seeds, "tune.seeds", least=1)
        _whole(self.tune.extend, "tune.extend", least=0)
        _whole(self.points, "points", least=0)
        _number(self.alpha, "alpha", above=0, below=0.5)
        if self.smallest_effect is not None:
            ratio = self.compared.scale == "log"
            _number(
                self.smallest_effect,
                "smallest_effect",
                above=1 if ratio else 0,
                kind="a ratio" if ratio else "a number",
            )
        for metric, threshold in self.stop_at.items():
            _number(threshold, f"stop_at.{metric}")
            low, high = metrics[metric].bounds
            if not low <= threshold <= high:
                raise SpecError(f"{metric} reads {low:g} … {high:g}, never {threshold:g}", f"stop_at.{metric}")
        if not re.fullmatch(r"[^./\\\0][^/\\\0]*", self.name):
            raise SpecError(f"{self.name!r} is no name for a file; leave out / and a . in front", "name")
        if (self.baseline is None) == (self.comparisons is None):
            raise SpecError("say either `baseline: ARM` (all others against it) or `comparisons: [[a, b], …]`")
        for arm in (self.baseline,) if self.baseline is not None else (a for pair in self.pairs for a in pair):
            if arm not in self.arms:
                raise SpecError(
                    f"no arm is named {arm!r}{nearest(str(arm), self.arms)}",
                    "baseline" if self.baseline else "comparisons",
                )
        counts: dict[str, int] = {}
        for name, recipe in self.arms.items():
            if reason := misfit(self.task, recipe):
                raise SpecError(reason, f"arms.{name}")
            counts[name] = len(_at(f"arms.{name}", lambda r=recipe: settings(r)))
        for a, b in self.pairs:
            if counts[a] != counts[b]:
                fact = f"{a} is tuned over {counts[a]} settings and {b}, which it is compared with, over {counts[b]}"
                raise SpecError(f"{fact}; give both the same number", "arms")

    def least_budget(self) -> float:
        """Work of one step of the costliest arm; refuses a budget below it. Poses the problem once."""
        given = self.task.pose(Streams(0) / "task").given
        costs: dict[str, float] = {}
        for name, recipe in self.arms.items():
            first = getattr(recipe, "first", recipe)
            costs[name] = first.step_cost(given) if hasattr(first, "step_cost") else 1
            if costs[name] > self.budget:
                fact = f"{self.budget:g} {self.task.unit} is less than one step of {name}, which costs {costs[name]:g}"
                raise SpecError(f"{fact}; raise the budget", "budget")
        return max(costs.values())

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The comparisons: (a, b) asks whether a is better than b."""
        if self.comparisons is not None:
            return self.comparisons
        return tuple((arm, cast(str, self.baseline)) for arm in self.arms if arm != self.baseline)

    @property
    def measure(self) -> Metric:
        """What the metric is."""
        return self.task.metrics[cast(str, self.metric)]

    @property
    def compared(self) -> Metric:
        """What a reading is: the metric, or the work until `stop_at` is met."""
        return Metric("low", (0.0, self.budget), "log") if self.stop_at else self.measure

    @property
    def tuned(self) -> bool:
        """Whether any arm has a grid."""
        return any(map(holds_grid, self.arms.values()))

    def trial(self, recipe: Any, seed: int) -> Trial:
        return Trial(self.task, recipe, seed, self.budget, self.points, self.stop_at)

    def run(self, ledger: str | Path = "ledger", **options: Any) -> Result:
        """Run what is missing and return the result; shows progress in a terminal and in a notebook. See `run.run`."""
        from airtrack.study.live import shown

        return shown(self, ledger, **options)

    # ------------------------------------------------------------------------------------------------ as plain data

    def to_spec(self) -> dict[str, Any]:
        """Plain data with every default written out; `Study.from_spec` makes an equal study of it."""
        spec = {f.name: getattr(self, f.name) for f in fields(self)}
        spec["tune"] = {f.name: getattr(self.tune, f.name) for f in fields(Tune)}
        return {name: to_spec(value) for name, value in spec.items()}

    @classmethod
    def from_spec(cls, spec: Any, *, name: str = "study", folder: Path | None = None) -> Study:
        """The study that plain data describe; names such as `block.py:Block` are looked up from `folder`."""
        if not isinstance(spec, Mapping):
            raise SpecError(f"a study is a mapping with task, arms, budget …; got {type(spec).__name__}")
        spec = {"name": name, **cast("Mapping[str, Any]", spec)}
        with relative_to(folder):
            return _record(cls, spec)

    def to_yaml(self) -> str:
        return yaml.dump(self.to_spec(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)

    @classmethod
    def load(cls, source: str | Path) -> Study:
        """A study by the name of a built-in one, a .yaml file, or file.py:function."""
        text = str(source)
        if re.search(r"\.py:\w+$", text):
            made = load_object(text)
            study = made() if callable(made) else made
            if isinstance(study, Study):
                return study
            if isinstance(study, Mapping):
                file, _, function = text.rpartition(":")
                return cls.from_spec(study, name=function, folder=Path(file).resolve().parent)
            raise SpecError(f"{text} gave {article(type(study).__name__)}; it should return a Study")
        path = Path(text)
        if path.suffix not in (".yaml", ".yml"):
            names = sorted(p.stem for p in BUILT_IN.glob("*.yaml"))
            if text not in names:
                raise SpecError(
                    f"no study is named {text!r}{nearest(text, names)}; or give a .yaml file, or file.py:function"
                )
            path = BUILT_IN / f"{text}.yaml"
        try:
            data = yaml.load(path.read_text("utf-8"), Loader=_Loader)  # a SafeLoader
        except OSError as error:
            raise SpecError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SpecError(f"{path} is not text in UTF-8") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            why = " ".join(str(getattr(error, "problem", None) or error).split())
            raise SpecError(f"{path}{line}: {why}; a study is plain YAML: mappings, lists, numbers, text") from None
        except RecursionError:
            raise SpecError(f"{path} is nested too deeply for a study") from None
        try:
            return cls.from_spec(data, name=path.stem, folder=path.resolve().parent)
        except SpecError as error:
            raise SpecError(str(error), path.name) from None


def settings(recipe: Any) -> list[tuple[dict[str, Any], Any]]:
    """Every way to fill the grids of a recipe: ({field path: value}, recipe without grids).

    >>> from airtrack.core.part import build
    >>> grid = build("recipe", {"name": "svrg", "step": {"grid": [0.5, 1.0]}})
    >>> [(choice, recipe.step) for choice, recipe in settings(grid)]
    [({'step': 0.5}, 0.5), ({'step': 1.0}, 1.0)]
    """
    spec = to_spec(recipe)
    found = axes(spec)
    choices = (dict(zip(found, values)) for values in product(*found.values()))
    return [(choice, build("recipe", _filled(spec, choice))) for choice in choices]


def axes(spec: Any, path: str = "") -> dict[str, list[Any]]:
    """Field path → values, for every grid in a spec."""
    if isinstance(spec, dict):
        if set(cast("dict[str, Any]", spec)) == {"grid"}:
            return {path: spec["grid"]}
        return {
            p: v
            for k, sub in cast("dict[str, Any]", spec).items()
            for p, v in axes(sub, f"{path}.{k}".lstrip(".")).items()
        }
    if isinstance(spec, list):
        return {
            p: v
            for i, sub in enumerate(cast("list[Any]", spec))
            for p, v in axes(sub, f"{path}.{i}".lstrip(".")).items()
        }
    return {}


def _filled(spec: Any, choice: Mapping[str, Any], path: str = "") -> Any:
    if path in choice:
        return choice[path]
    if isinstance(spec, dict):
        return {k: _filled(v, choice, f"{path}.{k}".lstrip(".")) for k, v in cast("dict[str, Any]", spec).items()}
    if isinstance(spec, list):
        return [_filled(v, choice, f"{path}.{i}".lstrip(".")) for i, v in enumerate(cast("list[Any]", spec))]
    return spec


def with_grid(recipe: Any, path: str, values: list[Any]) -> Any:
    """The recipe with another grid at a field path."""
    return build("recipe", _filled(to_spec(recipe), {path: Grid(*values)}))


# ------------------------------------------------------------------------------------------------------- checks


def _at(where: str, make: Any) -> Any:
    try:
        return make()
    except SpecError as error:
        raise error.below(where) from None


def _record(cls: Any, spec: Any, where: str = "") -> Any:
    there = {f.name for f in fields(cls)}
    if not isinstance(spec, Mapping):
        raise SpecError(f"expected a mapping with {', '.join(sorted(there))}, got {spec!r}", where)
    for name in cast("Mapping[str, Any]", spec):
        if name not in there:
            raise SpecError(f"a {cls.__name__.lower()} has no field {name!r}{nearest(str(name), there)}", where)
    missing = {"task", "arms", "budget"} & there - set(cast("Mapping[str, Any]", spec))
    if missing:
        raise SpecError(f"a {cls.__name__.lower()} needs {', '.join(sorted(missing))}", where)
    return cls(**cast("Mapping[str, Any]", spec))


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if not isinstance(value, (list, tuple)) or not value:
        raise SpecError("expected pairs of arms, such as [[a, b], [a, c]]", "comparisons")
    for pair in cast("list[Any]", value):
        if not isinstance(pair, (list, tuple)) or len(cast("list[Any]", pair)) != 2 or pair[0] == pair[1]:
            raise SpecError(f"expected pairs of two different arms, got {pair!r}", "comparisons")
    if len({frozenset(map(str, pair)) for pair in cast("list[Any]", value)}) < len(cast("list[Any]", value)):
        raise SpecError("a pair is there twice", "comparisons")
    return [tuple(pair) for pair in cast("list[Any]", value)]


def _whole(value: Any, where: str, least: int, other: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpecError(
            " ".join(f"expected a whole number of at least {least} {other}".split()) + f", got {value!r}", where
        )


def _mapped(value: Any, where: str, example: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"expected a mapping such as {example}, got {value!r}", where)
    return dict(cast("Mapping[str, Any]", value))


def _number(
    value: Any, where: str, above: float = float("-inf"), below: float = float("inf"), kind: str = "a number"
) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    if not number or not above < value < below:
        limits = f" above {above:g}" if above > float("-inf") else ""
        limits += f" and below {below:g}" if below < float("inf") else ""
        raise SpecError(f"expected {kind}{limits}, got {value!r}", where)


# --------------------------------------------------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """Safe, reads 1e-3 as a number (YAML 1.1 has it as text), and refuses a key that is there twice."""


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Unicode's line breaks are escaped: PyYAML writes them as they are and reads them back as spaces."""
    style = '"' if set(text) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)$")
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: list[Any] = []
    for key, _ in node.value:
        if key.tag != "tag:yaml.org,2002:merge":
            name = loader.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is there twice", key.start_mark)
            seen.append(name)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
