"""Positions as tables: what a bias is, by head and distance. What they do in attention is tested there."""

import copy
import itertools

import pytest
import torch

from airtrack.core.part import build
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder
from airtrack.nets.positions.alibi import Alibi
from airtrack.nets.positions.halibi import HardAlibi

PLACES = [Alibi(), HardAlibi(), HardAlibi(hard=1.0)]


def by_hand(place, heads, h, far):
    """Of head h = 1 … heads."""
    if isinstance(place, Alibi):
        return -far * 2.0 ** (-8 * h / heads)
    return -torch.inf if h <= place.hard * heads and far >= h else 0.0


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("heads", [2, 6, 8])
def test_bias_is_the_formula(place, heads):
    module = place.attach(heads, heads, 4).double()
    for rows, columns in [(9, 9), (1, 9), (3, 5), (1, 1), (5, 5)]:
        bias = module.bias(rows, columns)
        assert bias.shape == (heads, rows, columns)
        for h, r, j in itertools.product(range(heads), range(rows), range(columns)):
            far = abs(columns - rows + r - j)
            assert abs(bias[h, r, j] - by_hand(place, heads, h + 1, far)) < 1e-15 or bias[h, r, j] == -torch.inf
            assert (bias[h, r, j] == -torch.inf) == (by_hand(place, heads, h + 1, far) == -torch.inf)


def test_slopes_of_eight_heads_are_the_papers():
    slopes = -Alibi().attach(8, 8, 4).bias(1, 2)[:, 0, 0]
    assert slopes.tolist() == [1 / 2**h for h in range(1, 9)]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_every_position_sees_itself(place):
    """So that no row of the softmax is empty, in whatever document or window."""
    bias = place.attach(4, 4, 4).bias(7, 7)
    assert (bias.diagonal(dim1=1, dim2=2) == 0).all()


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_bias_follows_the_net_and_is_no_part_of_it(place):
    module = place.attach(4, 2, 4)
    single = module.bias(5, 7)
    assert single.dtype == torch.float32
    assert module.bias(5, 7) is single  # made once
    double = module.double().bias(5, 7)
    assert double.dtype == torch.float64
    exact = place.attach(4, 2, 4).double().bias(5, 7)
    assert torch.equal(double, exact)  # not what single precision had rounded
    assert module.state_dict() == {}
    assert list(module.parameters()) == []
    assert torch.equal(copy.deepcopy(module).bias(5, 7), double)
    with torch.inference_mode():
        assert not place.attach(4, 2, 4).bias(3, 3).is_inference()


@pytest.mark.parametrize("name", ["alibi", "halibi"])
def test_positions_without_parameters_share_all_others(name):
    """A net with these starts from the very numbers of one without positions."""
    streams = Streams(0)
    one = Decoder(layers=2, width=16, heads=2, positions=name).build(7, streams, length=9).state_dict()
    none = Decoder(layers=2, width=16, heads=2, positions="none").build(7, streams, length=9).state_dict()
    assert one.keys() == none.keys()
    assert all(torch.equal(value, none[key]) for key, value in one.items())


@pytest.mark.parametrize("name", ["alibi", "halibi"])
def test_what_came_before_does_not_move_a_document(name):
    """Positions are relative: a document is the same wherever it lies, and however long a row is."""
    model = Decoder(layers=2, width=16, heads=2, positions=name).build(7, Streams(0), length=9, start=0).double()
    ids = torch.tensor([[0, 3, 1, 4, 0, 5, 2, 6, 1, 1, 3]])
    assert (model(ids)[:, 4:] - model(ids[:, 4:])).abs().max() < 1e-12


def test_h_alibi_can_tell_order_and_no_positions_cannot():
    """The last of three tokens, after two others in either order, in one layer without Canon: heads that see a few
    tokens know which came last."""
    one, other = torch.tensor([[1, 2, 3, 3]]), torch.tensor([[2, 1, 3, 3]])
    for name, heads, differs in [("none", 6, False), ("halibi", 6, True), ("alibi", 6, True)]:
        model = Decoder(layers=1, width=24, heads=heads, positions=name).build(7, Streams(0), length=9).double()
        gap = (model(one) - model(other))[:, -1].abs().max()
        assert (gap > 1e-12) == differs


@pytest.mark.parametrize("heads", [2, 4])
def test_refusals_are_of_heads(heads):
    HardAlibi(hard=0.5).refuse(heads, heads, 4)
    HardAlibi(hard=1 / 3).refuse(3 * heads, heads, 4)
    with pytest.raises(ValueError, match=rf"0.3 of {heads} heads is .*: choose another fraction"):
        HardAlibi(hard=0.3).refuse(heads, heads, 4)
    with pytest.raises(ValueError, match="less than or equal to 1"):
        build("position", {"name": "halibi", "hard": 1.5})
