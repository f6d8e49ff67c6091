import warnings

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from airtrack.core.part import SpecError, build
from airtrack.core.streams import Streams
from airtrack.nets.canon import Canon, CanonLayer, shifted_sum, within
from airtrack.nets.decoder import Decoder


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


# --------------------------------------------------------------------------------------------------------------- knobs

KNOBS = [
    CanonLayer(kernel=kernel, residual=residual, activation=activation, bias=bias, start=start)
    for (kernel, residual, activation, bias, start) in [
        (2, True, False, False, "uniform"),
        (3, False, False, False, "uniform"),
        (4, True, True, False, "uniform"),
        (4, False, True, False, "normal"),
        (4, True, False, True, "uniform"),
        (5, True, True, True, "uniform"),
        (6, False, True, True, "uniform"),
        (7, False, False, True, "uniform"),
        (8, True, False, False, "zero"),
    ]
]
knobs = pytest.mark.parametrize(
    "spec", KNOBS, ids=lambda s: f"{s.kernel}{'r' * s.residual}{'a' * s.activation}{'b' * s.bias}"
)


def of(spec, width, seed=0):
    canon = spec.build(width).double()
    with torch.no_grad():
        for number, p in enumerate(canon.parameters()):
            p.copy_(draw(*p.shape, seed=seed + 10 * number))
    return canon


def reference(spec, canon, x):
    """torch's convolution, and around it what the knobs say."""
    kernel = canon.weight.flip(0).T.unsqueeze(1)
    y = torch.nn.functional.conv1d(x.mT, kernel, canon.bias, padding=spec.kernel - 1, groups=x.shape[2])
    y = y[:, :, : x.shape[1]].mT
    y = y * torch.sigmoid(y) if spec.activation else y
    return x + y if spec.residual else y


@knobs
@pytest.mark.parametrize("length", [1, 3, 17])
def test_knobs_are_the_convolution_values_and_gradients(spec, length):
    canon, x, g = of(spec, 5), draw(3, length, 5).requires_grad_(), draw(3, length, 5, seed=2)
    y, expected = canon(x), reference(spec, canon, x)
    assert (y - expected).abs().max() <= 1e-12
    wanted = [x, *canon.parameters()]
    for ours, theirs in zip(torch.autograd.grad(y, wanted, g), torch.autograd.grad(expected, wanted, g)):
        assert (ours - theirs).abs().max() <= 1e-12


@knobs
def test_knobs_derivatives_first_and_second(spec):
    canon, x, documents = of(spec, 2), draw(2, 9, 2).requires_grad_(), torch.tensor([[0] * 4 + [1] * 5, [2] * 9])
    names, values = zip(*canon.named_parameters())

    def f(x, *values):
        return torch.func.functional_call(canon, dict(zip(names, values)), (x, documents))

    inputs = (x, *[v.detach().clone().requires_grad_() for v in values])
    assert gradcheck(f, inputs, fast_mode=True)
    assert gradgradcheck(f, inputs, fast_mode=True)


@knobs
def test_knobs_steps_are_the_whole_and_documents_leak_nothing(spec):
    canon, x = of(spec, 3), draw(2, 19, 3)
    documents = torch.tensor([[0] * 6 + [1] + [2] * 2 + [3] * 10, [5] * 19])
    whole = canon(x, documents)
    for a, b in [(0, 6), (6, 7), (7, 9), (9, 19)]:
        assert (whole[:1, a:b] - canon(x[:1, a:b])).abs().max() <= 1e-12
    assert (whole[1:] - canon(x[1:])).abs().max() <= 1e-12
    for cuts in ([1] * 19, [5, 1, 13], [19]):
        past, done, parts = None, 0, []
        for piece in x.split(cuts, 1):
            done += piece.shape[1]
            y, past = canon.step(piece, past, documents[:, :done])
            parts.append(y)
        assert (torch.cat(parts, 1) - whole).abs().max() <= 1e-12
        assert torch.equal(past, x[:, -(spec.kernel - 1) :])
        assert past[0].numel() == canon.state_size(19)
    assert canon.flops(19) == 2 * 19 * spec.kernel * 3


@knobs
def test_knobs_under_torch_func_and_the_compiler(spec, monkeypatch):
    canon, x = of(spec, 2), draw(4, 9, 2)
    values = {name: p.detach() for name, p in canon.named_parameters()}

    def loss(values, row):
        return torch.func.functional_call(canon, values, row[None]).pow(3).sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(values, x)
    for i in range(4):
        alone = torch.func.grad(loss)(values, x[i])
        assert all((each[name][i] - alone[name]).abs().max() <= 1e-12 for name in values)
    packed = torch.tensor([[0] * 4 + [1] * 5]).expand(4, 9)
    eager = [canon(x), canon(x, packed)]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for ours, theirs in zip(eager, [canon(x), canon(x, packed)]):
        assert (ours - theirs).abs().max() <= 1e-12


@knobs
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_knobs_in_half_precision(spec, dtype):
    canon, x = of(spec, 4).float(), draw(2, 9, 4).float()
    coarse = 8 * torch.finfo(dtype).eps * (1 + canon.weight.abs().sum(0)).max() * x.abs().max()
    with torch.autocast("cpu", dtype):
        half = canon(x.to(dtype).requires_grad_())
    assert half.dtype == dtype
    assert (half.float() - canon(x)).abs().max() < coarse
    gradients = torch.autograd.grad(half.sum(), list(canon.parameters()))
    exact = torch.autograd.grad(canon(x).sum(), list(canon.parameters()))
    for ours, theirs in zip(gradients, exact):
        assert ours.dtype == torch.float32  # the parameters' own precision
        assert (ours - theirs).abs().max() < 0.1 * theirs.abs().max()


@pytest.mark.parametrize(("kernel", "start"), [(2, "uniform"), (8, "uniform"), (4, "normal"), (3, "zero")])
def test_starts(kernel, start):
    canon = Canon(20_000, kernel=kernel, start=start, bias=True)
    canon.bias.data += 1
    canon.init_(torch.Generator().manual_seed(0))
    taps = canon.weight.detach()
    assert (canon.bias == 0).all()
    if start == "zero":
        assert (taps == 0).all()
        return
    bound = kernel**-0.5
    spread = bound / 3**0.5 if start == "uniform" else 0.02
    for row in taps:  # five standard errors, and the Kolmogorov–Smirnov distance at p = 1e-6: 2.7/√n
        assert abs(row.mean()) < 5 * spread / 20_000**0.5
        assert abs(row.std() / spread - 1) < 5 / 40_000**0.5
        scaled = row.sort().values / spread
        cdf = (scaled / 3**0.5 + 1) / 2 if start == "uniform" else torch.special.ndtr(scaled)
        assert (cdf - torch.arange(0.5, 20_000) / 20_000).abs().max() < 2.7 / 20_000**0.5
    if start == "uniform":
        assert taps.abs().max() <= bound
    again = Canon(20_000, kernel=kernel, start=start)
    again.init_(torch.Generator().manual_seed(0))
    assert torch.equal(again.weight, taps)  # nothing but the generator decides


def test_starting_at_zero_is_the_identity_or_nothing():
    x = draw(1, 5, 3).float()
    assert torch.equal(Canon(3, start="zero")(x), x)
    assert torch.equal(Canon(3, start="zero", activation=True)(x), x)
    assert (Canon(3, start="zero", residual=False)(x) == 0).all()


def test_frozen_taps_stay_and_all_else_learns():
    spec = Decoder(
        layers=1, width=16, heads=2, canon="ABCD", canon_layer={"name": "canon", "frozen": True, "bias": True}
    )
    model = spec.build(7, Streams(0), length=9)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.5)
    model(torch.tensor([[1, 2, 3, 4, 5]])).logsumexp(-1).sum().backward()
    optimiser.step()
    for name, p in model.named_parameters():
        frozen = "canon" in name and name.endswith("weight")
        assert (p.grad is None) == frozen, name
        assert torch.equal(p, before[name]) == frozen, name
    learning = Decoder(layers=1, width=16, heads=2, canon="ABCD").build(7, Streams(0), length=9)
    assert all(torch.equal(p, before[name]) for name, p in learning.named_parameters())  # the taps are the same draw


def test_frozen_taps_cost_no_gradient_but_pass_it_on():
    canon, x = Canon(3, frozen=True).double(), draw(1, 6, 3).requires_grad_()
    (gx,) = torch.autograd.grad(canon(x).sum(), [x])
    assert (gx - torch.autograd.grad(by_convolution(x, canon.weight).sum(), [x])[0]).abs().max() <= 1e-12


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel": 1}, "kernel: input should be greater than or equal to 2"),
        ({"kernel": 9}, "kernel: input should be less than or equal to 8"),
        ({"start": "zeros"}, "start"),
        ({"residuals": False}, "residuals"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        build("canon", {"name": "canon"} | fields)
