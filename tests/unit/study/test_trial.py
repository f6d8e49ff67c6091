"""A trial: the same bits every time, interrupted or not; what a readout says of failures."""

import subprocess
import sys

import numpy as np
import pytest

from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build
from airtrack.core.then import Then
from airtrack.study.trial import CHECKS, Trial, misfit, pack, perform, unpack


def trial(toys, recipe=None, seed=0, budget=20, **options):
    return Trial(toys.Toy(), recipe or toys.Dial(), seed, budget, **options)


def told(readout):
    """What has to come out again: all but the cost."""
    return {name: value for name, value in vars(readout).items() if name != "cost"}


def test_readout_of_a_trial_that_ends_well(toys):
    readout, answer = perform(trial(toys))
    assert (readout.state, readout.spent, readout.reached, readout.reason) == ("done", 20, None, None)
    assert readout.key == trial(toys).key
    assert answer[0] == pytest.approx(0.5, abs=1e-3)
    assert readout.metrics["loss"] == pytest.approx(0.5, abs=1e-3)
    assert set(readout.curve) == {"work", "score", "loss"}
    assert len({len(column) for column in readout.curve.values()}) == 1
    assert readout.curve["work"][-1] == 20
    assert readout.curve["score"][-1] == readout.metrics["score"]
    assert {"python", "numpy", "airtrack", "threads"} <= set(readout.environment)
    assert set(readout.cost) == {"seconds", "judge", "rate", "host", "pid"}


def test_the_same_trial_gives_the_same_bits(toys):
    assert told(perform(trial(toys))[0]) == told(perform(trial(toys))[0])
    assert perform(trial(toys, seed=1))[0].metrics != perform(trial(toys))[0].metrics


def test_arms_of_a_seed_share_the_problem(toys):
    noise = [perform(trial(toys, toys.Dial(aim=aim), 3))[0].metrics["score"] - aim for aim in (0.25, 0.75)]
    assert noise[0] == pytest.approx(noise[1], abs=1e-3)


def test_a_trial_comes_back_from_its_specification(toys):
    made = trial(toys, toys.Dial(aim=0.25), 3, 7.5, points=2, stop_at={"score": 0.5})
    again = Trial.from_spec(made.to_spec())
    assert again == made
    assert again.key == made.key


def test_curve_points_are_log_spaced_and_end_before_the_end(toys):
    points = trial(toys, budget=1000, points=16).schedule()
    ratios = np.array(points[1:]) / points[:-1]
    np.testing.assert_allclose(ratios, ratios[0])
    assert (len(points), points[0], points[-1] * ratios[0]) == (16, pytest.approx(10), pytest.approx(1000))
    assert trial(toys, points=0).schedule() == []
    assert len(trial(toys, stop_at={"score": 0.1}).schedule()) == CHECKS


def test_divergence_is_a_result_and_reads_worst(toys):
    readout, answer = perform(trial(toys, toys.Dial(fate="diverges")))
    assert (readout.state, readout.reason, answer) == ("diverged", "at step 3", None)
    assert readout.metrics == {"score": 0.0, "loss": 10.0}
    assert readout.spent == 3


def test_junk_reads_worst_and_says_why(toys):
    readout, _ = perform(trial(toys, toys.Dial(fate="junk")))
    assert readout.state == "done"
    assert readout.metrics == {"score": 0.0, "loss": 10.0}
    assert readout.reason == "a str is no array of numbers"


def test_a_threshold_ends_the_trial_where_it_is_met(toys):
    readout, _ = perform(trial(toys, toys.Dial(aim=1.0), budget=64, stop_at={"score": 0.9}))
    assert readout.reached == readout.spent == 6  # 1 - (2/3)^6 = 0.912
    both, _ = perform(trial(toys, toys.Dial(aim=1.0), budget=64, stop_at={"score": 0.5, "loss": 0.05}))
    assert both.reached == 8  # the later one: (2/3)^8 = 0.039
    never, _ = perform(trial(toys, toys.Dial(aim=0.5), budget=64, stop_at={"score": 0.9}))
    assert (never.reached, never.spent, never.state) == (None, 64, "done")


def test_a_threshold_met_only_at_the_end_counts(toys):
    readout, _ = perform(trial(toys, toys.Dial(aim=1.0), budget=5, stop_at={"score": 0.86}))
    assert readout.reached == 5


def test_a_recipe_that_does_not_fit_is_refused(toys):
    wrong = Trial(toys.Toy(), build("recipe", "svrg"), 0, 10)
    with pytest.raises(SpecError, match="svrg needs a FiniteSum, toy gives a Steps"):
        perform(wrong)
    assert misfit(toys.Toy(), toys.Dial()) is None


def test_a_bug_is_not_hidden(toys):
    with pytest.raises(RuntimeError, match="a fault in the part"):
        perform(trial(toys, toys.Dial(fate="bug")))


def test_a_pilot_ends_early(toys):
    readout, _ = perform(trial(toys, budget=100), cap=7)
    assert readout.spent == 7


def test_composition_charges_its_prefix_once(toys):
    then = Then(first=toys.Dial(aim=0.5), changes=[toys.Half()])
    alone, _ = perform(trial(toys, then))
    first, answer = perform(trial(toys))
    kept = {"answer": pack(toys.Dial(), answer), "spent": first.spent}
    shared, _ = perform(trial(toys, then), prefix=lambda recipe: kept)
    assert shared.metrics == alone.metrics
    assert shared.spent == alone.spent == 20
    assert alone.metrics["loss"] == pytest.approx(0.75, abs=1e-3)


def test_answers_are_kept_as_arrays(toys):
    kept = pack(toys.Dial(), np.arange(2.0))
    assert unpack(toys.Dial(), kept, None).tolist() == [0, 1]
    with pytest.raises(SpecError, match="Dial returns a str; to be changed it needs pack and unpack"):
        pack(toys.Dial(), "text")


# ------------------------------------------------------------------------------------------------------------ resume

NET = {"name": "decoder", "layers": 1, "width": 8, "heads": 2}
QUESTIONS = {
    "toy": None,
    "oja": ({"name": "spiked", "d": 5, "k": 1}, "oja", 300),
    "svrg": ({"name": "logistic", "n": 20, "d": 3}, "svrg", 400),
    "katyusha": ({"name": "logistic", "n": 20, "d": 3}, "katyusha", 400),
    "ucb_q": ({"name": "random_mdp", "states": 3, "horizon": 3}, "ucb_q", 60),
    **{
        f"train, {schedule}": (
            {"name": "depo", "n": 3, "hops": 1},
            {
                "name": "train",
                "batch": 4,
                "net": NET | {"canon": "A"},
                "optim": {"name": "adamw", "lr": 1e-2},
                "schedule": {"name": schedule, "warmup": 3},
            },
            1200,
        )
        for schedule in ("constant", "linear", "cosine", "exponential")
    },
}


class Killed(Exception):
    pass


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_killed_trial_resumes_to_the_same_bits(name, toys, tmp_path, monkeypatch):
    task, recipe, budget = QUESTIONS[name] or (toys.Toy(), toys.Dial(), 20)
    one = Trial(build("task", task), build("recipe", recipe), 0, budget)
    whole, _ = perform(one)
    save, saves = Meter.save, 0

    def mortal(self, state):
        nonlocal saves
        save(self, state)
        saves += 1
        if saves % 3 == 0:
            raise Killed

    monkeypatch.setattr(Meter, "save", mortal)
    kills = 0
    while True:  # killed at every third save, until it gets to the end
        try:
            readout, _ = perform(one, checkpoint=tmp_path / "c.npz", every=0)
            break
        except Killed:
            kills += 1
    assert kills >= 2
    assert told(readout) == told(whole)


def test_environment_does_not_depend_on_what_is_loaded(toys):
    code = "{}; import json; from airtrack.study.trial import environment; print(json.dumps(environment()))"
    alone, after = (
        subprocess.run(
            [sys.executable, "-c", code.format(first)], capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"}
        ).stdout
        for first in ("pass", "import scipy, numba, torch")
    )
    assert alone == after != ""
