"""Bad input is refused in one readable line that names the remedy, with exit code 2, and leaves nothing on disk."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from airtrack.cli import app
from airtrack.study.ledger import Ledger
from airtrack.study.run import run
from airtrack.study.spec import Study

GOOD = """\
task: {name: logistic, n: 50, d: 4}
budget: 500
baseline: plain
seeds: 4
arms:
  plain: {name: svrg}
  fast: {name: katyusha}
"""


def changed(old, new):
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def top(line):
    return changed("seeds: 4\n", f"seeds: 4\n{line}\n")


def arm(spec):
    return changed("{name: svrg}", spec)


TUNED = "{name: svrg, step: {grid: [0.5, 1.0]}}"
STUDIES = {  # what is wrong → (the study, what its refusal says)
    "unknown part": (arm("{name: svgr}"), ["arms.plain", "'svgr'", "did you mean 'svrg'?"]),
    "unknown task": (changed("logistic", "logistics"), ["task", "did you mean 'logistic'?"]),
    "unknown field": (changed("n: 50", "nn: 50"), ["task", "no field 'nn'", "did you mean 'n'?"]),
    "number for a field": (changed("n: 50", "1: 50"), ["no field 1", "known: "]),
    "unknown field of the study": (top("sedes: 9"), ["no field 'sedes'", "did you mean 'seeds'?"]),
    "text for a number": (changed("n: 50", "n: '50'"), ["task.n", "expected an integer, got '50'"]),
    "truth for a number": (changed("n: 50", "n: true"), ["task.n", "expected an integer, got True"]),
    "fraction for a count": (changed("n: 50", "n: 50.5"), ["task.n", "expected an integer, got 50.5"]),
    "infinite field": (arm("{name: svrg, step: .inf}"), ["arms.plain.step", "finite"]),
    "not a number": (arm("{name: svrg, step: .nan}"), ["arms.plain.step"]),
    "one of few words": (arm("{name: svrg, params: theoretical}"), ["theory, practical"]),
    "grid on a field that is none": (arm("{name: svrg, stepp: {grid: [1, 2]}}"), ["'stepp'", "did you mean 'step'?"]),
    "grid of one number": (arm("{name: svrg, step: {grid: 1}}"), ["arms.plain.step", "list"]),
    "grid of nothing": (arm("{name: svrg, step: {grid: []}}"), ["arms.plain.step", "at least one"]),
    "grid of a wrong type": (
        arm("{name: svrg, step: {grid: [1, x]}}"),
        ["arms.plain.step", "expected a float, got 'x'"],
    ),
    "grid names a value twice": (arm("{name: svrg, step: {grid: [1, 2, 1.0]}}"), ["arms.plain.step", "twice"]),
    "grid in the task": (changed("n: 50", "n: {grid: [50, 60]}"), ["task", "a grid belongs to an arm"]),
    "grid of budgets": (changed("500", "{grid: [500, 600]}"), ["budget", "expected a number"]),
    "unequal grids": (arm(TUNED), ["1 settings", "over 2", "the same number"]),
    "misfit": (arm("{name: oja}"), ["arms.plain", "oja needs a Stream, logistic gives a FiniteSum"]),
    "a task as an arm": (arm("{name: logistic}"), ["arms.plain", "no recipe is named 'logistic'"]),
    "no name": (arm("{step: 1.0}"), ["arms.plain", "needs a name"]),
    "arm that is nothing": (arm("null"), ["arms.plain", "expected a recipe"]),
    "zero seeds": (changed("seeds: 4", "seeds: 0"), ["seeds", "at least 1"]),
    "negative seeds": (changed("seeds: 4", "seeds: -4"), ["seeds", "at least 1"]),
    "seeds in words": (changed("seeds: 4", "seeds: many"), ["seeds", '"auto"']),
    "zero tuning seeds": (top("tune: {seeds: 0}"), ["tune.seeds", "at least 1"]),
    "tune is a number": (top("tune: 3"), ["tune", "expected a mapping"]),
    "unknown field of tune": (top("tune: {seed: 3}"), ["tune", "'seed'", "did you mean 'seeds'?"]),
    "budget below one step": (changed("500", "50"), ["budget", "less than one step of plain, which costs 51", "raise"]),
    "no budget": (changed("500", "0"), ["budget", "above 0"]),
    "infinite budget": (changed("500", ".inf"), ["budget"]),
    "unknown metric": (top("metric: gaap"), ["metric", "did you mean 'gap'?"]),
    "metric is a list": (top("metric: [gap]"), ["metric", "expected text"]),
    "baseline that is no arm": (changed("baseline: plain", "baseline: plane"), ["baseline", "did you mean 'plain'?"]),
    "baseline is a list": (changed("baseline: plain", "baseline: [plain]"), ["baseline", "expected text"]),
    "no comparison": (changed("baseline: plain\n", ""), ["`baseline: ARM`", "`comparisons: "]),
    "two kinds of comparison": (top("comparisons: [[plain, fast]]"), ["either"]),
    "an arm against itself": (changed("baseline: plain", "comparisons: [[fast, fast]]"), ["two different arms"]),
    "a pair twice": (changed("baseline: plain", "comparisons: [[fast, plain], [plain, fast]]"), ["twice"]),
    "threshold of no metric": (top("stop_at: {gaap: 0.1}"), ["stop_at", "did you mean 'gap'?"]),
    "threshold in words": (top("stop_at: {gap: small}"), ["stop_at.gap", "expected a number"]),
    "threshold without metric": (top("stop_at: 0.1"), ["stop_at", "{metric: threshold}"]),
    "ratio below one": (top("smallest_effect: 0.5"), ["smallest_effect", "a ratio above 1"]),
    "level of a half": (top("alpha: 0.5"), ["alpha", "below 0.5"]),
    "name with a path": (top("name: ../../up"), ["name", "leave out /"]),
    "question is a list": (top("question: [why]"), ["question", "expected text"]),
    "arms are a list": (GOOD.partition("arms:")[0] + "arms: [svrg, katyusha]\n", ["arms", "name: recipe"]),
    "one arm": (GOOD.replace("  fast: {name: katyusha}\n", ""), ["arms", "at least two"]),
    "no task": (GOOD.partition("\n")[2], ["needs task"]),
    "list instead of a mapping": ("- task\n- arms\n", ["a study is a mapping", "list"]),
    "nothing at all": ("", ["a study is a mapping"]),
    "YAML that builds an object": (changed("500", "!!python/object/apply:os.mkdir [hacked]"), ["line 2", "plain YAML"]),
    "YAML that calls": ("!!python/object/apply:os.mkdir [hacked]", ["line 1", "plain YAML"]),
    "YAML syntax": (changed("{name: svrg}", "{name: svrg"), ["line 7", "plain YAML"]),
    "YAML with tabs": (changed("  plain:", "\tplain:"), ["line 6", "plain YAML"]),
    "key twice": (top("seeds: 5"), ["line 5", "'seeds' is there twice"]),
    "arm twice": (changed("  fast:", "  plain:"), ["line 7", "'plain' is there twice"]),
    "YAML within itself": (changed("{name: svrg}", "&a {name: *a}"), ["line 6", "plain YAML"]),
    "YAML without a floor": ("[" * 3000, ["nested too deeply"]),
    "two studies": (GOOD + "---\n" + GOOD, ["plain YAML"]),
    "part in a missing file": (arm("{name: 'block.py:Own'}"), ["arms.plain", "there is no file", "block.py"]),
}


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """Call airtrack in an empty folder; the one line that it says, after checks that it did nothing."""

    def call(*words, there=()):
        monkeypatch.chdir(tmp_path)
        before = sorted(tmp_path.rglob("*"))
        result = CliRunner().invoke(app, list(map(str, words)))
        said = result.stderr
        assert result.exit_code == 2, (result.stdout, said, result.exception)
        assert said.startswith("airtrack: ")
        assert said.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return said

    return call


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize("wrong", STUDIES)
def test_study_is_refused(wrong, verb, refusal, tmp_path):
    text, told = STUDIES[wrong]
    (tmp_path / "study.yaml").write_text(text, "utf-8")
    said = refusal(verb, "study.yaml")
    for words in told:
        assert words in said


def test_the_study_without_the_fault_is_good(tmp_path):
    (tmp_path / "study.yaml").write_text(GOOD, "utf-8")
    assert Study.load(tmp_path / "study.yaml").least_budget() == 51


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere.yaml", "cannot read nowhere.yaml: No such file or directory"),
        (".", "no study is named '.'"),
        ("canon-recal", "did you mean 'canon-recall'?"),
        ("nowhere.py:study", "there is no file"),
        ("made.py:studdy", "did you mean 'study'?"),
        ("made.py:number", "gave an int; it should return a Study"),
        ("broken.py:study", "broken.py could not be imported: ZeroDivisionError: division by zero"),
        ("latin.yaml", "latin.yaml is not text in UTF-8"),
        ("folder.yaml", "cannot read folder.yaml: Is a directory"),
    ],
)
def test_source_is_refused(source, told, refusal, tmp_path):
    (tmp_path / "made.py").write_text("def study():\n    return {}\n\n\ndef number():\n    return 3\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "latin.yaml").write_bytes("question: für\n".encode("latin-1"))
    (tmp_path / "folder.yaml").mkdir()
    sys.dont_write_bytecode, was = True, sys.dont_write_bytecode
    try:
        assert told in refusal("run", source)
    finally:
        sys.dont_write_bytecode = was


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["parts", "sovler"], "did you mean 'solver'?"),
        (["parts", "solver", "ojja"], "did you mean 'oja'?"),
        (["claims", "canon_lifts"], "did you mean 'canon_lifts_one_layer'?"),
        (["new", "slover", "mine"], "did you mean 'solver'?"),
        (["new", "solver", "oja"], "there already"),
        (["new", "solver", "My-Part"], "small letters"),
        (["compare", "a.csv", "b.csv"], "cannot read a.csv: No such file or directory"),
    ],
)
def test_word_is_refused(words, told, refusal):
    assert told in refusal(*words)


def test_new_overwrites_nothing(refusal, tmp_path):
    (tmp_path / "test_mine.py").write_text("mine")
    assert "test_mine.py is there already; choose another name or --folder" in refusal("new", "solver", "mine")


# ------------------------------------------------------------------------------------------------------- the ledger


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a study and a ledger that holds all its trials."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "study.yaml").write_text(GOOD, "utf-8")
    run(Study.load(folder / "study.yaml"), folder / "ledger", workers=1)
    return folder


@pytest.fixture
def filled(whole, tmp_path):
    """The path of a study, a copy of the ledger, and the key of one of its trials."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    study = Study.load(tmp_path / "study.yaml")
    return tmp_path / "study.yaml", Ledger(tmp_path / "ledger"), study.trial(study.arms["plain"], 0).key


def truncated(path, key, other):
    path.write_bytes(path.read_bytes()[:100])


def emptied(path, key, other):
    path.write_bytes(b"")


def of_another_trial(path, key, other):
    path.write_bytes(other.read_bytes())


def of_something_else(path, key, other):
    path.write_text('{"hello": "world"}')


def a_list(path, key, other):
    path.write_text("[1, 2, 3]")


def with_a_field_more(path, key, other):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))


def with_a_field_less(path, key, other):
    data = json.loads(path.read_text())
    del data["metrics"]
    path.write_text(json.dumps(data))


def with_numbers_for_metrics(path, key, other):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": 3}))


def in_another_encoding(path, key, other):
    path.write_bytes(b"\xff\xfe" + path.read_bytes())


def curve_truncated(path, key, other):
    truncated(path.with_suffix(".npz"), key, other)


def curve_emptied(path, key, other):
    emptied(path.with_suffix(".npz"), key, other)


def curve_of_another_kind(path, key, other):
    with path.with_suffix(".npz").open("wb") as file:
        np.save(file, np.arange(3))


def curve_gone(path, key, other):
    path.with_suffix(".npz").unlink()


@pytest.mark.parametrize("verb", ["run", "verdict", "status", "report"])
@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        emptied,
        of_another_trial,
        of_something_else,
        a_list,
        with_a_field_more,
        with_a_field_less,
        with_numbers_for_metrics,
        in_another_encoding,
        curve_truncated,
        curve_emptied,
        curve_of_another_kind,
        curve_gone,
    ],
)
def test_damaged_or_foreign_trial_is_named(damage, verb, refusal, filled):
    path, ledger, key = filled
    file = ledger.path("trials", f"{key}.json")
    others = (p for p in ledger.path("trials", "").glob("*.json") if p.name.count(".") == 1 and p.stem != key)
    damage(file, key, next(others))
    said = refusal(verb, path, "--ledger", ledger.folder)
    assert f"delete {file}" in said.replace("delete it", f"delete {file}")
    assert str(file) in said


def test_a_damaged_trial_that_is_deleted_is_run_again(filled, refusal):
    path, ledger, key = filled
    file = ledger.path("trials", f"{key}.json")
    good = file.read_bytes()
    truncated(file, key, None)
    refusal("run", path, "--ledger", ledger.folder)
    file.unlink()
    assert CliRunner().invoke(app, ["run", str(path), "--ledger", str(ledger.folder)]).exit_code == 0
    assert file.read_bytes() == good


# ------------------------------------------------------------------------------------------ where nothing can be kept


def test_ledger_below_a_file_is_refused(refusal, tmp_path):
    (tmp_path / "study.yaml").write_text(GOOD, "utf-8")
    (tmp_path / "file").write_text("")
    said = refusal("run", "study.yaml", "--ledger", "file/ledger")
    assert "cannot write to file/ledger" in said
    assert "choose another folder with --ledger DIR" in said


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux, whose /proc no user may write to")
def test_ledger_in_a_read_only_place_is_refused(refusal, tmp_path):
    (tmp_path / "study.yaml").write_text(GOOD, "utf-8")
    said = refusal("run", "study.yaml", "--ledger", "/proc/ledger")
    assert "cannot write to /proc/ledger" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; run the tests as another user")
def test_ledger_in_a_read_only_folder_is_refused(refusal, tmp_path):
    (tmp_path / "study.yaml").write_text(GOOD, "utf-8")
    (tmp_path / "locked").mkdir(mode=0o500)
    for folder in ("locked", "locked/ledger"):
        assert "Permission denied; choose another folder" in refusal("run", "study.yaml", "--ledger", folder)


def full_at(size):
    """A disk on which no file can grow beyond `size` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def on_a_full_disk(folder, size):
    return subprocess.run(
        [sys.executable, "-m", "airtrack.cli", "run", "study.yaml", "--workers", "1"],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(folder.parent / "cache")},
        preexec_fn=full_at(size),  # one thread
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_full_disk_is_seen_before_any_work(tmp_path):
    (tmp_path / "study.yaml").write_text(GOOD, "utf-8")
    ended = on_a_full_disk(tmp_path, 100)
    assert ended.returncode == 2
    assert ended.stderr == "airtrack: cannot write to ledger: File too large; choose another folder with --ledger DIR\n"
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


OWN = """
import numpy as np
from typing import ClassVar
from airtrack.core.given import FiniteSum
from airtrack.core.part import part


@part("solver")
class Own:
    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray
    step: float = 1.0

    def answer(self, given, meter, streams):
        x = np.zeros(given.d)
        while meter.live(given.n):
            x = x - self.step * given.gradient(x)[0]
            meter.offer(x)
        return x
"""


def test_disk_that_fills_while_running_leaves_no_half_file(tmp_path):
    (tmp_path / "own.py").write_text(OWN, "utf-8")  # not compiled: numba would want to write its cache
    arms = "  plain: {name: 'own.py:Own'}\n  fast: {name: 'own.py:Own', step: 2.0}\n"
    text = GOOD.partition("  plain:")[0].replace("n: 50", "n: 2").replace("500", "5000") + arms + "points: 400\n"
    (tmp_path / "study.yaml").write_text(text, "utf-8")
    ended = on_a_full_disk(tmp_path, 4096)  # the probe fits, a curve of so many points does not
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "File too large; make room" in ended.stderr
    assert not [p for p in (tmp_path / "ledger").rglob("*") if p.is_file()]
