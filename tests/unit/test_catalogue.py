"""What `airtrack parts` and `airtrack claims` say."""

import io
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from airtrack import catalogue
from airtrack.core.part import FAMILIES, lookup, shipped
from airtrack.study.ledger import Ledger
from airtrack.study.result import Result, Verdicts
from airtrack.study.statement import not_comparable

EVERY = [(family, name) for family in FAMILIES for name in shipped(family)]


def shown(family=None, name=None, width=100):
    out = Console(file=io.StringIO(), width=width, color_system=None)
    for item in catalogue.show(family, name):
        out.print(item)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_every_part_is_listed_once_with_a_summary(width):
    lines = shown(width=width).splitlines()
    assert max(map(cell_len, lines)) <= width  # x̃ is two characters and one column
    listed = [line.split() for line in lines if not line.startswith("                       ") and line.strip()]
    names = [words[1] if words[0] in FAMILIES else words[0] for words in listed[1:-1]]
    for _, name in EVERY:
        assert name in names
    for family in FAMILIES:
        assert (family in {words[0] for words in listed}) == bool(shipped(family))


def test_one_family():
    text = shown("schedule")
    assert "cosine" in text
    assert "decoder" not in text


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_every_part_can_be_shown(family, name):
    text = shown(family, name)
    first = lookup(family, name).__doc__.strip().partition("\n")[0]
    assert text.startswith(f"{name}: {family}, ")
    assert first[:40] in text
    of_the_file = sys.modules[lookup(family, name).__module__].__doc__.strip().partition("\n")[0]
    assert catalogue._summary(family, name) == of_the_file.rstrip(".")
    for word in ("Annotated", "typing", "<class", "Slot("):
        assert word not in text


def test_one_part_has_fields_example_and_facts():
    text = shown("task", "depo")
    for line in (
        "field",
        "separator    bool",
        "{name: depo, n:",
        "gives a Corpus; its budget is in tokens",
        "accuracy: high is better, 0 … 1, logit scale",
    ):
        assert line in text
    assert ["lr", "float", ">", "0", "required"] in [line.split() for line in shown("optim", "adamw").splitlines()]
    assert "works on a FiniteSum, returns a ndarray" in shown("solver", "svrg")
    assert ["positions", "position", "rope"] in [line.split() for line in shown("net", "decoder").splitlines()]
    assert "claims: " in shown("claim", "ucb_q_sublinear")


def test_plain_data_are_written_as_a_study_has_them():
    assert catalogue._flow({"a": [1, None, True], "b": {"c": "x"}}) == "{a: [1, null, true], b: {c: x}}"


# -------------------------------------------------------------------------------------------------------------- claims


class Claim:
    statement, source = "a is better", "a paper"
    expects = {("a", "b"): ("a better",), ("c", "b"): ("equivalent", "b better")}


def result(phase="done", **outcomes):
    made = []
    for names, outcome in outcomes.items():
        verdict = not_comparable("why", names=tuple(names))
        object.__setattr__(verdict, "outcome", outcome)
        made.append(verdict)
    return Result(None, phase, {}, verdicts=Verdicts(made))


@pytest.mark.parametrize(
    ("outcomes", "standing"),
    [
        ({"ab": "a better", "cb": "equivalent"}, "holds"),
        ({"ab": "a better", "cb": "b better"}, "holds"),
        ({"ab": "a better", "cb": "a better"}, "fails"),
        ({"ab": "b better", "cb": "no verdict yet"}, "fails"),
        ({"ab": "a better", "cb": "no verdict yet"}, "open"),
        ({"ab": "not comparable", "cb": "equivalent"}, "open"),
        ({"ab": "a better", "cb": "equivalent", "db": "b better"}, "holds"),  # of d it says nothing
    ],
)
def test_a_claim_stands_by_its_decision_rule(outcomes, standing):
    assert catalogue.standing(Claim, result(**outcomes)) == standing


def test_a_claim_that_was_not_run():
    assert catalogue.standing(Claim, result("tune")) == "not run"
    assert catalogue.standing(Claim, Result(None, "confirm", {}, readouts={"a": ("one",)})) == "unfinished"


@pytest.mark.parametrize("name", shipped("claim"))
def test_every_claim_is_decided_by_its_own_study(name):
    claim = lookup("claim", name)()
    assert set(claim.expects) <= set(claim.study().pairs)
    assert claim.statement
    assert claim.source


def test_claims_are_listed_without_running(tmp_path):
    out = Console(file=io.StringIO(), width=80, color_system=None)
    rows = catalogue.claims([], Ledger(tmp_path / "ledger"), console=out, workers=1)
    assert {row["name"] for row in rows} == set(shipped("claim"))
    assert {row["standing"] for row in rows} == {"not run"}
    assert list(tmp_path.iterdir()) == []
    out.print(catalogue.claims_table(rows))
    text = out.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "canon_lifts_one_layer  not run  56 trials" in text


def test_a_folder_names_all_of_its_families():
    assert shown("nets", "decoder") == shown("net", "decoder")
    assert shown("nets", "gla") == shown("mixer", "gla")
    listed = shown("nets", None)
    assert all(f"\n{family} " in f"\n{listed}" for family in ("net", "mixer", "mlp", "norm", "position", "canon"))
    assert "\ntask " not in listed
