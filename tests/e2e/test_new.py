"""`airtrack new`: what it writes runs, passes its own test, and takes part in a study."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airtrack.catalogue import TOP, new
from airtrack.core.part import FAMILIES, ROLES
from airtrack.study.run import run
from airtrack.study.spec import Study

DRAFTS = sorted(p.stem for p in (TOP / "drafts").glob("*.txt"))
NET = "{name: decoder, layers: 1, width: 8, heads: 2, positions: none}"
TRAIN = f"{{name: train, batch: 2, net: {NET}, optim: {{name: adamw, lr: 1e-3}}}}"
DEPO = "{name: depo, n: 4, separator: true, evaluation: 2}"
STUDIES = {  # family → task, budget, the arm with the new part, the arm without
    "task": ("mine.py:Mine", 42, TRAIN, TRAIN.replace("1e-3", "1e-2")),
    "mixer": (DEPO, 150, TRAIN.replace("none}", "none, mixer: mine.py:Mine}"), TRAIN),
    "net": (DEPO, 150, TRAIN.replace(NET, "{name: mine.py:Mine, width: 8}"), TRAIN),
    "optim": (DEPO, 150, TRAIN.replace("adamw", "mine.py:Mine"), TRAIN),
    "schedule": (DEPO, 150, TRAIN.replace("batch", "schedule: mine.py:Mine, batch"), TRAIN),
    "solver": ("{name: logistic, n: 50, d: 3, kappa: 10.0}", 500, "mine.py:Mine", "svrg"),
    "compress": (DEPO, 150, f"{{name: then, first: {TRAIN}, changes: [mine.py:Mine]}}", TRAIN),
}


def test_there_is_a_draft_for_every_family_that_people_add_to():
    assert set(DRAFTS) == set(STUDIES)
    assert set(DRAFTS) <= set(FAMILIES) <= set(ROLES)


@pytest.mark.parametrize("family", DRAFTS)
def test_a_draft_works(family, tmp_path):
    written = new(family, "mine", tmp_path)
    assert sorted(p.name for p in written) == ["mine.md", "mine.py", "test_mine.py"]
    assert "`mine`" in (tmp_path / "mine.md").read_text("utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    tested = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(tested, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    task, budget, arm, other = STUDIES[family]
    text = f"task: {task}\nbudget: {budget}\nseeds: 1\nbaseline: other\narms:\n  mine: {arm}\n  other: {other}\n"
    (tmp_path / "study.yaml").write_text(text, "utf-8")
    result = run(Study.load(tmp_path / "study.yaml"), tmp_path / "ledger", workers=1)
    assert result.phase == "done"
    assert result.verdict.outcome == "no verdict yet"  # one seed never gives one


def test_drafts_are_in_the_house_style():
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed here: `make lint` installs it")
    for family in DRAFTS:
        part = (TOP / "drafts" / f"{family}.txt").read_text("utf-8").split("=====\n")[0]
        checked = subprocess.run(
            [ruff, "check", "-", "--stdin-filename", "title.py"], input=part, text=True, capture_output=True
        )
        assert checked.returncode == 0, f"{family}: {checked.stdout}"
