"""Options of the training loop; that it resumes to the bit is in the contract of recipes."""

import dataclasses

import numpy as np
import pytest
import torch

from airtrack.core.meter import Meter
from airtrack.core.part import SpecError, build
from airtrack.core.streams import Streams
from airtrack.study.trial import Trial, pack, perform, unpack
from airtrack.train import compiling
from airtrack.train.train import Train

DEPO = build("task", {"name": "depo", "n": 4, "separator": True, "evaluation": 8})
DECODER = {"name": "decoder", "layers": 2, "width": 8, "heads": 2, "canon": "AC"}
ENCODER = {"name": "encoder", "layers": 1, "width": 8, "heads": 2}
PLAIN = {
    "net": DECODER,
    "optim": {"name": "adamw", "lr": 1e-2},
    "schedule": {"name": "cosine", "warmup": 2},
    "batch": 6,
}
STEPS = 5


def trained(steps=STEPS, task=DEPO, **fields):
    recipe = Train(**PLAIN | fields)
    given = task.pose(Streams(0) / "task").given
    meter = Meter(steps * recipe.step_cost(given))
    given.metered(meter)
    return recipe.answer(given, meter, Streams(0) / "recipe")


def difference(a, b):
    a, b = a.state(), b.state()
    assert a.keys() == b.keys()
    return max(float(np.abs(a[k] - b[k]).max()) for k in a)


# --------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("fields", [{"accumulate": 2}, {"accumulate": 6}, {"recompute": True}], ids=str)
def test_less_memory_and_the_same_training(double, fields):
    whole = trained(z_loss=1e-3)
    assert difference(whole, trained(z_loss=1e-3, **fields)) < 1e-12
    assert difference(whole, trained(steps=STEPS + 1, z_loss=1e-3, **fields)) > 1e-4


def test_z_loss_keeps_the_normaliser_near_one():
    ids = np.arange(20)[None] % 10

    def spread(model):
        with torch.no_grad():
            return model.module(torch.from_numpy(ids)).logsumexp(-1).square().mean().item()

    assert spread(trained(steps=30, z_loss=1.0)) < 0.2 * spread(trained(steps=30))


# ------------------------------------------------------------------------------------------------------ objectives


MASKED = {"net": ENCODER, "objective": "masked"}


def test_a_masked_model_learns_and_is_judged():
    recipe = build("recipe", {"name": "train", **PLAIN, **MASKED, "batch": 32})
    readout, model = perform(Trial(DEPO, recipe, 0, 32 * 25 * 40, points=2))
    given = DEPO.pose(Streams(0) / "task").given
    assert model.origin["vocab"] == given.vocab + 1
    assert 0 <= readout.metrics["accuracy"] <= 1
    x, y = recipe.objective.batch(given, 10**6, 64, Streams(9))
    rows, columns = np.nonzero(y >= 0)
    with torch.no_grad():
        logits = model.module(torch.from_numpy(x), (torch.from_numpy(rows), torch.from_numpy(columns)))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[rows, columns])).item()
    assert loss < 0.9 * np.log(given.vocab)


def test_an_interrupted_masked_training_ends_in_the_same_bytes(tmp_path):
    class Killed(Exception):
        pass

    recipe = Train(**PLAIN | MASKED)
    whole = trained(**MASKED)
    for kill in (3, None):
        given = DEPO.pose(Streams(0) / "task").given
        meter = Meter(STEPS * recipe.step_cost(given), checkpoint=tmp_path / "c.npz", every=0)
        given.metered(meter)
        make = given._make

        def made(i, n):
            if i == kill:
                raise Killed
            return make(i, n)

        given._make = made
        try:
            resumed = recipe.answer(given, meter, Streams(0) / "recipe")
        except Killed:
            assert kill
    assert difference(whole, resumed) == 0


def test_nets_and_objectives_go_together():
    with pytest.raises(SpecError, match=r"objective: Decoder is trained with 'next'.* kind 'masked'"):
        Train(**PLAIN | {"objective": "masked"})
    with pytest.raises(SpecError, match=r"objective: Encoder is trained with 'masked'.* kind 'next'"):
        Train(**PLAIN | {"net": ENCODER})


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accumulate": 4}, "a batch of 6 is not cut into 4 equal pieces; change accumulate"),
        ({"accumulate": 0}, "accumulate"),
        ({"z_loss": -1.0}, "z_loss"),
        ({"precision": "bfloat16"}, "precision: a CPU is slower in bfloat16"),
        ({"precision": "float16"}, "'float16' is none of"),
        ({"device": "gpu"}, "device: 'gpu' is none of cpu, cuda"),
        ({"compile": True}, "compile"),
        ({"objective": "mask"}, "did you mean 'masked'"),
    ],
    ids=str,
)
def test_refuses(fields, said):
    with pytest.raises(SpecError, match=said):
        Train(**PLAIN | fields)


def test_a_gpu_that_is_not_there_is_missed_before_any_work(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = DEPO.pose(Streams(0) / "task").given
    meter = Meter(10**6)
    given.metered(meter)
    recipe = Train(**PLAIN, device="cuda", precision="bfloat16")  # a study of it can be planned and read anywhere
    with pytest.raises(SpecError, match=r"device: there is no GPU .*; set device: cpu, or run where one is"):
        recipe.answer(given, meter, Streams(0))
    assert meter.spent == 0


class Bare:
    """A net of a user's own, that says nothing of itself."""

    __part__ = "net"

    def build(self, vocab, streams, *, length, start=None):
        module = torch.nn.Embedding(vocab, vocab)
        forward = module.forward
        module.forward = lambda ids, at: forward(ids)[at]
        return module


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"recompute": True}, "recompute: Embedding cannot make its activations again.*; set recompute: false"),
        ({"compile": "always"}, "compile: Embedding has no list of blocks to compile; set compile: auto"),
    ],
)
def test_a_net_that_cannot_is_refused_before_any_work(fields, said, monkeypatch):
    monkeypatch.setattr("airtrack.nets.model.to_spec", lambda part: {})
    assert trained(net=Bare()).facts["compiled"] == 0
    with pytest.raises(SpecError, match=said):
        trained(net=Bare(), **fields)


# ------------------------------------------------------------------------------------------------------- compiling


@pytest.fixture
def counted(monkeypatch):
    """`torch.compile`, which only notes what it is asked for."""
    calls = []

    def fake(function, **options):
        calls.append(options)
        return function

    monkeypatch.setattr(torch, "compile", fake)
    return calls


def test_the_blocks_are_compiled_and_left_as_they_were(counted):
    model = trained(compile="always")
    assert counted == [{"dynamic": False}] * 2
    assert model.facts["compiled"] == 1
    assert difference(model, trained(compile="never")) == 0
    assert all("forward" not in vars(block) for block in model.module.blocks)


def test_auto_weighs_the_work(counted, monkeypatch):
    assert trained().facts["compiled"] == 0
    recipe, given = Train(**PLAIN), DEPO.pose(Streams(0) / "task").given
    planned = 3.0 * STEPS * 6 * recipe.net.flops(given.vocab, given.length)
    monkeypatch.setattr(compiling, "WORTH", planned)
    assert trained().facts["compiled"] == 1
    assert trained(steps=STEPS - 1).facts["compiled"] == 0
    assert trained(compile="never").facts["compiled"] == 0
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert trained().facts["compiled"] == 0
    with pytest.raises(SpecError, match=r"compile: there is no C\+\+ compiler 'no-such-compiler'; set compile: auto"):
        trained(compile="always")


def test_a_pilot_decides_as_the_whole_trial_does(counted, monkeypatch):
    given = DEPO.pose(Streams(0) / "task").given
    recipe = Train(**PLAIN)
    monkeypatch.setattr(compiling, "WORTH", 3.0 * STEPS * 6 * recipe.net.flops(given.vocab, given.length))
    meter = Meter(STEPS * recipe.step_cost(given), cap=recipe.step_cost(given))
    given.metered(meter)
    assert recipe.answer(given, meter, Streams(0) / "recipe").facts["compiled"] == 1
    assert meter.spent == recipe.step_cost(given)


def test_work_of_a_net_that_does_not_count(counted):
    module = torch.nn.Linear(3, 5)
    assert compiling.work(object(), module, 7, 11, 13) == 6 * 20 * 11 * 13


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of itself, and an error there would stop it
def test_traced_blocks_compute_the_same(double, monkeypatch):
    """As the compiler reads them, without the minute that it takes to write C++."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **options: compile_(f, backend="aot_eager", **options))
    fields = {"net": {**DECODER, "layers": 1, "canon": "A"}, "recompute": True}
    assert difference(trained(compile="always", **fields), trained(compile="never", **fields)) < 1e-12


# ------------------------------------------------------------------------------------------------ what is remembered


def test_facts_survive_packing(counted):
    recipe = Train(**PLAIN, compile="always")
    given = DEPO.pose(Streams(0) / "task").given
    model = trained(compile="always")
    again = unpack(recipe, pack(recipe, model), given)
    assert again.facts == model.facts
    assert difference(model, again) == 0


def test_the_readout_names_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    recipe = Train(**PLAIN)
    assert "gpu" not in perform(Trial(DEPO, recipe, 0, 6 * 25 * 2, points=0))[0].environment
    assert dataclasses.replace(recipe, device="cuda").environment() == {"gpu": "a GPU"}
