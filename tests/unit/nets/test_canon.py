import warnings

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from airtrack.nets.canon import Canon, shifted_sum, within


def by_convolution(x, weight):
    """The paper's words: a depthwise causal convolution of kernel 4, plus its input."""
    kernel = weight.flip(0).T.unsqueeze(1)  # [D, 1, 4]: Conv1d's last tap is the present
    y = torch.nn.functional.conv1d(x.transpose(1, 2), kernel, padding=3, groups=x.shape[2])
    return x + y[:, :, : x.shape[1]].transpose(1, 2)


def layer(width, seed=0):
    canon = Canon(width).double()
    canon.init_(torch.Generator().manual_seed(seed))
    return canon


def draw(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 17])
@pytest.mark.parametrize("width", [1, 5])
def test_is_the_convolution_values_and_gradients(length, width):
    canon, x, g = layer(width), draw(3, length, width).requires_grad_(), draw(3, length, width, seed=2)
    y, expected = canon(x), by_convolution(x, canon.weight)
    assert (y - expected).abs().max() <= 1e-12
    for ours, theirs in zip(
        torch.autograd.grad(y, [x, canon.weight], g), torch.autograd.grad(expected, [x, canon.weight], g)
    ):
        assert (ours - theirs).abs().max() <= 1e-12


@pytest.mark.parametrize("length", [1, 3, 6])
def test_derivatives_first_and_second(length):
    canon, x = layer(2), draw(2, length, 2).requires_grad_()
    weight = canon.weight.detach().clone().requires_grad_()

    def f(x, weight):
        return torch.func.functional_call(canon, {"weight": weight}, x)

    assert gradcheck(f, (x, weight))
    assert gradgradcheck(f, (x, weight))


def test_second_derivative_is_that_of_the_definition():
    canon, x = layer(3), draw(2, 7, 3).requires_grad_()

    def curvature(f):
        loss = f(x).tanh().square().sum()
        first = torch.autograd.grad(loss, [x, canon.weight], create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), [x, canon.weight])

    for ours, theirs in zip(curvature(canon), curvature(lambda x: x + shifted_sum(x, canon.weight))):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def test_only_the_wanted_gradient():
    canon, x = layer(3), draw(2, 5, 3)
    (gw,) = torch.autograd.grad(canon(x).square().sum(), [canon.weight])
    canon.weight.requires_grad_(False)
    x.requires_grad_()
    (gx,) = torch.autograd.grad(canon(x).square().sum(), [x])
    assert gw.shape == canon.weight.shape
    assert gx.shape == x.shape


def test_torch_func_sees_through():
    canon, x = layer(2), draw(4, 6, 2)

    def loss(weight, row):
        return torch.func.functional_call(canon, {"weight": weight}, row[None]).pow(3).sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(canon.weight.detach(), x)
    for i in range(4):
        assert torch.allclose(each[i], torch.func.grad(loss)(canon.weight.detach(), x[i]), atol=1e-12)


def test_batched_gradients():
    canon, x, g = layer(2), draw(2, 6, 2).requires_grad_(), draw(5, 2, 6, 2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # torch's words on addcmul_ without a rule
        batched = torch.autograd.grad(canon(x), [x, canon.weight], g, is_grads_batched=True)
    for i in range(5):
        for ours, one in zip(batched, torch.autograd.grad(canon(x), [x, canon.weight], g[i])):
            assert torch.allclose(ours[i], one, atol=1e-12)


def test_gradients_stay_within_documents():
    documents = torch.tensor([[0, 0, 0, 1, 1, 2, 3, 3, 3], [0, 0, 1, 1, 1, 1, 1, 1, 2]])
    canon, x, g = layer(2), draw(2, 9, 2).requires_grad_(), draw(2, 9, 2, seed=2)
    y, expected = canon(x, documents), x + shifted_sum(x, canon.weight, within(documents, x.dtype))
    assert torch.allclose(y, expected, atol=1e-12)
    for ours, plain in zip(
        torch.autograd.grad(y, [x, canon.weight], g), torch.autograd.grad(expected, [x, canon.weight], g)
    ):
        assert torch.allclose(ours, plain, atol=1e-12)
    assert gradcheck(lambda x: canon(x, documents), (x,))
    assert gradgradcheck(lambda x: canon(x, documents), (x,))


def test_documents_leak_nothing():
    canon, x = layer(3), draw(2, 11, 3)
    documents = torch.tensor([[0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 3], [5] * 11])
    y = canon(x, documents)
    assert torch.allclose(y[1:], x[1:] + shifted_sum(x[1:], canon.weight), atol=1e-12)
    for a, b in [(0, 3), (3, 5), (5, 6), (6, 11)]:
        assert (y[:1, a:b] - canon(x[:1, a:b])).abs().max() <= 1e-12
    returning = torch.tensor([[0, 1, 0, 1, 0, 1]])  # a number that comes back is another document
    assert (canon(x[:1, :6], returning) - x[:1, :6] * (canon.weight[0] + 1)).abs().max() <= 1e-12


def test_causal():
    canon, x = layer(3), draw(1, 9, 3)
    for t in range(9):
        moved = x.clone()
        moved[0, t] += 1
        changed = (canon(moved) != canon(x)).any(-1)[0]
        assert changed.nonzero().flatten().tolist() == list(range(t, min(t + 4, 9)))


@pytest.mark.parametrize("cuts", [[1] * 9, [2, 3, 4], [5, 1, 3], [9]])
def test_steps_are_the_whole(cuts):
    canon, x = layer(4), draw(2, 9, 4)
    past, parts = None, []
    for piece in x.split(cuts, 1):
        y, past = canon.step(piece, past)
        parts.append(y)
    assert (torch.cat(parts, 1) - canon(x)).abs().max() <= 1e-12
    assert torch.equal(past, x[:, -3:])


def test_nothing_and_no_rows():
    canon = layer(3)
    assert canon(torch.zeros(2, 0, 3, dtype=torch.float64)).shape == (2, 0, 3)
    assert canon(torch.zeros(0, 5, 3, dtype=torch.float64)).shape == (0, 5, 3)
    x = torch.zeros(2, 0, 3, dtype=torch.float64, requires_grad=True)
    canon(x).sum().backward()
    assert canon.weight.grad.abs().max() == 0


def test_initial_taps_are_uniform_on_plus_minus_a_half():
    taps = layer(20_000).weight.detach().float()
    assert taps.shape == (4, 20_000)
    assert taps.abs().max() <= 0.5
    for row in taps:  # mean 0 ± .002, variance 1/12, and a flat histogram: chi-square on 9 degrees of freedom
        assert abs(row.mean()) < 0.01
        assert abs(row.var() - 1 / 12) < 0.002
        counts = torch.histc(row, 10, -0.5, 0.5)
        assert ((counts - 2000) ** 2 / 2000).sum() < 35
    conv = torch.nn.Conv1d(64, 64, 4, groups=64)
    assert conv.weight.abs().max() <= 0.5  # the default that is meant


def test_autocast():
    canon = Canon(4)
    with torch.autocast("cpu", torch.bfloat16):
        y = canon(torch.randn(1, 5, 4, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
