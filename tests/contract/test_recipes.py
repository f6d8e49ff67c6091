"""What the training loop and compositions owe the bench; solvers have a suite of their own."""

import numpy as np
import pytest
import torch

from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build, to_spec
from airtrack.core.streams import Streams
from airtrack.study.ledger import Ledger, run_in
from airtrack.study.trial import Trial, pack, perform, unpack

TRAIN = {
    "name": "train",
    "net": {"name": "decoder", "layers": 1, "width": 8, "heads": 2, "canon": "AC"},
    "optim": {"name": "adamw", "lr": 1e-2},
    "schedule": {"name": "cosine", "warmup": 2},
    "batch": 4,
}
RECIPES = {"train": TRAIN, "then": {"name": "then", "first": TRAIN, "changes": [{"name": "rtn", "bits": 3}]}}
DEPO = build("task", {"name": "depo", "n": 4, "separator": True, "evaluation": 8})
BUDGET = 4 * 25 * 9  # nine steps of four windows of 1 + 3 · 4 + 3 · 4 tokens


def trial(name, seed=0, budget=BUDGET):
    return Trial(DEPO, build("recipe", RECIPES[name]), seed, budget, points=4)


@pytest.mark.parametrize("name", RECIPES)
def test_the_seed_decides_and_no_global_generator_does(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, _ = perform(trial(name))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    again, _ = perform(trial(name))
    other, _ = perform(trial(name, seed=1))
    assert (first.metrics, first.curve, first.spent) == (again.metrics, again.curve, again.spent)
    assert first.metrics != other.metrics
    assert first.spent == BUDGET


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_an_interrupted_training_ends_in_the_same_bytes(stop, tmp_path):
    class Killed(Exception):
        pass

    whole, answer = perform(trial("train"))
    recipe, file = trial("train").recipe, tmp_path / "checkpoint.npz"
    problem = DEPO.pose(Streams(0) / "task")

    def run(kill):
        schedule = trial("train").schedule()
        meter = Meter(BUDGET, look=problem.judge, schedule=schedule, checkpoint=file, every=0)
        given = DEPO.pose(Streams(0) / "task").given
        given.metered(meter)
        batch, given.batch = given.batch, None

        def counted(i, n):
            if i == kill:
                raise Killed
            return batch(i, n)

        given.batch = counted
        return meter, recipe.answer(given, meter, Streams(0) / "recipe")

    with pytest.raises(Killed):
        run(stop)
    meter, resumed = run(None)
    assert [work for work, _ in meter.curve] == [w for w in whole.curve["work"] if w in dict(meter.curve)]
    assert all(np.array_equal(v, resumed.state()[k]) for k, v in answer.state().items())


@pytest.mark.parametrize("name", RECIPES)
def test_an_answer_survives_packing(name):
    recipe = build("recipe", RECIPES[name])
    assert build("recipe", to_spec(recipe)) == recipe
    if name == "train":
        _, answer = perform(trial(name))
        problem = DEPO.pose(Streams(0) / "task")
        assert problem.judge(unpack(recipe, pack(recipe, answer), problem.given)) == problem.judge(answer)


def test_a_prefix_is_trained_once_and_gives_what_training_again_gives(tmp_path):
    alone, _ = perform(trial("then"))
    ledger = Ledger(tmp_path)
    kept = run_in(ledger, trial("then"))
    assert kept.metrics == alone.metrics
    assert kept.spent == alone.spent
    base = trial("train").key
    assert ledger.get(base) is not None  # the prefix is a trial of its own
    stamp = ledger.path("answers", f"{base}.npz").stat().st_mtime_ns
    other = {"name": "then", "first": TRAIN, "changes": [{"name": "rtn", "bits": 8}]}
    run_in(ledger, Trial(DEPO, build("recipe", other), 0, BUDGET, points=4))
    assert ledger.path("answers", f"{base}.npz").stat().st_mtime_ns == stamp


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(SpecError, match=r"Rtn changes a TorchLanguageModel, Svrg returns a ndarray"):
        build("recipe", {"name": "then", "first": "svrg", "changes": [{"name": "rtn", "bits": 4}]})
