"""A user's own part takes part without an edit of the package: from a file, a function, an installed distribution."""

import json
import subprocess
import sys

import pytest

SHIFT = '''
"""Every position sees the one before it."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn

from airtrack.core.part import part


@part("mixer")
class Shift:
    """x[t] + W x[t − by]"""

    by: Annotated[int, Gt(0)] = 1

    def build(self, width, heads):
        return Module(width, self.by)


class Module(nn.Module):
    def __init__(self, width, by):
        super().__init__()
        self.by, self.out = by, nn.Linear(width, width, bias=False)

    def forward(self, x):
        before = torch.cat([torch.zeros_like(x[:, : self.by]), x[:, : -self.by]], 1)
        return x + self.out(before)
'''
QUESTION = """
task: {{name: depo, n: 3, hops: 1}}
budget: 3000
baseline: attention
seeds: 2
arms:
  attention:
    name: train
    batch: 8
    net: {{name: decoder, layers: 1, width: 8, heads: 2}}
    optim: {{name: adamw, lr: 1e-2}}
  shift:
    name: train
    batch: 8
    net: {{name: decoder, layers: 1, width: 8, heads: 2, positions: none, mixer: {{name: {mixer}, by: 2}}}}
    optim: {{name: adamw, lr: 1e-2}}
"""
DESCENT = '''
"""Gradient descent."""

from typing import ClassVar

import numpy as np

from airtrack.core.given import FiniteSum
from airtrack.core.part import part
from airtrack.study.spec import Study


@part("solver")
class Descent:
    """x ← x − step · ∇F(x)"""

    step: float = 1.0

    accepts: ClassVar[type] = FiniteSum
    returns: ClassVar[type] = np.ndarray

    def answer(self, given, meter, streams):
        x = np.zeros(given.d)
        while meter.live(given.n):
            x = x - self.step * given.gradient(x)[0]
            meter.offer(x)
        return x


def study():
    task = {"name": "logistic", "n": 20, "d": 3}
    return Study(task=task, arms={"short": Descent(step=0.1), "long": Descent()}, budget=200, baseline="short", seeds=2)
'''


def readouts(ledger):
    files = (p for p in sorted(ledger.glob("trials/*.json")) if not p.name.endswith(".cost.json"))
    return [json.loads(p.read_text("utf-8")) for p in files]


def recipes(ledger):
    return [r["trial"]["recipe"] for r in readouts(ledger)]


def test_a_block_beside_the_study(bench):
    bench.write("mine/block.py", SHIFT)
    bench.write("mine/study.yaml", QUESTION.format(mixer="'block.py:Shift'"))  # from the study's folder, not from ours
    code, out, err = bench.run("run", "mine/study.yaml", "--workers", "2")
    assert code == 0, err
    assert "shift" in out
    mixers = [recipe["net"]["mixer"] for recipe in recipes(bench.folder / "ledger")]
    own = {"name": f"{(bench.folder / 'mine' / 'block.py').resolve()}:Shift", "by": 2}
    assert mixers.count(own) == 2
    assert len(mixers) == 4


@pytest.mark.parametrize("mixer", ["shift", "their.package.blocks:Shift"])
def test_a_block_of_an_installed_distribution(mixer, bench):
    bench.write("site/their/package/__init__.py", "")
    bench.write("site/their/package/blocks.py", SHIFT)
    bench.write("site/theirs-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    entries = "[airtrack.parts]\nshift = their.package.blocks:Shift\n"
    bench.write("site/theirs-1.0.dist-info/entry_points.txt", entries)
    bench.write("study.yaml", QUESTION.format(mixer=mixer))
    site = {"PYTHONPATH": str(bench.folder / "site")}
    if ":" in mixer:  # a module is no file; the name is what the entry point says
        code, _, err = bench.run("plan", "study.yaml", **site)
        assert code == 2
        assert "there is no file" in err
        return
    code, _, err = bench.run("run", "study.yaml", "--workers", "2", **site)
    assert code == 0, err
    assert [r["net"]["mixer"] for r in recipes(bench.folder / "ledger")].count({"name": "shift", "by": 2}) == 2
    _, listed, _ = bench.run("parts", "mixer", **site)
    assert "x[t] + W x[t − by]" in listed
    assert "package their.package.blocks" in listed
    code, _, err = bench.run("plan", "study.yaml")  # where the distribution is not installed
    assert code == 2
    assert "no mixer is named 'shift'" in err


def test_a_study_from_a_function(bench):
    bench.write("own.py", DESCENT)
    code, out, err = bench.run("run", "own.py:study", "--workers", "2")
    assert code == 0, err
    assert "long" in out
    own = f"{(bench.folder / 'own.py').resolve()}:Descent"
    ran = sorted((recipe["name"], recipe["step"]) for recipe in recipes(bench.folder / "ledger"))
    assert ran == [(own, 0.1), (own, 0.1), (own, 1.0), (own, 1.0)]


def test_the_text_of_a_file_is_its_version(bench):
    path = bench.write("own.py", DESCENT)
    study = """
task: {name: logistic, n: 20, d: 3}
budget: 200
baseline: svrg
seeds: 2
arms: {svrg: {name: svrg}, own: {name: 'own.py:Descent'}}
"""
    bench.write("study.yaml", study)
    for text, trials in ((DESCENT, 4), (DESCENT, 4), (DESCENT.replace("x - self", "x - 0.5 * self"), 6), (DESCENT, 6)):
        path.write_text(text, "utf-8")
        code, _, err = bench.run("run", "study.yaml", "--workers", "1")
        assert code == 0, err
        assert len(readouts(bench.folder / "ledger")) == trials


def test_the_same_file_elsewhere_is_the_same_part(bench):
    for folder in ("here", "there"):
        bench.write(f"{folder}/own.py", DESCENT)
        code, _, err = bench.run("run", f"{folder}/own.py:study", "--workers", "1")
        assert code == 0, err
    assert len(readouts(bench.folder / "ledger")) == 4


def test_a_part_with_a_bug_shows_its_traceback(bench):
    path = bench.write("own.py", DESCENT.replace("given.gradient(x)[0]", "given.gradiant(x)[0]"))
    code, _, err = bench.run("run", "own.py:study", "--workers", "1")
    assert code == 1
    assert "given.gradiant(x)[0]" in err  # the line
    assert f'File "{path.resolve()}", line' in err
    assert err.splitlines()[-1].startswith("airtrack: a trial failed: AttributeError: 'FiniteSum' object has no ")
    assert readouts(bench.folder / "ledger") == []
    assert not list((bench.folder / "ledger").glob("claims/*"))


SCRIPT = """
from own import Descent, study

if GUARD:
    print(study().run(workers=1).verdict)
"""


def script(bench, text):
    path = bench.write("script.py", text)
    done = subprocess.run([sys.executable, path], cwd=bench.folder, capture_output=True, text=True, encoding="utf-8")
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("guard", ["True", "__name__ == '__main__'"])
def test_a_script_that_imports_its_parts(guard, bench):
    bench.write("own.py", DESCENT)
    code, out, err = script(bench, SCRIPT.replace("GUARD", guard))
    assert code == 0, err
    assert "no verdict yet" in out
    assert len(readouts(bench.folder / "ledger")) == 4


def test_a_script_that_defines_its_parts_under_a_guard(bench):
    text = DESCENT + "\n\nif __name__ == '__main__':\n    print(study().run(workers=1).verdict)\n"
    code, out, err = script(bench, text)
    assert code == 0, err
    assert "no verdict yet" in out
    assert len(readouts(bench.folder / "ledger")) == 4


def test_a_script_that_defines_its_parts_and_runs_at_import_is_told_how(bench):
    code, _, err = script(bench, DESCENT + "\n\nprint(study().run(workers=1).verdict)\n")
    assert code == 1
    assert "found a study being run at import; put the run under `if __name__" in err.splitlines()[-1]
    assert readouts(bench.folder / "ledger") == []
