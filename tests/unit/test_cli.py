"""The verbs: what they print, where to, and how they end."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from airtrack.cli import app
from airtrack.study.ledger import Ledger
from airtrack.study.run import run
from airtrack.study.spec import Study

STUDY = """
question: Is a step of one [bold] better than none?
task: {name: logistic, n: 20, d: 3}
budget: 400
metric: gap
baseline: small
seeds: 6
tune: {seeds: 2}
arms:
  small: {name: svrg, step: {grid: [0.001, 0.002]}}
  large: {name: svrg, step: {grid: [1.0, 2.0]}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished study: study.yaml and ledger."""
    made = tmp_path_factory.mktemp("cli")
    (made / "study.yaml").write_text(STUDY, "utf-8")
    run(Study.load(made / "study.yaml"), made / "ledger", workers=1)
    return made


@pytest.fixture
def call(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def made(*words, code=0):
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        assert "\x1b" not in result.stdout + result.stderr  # no colours where there is no terminal
        return result

    return made


def test_run_ends_with_the_verdict_and_the_report(call, folder):
    lines = call("run", "study.yaml").stdout.splitlines()
    assert lines[0] == "Is a step of one [bold] better than none?"
    assert any(line.startswith("large is better than small") for line in lines)
    assert lines[-1] == "report: ledger/reports/study.html"
    assert (folder / "ledger/reports/study.html").stat().st_size > 1000


def test_run_in_an_empty_ledger_tells_each_trial(call, tmp_path):
    out = call("run", "study.yaml", "--ledger", tmp_path / "new", "--workers", "1").stdout
    assert out.count("  tune ") >= 8
    assert out.count("  confirm ") == 12
    assert "tuning: 8 trials" in out
    assert "confirming: 12 trials" in out


def test_verdict_runs_nothing(call, tmp_path):
    assert "large is better than small" in call("verdict", "study.yaml").stdout
    call("verdict", "study.yaml", "--ledger", tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_json_of_verdict_and_status_is_the_same_plain_data(call):
    verdict, status = (json.loads(call(verb, "study.yaml", "--json").stdout) for verb in ("verdict", "status"))
    assert verdict == status
    assert verdict["phase"] == "done"
    assert verdict["verdicts"][0]["outcome"] == "a better"
    assert Study.from_spec(verdict["study"]) == Study.load("study.yaml")


def test_status_of_a_study(call, tmp_path):
    lines = call("status", "study.yaml").stdout.splitlines()
    assert lines[0] == "study: finished"
    assert lines[1].startswith("  small: tuned to step = ")
    assert call("status", "study.yaml", "--ledger", tmp_path / "none").stdout.startswith(
        "study: tuning, 8 trials missing in this phase"
    )


def test_status_of_a_ledger(call, folder, tmp_path):
    out = call("status").stdout
    trials = len(Ledger(folder / "ledger").index())
    assert f"ledger: {trials} trials" in out
    assert len(json.loads(call("status", "--json").stdout)) == trials
    assert "0 trials" in call("status", "--ledger", tmp_path / "none").stdout
    assert list(tmp_path.iterdir()) == []


def test_report_where_one_wants_it(call, tmp_path):
    call("report", "study.yaml", "--output", tmp_path / "here" / "page.html")
    assert "</html>" in (tmp_path / "here" / "page.html").read_text("utf-8")


def test_plan_says_trials_and_minutes(call, tmp_path):
    assert "20 trials" in call("plan", "study.yaml", "--workers", "1", "--ledger", tmp_path / "none").stdout
    plan = json.loads(call("plan", "study.yaml", "--workers", "1", "--json").stdout)
    assert plan["trials"] >= 20
    assert plan["minutes"] == 0  # all is there
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("a", "b", "options", "said"),
    [
        ("gap\n1\n2\n3\n4\n5\n6\n", "2\n4\n6\n8\n10\n12\n", [], "b is better than a"),
        ("1\n2\n3\n4\n5\n6\n", "2\n4\n6\n8\n10\n12\n", ["--better", "low"], "a is better than b"),
        ("0,1\n1,2\n", "0,3\n1,nan\n", [], "no verdict yet"),
    ],
)
def test_compare_reads_files_of_any_origin(a, b, options, said, call, tmp_path):
    (tmp_path / "a.csv").write_text(a)
    (tmp_path / "b.csv").write_text(b)
    assert said in call("compare", tmp_path / "a.csv", tmp_path / "b.csv", *options).stdout


@pytest.mark.parametrize(
    ("a", "options", "said"),
    [
        ("1\n2\n3\n", [], "3 readings and"),
        ("1\nx\n", [], "line 2: 'x' is no number; a failed seed is nan"),
        ("", [], "readings"),
        ("1\n2\n", ["--better", "up"], "better='up' is unknown; use 'high' or 'low'"),
        ("1\n2\n", ["--scale", "sqrt"], "scale='sqrt' is unknown"),
        ("-1\n2\n", ["--scale", "log"], "use scale='lin'"),
    ],
)
def test_compare_refuses(a, options, said, call, tmp_path):
    (tmp_path / "a.csv").write_text(a)
    (tmp_path / "b.csv").write_text("1\n2\n")
    err = call("compare", tmp_path / "a.csv", tmp_path / "b.csv", *options, code=2).stderr
    assert said in err
    assert err.count("\n") == 1


def test_parts_and_claims_list(call):
    assert "depo" in call("parts").stdout
    assert "width" in call("parts", "net", "decoder").stdout
    assert "canon_lifts_one_layer" in call("claims").stdout
    assert json.loads(call("claims", "--json").stdout)[0]["standing"] == "not run"


def test_help_names_every_verb(call):
    text = call("--help").stdout
    for verb in ("run", "plan", "status", "verdict", "report", "compare", "parts", "claims", "new"):
        assert verb in text


def test_a_contradiction_in_the_ledger_is_said(folder, monkeypatch, tmp_path):

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    key = next(iter(Ledger("ledger").index()))
    (tmp_path / "ledger" / "trials" / f"{key}.differs-0.json").write_text("{}")
    result = CliRunner().invoke(app, ["run", "study.yaml"])
    assert result.exit_code == 0
    assert f"trial {key} gave two different results: it is not deterministic here" in result.stderr
    assert f"trial {key} gave two different results" in CliRunner().invoke(app, ["status"]).stdout
