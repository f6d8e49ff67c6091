"""What every net owes the training loop. A new file in nets/ is tested by being there."""

import random

import numpy as np
import pytest
import torch

from airtrack.core.part import build, known, lookup, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.protocols import takes


def predicts_next(name):
    """Nets of masked tokens and of images have tests of their own."""
    cls = lookup("net", name)
    return getattr(cls, "objective", "next") == "next" and getattr(cls, "inputs", "tokens") == "tokens"


NETS = list(filter(predicts_next, known("net")))

IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 9, (3, 12)))


def example(name):
    cls = lookup("net", name)
    assert hasattr(cls, "example"), f"give {cls.__name__} a class variable `example`: the fields of a small one"
    return cls(**cls.example)


def made(name, seed=0):
    return example(name).build(9, Streams(seed) / "init", length=12, start=0)


def global_states():
    state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), state[1].tolist(), state[2:]


def test_every_part_says_how_it_is_built():
    assert all(takes(lookup("net", name).build, "vocab") for name in NETS)


@pytest.mark.parametrize("name", NETS)
def test_specification_makes_an_equal_part(name):
    assert build("net", to_spec(example(name))) == example(name)


@pytest.mark.parametrize("name", NETS)
def test_net_gives_logits_in_single_precision(name):
    model = made(name)
    assert model(IDS).shape == (3, 12, 9)
    assert model(IDS).dtype == torch.float32
    assert model(IDS[:, :1]).shape == (3, 1, 9)
    assert model(IDS[:, :5]).isfinite().all()


@pytest.mark.parametrize("name", NETS)
def test_net_reads_nothing_ahead(name):
    model = made(name).eval()
    before = model(IDS)
    for t in range(12):
        moved = IDS.clone()
        moved[:, t] = (moved[:, t] % 8) + 1
        after = model(moved)
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.equal(after[:, t:], before[:, t:])


@pytest.mark.parametrize("name", NETS)
def test_net_keeps_documents_apart(name):
    model = made(name).eval()
    packed = IDS.clone()
    packed[:, 0] = packed[:, 5] = packed[:, 9] = 0
    whole = model(packed)
    for a, b in [(0, 5), (5, 9), (9, 12)]:
        assert torch.allclose(whole[:, a:b], model(packed[:, a:b]), atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_net_gives_the_wanted_positions(name):
    model = made(name).eval()
    rows, columns = torch.tensor([2, 0, 0]), torch.tensor([11, 0, 7])
    assert torch.allclose(model(IDS, (rows, columns)), model(IDS)[rows, columns], atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_net_depends_on_its_streams_alone(name):
    before = global_states()
    first = made(name).state_dict()
    assert global_states() == before
    torch.manual_seed(77)
    second, other = made(name).state_dict(), made(name, seed=1).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize("name", NETS)
def test_net_learns_with_all_of_its_parameters(name):
    model = made(name)
    before = global_states()
    loss = torch.nn.functional.cross_entropy(model(IDS)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    loss.backward()
    assert global_states() == before
    for path, p in model.named_parameters():
        assert p.grad is not None, path
        assert p.grad.isfinite().all(), path
        assert p.grad.abs().max() > 0, path


@pytest.mark.parametrize("name", NETS)
def test_net_is_saved_and_loaded(name, tmp_path):
    model = TorchLanguageModel.new(example(name), Streams(0), vocab=9, length=12, start=0)
    model.save(tmp_path)
    again = TorchLanguageModel.load(tmp_path)
    assert np.array_equal(again.log_probs(IDS.numpy()), model.log_probs(IDS.numpy()))
