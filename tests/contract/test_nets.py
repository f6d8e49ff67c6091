"""What every net owes the training loop, and every mixer the decoder. A new file in nets/ is tested by being there."""

import random

import numpy as np
import pytest
import torch

from airtrack.core.part import build, known, lookup, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.protocols import takes


def predicts_next(name):
    """Nets of masked tokens and of images have tests of their own."""
    cls = lookup("net", name)
    return getattr(cls, "objective", "next") == "next" and getattr(cls, "inputs", "tokens") == "tokens"


NETS, MIXERS = list(filter(predicts_next, known("net"))), list(known("mixer"))
FAMILY = dict.fromkeys(NETS, "net") | dict.fromkeys(MIXERS, "mixer")
PARTS = {name: lookup(family, name) for name, family in FAMILY.items()}

IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 9, (3, 12)))


def example(name):
    cls = PARTS[name]
    assert hasattr(cls, "example"), f"give {cls.__name__} a class variable `example`: the fields of a small one"
    return cls(**cls.example)


def made(name, seed=0):
    return example(name).build(9, Streams(seed) / "init", length=12, start=0)


def alone(mixer):
    """A mixer's module, its numbers drawn from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mixer.build(16, 2)


def global_states():
    state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), state[1].tolist(), state[2:]


def test_every_part_says_how_it_is_built():
    assert all(takes(PARTS[name].build, "vocab") for name in NETS)
    assert all(takes(PARTS[name].build, "width") and takes(PARTS[name].build, "heads") for name in MIXERS)


@pytest.mark.parametrize("name", PARTS)
def test_specification_makes_an_equal_part(name):
    assert build(FAMILY[name], to_spec(example(name))) == example(name)


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


@pytest.mark.parametrize("name", MIXERS)
def test_mixer_keeps_the_shape_and_reads_nothing_ahead(name):
    module = alone(example(name))
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    before = module(x)
    assert before.shape == x.shape
    for t in range(9):
        moved = x.clone()
        moved[:, t] += 1
        assert torch.allclose(module(moved)[:, :t], before[:, :t], atol=1e-6)


@pytest.mark.parametrize("name", [name for name in MIXERS if takes(alone(example(name)).forward, "documents")])
def test_mixer_that_takes_documents_keeps_them_apart(name):
    module = alone(example(name))
    x = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(0))
    whole = module(x, documents=torch.tensor([[0, 0, 0, 0, 1, 2, 2, 2, 2]]))
    for a, b in [(0, 4), (4, 5), (5, 9)]:
        assert torch.allclose(whole[:, a:b], module(x[:, a:b]), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in MIXERS if hasattr(alone(example(name)), "step")])
def test_mixer_that_steps_gives_the_same(name):
    module = alone(example(name))
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    cache = {}
    parts = [module.step(piece, cache) for piece in x.split([4, 1, 1, 3], 1)]
    assert torch.allclose(torch.cat(parts, 1), module(x), atol=1e-5)


@pytest.mark.parametrize("name", MIXERS)
def test_mixer_serves_the_decoder(name):
    mixer = example(name)
    spec = Decoder(layers=2, width=16, heads=2, positions="none", mixer=mixer, canon="AC")
    model = spec.build(9, Streams(0), length=12)
    model(IDS).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.generate(IDS[:, :4], 3).shape == (3, 7)
    assert spec.count(9) == sum(p.numel() for p in model.parameters())
