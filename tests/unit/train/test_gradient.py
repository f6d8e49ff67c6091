"""The loss and its gradient against what the definition says, in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from airtrack.core.given import IGNORE
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.train.gradient import Gradient

V, T, N = 11, 9, 6


class Taxed(nn.Module):
    """Leaves the mean square of what goes through it as a penalty."""

    def __init__(self):
        super().__init__()
        self.penalty = None

    def forward(self, x):
        self.penalty = x.square().mean() if self.training else None
        return x


@pytest.fixture
def batch():
    rng = np.random.Generator(np.random.Philox(key=3))
    x, y = rng.integers(0, V, (2, N, T))
    y[rng.random((N, T)) < 0.5] = IGNORE
    y[0] = IGNORE  # a piece without any loss
    return x, y


@pytest.fixture
def module(double):
    module = Decoder(layers=2, width=16, heads=2, canon="A").build(V, Streams(0), length=T, start=0)
    for p in module.parameters():
        p.data *= 5  # logits that are not all alike
    return module


def oracle(module, x, y, z=0.0):
    """Position by position."""
    logits, losses = module(torch.from_numpy(x)), []
    for n in range(N):
        for t in range(T):
            if y[n, t] != IGNORE:
                norm = torch.log(sum(torch.exp(v) for v in logits[n, t]))
                losses.append(norm - logits[n, t, y[n, t]] + z * norm**2)
    return sum(losses) / len(losses)


def gradients(module):
    return [p.grad.clone() for p in module.parameters()]


def close(a, b):
    """To rounding: single elements may be what is left of much larger terms."""
    return all((g - h).abs().max() <= 1e-12 * h.abs().max() for g, h in zip(a, b, strict=True))


@pytest.mark.parametrize("z", [0.0, 0.3])
@pytest.mark.parametrize("pieces", [1, 2, 6])
def test_the_gradient_is_that_of_the_definition(module, batch, pieces, z):
    loss = oracle(module, *batch, z)
    loss.backward()
    expected = gradients(module)
    module.zero_grad()
    assert Gradient(module, pieces=pieces, z_loss=z)(*batch) == pytest.approx(loss.item(), rel=1e-12)
    assert close(gradients(module), expected)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("pieces", [1, 3])
def test_penalties_are_added(module, batch, pieces, recompute):
    x, y = batch
    for block in module.blocks:
        block.mlp = nn.Sequential(block.mlp, Taxed())
        block._packs[1] = False
    taxed = [m for m in module.modules() if isinstance(m, Taxed)]
    loss = oracle(module, x, y)
    for rows in np.split(x, pieces):  # each piece leaves its own, and they count alike
        module(torch.from_numpy(rows))
        loss = loss + sum(m.penalty for m in taxed) / pieces
    loss.backward()
    expected = gradients(module)
    module.zero_grad()
    module.recompute = recompute
    assert Gradient(module, pieces=pieces)(x, y) == pytest.approx(loss.item(), rel=1e-12)
    assert close(gradients(module), expected)
    assert [m.penalty for m in taxed] == [None, None]


def kept(module, batch):
    """Bytes that a forward pass saves for the backward pass, parameters aside; each storage counts once."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    found = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor, so that its place is not reused
        return tensor

    x, y = batch
    at = np.nonzero(y != IGNORE)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(torch.from_numpy(x), tuple(map(torch.from_numpy, at)))
    return sum(size for size, _ in found.values())


def test_recomputing_keeps_less_and_changes_nothing(module, batch):
    Gradient(module)(*batch)
    expected, whole = gradients(module), kept(module, batch)
    module.zero_grad()
    module.recompute = True
    Gradient(module)(*batch)
    assert close(gradients(module), expected)
    assert kept(module, batch) < whole / 4


def test_a_piece_needs_its_share_of_memory(module, batch):
    x, y = batch
    assert kept(module, (x[:2], y[:2])) < kept(module, (x, y)) / 2


def test_a_batch_without_labels_has_no_number_for_a_loss(module, batch):
    assert np.isnan(Gradient(module, z_loss=1e-4)(batch[0], np.full((N, T), IGNORE)))
