import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from airtrack.compress.rtn import Rtn, quantize_, rounded
from airtrack.core.meter import Meter
from airtrack.core.part import SpecError
from airtrack.core.problem import Diverged
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.model import TorchLanguageModel

BITS = range(2, 9)


def by_hand(row, bits, symmetric):
    """One row in plain Python floats; HAWQ's formulas, the range extended to hold zero."""
    row = [float(x) for x in row]
    if symmetric:
        n = 2 ** (bits - 1) - 1
        scale = max(max(abs(x) for x in row), 1e-8) / n
        return [min(max(round(x / scale), -n - 1), n) * scale for x in row], scale
    n = 2**bits - 1
    low, high = min(*row, 0.0), max(*row, 0.0)
    scale = max(high - low, 1e-8) / n
    zero = round(-low / scale)
    assert 0 <= zero <= n  # fits into its bits
    return [(min(max(round(x / scale + zero), 0), n) - zero) * scale for x in row], scale


def rows():
    g = torch.Generator().manual_seed(0)
    normal = torch.randn(6, 40, generator=g, dtype=torch.float64)
    special = [torch.zeros(40), torch.full((40,), 5.0), torch.full((40,), -5.0), torch.full((40,), 1e-30)]
    skewed = [torch.rand(40, generator=g), 100 + torch.rand(40, generator=g), torch.arange(40) * -1.0]
    return torch.cat((normal, torch.stack(special + skewed).double()))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_rows_against_plain_python(bits, symmetric):
    x = rows()
    got = rounded(x, bits, symmetric=symmetric)
    for row, ours in zip(x, got):
        expected, scale = by_hand(row, bits, symmetric)
        assert ours.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)
        assert (ours - row).abs().max() <= scale / 2 * (1 + 1e-9)
        assert len(set(ours.tolist())) <= 2**bits
    assert torch.allclose(rounded(got, bits, symmetric=symmetric), got, rtol=1e-12, atol=1e-15)  # again changes nothing


@pytest.mark.parametrize("symmetric", [True, False])
def test_zero_and_constant_rows_survive(symmetric):
    for value in (0.0, 5.0, -5.0):
        row = torch.full((1, 8), value)
        assert torch.allclose(rounded(row, 4, symmetric=symmetric), row)


def net():
    return Decoder(layers=2, width=32, heads=2, canon="ABCD").build(11, Streams(0), length=9)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [None, 16, 5])
def test_error_falls_with_every_bit(group, symmetric):
    errors = []
    for bits in BITS:
        module, before = net(), net()
        quantize_(module, bits, group, symmetric=symmetric)
        pairs = zip(module.parameters(), before.parameters())
        errors.append(sum((p - q).square().sum().item() for p, q in pairs))
    assert all(a > 2 * b for a, b in pairwise(errors))  # a quarter each, but for the lowest


def test_what_is_touched():
    module, before = net(), net()
    quantize_(module, 3)
    for name, p in module.named_parameters():
        touched = any(word in name for word in ("qkv", "out", "up", "down", "head"))
        assert torch.equal(p, before.state_dict()[name]) != touched, name
    module = net()
    quantize_(module, 3, embeddings=True)
    assert not torch.equal(module.tokens.weight, before.tokens.weight)


def test_groups_are_independent():
    layer = nn.Linear(10, 3)
    expected = torch.cat([rounded(layer.weight[:, a:b], 4) for a, b in [(0, 4), (4, 8), (8, 10)]], 1)
    quantize_(layer, 4, group=4)
    assert torch.equal(layer.weight, expected)


def test_size_counts_everything():
    layer = nn.Linear(10, 3)
    for group, scales in [(None, 3), (4, 9), (10, 3), (99, 3)]:
        size = quantize_(copy.deepcopy(layer), 4, group)
        assert size == (30, 30 * 4 + scales * 32, 3 * 32)
        assert size.bits_per_weight == (120 + 32 * scales) / 30
        size = quantize_(copy.deepcopy(layer), 4, group, symmetric=False)
        assert size == (30, 30 * 4 + scales * (32 + 4), 3 * 32)
    module = net()
    size = quantize_(module, 8)
    assert size.weights + size.others // 32 == sum(p.numel() for p in module.parameters())


def test_shared_weights_count_once():
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    module[1].weight = module[0].weight
    size = quantize_(module, 4, embeddings=True)
    assert size == (20, 20 * 4 + 5 * 32, 0)


def test_refusals_leave_the_module_as_it_was():
    with pytest.raises(ValueError, match="there is nothing to quantise: the RMSNorm has no Linear layer"):
        quantize_(nn.RMSNorm(3), 4)
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight.data[0, 0] = float("nan")
    before = module[0].weight.clone()
    with pytest.raises(Diverged, match="not finite"):
        quantize_(module, 2)
    assert torch.equal(module[0].weight, before)
    for fields in ({"bits": 1}, {"bits": 9}, {"bits": 4, "group": 0}, {"bits": 4.5}):
        with pytest.raises(SpecError):
            Rtn(**fields)


def test_as_a_change():
    answer = TorchLanguageModel(net())
    ids = np.random.default_rng(0).integers(0, 11, (3, 9))
    before = answer.log_probs(ids)
    changed = Rtn(bits=2, group=16).change(answer, None, Meter(0), Streams(0))
    assert np.array_equal(answer.log_probs(ids), before)
    assert np.abs(changed.log_probs(ids) - before).max() > 1e-4
    assert changed.facts == {"bits_per_weight": 4.0}
    fine = Rtn(bits=8, group=16).change(answer, None, Meter(0), Streams(0))
    assert np.abs(fine.log_probs(ids) - before).max() < np.abs(changed.log_probs(ids) - before).max() / 20
