"""What every change owes the bench: a new answer of the same type, and the old one as it was."""

import numpy as np
import pytest
import torch

from airtrack.core.meter import Meter
from airtrack.core.part import build, known, lookup, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.model import TorchLanguageModel

PARTS = {name: lookup("change", name) for name in known("change")}
LANGUAGE = [name for name, cls in PARTS.items() if issubclass(TorchLanguageModel, cls.accepts)]
IDS = np.random.default_rng(0).integers(0, 5, (4, 9))


def example(name):
    cls = PARTS[name]
    assert hasattr(cls, "example"), f"give {cls.__name__} a class variable `example`: the fields of a small one"
    return cls(**cls.example)


def problem():
    return build("task", {"name": "depo", "n": 4, "hops": 1}).pose(Streams(0) / "task")


def trained(given):
    net = Decoder(layers=1, width=16, heads=2, canon="A")
    return TorchLanguageModel.new(net, Streams(0), vocab=given.vocab, length=given.length, start=given.start)


def changed(name, answer, given):
    return example(name).change(answer, given, Meter(8 * given.length), Streams(0) / "change")


@pytest.mark.parametrize("name", PARTS)
def test_specification_makes_an_equal_part(name):
    assert build("change", to_spec(example(name))) == example(name)
    assert isinstance(PARTS[name].accepts, type)


@pytest.mark.parametrize("name", LANGUAGE)
def test_makes_a_new_answer_and_leaves_the_old(name):
    given, judge = problem()
    answer = trained(given)
    before, state = answer.log_probs(IDS), answer.state()
    new = changed(name, answer, given)
    assert isinstance(new, PARTS[name].accepts)
    assert new is not answer
    assert np.array_equal(answer.log_probs(IDS), before)
    assert all(np.array_equal(v, answer.state()[k]) for k, v in state.items())
    assert not np.array_equal(new.log_probs(IDS), before)
    assert np.abs(np.exp(new.log_probs(IDS)).sum(-1) - 1).max() < 1e-9
    assert all(np.isfinite(value) for value in judge(new).values())
    with torch.no_grad():  # nor do they share memory
        [p.zero_() for p in new.module.parameters()]
    assert np.array_equal(answer.log_probs(IDS), before)


@pytest.mark.parametrize("name", LANGUAGE)
def test_depends_on_its_streams_alone(name):
    readings = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        given, _ = problem()
        readings.append(changed(name, trained(given), given).log_probs(IDS))
        assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(*readings)
