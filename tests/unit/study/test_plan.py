"""What a study costs is counted right, and finding out leaves nothing behind."""

import io
import json

import pytest
from rich.console import Console

from airtrack.core.part import Grid
from airtrack.study.ledger import Ledger
from airtrack.study.plan import ArmCost, Cost, count, plan
from airtrack.study.run import run
from airtrack.study.spec import Study


def tuned(toys, **fields):
    grid = {"rate": Grid(0.5, 1.0, 2.0), "wait": 0.0005}
    return toys.study({"one": toys.Dial(**grid), "two": toys.Dial(mode="two", **grid)}, **fields)


@pytest.mark.parametrize(
    ("fields", "trials"),
    [({"seeds": 6}, 12 + 12), ({"seeds": 6, "tune": {"seeds": 5}}, 30 + 12), ({"seeds": "auto"}, 12 + 40)],
)
def test_trials_are_counted(fields, trials, toys):
    assert count(tuned(toys, **fields)) == (trials, trials * 20)


def test_without_grids_there_is_nothing_to_tune(toys):
    assert count(toys.study(seeds=6)) == (12, 240)


def test_built_in_studies_are_affordable():
    assert count(Study.load("canon-recall")) == (4 * 3 * 2 + 4 * 8, (4 * 3 * 2 + 4 * 8) * 776_000)


def test_plan_counts_and_leaves_nothing(toys, tmp_path):
    study = tuned(toys, seeds=6, budget=200)
    cost = plan(study, Ledger(tmp_path / "ledger"), workers=1)
    assert [(a.arm, a.tune, a.confirm, a.done) for a in cost.arms] == [("one", 6, 6, 0), ("two", 6, 6, 0)]
    assert (cost.trials, cost.work, cost.workers, cost.unit) == (24, 4800, 1, "steps")
    assert all(a.seconds > 0 for a in cost.arms)
    assert list(tmp_path.iterdir()) == []
    data = json.loads(json.dumps(cost.to_dict()))
    assert (data["trials"], data["minutes"]) == (24, cost.minutes)


def test_plan_sees_what_is_done(toys, tmp_path):
    study = toys.study(seeds=4)
    run(toys.study(seeds=3), tmp_path / "ledger", workers=1)
    cost = plan(study, Ledger(tmp_path / "ledger"), workers=1)
    assert [a.done for a in cost.arms] == [3, 3]
    files = len(list((tmp_path / "ledger").rglob("*")))
    plan(study, Ledger(tmp_path / "ledger"), workers=1)
    assert len(list((tmp_path / "ledger").rglob("*"))) == files


def test_minutes_are_for_what_is_missing_on_all_workers():
    cost = Cost("s", "steps", 10.0, (ArmCost("a", 4, 8, 2, 60.0), ArmCost("b", 0, 8, 8, 999.0)), workers=2)
    assert cost.minutes == pytest.approx(10 * 60 / 2 / 60)
    assert cost.trials == 20


@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_says_all_at_every_width(width):
    cost = Cost("study", "tokens", 1e6, (ArmCost("nope+canon", 12, 8, 0, 1.234),), workers=2)
    console = Console(width=width, file=io.StringIO())
    console.print(cost)
    text = console.file.getvalue()
    assert "nope+canon" in text
    assert "20 trials" in text
    assert "1.23" in text
    assert max(map(len, text.splitlines())) <= width
