"""What every optimiser owes the training loop, and anybody who uses it without one."""

import copy

import pytest
import torch
from torch import nn

from airtrack.core.part import build, known, lookup, to_spec

NAMES = list(known("optim"))


def example(name):
    cls = lookup("optim", name)
    assert hasattr(cls, "example"), f"give {cls.__name__} a class variable `example`: the fields of a small one"
    return cls(**cls.example)


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.RMSNorm(8), nn.Tanh(), nn.Linear(8, 1))


def train(module, optimizer, first, last):
    losses = []
    for i in range(first, last):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(i))

        def closure(x=x):
            optimizer.zero_grad()
            loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
            loss.backward()
            return loss

        losses.append(float(optimizer.step(closure).detach()))
    return losses


@pytest.mark.parametrize("name", NAMES)
def test_specification_makes_an_equal_part(name):
    assert build("optim", to_spec(example(name))) == example(name)


@pytest.mark.parametrize("name", NAMES)
def test_is_torchs_kind_and_lowers_a_loss(name):
    module = net()
    optimizer = example(name).build(module)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(module.parameters()))
    losses = train(module, optimizer, 0, 300)
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])


@pytest.mark.parametrize("name", NAMES)
def test_resumes_to_the_same_bits(name):
    whole = net()
    train(whole, example(name).build(whole), 0, 8)
    half = net()
    optimizer = example(name).build(half)
    train(half, optimizer, 0, 4)
    saved = copy.deepcopy((half.state_dict(), optimizer.state_dict()))
    fresh = net()
    again = example(name).build(fresh)
    fresh.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    train(fresh, again, 4, 8)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), fresh.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_leaves_alone_what_is_frozen_or_has_no_gradient(name):
    module = net()
    module[0].weight.requires_grad_(False)
    unused = nn.Linear(2, 2)  # below a layer that does not call it: its gradient stays None
    module[0].register_module("unused", unused)
    before = module[0].weight.clone(), unused.weight.clone()
    train(module, example(name).build(module), 0, 3)
    assert torch.equal(module[0].weight, before[0])
    assert torch.equal(unused.weight, before[1])


@pytest.mark.parametrize("name", NAMES)
def test_obeys_a_scheduler_and_no_global_generator(name):
    def run(seed, factor):
        torch.manual_seed(seed)
        module = net()
        optimizer = example(name).build(module)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: factor)
        before = torch.get_rng_state()
        train(module, optimizer, 0, 3)
        scheduler.step()
        assert torch.equal(before, torch.get_rng_state())
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    start = torch.cat([p.detach().flatten() for p in net().parameters()])
    assert torch.equal(run(0, 1.0), run(1, 1.0))
    assert not torch.equal(run(0, 1.0), start)
    assert torch.equal(run(0, 0.0), start)  # a step size of nothing moves nothing
