import copy

import pytest
import torch
from torch import nn

from airtrack.core.part import SpecError
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.optim.adamw import AdamW


def run(module, optimizer, steps, first=0):
    for i in range(first, first + steps):
        ids = torch.randint(7, (4, 9), generator=torch.Generator().manual_seed(i))
        loss = nn.functional.cross_entropy(module(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def net():
    return Decoder(layers=1, width=16, heads=2, canon="ABCD").build(7, Streams(0), length=9)


def test_update_is_the_published_one():
    """Three steps by hand, in float64."""
    lr, (b1, b2), eps, decay = 0.1, (0.9, 0.98), 1e-6, 0.03
    module = nn.Linear(3, 2).double()
    optimizer = AdamW(lr=lr).build(module)
    w = {k: p.detach().clone() for k, p in module.named_parameters()}
    m = {k: torch.zeros_like(p) for k, p in w.items()}
    v = {k: torch.zeros_like(p) for k, p in w.items()}
    for t in range(1, 4):
        x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(t))
        optimizer.zero_grad()
        module(x).square().sum().backward()
        for k, p in module.named_parameters():
            m[k] = b1 * m[k] + (1 - b1) * p.grad
            v[k] = b2 * v[k] + (1 - b2) * p.grad**2
            step = (m[k] / (1 - b1**t)) / ((v[k] / (1 - b2**t)).sqrt() + eps)
            w[k] = w[k] * (1 - lr * decay * (k == "weight")) - lr * step
        optimizer.step()
        for k, p in module.named_parameters():
            assert torch.allclose(p, w[k], rtol=0, atol=1e-12), (t, k)


def test_what_is_decayed():
    module = net()
    groups = AdamW(lr=1e-3, weight_decay=0.5).build(module).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, p in module.named_parameters():
        assert decay[id(p)] == (0.0 if "norm" in name else 0.5), name
    assert len(decay) == len(list(module.parameters()))


def test_frozen_parameters_are_left_out():
    module = net()
    module.tokens.weight.requires_grad_(False)
    before = module.tokens.weight.clone()
    run(module, AdamW(lr=0.1).build(module), 2)
    assert torch.equal(before, module.tokens.weight)


def test_resumes_to_the_same_bits():
    whole, first = net(), net()
    run(whole, AdamW(lr=1e-2).build(whole), 6)
    optimizer = AdamW(lr=1e-2).build(first)
    run(first, optimizer, 3)
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict()))
    second = Decoder(layers=1, width=16, heads=2, canon="ABCD").build(7, Streams(9), length=9)
    again = AdamW(lr=1e-2).build(second)
    second.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    run(second, again, 3, first=3)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0.0}, "lr: input should be greater than 0"),
        ({"lr": -1}, "lr: input should be greater than 0"),
        ({"lr": "4e-3"}, "lr: expected a float"),
        ({"lr": 1.0, "betas": (0.9, 1.0)}, "betas.1: input should be less than 1"),
        ({"lr": 1.0, "weight_decay": -0.1}, "weight_decay: input should be greater than or equal to 0"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        AdamW(**fields)
