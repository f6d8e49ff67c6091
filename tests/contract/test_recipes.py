"""What the training loop and compositions owe the bench; solvers have a suite of their own."""

import numpy as np
import pytest
import torch
from torch import nn

from airtrack.core.meter import BudgetSpent, Meter
from airtrack.core.part import SpecError, build, part, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.mixers.attention import Attention
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


@part("mixer")
class Forgetful:
    """Attention after dropout, which draws from torch's global generator, as people write it."""

    def build(self, width, heads):
        return nn.Sequential(nn.Dropout(0.3), Attention().build(width, heads))


@part("optim")
class Restless:
    """Keeps what it has learned of its step size in its groups, as Prodigy does."""

    def build(self, module):
        return Growing(module.parameters(), {"lr": 1e-3, "scale": 1.0})


class Growing(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["scale"] *= 1.1
            for p in group["params"]:
                p -= group["lr"] * group["scale"] * p.grad


ODD = {
    "plain": {},
    "dropout": {"net": {**TRAIN["net"], "positions": "none", "canon": "", "mixer": Forgetful()}},
    "groups": {"optim": Restless()},
}


@pytest.mark.parametrize("odd", ODD)
def test_what_a_worker_did_before_changes_nothing(odd):
    odd_trial = Trial(DEPO, build("recipe", TRAIN | ODD[odd]), 0, BUDGET, points=4)
    torch.manual_seed(1)
    first, _ = perform(odd_trial)
    torch.randn(7)
    again, _ = perform(odd_trial)
    assert (first.metrics, first.curve) == (again.metrics, again.curve)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("stop", [1, 4, 8])
def test_an_interrupted_training_ends_in_the_same_bytes(stop, odd, tmp_path):
    class Killed(Exception):
        pass

    recipe, file = build("recipe", TRAIN | ODD[odd]), tmp_path / "checkpoint.npz"
    whole, answer = perform(Trial(DEPO, recipe, 0, BUDGET, points=4))
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


def test_a_budget_without_room_for_another_step_resumes_to_the_last_offer(tmp_path):
    class Descent:
        def answer(self, given, meter, streams):
            x = (meter.resume() or {"x": np.zeros(given.d)})["x"]
            while meter.live():
                x = x - given.gradient(x)[0]
                meter.offer(x)
                meter.save(lambda: {"x": x})
            return x

    task = build("task", {"name": "logistic", "n": 50, "d": 3, "kappa": 10.0})
    ends = []
    for _ in range(2):  # the second begins where the first could not go on
        given = task.pose(Streams(0) / "task").given
        meter = Meter(175, checkpoint=tmp_path / "checkpoint.npz", every=0)
        given.metered(meter)
        with pytest.raises(BudgetSpent):
            Descent().answer(given, meter, Streams(0))
        ends.append((meter.spent, meter.latest))
    assert ends[0][0] == ends[1][0] == 150
    assert np.array_equal(ends[0][1], ends[1][1])


def test_what_is_given_cannot_be_overwritten():
    """The judge works with the same numbers."""
    given = build("task", {"name": "logistic", "n": 50, "d": 3, "kappa": 10.0}).pose(Streams(0) / "task").given
    rows, labels = given.rows, given.labels
    for array in (rows, labels):
        with pytest.raises(ValueError, match="read-only"):
            array *= 0
