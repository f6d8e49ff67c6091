"""What every claim and every built-in study owes its reader. A new file is tested by being there."""

import dataclasses

import pytest

from airtrack.catalogue import standing
from airtrack.core.part import known, lookup
from airtrack.study.result import Result, Verdicts
from airtrack.study.spec import BUILT_IN, Study
from airtrack.study.statement import Verdict

CLAIMS = sorted(known("claim"))
STUDIES = sorted(p.stem for p in BUILT_IN.glob("*.yaml"))
OUTCOMES = {"a better", "b better", "equivalent"}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_asks_a_question_and_is_the_same_in_yaml_and_python(name, tmp_path):
    study = Study.load(name)
    assert study.question.endswith("?")
    assert study.seeds == "auto" or study.seeds >= 6  # the least with which the sign-flip test can reject at .05
    (tmp_path / f"{name}.yaml").write_text(study.to_yaml(), "utf-8")
    again = Study.load(tmp_path / f"{name}.yaml")
    assert again == study
    assert [again.trial(r, 0).key for r in again.arms.values()] == [study.trial(r, 0).key for r in study.arms.values()]


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_says_what_it_states_where_it_is_from_and_what_would_decide_it(name):
    claim = lookup("claim", name)()
    assert claim.statement
    assert claim.source
    assert set(claim.expects) <= set(claim.study().pairs)
    assert claim.expects
    for right in claim.expects.values():
        assert set(right) < OUTCOMES  # some outcome has to be against it


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_can_hold_fail_and_stay_open(name):
    claim = lookup("claim", name)()
    study = claim.study()

    def stands(outcome_of):
        verdicts = [Verdict(outcome=outcome_of(pair), reason="", names=pair) for pair in study.pairs]
        return standing(claim, Result(study, "done", study.arms, verdicts=Verdicts(verdicts)))

    right = {pair: claim.expects.get(pair, ("a better",))[0] for pair in study.pairs}
    first = next(iter(claim.expects))
    wrong = min(OUTCOMES - set(claim.expects[first]))
    assert stands(right.get) == "holds"
    assert stands(lambda pair: wrong if pair == first else right[pair]) == "fails"
    assert stands(lambda pair: "no verdict yet" if pair == first else right[pair]) == "open"
    assert stands(lambda pair: "not comparable" if pair == first else right[pair]) == "open"
    assert standing(claim, Result(study, "tune", study.arms)) == "not run"


@pytest.mark.parametrize("name", CLAIMS)
def test_its_study_decides_on_more_than_one_seed(name):
    study = lookup("claim", name)().study()
    assert dataclasses.replace(study) == study
    assert study.seeds == "auto" or study.seeds > 1
