"""Trainings together against the same trainings by themselves: every bit."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from airtrack.core.given import IGNORE, Batch, Corpus
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.core.then import Then
from airtrack.nets.mlps.plain import FeedForward
from airtrack.nets.stacked import Stacked
from airtrack.study.trial import Trial, perform, perform_together
from airtrack.train.abreast import together

DEPO = {"name": "depo", "n": 4, "hops": 1, "separator": True}
PACKED = {"name": "mano", "length": 2, "modulus": 5, "context": 24}
NET = {"name": "decoder", "layers": 1, "width": 16, "heads": 2}


def recipe(lr=1e-2, net=NET, optim="adamw", **fields):
    optim = {"name": optim, "lr": lr} | fields.pop("optim_fields", {})
    return build("recipe", {"name": "train", "batch": 4, "net": NET | net, "optim": optim} | fields)


def trials(recipes, task=DEPO, steps=8, seeds=None, **fields):
    task = build("task", task)
    length = task.pose(Streams(0) / "task").given.length
    seeds = range(len(recipes)) if seeds is None else seeds
    return [Trial(task, r, s, steps * r.batch * length, points=3, **fields) for r, s in zip(recipes, seeds)]


def told(readout):
    """All but the cost, which no repetition gives again."""
    return {name: value for name, value in asdict(readout).items() if name != "cost"}


def state(model):
    return model.module.state_dict()


def same(model, other):
    return all(torch.equal(value, state(other)[name]) for name, value in state(model).items())


def assert_as_apart(several, **options):
    """Together and alone; returns what was got together."""
    pairs = perform_together(several, together, **options)
    for trial, (readout, model) in zip(several, pairs, strict=True):
        alone, other = perform(trial)
        assert told(readout) == told(alone)
        assert (model is None and other is None) or same(model, other)
    return pairs


# --------------------------------------------------------------------------------------------------- the same readouts


@pytest.mark.parametrize(
    ("net", "task"),
    [
        ({"positions": "none", "mlp": "none", "canon": "A"}, DEPO),
        ({"canon": "ABCD", "layers": 2}, DEPO),
        ({"tied": True, "norm": "layernorm"}, PACKED),
        ({"positions": "learned", "mlp": {"name": "plain", "bias": True}, "parallel": True}, PACKED),
        ({"mixer": {"name": "attention", "groups": 1, "window": 3, "bias": True}, "positions": "alibi"}, PACKED),
        ({"mlp": {"name": "moe", "experts": 3}}, DEPO),
        ({"norm": "powernorm", "mixer": {"name": "attention", "qk_norm": "head"}}, DEPO),
    ],
    ids=lambda value: value.get("name") or " ".join(value),
)
def test_readouts_and_weights_are_those_of_trials_by_themselves(net, task):
    pairs = assert_as_apart(trials([recipe(lr, net) for lr in (1e-3, 1e-2, 3e-2)], task))
    assert not same(pairs[0][1], pairs[1][1])
    assert {readout.cost["together"] for readout, _ in pairs} == {3}


def test_optimisers_schedules_and_clipping_are_each_ones_own():
    several = [
        recipe(1e-2, schedule={"name": "constant", "warmup": 5}),
        recipe(1e-2, schedule={"name": "cosine", "warmup": 2}, clip=None),
        recipe(1e-2, clip=0.1, optim_fields={"weight_decay": 0.5, "betas": [0.5, 0.9]}),
        recipe(1e-2, z_loss=0.1),
    ]
    pairs = assert_as_apart(trials(several, seeds=[3, 3, 3, 3]))
    assert all(not same(a, b) for i, (_, a) in enumerate(pairs) for _, b in pairs[:i])


def test_in_single_precision_a_whole_small_study_reads_the_same():
    net = {"positions": "none", "mlp": "none", "canon": "A"}
    pairs = assert_as_apart(trials([recipe(lr, net) for lr in (4e-3, 3e-2)], steps=120))
    assert all(readout.curve["loss"][-1] < 0.9 * readout.curve["loss"][0] for readout, _ in pairs)


def test_one_training_is_a_training():
    assert_as_apart(trials([recipe()]))


# ----------------------------------------------------------------------------------------------------- different ends


def test_one_that_diverges_leaves_the_others_alone():
    pairs = assert_as_apart(trials([recipe(1e-2), recipe(1e30), recipe(1e-3)], steps=10))
    assert [readout.state for readout, _ in pairs] == ["done", "diverged", "done"]
    assert 0 < pairs[1][0].spent < pairs[0][0].spent


def test_one_that_meets_its_threshold_ends_there():
    first, *_ = trials([recipe(3e-2)], steps=40)
    aim = perform(first)[0].metrics["loss"] + 0.05
    pairs = assert_as_apart(trials([recipe(3e-2), recipe(1e-4)], steps=40, stop_at={"loss": aim}))
    assert pairs[0][0].reached is not None
    assert pairs[0][0].spent < pairs[1][0].spent


def test_budgets_may_differ():
    (a,), (b,) = trials([recipe()], steps=3), trials([recipe()], steps=6, seeds=[1])
    assert [readout.spent for readout, _ in assert_as_apart([a, b])] == [a.budget, b.budget]


@pytest.mark.parametrize("goes_on", ["alone", "together"])
def test_an_interrupted_one_goes_on(goes_on, tmp_path):
    several = trials([recipe(1e-2), recipe(2e-2)], steps=9)

    class Killed(BaseException):
        pass

    def setup(trial, die_at=None):
        given, judge = trial.task.pose(trial.streams / "task")

        def look(answer):
            if meter.spent >= (die_at or np.inf):
                raise Killed
            return judge(answer)

        meter = Meter(
            trial.budget, look=look, schedule=[trial.budget / 2], checkpoint=tmp_path / f"{trial.seed}.npz", every=0.0
        )
        given.metered(meter)
        return trial.recipe, given, meter, trial.streams / "recipe"

    with pytest.raises(Killed):
        together(*zip(*(setup(trial, die_at=trial.budget / 2) for trial in several)))
    again = [setup(trial) for trial in several]
    steps = [each[2].resume()["step"] for each in again]
    assert steps == [4, 4]  # the fifth, when the first one looked, was not kept
    if goes_on == "together":
        models = together(*zip(*again))
    else:
        models = [each[0].answer(*each[1:]) for each in again]
    for trial, model in zip(several, models):
        assert same(model, perform(trial)[1])


# ------------------------------------------------------------------------------------------------------ uneven batches


def corpus(uneven=False, start=None):
    """Noise with a loss at places, and beginnings of documents, that depend on the batch."""

    def make(i, n):
        rng = np.random.Generator(np.random.Philox(key=i))
        ids = rng.integers(1, 9, (n, 13))
        if start is not None and i % 3:
            ids[rng.integers(n), rng.integers(1, 12)] = start
        wanted = rng.random((n, 12)) < 0.5 if uneven else np.arange(12) % 2 == 0
        return Batch(ids[:, :-1].copy(), np.where(wanted, ids[:, 1:], IGNORE))

    return Corpus(make, vocab=9, length=12, start=start)


@pytest.mark.parametrize(("uneven", "start"), [(True, None), (False, 0), (True, 0)])
def test_batches_of_which_some_are_packed_or_have_more_places_with_a_loss(uneven, start):
    several = [recipe(lr) for lr in (1e-2, 3e-2, 1e-3)]

    def setup():
        for number, each in enumerate(several):
            given, meter = corpus(uneven, start), Meter(4 * 12 * 9)
            given.metered(meter)
            inner = given._make
            given._make = lambda i, n, inner=inner, number=number: inner(i + number, n)
            yield each, given, meter, Streams(number)

    alone = [each.answer(*rest) for each, *rest in setup()]
    assert all(same(a, b) for a, b in zip(together(*zip(*setup())), alone))


# ------------------------------------------------------------------------------------------------------------ refusals


def posed(several, **fields):
    for trial in trials(several, **fields):
        given, _ = trial.task.pose(trial.streams / "task")
        meter = Meter(trial.budget)
        given.metered(meter)
        yield trial.recipe, given, meter, trial.streams


@pytest.mark.parametrize(
    ("several", "why"),
    [
        ([recipe(), recipe(batch=8)], "these differ in batch; run"),
        ([recipe(), recipe(net={"width": 8})], "these differ in net; run"),
        ([recipe(accumulate=2)] * 2, "accumulate: only accumulate: 1"),
        ([recipe(recompute=True)] * 2, "recompute: only recompute: False"),
        ([recipe(compile="always")] * 2, "compile"),
    ],
    ids=["batch", "net", "accumulate", "recompute", "compile"],
)
def test_what_is_refused(several, why):
    with pytest.raises(SpecError, match=why):
        together(*zip(*posed(several)))


def test_other_recipes_are_refused():
    several = [Then(first=recipe(), changes=(build("change", {"name": "rtn", "bits": 4}),))]
    with pytest.raises(SpecError, match="one is a Then"):
        together(several, [], [], [])


def test_tasks_of_different_vocabularies_are_refused():
    a, b = next(posed([recipe()])), next(posed([recipe()], task=DEPO | {"n": 5}))
    with pytest.raises(SpecError, match="different vocabularies"):
        together(*zip(a, b))


def test_a_net_that_draws_random_numbers_is_refused(monkeypatch):
    plain = FeedForward._close
    monkeypatch.setattr(FeedForward, "_close", lambda self, hidden: F.dropout(plain(self, hidden), 0.5))
    with pytest.raises(SpecError, match="draws random numbers"):
        together(*zip(*posed([recipe(), recipe()])))


def test_a_net_that_mixes_rows_is_refused(monkeypatch):
    plain = FeedForward._close
    monkeypatch.setattr(FeedForward, "_close", lambda self, hidden: plain(self, hidden - hidden.mean(0)))
    with pytest.raises(SpecError, match=r"the gradient of \S+ is not that of a training by itself"):
        together(*zip(*posed([recipe(), recipe()])))


def test_torchs_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    together(*zip(*posed([recipe(), recipe()])))
    assert torch.equal(before, torch.get_rng_state())


# ----------------------------------------------------------------------------------------------------------- the stack


class Odd(nn.Module):
    """A module that occurs twice, one without weights, one that is frozen, a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Linear(6, 6, bias=False)
        self.again = self.twice
        self.frozen = nn.Linear(6, 6, bias=False).requires_grad_(False)
        self.list = nn.ModuleList([nn.RMSNorm(6), nn.LayerNorm(6), nn.Linear(6, 6), Own(), nn.GELU()])

    def forward(self, x):
        x = self.frozen(self.again(self.twice(x)))
        for module in self.list:
            x = module(x)
        return x


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(6).normal_(generator=torch.Generator().manual_seed(1)))
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        return self.inner(x) * self.gain


def copies(k):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [Odd().double() for _ in range(k)]


def test_stacked_modules_are_their_copies():
    modules, twins = copies(3), copies(3)
    x = torch.randn(3 * 5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, stack = [twin(part) for twin, part in zip(twins, x.chunk(3))], Stacked(modules)
    assert torch.equal(stack(x), torch.cat(y))
    stack(x).square().sum().backward()
    stack.share()
    for module, twin, part in zip(modules, twins, y):
        part.square().sum().backward()
        for (name, p), q in zip(module.named_parameters(), twin.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None) == name.startswith("frozen")
            assert p.grad is None or torch.allclose(p.grad, q.grad, rtol=1e-12, atol=1e-14)


def test_what_is_done_to_a_copy_the_stack_sees():
    modules = copies(2)
    stack, x = Stacked(modules), torch.ones(10, 4, 6, dtype=torch.float64)
    before = stack(x)
    with torch.no_grad():
        for parameter in modules[1].parameters():
            parameter.mul_(2)
    after = stack(x)
    assert torch.equal(before[:5], after[:5])
    assert torch.equal(after[5:], modules[1](x[5:]))
    assert not torch.equal(before[5:], after[5:])


def test_a_diverged_answer_says_where():
    *_, last = together(*zip(*posed([recipe(1e-2), recipe(1e30)])))
    assert isinstance(last, Diverged)
    assert "at step" in str(last)
